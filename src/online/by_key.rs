//! Reads of single keys from files: of tables that are larger than the memory, and of buckets that nobody asked for before.
//! Who asks for the same at the same time shares one read, and who gave up on a table that is never loaded finds what that
//! try has read when it tries again: the last few reads are kept until memory is wanted for something else.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::BinaryArray;

use super::part::Columns;
use super::slot::Slot;
use crate::table::files::FileEntry;

/// Reads that are kept.
const KEPT: usize = 16;

/// What is read.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) files: Vec<Arc<FileEntry>>,
    pub(super) columns: Columns,
    pub(super) keys: BinaryArray,
}

/// See the module's text.
#[derive(Default)]
pub(super) struct KeyReads(Mutex<VecDeque<(Asked, Arc<Slot>)>>);

impl Asked {
    /// Whether the rows are the same ones: files never change.
    fn is(&self, other: &Self) -> bool {
        let mut files = self.files.iter().zip(&other.files);
        self.keys == other.keys
            && self.files.len() == other.files.len()
            && files.all(|(own, other)| Arc::ptr_eq(own, other))
            && self.columns == other.columns
    }
}

impl KeyReads {
    /// The place of a read.
    pub(super) fn slot(&self, asked: &Asked) -> Arc<Slot> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, slot)) = kept.iter().find(|(known, _)| known.is(asked)) {
            return Arc::clone(slot);
        }
        if kept.len() == KEPT {
            kept.pop_front();
        }
        let slot = Arc::default();
        kept.push_back((asked.clone(), Arc::clone(&slot)));
        slot
    }

    /// Lets go of what was read; reads that are under way go on.
    pub(super) fn forget(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, slot)| slot.resident().is_none());
    }
}

impl std::fmt::Debug for KeyReads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyReads").finish_non_exhaustive()
    }
}
