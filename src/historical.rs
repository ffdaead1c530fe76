//! Placeholder until historical retrieval is merged.
use crate::{
    error::{Error, Result},
    model::{HistoricalRequest, Principal, TableName, TablePin},
    registry::RegistryReader,
    staging::Staging,
};
use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use std::{collections::BTreeMap, sync::Arc};
/// Placeholder.
#[derive(Debug)]
pub struct EntityFrame;
impl EntityFrame {
    /// Placeholder.
    pub fn new(_: SchemaRef, _: Vec<RecordBatch>) -> Self {
        Self
    }
}
/// Placeholder.
#[derive(Debug)]
pub struct Historical;
/// Placeholder.
#[derive(Debug)]
pub struct HistoricalPlan(BTreeMap<TableName, TablePin>);
fn absent<T>() -> Result<T> {
    Err(Error::internal("historical", "placeholder"))
}
#[allow(missing_docs, clippy::missing_errors_doc, reason = "placeholder")]
impl Historical {
    pub fn new(_: Arc<dyn RegistryReader>, _: Arc<Staging>) -> Self {
        Self
    }
    pub async fn plan(
        &self,
        _: &Principal,
        _: &HistoricalRequest,
        _: Option<EntityFrame>,
    ) -> Result<HistoricalPlan> {
        absent()
    }
    pub async fn view_schema(&self, _: &str) -> Result<SchemaRef> {
        absent()
    }
}
#[allow(missing_docs, clippy::missing_errors_doc, reason = "placeholder")]
impl HistoricalPlan {
    pub fn schema(&self) -> SchemaRef {
        Arc::new(arrow::datatypes::Schema::empty())
    }
    pub fn rows(&self) -> Option<u64> {
        None
    }
    pub fn tables(&self) -> &BTreeMap<TableName, TablePin> {
        &self.0
    }
    pub fn execute(&self) -> Result<SendableRecordBatchStream> {
        absent()
    }
    pub async fn explain(&self) -> Result<String> {
        absent()
    }
}
