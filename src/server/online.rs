//! Online requests: the answer to keys inside the request, and channels, where keys and answers go back and forth on one
//! DoExchange for as long as the client likes.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::FlightData;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use super::encode::{self, Encoding};
use super::ipc_guard::GuardedStream;
use super::{Services, ipc_guard};
use crate::error::{Error, Result};
use crate::model::{OnlineKeys, OnlineRequest};
use crate::online::{OnlineReader, ReadPlan, key_batch};

/// Batches of a channel that are worked on at a time; further ones wait in the connection.
const AHEAD: usize = 4;

/// Answers a request that has its keys.
pub(super) async fn get(
    services: &Services,
    request: &OnlineRequest,
    encoding: &Encoding,
) -> Result<BoxStream<'static, Result<FlightData>>> {
    let reader = &services.online;
    let answer = reader.in_time(async {
        let plan = reader.plan(request).await?;
        let keys = keys(services, &plan, &request.keys)?;
        reader.read(&plan, &keys).await
    });
    let batch = answer.await?;
    let schema = batch.schema();
    Ok(encode::flight_data(
        encoding,
        schema,
        stream::once(std::future::ready(Ok::<_, Error>(batch))),
    ))
}

/// Tells what a request touches; without keys inside, it has none to tell about.
pub(super) async fn explain(services: &Services, request: &OnlineRequest) -> Result<String> {
    let reader = &services.online;
    let plan = reader.plan(request).await?;
    let keys = keys(services, &plan, &request.keys)?;
    reader.explain(&plan, &keys).await
}

fn keys(services: &Services, plan: &ReadPlan, keys: &OnlineKeys) -> Result<RecordBatch> {
    match keys {
        OnlineKeys::Columns(columns) => key_batch(plan, columns),
        OnlineKeys::Ipc(bytes) => inline(services, bytes),
        OnlineKeys::Attached if plan.needs_no_keys() => key_batch(plan, &[]),
        OnlineKeys::Attached => Err(Error::invalid(
            "online.entity_keys",
            "expected key columns, here or as `entity_ipc`; only DoExchange takes keys on the call",
        )),
    }
}

fn inline(services: &Services, bytes: &Bytes) -> Result<RecordBatch> {
    let (schema, batches) = ipc_guard::decode_ipc_stream(bytes.clone(), services.limits)?;
    concat_batches(&schema, &batches).map_err(Error::arrow("join batches of keys"))
}

/// Answers each batch of keys of a channel with one batch of features.
pub(super) async fn exchange(
    services: &Services,
    request: OnlineRequest,
    mut upload: GuardedStream,
    encoding: &Encoding,
) -> Result<BoxStream<'static, Result<FlightData>>> {
    if !matches!(request.keys, OnlineKeys::Attached) {
        return Err(Error::invalid(
            "online.entity_keys",
            "expected no keys; in DoExchange they come on the call",
        ));
    }
    let keys = upload.schema().await?;
    let channel = Channel::open(Arc::clone(&services.online), request, &keys).await?;
    let schema = Arc::clone(&channel.schema);
    let channel = Arc::new(channel);
    let batches = stream::try_unfold(upload, async |mut upload| {
        let batch = upload.next_of_channel().await?;
        Ok::<_, Error>(batch.map(|batch| (batch, upload)))
    });
    let mut draining = services.draining.subscribe();
    let drained = async move { drop(draining.wait_for(|draining| *draining).await) };
    let answers = batches
        .take_until(drained)
        .map(move |keys| Arc::clone(&channel).answer(keys))
        .buffered(AHEAD);
    Ok(encode::channel(encoding, schema, answers.boxed()))
}

struct Channel {
    reader: Arc<OnlineReader>,
    request: OnlineRequest,
    schema: SchemaRef,
}

impl Channel {
    async fn open(
        reader: Arc<OnlineReader>,
        request: OnlineRequest,
        keys: &Schema,
    ) -> Result<Self> {
        let schema = {
            let plan = reader.in_time(reader.plan(&request)).await?;
            encode::schema_on_wire(reader.schema(&plan, keys)?)
        };
        Ok(Self {
            reader,
            request,
            schema,
        })
    }

    /// Planned anew for each batch: definitions may have changed since the last.
    async fn answer(self: Arc<Self>, keys: Result<RecordBatch>) -> Result<RecordBatch> {
        let keys = keys?;
        let answer = self.reader.in_time(async {
            let plan = self.reader.plan(&self.request).await?;
            self.reader.read_as(&plan, &keys, &self.schema).await
        });
        answer.await
    }
}
