//! Uploaded entity dataframes, kept on an object store until they expire.
//!
//! An upload is one object, and everything about it (owner, expiry, rows, schema) is in the object or its name, so any
//! server that shares the store can serve it. A process remembers only which bytes count against its budget.
//!
//! - `id`: the unguessable, server-made name, which says when the upload expires.
//! - `object`: the bytes of an object.
//! - `named`: uploads that their owner finds by a name instead of an id.
//! - `receive` writes one while its batches arrive, `serve` reads one, `sweep` deletes the expired.
//! - `budget`: the bytes of this process's uploads.

mod budget;
mod config;
mod id;
mod named;
mod object;
mod receive;
mod serve;
mod store;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::model::UploadId;

use budget::{Budget, Charge};
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
    /// What the uploads that this process received take from the budget.
    kept: Mutex<HashMap<WellFormed, Charge>>,
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
            kept: Mutex::default(),
            ttl: config.ttl,
            clock,
        })
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now().into()
    }

    fn keep(&self, id: WellFormed, charge: Charge) {
        self.kept
            .lock()
            .expect("no holder panics")
            .insert(id, charge);
    }

    fn forget(&self, id: &WellFormed) {
        self.kept.lock().expect("no holder panics").remove(id);
    }

    fn forget_expired(&self, now: DateTime<Utc>) {
        self.kept
            .lock()
            .expect("no holder panics")
            .retain(|id, _| !id.is_expired(now));
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
