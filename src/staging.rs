//! Placeholder until the staging area is merged.
use crate::{
    clock::Clock,
    error::Result,
    model::{Principal, UploadId},
};
use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::Stream;
use std::sync::Arc;
/// Placeholder.
#[derive(Clone, Debug, Default)]
pub struct StagingConfig;
/// Placeholder.
#[derive(Debug)]
pub struct Staging;
/// Placeholder.
#[derive(Clone, Debug)]
pub struct StagedUpload {
    /// Placeholder.
    pub id: UploadId,
    /// Placeholder.
    pub rows: u64,
    /// Placeholder.
    pub expires_at: chrono::DateTime<chrono::Utc>,
}
impl Staging {
    /// Placeholder.
    ///
    /// # Errors
    /// Never.
    pub fn try_new(_: &StagingConfig, _: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self)
    }
    /// Placeholder.
    ///
    /// # Errors
    /// Always.
    pub async fn put(
        &self,
        _: &Principal,
        _: SchemaRef,
        _: impl Stream<Item = Result<RecordBatch>> + Send + Unpin,
    ) -> Result<StagedUpload> {
        Err(crate::error::Error::internal("staging", "placeholder"))
    }
}
