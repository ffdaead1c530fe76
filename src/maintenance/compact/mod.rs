//! The fold: of each entity key only the latest row stays, in as few files as partitions need.
//!
//! A first pass reads keys and times only and marks the rows that stay, so that everything after it is decided before
//! a file is written: partitions that are tidy already stay untouched, and a second run does nothing. Then the marked
//! rows of a few partitions at a time become new files, and one `replace` snapshot puts these in the place of what was
//! read. Write sequences stay as they are, so that later writes are still told apart from earlier ones.
//!
//! Under the strategy `timestamp` a key's rows lie in many hours. The first pass then reads all files once for each so
//! many rows of the table; a row that stays stays in the hour of its event, and hours whose rows were all superseded
//! lose their files.

mod plan;
mod rewrite;
mod survivors;
#[cfg(test)]
mod tests;

use indicatif::ProgressBar;
use serde::Serialize;

use super::Maintenance;
use crate::error::Result;
use crate::model::{TableName, TablePin};
use crate::table::online::OnlineProperties;
use plan::FoldPlan;
use rewrite::{Fold, Survey};

/// Rows of the table whose keys are held in memory at a time, and bytes of files that are rewritten at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldLimits {
    /// About 150 bytes each.
    pub pass_rows: u64,
    /// Compressed; several times as much in memory. A partition by itself may be larger.
    pub group_bytes: u64,
}

impl Default for FoldLimits {
    fn default() -> Self {
        Self {
            pass_rows: 4_000_000,
            group_bytes: 64 * 1024 * 1024,
        }
    }
}

/// What a fold of one table did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CompactReport {
    /// The table.
    pub table: String,
    /// View, or version of it, that the table belongs to.
    pub feature_view: String,
    /// Snapshot that it made; absent if there was nothing to do or nothing was to be done.
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
    /// Rows; before a fold, deleted ones with them.
    pub rows: u64,
    /// Bytes of data files.
    pub bytes: u64,
}
