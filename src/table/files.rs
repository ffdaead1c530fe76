//! The files of a snapshot.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::spec::{Datum, PartitionSpec, Struct};

/// A data file.
#[derive(Debug)]
pub struct FileEntry {
    /// Location.
    pub path: String,
    /// Length.
    pub size_bytes: u64,
    /// Rows.
    pub record_count: u64,
    /// Spec of `partition`.
    pub partition_spec: Arc<PartitionSpec>,
    /// Partition values.
    pub partition: Struct,
    /// Lower bounds by field id.
    pub lower_bounds: HashMap<i32, Datum>,
    /// Upper bounds by field id.
    pub upper_bounds: HashMap<i32, Datum>,
    /// Data sequence number.
    pub sequence_number: i64,
    /// Delete files that apply.
    pub deletes: Vec<Arc<DeleteFile>>,
}

/// A delete file.
#[derive(Debug)]
pub struct DeleteFile {
    /// Location.
    pub path: String,
    /// Length.
    pub size_bytes: u64,
    /// Data sequence number.
    pub sequence_number: i64,
    /// What it deletes by.
    pub kind: DeleteKind,
}

/// What a delete file deletes by.
#[derive(Debug)]
pub enum DeleteKind {
    /// File and position.
    Position,
    /// Equality of columns.
    Equality {
        /// The columns.
        field_ids: Vec<i32>,
    },
}

/// All live data files of a snapshot.
#[derive(Debug)]
pub struct FileIndex {
    /// The files.
    pub files: Arc<[Arc<FileEntry>]>,
}
