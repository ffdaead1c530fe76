//! Merging of manifests: a snapshot with the same files, listed by fewer manifests that are sorted by partition.

use std::fmt;

use iceberg::spec::Operation;
use serde::Serialize;

use super::Maintenance;
use super::compact::check_rewritable;
use crate::error::Result;
use crate::model::TableName;
use crate::table::commit::{Change, Merging, commit_change, count_manifests};

/// What a merging of one table's manifests did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManifestReport {
    /// The table.
    pub table: String,
    /// Snapshot that it made; absent if there was little to do or nothing was to be done.
    pub snapshot_id: Option<i64>,
    /// Manifests with live files.
    pub before: u64,
    /// After; before writing an estimate.
    pub after: u64,
}

impl fmt::Display for ManifestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, after, .. } = self;
        if before == after {
            return write!(f, "{}: nothing to do, {before} manifests", self.table);
        }
        write!(f, "{}: {before} manifests → {after}", self.table)?;
        match self.snapshot_id {
            Some(id) => write!(f, ", snapshot {id}"),
            None => write!(f, " (estimated, nothing was changed)"),
        }
    }
}

impl Maintenance {
    /// Merges small manifests of a table, those of deletes too; files, rows and sequence numbers stay as they are. Does
    /// nothing if there are fewer than five small ones of a partition spec. With `dry_run` only says what it would do.
    ///
    /// # Errors
    /// [`crate::error::Error::CommitConflict`] if others were faster each time; [`crate::error::Error::Unsupported`] for a
    /// table of format version 3; storage failures. Nothing was changed then.
    pub async fn merge_manifests(&self, name: &TableName, dry_run: bool) -> Result<ManifestReport> {
        let catalogs = self.tables.catalogs();
        let table = catalogs.load_table(name).await?;
        check_rewritable(name, table.metadata())?;
        let count = count_manifests(&table).await?;
        let mut report = ManifestReport {
            table: name.to_string(),
            snapshot_id: None,
            before: count.total as u64,
            after: (count.total - count.replaced + count.created) as u64,
        };
        if dry_run || count.replaced == 0 {
            return Ok(report);
        }
        let committed = commit_change(catalogs, name, |now| {
            check_rewritable(name, now.metadata())?;
            Ok(Change {
                merging: Merging::All,
                operation: Operation::Replace,
                ..Change::default()
            })
        });
        let committed = committed.await?;
        report.snapshot_id = committed.snapshot_id;
        report.after = count_manifests(&committed.table).await?.total as u64;
        Ok(report)
    }
}

#[cfg(test)]
mod tests;
