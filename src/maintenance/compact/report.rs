//! What a compaction did, as a line for people and as JSON.

use std::fmt;
use std::ops::{Add, Sub};

use bytesize::ByteSize;
use serde::Serialize;

/// What a compaction of one table did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CompactReport {
    /// The table.
    pub table: String,
    /// View, or version of it, that an online table belongs to.
    pub feature_view: Option<String>,
    /// The last snapshot that it made; absent if there was nothing to do or nothing was to be done.
    pub snapshot_id: Option<i64>,
    /// Before.
    pub before: Extent,
    /// After; before writing, files and bytes are estimates.
    pub after: Extent,
    /// Files that went.
    pub files_removed: u64,
    /// Files that came.
    pub files_added: u64,
}

/// How much a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// Data files.
    pub files: u64,
    /// Rows; before a compaction, deleted ones with them.
    pub rows: u64,
    /// Bytes of data files.
    pub bytes: u64,
}

impl Extent {
    /// One file.
    pub(super) fn of(rows: u64, bytes: u64) -> Self {
        Self {
            files: 1,
            rows,
            bytes,
        }
    }
}

impl Add for Extent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            files: self.files + other.files,
            rows: self.rows + other.rows,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl Sub for Extent {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            files: self.files - other.files,
            rows: self.rows - other.rows,
            bytes: self.bytes - other.bytes,
        }
    }
}

impl fmt::Display for CompactReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, after, .. } = self;
        if self.files_removed == 0 {
            let bytes = ByteSize::b(before.bytes);
            return write!(
                f,
                "{}: nothing to do, {} files of {} rows and {bytes}",
                self.table, before.files, before.rows
            );
        }
        write!(
            f,
            "{}: {} files → {}, {} rows → {}, {} → {}",
            self.table,
            before.files,
            after.files,
            before.rows,
            after.rows,
            ByteSize::b(before.bytes),
            ByteSize::b(after.bytes),
        )?;
        match self.snapshot_id {
            Some(id) => write!(f, ", snapshot {id}"),
            None => write!(f, " (estimated, nothing was changed)"),
        }
    }
}
