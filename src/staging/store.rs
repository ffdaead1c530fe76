//! Where uploads are: in this process, or in a directory that servers share.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};

use super::budget::Charge;
use super::id::WellFormed;
use super::memory::{self, Memory};
use super::objects::{Objects, invalid};
use super::receive;
use super::{StagedDescription, StagedFrame, StagedUpload};
use crate::error::Result;
use crate::model::Principal;

#[derive(Debug)]
pub(super) enum Store {
    Memory(Arc<Memory>),
    Objects(Arc<Objects>),
}

impl Store {
    pub(super) fn open(url: &str) -> Result<Self> {
        if url == "memory://" || url == "memory:///" {
            return Ok(Self::Memory(Arc::default()));
        }
        match url.strip_prefix("file://").map(Path::new) {
            Some(path) if path.is_absolute() => {
                Ok(Self::Objects(Arc::new(Objects::in_directory(path)?)))
            }
            _ => Err(invalid(format!(
                "expected `memory://` or `file:///directory`, found `{url}`"
            ))),
        }
    }

    /// Every upload that is there.
    pub(super) async fn ids(&self) -> Result<Vec<WellFormed>> {
        match self {
            Self::Memory(memory) => Ok(memory.ids()),
            Self::Objects(objects) => objects.ids().await,
        }
    }

    /// Deletes an upload, if it is there.
    pub(super) async fn delete(&self, id: &WellFormed) -> Result<()> {
        match self {
            Self::Memory(memory) => {
                memory.delete(id);
                Ok(())
            }
            Self::Objects(objects) => objects.delete(id).await,
        }
    }

    /// Clears away what no list of uploads shows.
    pub(super) async fn sweep(&self, now: DateTime<Utc>) -> Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Objects(objects) => objects.sweep(now).await,
        }
    }

    pub(super) async fn describe(
        &self,
        owner: &Principal,
        id: &WellFormed,
    ) -> Result<StagedDescription> {
        match self {
            Self::Memory(memory) => memory.open(owner, id).map(|frame| describe(id, frame)),
            Self::Objects(objects) => objects.describe(owner, id).await,
        }
    }

    pub(super) async fn read(&self, owner: &Principal, id: &WellFormed) -> Result<StagedFrame> {
        match self {
            Self::Memory(memory) => memory.open(owner, id),
            Self::Objects(objects) => objects.open(owner, id).await,
        }
    }

    pub(super) async fn begin(
        &self,
        id: &WellFormed,
        schema: SchemaRef,
        charge: Charge,
    ) -> Result<Incoming> {
        Ok(match self {
            Self::Memory(memory) => {
                Incoming::Memory(memory::Incoming::begin(memory, schema, charge))
            }
            Self::Objects(objects) => {
                let upload = receive::Incoming::begin(objects, id, schema, charge).await?;
                Incoming::Objects(Box::new(upload))
            }
        })
    }
}

fn describe(id: &WellFormed, frame: StagedFrame) -> StagedDescription {
    let upload = StagedUpload {
        id: id.upload_id(),
        rows: frame.rows,
        expires_at: frame.expires_at,
    };
    StagedDescription {
        upload,
        schema: frame.schema,
    }
}

/// An upload that is arriving. Dropped before [`Incoming::complete`], it leaves nothing.
pub(super) enum Incoming {
    Memory(memory::Incoming),
    Objects(Box<receive::Incoming>),
}

impl Incoming {
    /// Charges for the batch and keeps it.
    pub(super) async fn add(&mut self, batch: RecordBatch) -> Result<()> {
        match self {
            Self::Memory(upload) => upload.add(batch),
            Self::Objects(upload) => upload.add(batch).await,
        }
    }

    /// Makes the upload visible.
    pub(super) async fn complete(
        self,
        owner: &Principal,
        id: &WellFormed,
        rows: u64,
    ) -> Result<()> {
        match self {
            Self::Memory(upload) => {
                upload.complete(owner, id, rows);
                Ok(())
            }
            Self::Objects(upload) => upload.complete(owner, id, rows).await,
        }
    }
}
