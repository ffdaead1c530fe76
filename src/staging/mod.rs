//! Uploaded entity dataframes, kept until they expire.
//!
//! In memory an upload is the batches that arrived. In a directory it is one object, and everything about it (owner,
//! expiry, rows, schema) is in the object or its name, so any server that shares the directory can serve it; a process
//! remembers only which bytes count against its budget.
//!
//! - `id`: the unguessable, server-made name, which says when the upload expires.
//! - `named`: uploads that their owner finds by a name instead of an id.
//! - `sweep` deletes the expired.
//! - `store`: where they are, `memory` or `objects`; there `object` is the bytes of one, `receive` writes and `serve` reads it.
//! - `budget`: the bytes of this process's uploads.

mod budget;
mod config;
mod id;
mod memory;
mod named;
mod object;
mod objects;
mod receive;
mod serve;
mod store;
mod sweep;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::model::{Principal, UploadId};

use budget::Budget;
use id::WellFormed;
use store::Store;

pub use config::StagingConfig;
pub use id::UploadName;
pub use sweep::Sweeper;

/// The staging area.
#[derive(Debug)]
pub struct Staging {
    store: Store,
    budget: Arc<Budget>,
    ttl: Duration,
    clock: Arc<dyn Clock>,
}

/// An upload, as its owner is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedUpload {
    /// What to ask for it by.
    pub id: UploadId,
    /// Rows of all its batches.
    pub rows: u64,
    /// From then on it cannot be used.
    pub expires_at: DateTime<Utc>,
}

/// An upload and its columns, without its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedDescription {
    /// The upload.
    pub upload: StagedUpload,
    /// Schema of its batches.
    pub schema: SchemaRef,
}

/// An upload's data.
#[derive(Clone, Debug)]
pub struct StagedFrame {
    /// Schema of the batches.
    pub schema: SchemaRef,
    /// The batches as they were sent, none of them empty.
    pub batches: Vec<RecordBatch>,
    /// Rows of all batches.
    pub rows: u64,
    /// From then on the upload cannot be opened; frames opened before stay as they are.
    pub expires_at: DateTime<Utc>,
}

impl Staging {
    /// Opens the staging area; a directory that does not exist is made, for this user only.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if the URL is not one of `memory://` and `file:///directory`, or the directory cannot
    /// be used.
    pub fn try_new(config: &StagingConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        let store = Store::open(&config.url)?;
        let budget = Arc::new(Budget::new(config.budget.as_u64()));
        Ok(Self {
            store,
            budget,
            ttl: config.ttl,
            clock,
        })
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now().into()
    }

    /// Keeps `batches` for `owner`. The time to live counts from now.
    ///
    /// Nothing is visible before the end, and nothing is left behind if `batches` fail or the future is dropped.
    ///
    /// # Errors
    /// [`Error::BudgetExceeded`] over the byte budget, [`Error::StorageUnavailable`] if the store fails,
    /// [`Error::UploadNotFound`] if the upload took longer than it lives, and whatever `batches` fail with.
    pub async fn put(
        &self,
        owner: &Principal,
        schema: SchemaRef,
        batches: impl Stream<Item = Result<RecordBatch>> + Send + Unpin,
    ) -> Result<StagedUpload> {
        let id = WellFormed::random(self.now() + self.ttl);
        self.put_as(owner, id, schema, batches).await
    }

    /// As [`put`](Self::put), under an id of the caller's choice; there is none if the time to live is too long.
    async fn put_as(
        &self,
        owner: &Principal,
        id: Option<WellFormed>,
        schema: SchemaRef,
        mut batches: impl Stream<Item = Result<RecordBatch>> + Send + Unpin,
    ) -> Result<StagedUpload> {
        self.sweep().await?;
        let id = id.ok_or_else(|| Error::internal("naming an upload", "ttl too long"))?;
        let mut upload = self.store.begin(&id, schema, self.budget.open()).await?;
        let mut rows = 0;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            if batch.num_rows() > 0 {
                upload.add(batch).await?;
            }
        }
        self.check_expiry(&id)?;
        upload.complete(owner, &id, rows).await?;
        Ok(StagedUpload {
            id: id.upload_id(),
            rows,
            expires_at: id.expires_at(),
        })
    }

    /// What `owner` has uploaded as `id`, without decoding its data.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn describe(&self, owner: &Principal, id: &UploadId) -> Result<StagedDescription> {
        let id = self.living(id).await?;
        self.store.describe(owner, &id).await
    }

    /// The data that `owner` has uploaded as `id`. With a store in memory, these are the batches that arrived.
    ///
    /// # Errors
    /// [`Error::UploadNotFound`] if the upload expired (the reason says when), or is not known or another's (these two
    /// cannot be told apart); [`Error::StorageUnavailable`] if the store fails; [`Error::Internal`] if the stored bytes
    /// are damaged.
    pub async fn open(&self, owner: &Principal, id: &UploadId) -> Result<StagedFrame> {
        let id = self.living(id).await?;
        self.store.read(owner, &id).await
    }

    /// The gate of all reads: form and expiry. Ownership is with what is stored.
    async fn living(&self, id: &UploadId) -> Result<WellFormed> {
        let id = WellFormed::parse(&id.0).ok_or_else(|| unknown(id))?;
        if let Err(expired) = self.check_expiry(&id) {
            self.store.delete(&id).await?;
            return Err(expired);
        }
        Ok(id)
    }

    fn check_expiry(&self, id: &WellFormed) -> Result<()> {
        if id.is_expired(self.now()) {
            return Err(expired(&id.upload_id(), id.expires_at()));
        }
        Ok(())
    }
}

/// The one answer for ids that never were, that are another's, and that are no ids.
fn unknown(id: &UploadId) -> Error {
    not_found(id, "no such upload".to_owned())
}

fn expired(id: &UploadId, at: DateTime<Utc>) -> Error {
    let at = at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    not_found(id, format!("expired at {at}"))
}

fn not_found(id: &UploadId, reason: String) -> Error {
    Error::UploadNotFound {
        id: id.0.clone(),
        reason,
    }
}
