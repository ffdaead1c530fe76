//! Placeholder until the guard is merged.
use crate::error::{Error, Result};
use arrow::{array::RecordBatch, datatypes::SchemaRef};
use arrow_flight::{FlightData, FlightDescriptor};
use bytes::Bytes;
use futures::Stream;
/// Placeholder.
#[derive(Clone, Copy, Debug, Default)]
pub struct IpcLimits {
    /// Placeholder.
    pub max_message_bytes: u64,
    /// Placeholder.
    pub more: u64,
}
/// Placeholder.
#[derive(Debug)]
pub struct GuardedStream;
impl GuardedStream {
    /// Placeholder.
    pub async fn descriptor(&mut self) -> Result<Option<&FlightDescriptor>> {
        Ok(None)
    }
    /// Placeholder.
    pub async fn schema(&mut self) -> Result<SchemaRef> {
        Err(Error::internal("guard", "placeholder"))
    }
    /// Placeholder.
    pub fn into_batches(self) -> futures::stream::BoxStream<'static, Result<RecordBatch>> {
        Box::pin(futures::stream::empty())
    }
}
/// Placeholder.
pub fn decode_flight(
    _: impl Stream<Item = Result<FlightData, tonic::Status>> + Send + 'static,
    _: IpcLimits,
) -> GuardedStream {
    GuardedStream
}
/// Placeholder.
pub fn decode_ipc_stream(_: Bytes, _: IpcLimits) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    Err(Error::internal("guard", "placeholder"))
}
