//! DoExchange: an entity dataframe goes up and its training set comes down on the same call.
//!
//! The dataframe is read to its end before the answer begins: every feature scan is bounded by its keys and times.

use arrow::array::RecordBatch;
use arrow_flight::FlightData;
use futures::stream::{BoxStream, Stream, TryStreamExt};
use tonic::Status;

use super::{Services, descriptor, encode, historical, ipc_guard};
use crate::error::Result;
use crate::historical::EntityFrame;
use crate::model::Principal;

/// Reads the dataframe, plans the descriptor's request over it and streams the rows.
pub(crate) async fn run(
    services: &Services,
    principal: &Principal,
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> Result<BoxStream<'static, Result<FlightData>>> {
    let mut upload = ipc_guard::decode_flight(messages, services.limits);
    let request = historical::decode_attached(descriptor::command(upload.descriptor().await?)?)?;
    let schema = upload.schema().await?;
    let batches: Vec<RecordBatch> = upload.into_batches().try_collect().await?;
    let frame = EntityFrame::new(schema, batches);
    let plan = services
        .historical
        .plan(principal, &request, Some(frame))
        .await?;
    Ok(encode::flight_data(plan.schema(), plan.execute()?))
}
