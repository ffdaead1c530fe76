//! What a scan looked at and what it could leave out, for `explain`, logs and tests.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a file or row group was not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Its event times lie outside the request's window.
    pub by_time: u64,
    /// Its partition cannot hold a requested key.
    pub by_partition: u64,
    /// Its key bounds exclude every requested key.
    pub by_key: u64,
}

impl Pruned {
    /// All together.
    pub fn total(&self) -> u64 {
        self.by_time + self.by_partition + self.by_key
    }
}

/// Counters of one scan while it runs; shared by its partitions.
#[derive(Debug, Default)]
pub struct ScanCounters {
    /// Row groups of the files that were opened.
    pub row_groups: AtomicU64,
    /// Row groups left out because of their event times.
    pub row_groups_pruned_by_time: AtomicU64,
    /// Row groups left out because of their key bounds.
    pub row_groups_pruned_by_key: AtomicU64,
    /// Rows whose keys and timestamps were decoded.
    pub rows_scanned: AtomicU64,
    /// Rows left out by page statistics.
    pub rows_pruned_by_page: AtomicU64,
    /// Rows removed by position or equality deletes.
    pub rows_deleted: AtomicU64,
    /// Rows whose feature values were fetched.
    pub rows_fetched: AtomicU64,
    /// Bytes requested from storage.
    pub bytes_read: AtomicU64,
    /// Files opened.
    pub files_read: AtomicU64,
}

impl ScanCounters {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// The counters as they stand, with what planning knew.
    pub fn report(&self, files: u64, files_pruned: Pruned) -> ScanReport {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ScanReport {
            files,
            files_pruned,
            files_read: get(&self.files_read),
            row_groups: get(&self.row_groups),
            row_groups_pruned: Pruned {
                by_time: get(&self.row_groups_pruned_by_time),
                by_partition: 0,
                by_key: get(&self.row_groups_pruned_by_key),
            },
            rows_scanned: get(&self.rows_scanned),
            rows_pruned_by_page: get(&self.rows_pruned_by_page),
            rows_deleted: get(&self.rows_deleted),
            rows_fetched: get(&self.rows_fetched),
            bytes_read: get(&self.bytes_read),
        }
    }
}

/// A scan's counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Data files of the pinned snapshot.
    pub files: u64,
    /// Data files that planning left out.
    pub files_pruned: Pruned,
    /// Data files opened.
    pub files_read: u64,
    /// Row groups of the opened files.
    pub row_groups: u64,
    /// Row groups that statistics left out.
    pub row_groups_pruned: Pruned,
    /// Rows whose keys and timestamps were decoded.
    pub rows_scanned: u64,
    /// Rows left out by page statistics.
    pub rows_pruned_by_page: u64,
    /// Rows removed by deletes.
    pub rows_deleted: u64,
    /// Rows whose feature values were fetched.
    pub rows_fetched: u64,
    /// Bytes requested from storage.
    pub bytes_read: u64,
}

impl fmt::Display for ScanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = &self.files_pruned;
        let groups = &self.row_groups_pruned;
        write!(
            f,
            "files: {} total, {} pruned (time {}, partition {}, key {}), {} read\n  \
             row groups: {} total, {} pruned (time {}, key {}), {} read\n  \
             rows: {} scanned, {} pruned by page, {} deleted, {} fetched\n  bytes read: {}",
            self.files,
            files.total(),
            files.by_time,
            files.by_partition,
            files.by_key,
            self.files_read,
            self.row_groups,
            groups.total(),
            groups.by_time,
            groups.by_key,
            self.row_groups.saturating_sub(groups.total()),
            self.rows_scanned,
            self.rows_pruned_by_page,
            self.rows_deleted,
            self.rows_fetched,
            self.bytes_read,
        )
    }
}
