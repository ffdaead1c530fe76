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

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytesize::ByteSize;
use iceberg::spec::{DataFile, Operation};
use iceberg::table::Table;
use indicatif::ProgressBar;
use serde::Serialize;

use super::Maintenance;
use crate::error::{Error, Result};
use crate::model::{SnapshotId, TableName, TablePin};
use crate::table::PinnedTable;
use crate::table::commit::{Change, Removed, commit_change};
use crate::table::online::OnlineProperties;
use crate::table::write::settle;
use plan::{Candidate, FoldPlan};
use rewrite::Fold;

/// Times that a fold is begun anew because somebody else removed a file that it had read.
const ATTEMPTS: u32 = 3;

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
            group_bytes: 128 * 1024 * 1024,
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

impl Maintenance {
    /// Folds one online table; with `dry_run` only says what it would do. Writers are not held up: their files stay. If
    /// another fold was faster, this one begins anew.
    ///
    /// # Errors
    /// [`Error::CommitConflict`] if others were faster each time; [`Error::Unsupported`] for a table that is partitioned
    /// otherwise than online tables are, or in a catalog that cannot do it; storage failures. Nothing was changed then.
    pub async fn compact(
        &self,
        name: &TableName,
        dry_run: bool,
        progress: &ProgressBar,
    ) -> Result<CompactReport> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.compact_once(name, dry_run, progress).await {
                Err(Error::CommitConflict { .. }) if attempts < ATTEMPTS => progress.reset(),
                done => return done,
            }
        }
    }

    async fn compact_once(
        &self,
        name: &TableName,
        dry_run: bool,
        progress: &ProgressBar,
    ) -> Result<CompactReport> {
        let table = self.tables.catalogs().load_table(name).await?;
        let properties =
            OnlineProperties::read(table.metadata())?.ok_or_else(|| Error::Unsupported {
                what: format!("compacting table `{name}`, which is no online table,"),
            })?;
        let pinned = self.pinned(name, &table).await?;
        let fold = Fold::new(&table, &pinned, properties.buckets, self.limits.pass_rows)?;
        progress.set_length(pinned.files().record_count());
        let survey = fold.survey(progress).await?;
        let plan = plan::plan(&survey.files, &survey.incoming, self.limits.group_bytes);
        let mut report = report(name, &properties, &survey.files, &plan);
        if dry_run || plan.gone.is_empty() {
            return Ok(report);
        }
        let moved = plan.gone.iter().map(|it| survey.files[*it].survivors);
        progress.inc_length(moved.sum());
        let written = fold.rewrite(&survey, &plan, progress).await?.keep();
        let snapshot = self
            .swap(name, &table, &pinned, &plan, written.clone())
            .await?;
        report.finish(&survey.files, &plan, &written, snapshot);
        Ok(report)
    }

    /// The table at the snapshot and with the schema that it was loaded with.
    async fn pinned(&self, name: &TableName, table: &Table) -> Result<PinnedTable> {
        let metadata = table.metadata();
        let pin = TablePin {
            snapshot: metadata.current_snapshot_id().map(SnapshotId),
            schema_id: metadata.current_schema_id(),
        };
        self.tables.pin(name, Some(pin)).await
    }

    /// Puts `written` in the place of what goes. Files are removed again where it is certain that no snapshot has them.
    async fn swap(
        &self,
        name: &TableName,
        table: &Table,
        pinned: &PinnedTable,
        plan: &FoldPlan,
        written: Vec<DataFile>,
    ) -> Result<Option<i64>> {
        let files = &pinned.files().files;
        let paths: BTreeSet<String> = plan.gone.iter().map(|it| files[*it].path.clone()).collect();
        let current = table.metadata().current_snapshot();
        let change = Change {
            added: BTreeMap::from([(
                table.metadata().default_partition_spec_id(),
                written.clone(),
            )]),
            removed: Removed::Files {
                paths,
                read_at: current.map_or(0, |snapshot| snapshot.sequence_number()),
            },
            operation: Operation::Replace,
            ..Change::default()
        };
        let uuid = table.metadata().uuid();
        let committed = commit_change(self.tables.catalogs(), name, |now| {
            // A table of the same name that was made meanwhile has nothing to do with these files.
            match now.metadata().uuid() == uuid {
                true => Ok(change.clone()),
                false => Err(Error::TableNotFound {
                    table: name.to_string(),
                    catalog: name.catalog.clone(),
                }),
            }
        });
        let committed = settle(table, &written, committed.await).await;
        Ok(committed?.snapshot_id)
    }
}

fn report(
    name: &TableName,
    properties: &OnlineProperties,
    files: &[Candidate],
    plan: &FoldPlan,
) -> CompactReport {
    let before = Extent {
        files: files.len() as u64,
        rows: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.bytes).sum(),
    };
    let added: usize = plan.groups.iter().map(|group| group.partitions.len()).sum();
    let removed = plan.gone.len() as u64;
    let share = |file: &Candidate| file.bytes * file.survivors / file.rows.max(1);
    CompactReport {
        table: name.to_string(),
        feature_view: properties.view.to_string(),
        snapshot_id: None,
        before,
        after: Extent {
            files: before.files - removed + added as u64,
            rows: files.iter().map(|file| file.survivors).sum(),
            bytes: files.iter().map(share).sum(),
        },
        files_removed: removed,
        files_added: added as u64,
    }
}

impl CompactReport {
    fn finish(
        &mut self,
        files: &[Candidate],
        plan: &FoldPlan,
        written: &[DataFile],
        snapshot: Option<i64>,
    ) {
        let gone: u64 = plan.gone.iter().map(|index| files[*index].bytes).sum();
        let came: u64 = written.iter().map(DataFile::file_size_in_bytes).sum();
        self.snapshot_id = snapshot;
        self.files_added = written.len() as u64;
        self.after.files = self.before.files - self.files_removed + self.files_added;
        self.after.bytes = self.before.bytes - gone + came;
    }
}
