//! Uploaded entity dataframes.

use std::time::Duration;use std::sync::Arc;use crate::{clock::Clock,error::Result,model::{Principal,UploadId}};use arrow::{array::RecordBatch,datatypes::SchemaRef};use futures::Stream;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// Where uploads are kept, and how much for how long.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct StagingConfig {
    /// Where uploads are kept: `memory://`, or a directory as `file:///path`.
    pub url: String,
    /// Bytes of all uploads together.
    pub budget: ByteSize,
    /// How long an upload can be used.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
}

impl Default for StagingConfig {
    fn default() -> Self {
        Self {
            url: "memory://".to_owned(),
            budget: ByteSize::gib(4),
            ttl: Duration::from_secs(3600),
        }
    }
}
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

/// P
#[derive(Debug)] pub struct StagedFrame { /// p
 pub schema: SchemaRef, /// p
 pub batches: Vec<RecordBatch> }
impl Staging { /// p
 pub async fn open(&self, _: &Principal, _: &UploadId) -> Result<StagedFrame> { Err(crate::error::Error::internal("staging", "placeholder")) } }
