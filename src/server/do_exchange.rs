//! DoExchange: an entity dataframe goes up and its training set comes down on the same call. Online requests open a
//! channel instead.
//!
//! The dataframe is read to its end before the answer begins: every feature scan is bounded by its keys and times.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::stream::{BoxStream, Stream, TryStreamExt};
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::{Services, descriptor, encode, feast, historical, ipc_guard, online, ticket};
use crate::error::{Error, Result};
use crate::historical::EntityFrame;
use crate::model::{Principal, Request};

/// Reads the dataframe, plans the descriptor's request over it and streams the rows.
pub(crate) async fn run(
    services: &Services,
    principal: &Principal,
    headers: &MetadataMap,
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> Result<BoxStream<'static, Result<FlightData>>> {
    let encoding = encode::Encoding::asked_by(headers)?;
    let mut upload = ipc_guard::decode_flight(messages, services.limits);
    let command = descriptor::command(upload.descriptor().await?)?.clone();
    if ticket::is_feast(&command) {
        return feast::exchange(services, principal, &command, upload, &encoding).await;
    }
    let request = match ticket::decode(&command)? {
        Request::Online(request) => {
            return online::exchange(services, request, upload, &encoding).await;
        }
        other => historical::without_entity(other)?,
    };
    let schema = upload.schema().await?;
    let (frame, memory) = collect(services, schema, upload.into_batches()).await?;
    let plan = services
        .historical
        .plan(principal, &request, Some(frame))
        .await?;
    // From here on the plan accounts for the dataframe itself.
    drop(memory);
    Ok(encode::flight_data(
        &encoding,
        plan.schema(),
        plan.execute()?,
    ))
}

/// Gathers a dataframe, charged to the engine's memory while it arrives and is planned for.
pub(super) async fn collect(
    services: &Services,
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch>> + Send,
) -> Result<(EntityFrame, MemoryReservation)> {
    let memory = services.engine.reserve("entity dataframe");
    let charged = batches.and_then(|batch| {
        let charge = memory.try_grow(slice_bytes(&batch)).map_err(Error::from);
        std::future::ready(charge.map(|()| batch))
    });
    let batches = charged.try_collect().await?;
    Ok((EntityFrame::new(schema, batches), memory))
}

/// Bytes of a batch's own rows; its buffers may be parts of one message.
fn slice_bytes(batch: &RecordBatch) -> usize {
    let column = |array: &ArrayRef| array.to_data().get_slice_memory_size().unwrap_or(0);
    batch.columns().iter().map(column).sum()
}
