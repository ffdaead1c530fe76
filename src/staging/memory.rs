//! Uploads that need not outlive the process, kept as the batches that arrived: nothing is encoded, copied or hashed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::budget::Charge;
use super::id::WellFormed;
use super::{StagedFrame, unknown};
use crate::error::Result;
use crate::model::{Principal, RetainedBytes};

/// What a column of a batch takes besides its buffers, about.
const COLUMN_BYTES: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Memory {
    uploads: Mutex<HashMap<WellFormed, Upload>>,
}

#[derive(Debug)]
struct Upload {
    owner: Principal,
    frame: StagedFrame,
    _charge: Charge,
}

impl Memory {
    pub(super) fn ids(&self) -> Vec<WellFormed> {
        self.uploads().keys().cloned().collect()
    }

    pub(super) fn delete(&self, id: &WellFormed) {
        self.uploads().remove(id);
    }

    pub(super) fn open(&self, owner: &Principal, id: &WellFormed) -> Result<StagedFrame> {
        match self.uploads().get(id) {
            Some(upload) if upload.owner == *owner => Ok(upload.frame.clone()),
            _ => Err(unknown(&id.upload_id())),
        }
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<WellFormed, Upload>> {
        self.uploads.lock().expect("no holder panics")
    }
}

/// An upload that is arriving. Dropped before [`Incoming::complete`], it leaves nothing.
#[derive(Debug)]
pub(super) struct Incoming {
    memory: Arc<Memory>,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    columns: usize,
    retained: RetainedBytes,
    charge: Charge,
}

impl Incoming {
    pub(super) fn begin(memory: &Arc<Memory>, schema: SchemaRef, charge: Charge) -> Self {
        Self {
            memory: Arc::clone(memory),
            schema,
            batches: vec![],
            columns: 0,
            retained: RetainedBytes::default(),
            charge,
        }
    }

    pub(super) fn add(&mut self, batch: RecordBatch) -> Result<()> {
        self.columns += batch.num_columns();
        let bytes = self.retained.add(&batch) + self.columns * COLUMN_BYTES;
        self.charge.resize(bytes as u64)?;
        self.batches.push(batch);
        Ok(())
    }

    pub(super) fn complete(self, owner: &Principal, id: &WellFormed, rows: u64) {
        let frame = StagedFrame {
            schema: self.schema,
            batches: self.batches,
            rows,
            expires_at: id.expires_at(),
        };
        let upload = Upload {
            owner: owner.clone(),
            frame,
            _charge: self.charge,
        };
        self.memory.uploads().insert(id.clone(), upload);
    }
}
