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
//!
//! Within a grace period superseded rows stay too: those whose event time is not older.

mod plan;
mod rewrite;
mod survivors;
#[cfg(test)]
mod tests;

use std::time::{Duration, UNIX_EPOCH};

use iceberg::spec::DataFile;
use iceberg::table::Table;
use indicatif::ProgressBar;

use super::{ATTEMPTS, CompactReport, Extent};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::maintenance::Maintenance;
use crate::model::TableName;
use crate::table::online::OnlineProperties;
use crate::table::write::target_bytes;
use plan::{Candidate, FoldPlan, Sizes};
use rewrite::Fold;

/// Rows of the table whose keys are held in memory at a time, bytes of files that are rewritten at a time, and which
/// superseded rows stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldLimits {
    /// About 150 bytes each.
    pub pass_rows: u64,
    /// Compressed; several times as much in memory. A partition of an online table may by itself be larger.
    pub group_bytes: u64,
    /// A row of an online table that is superseded stays while its event time is no longer ago than this; zero keeps none.
    pub grace: Duration,
}

impl Default for FoldLimits {
    fn default() -> Self {
        Self {
            pass_rows: 4_000_000,
            group_bytes: 128 * 1024 * 1024,
            grace: Duration::ZERO,
        }
    }
}

impl Maintenance {
    /// Folds an online table. If another fold was faster, this one begins anew.
    pub(super) async fn fold(
        &self,
        name: &TableName,
        dry_run: bool,
        progress: &ProgressBar,
    ) -> Result<CompactReport> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.fold_once(name, dry_run, progress).await {
                Err(Error::CommitConflict { .. }) if attempts < ATTEMPTS => progress.reset(),
                done => return done,
            }
        }
    }

    async fn fold_once(
        &self,
        name: &TableName,
        dry_run: bool,
        progress: &ProgressBar,
    ) -> Result<CompactReport> {
        let table = self.tables.catalogs().load_table(name).await?;
        let properties = online(name, &table)?;
        let pinned = self.tables.pin_loaded(name, &table, None).await?;
        let fold = Fold::new(
            &table,
            &pinned,
            properties.buckets,
            self.limits.pass_rows,
            young_from_us(&*self.clock, self.limits.grace),
        )?;
        progress.set_length(pinned.files().record_count());
        let survey = fold.survey(progress).await?;
        let sizes = Sizes {
            group_bytes: self.limits.group_bytes,
            file_bytes: target_bytes(table.metadata().properties()) as u64,
        };
        let plan = plan::plan(&survey.files, &survey.incoming, sizes);
        let mut report = report(name, &properties, &survey.files, &plan);
        if dry_run || plan.gone.is_empty() {
            return Ok(report);
        }
        let moved = plan.gone.iter().map(|it| survey.files[*it].survivors);
        progress.inc_length(moved.sum());
        let attempt = self.attempt(name, &table);
        let written = fold.rewrite(&attempt, &survey, &plan, progress).await?;
        let files = &pinned.files().files;
        let gone = plan.gone.iter().map(|it| files[*it].path.clone()).collect();
        let (snapshot, written) = self.swap(&table, &pinned, gone, written).await?;
        report.finish(&survey.files, &plan, &written, snapshot);
        Ok(report)
    }
}

fn online(name: &TableName, table: &Table) -> Result<OnlineProperties> {
    // It was one a moment ago.
    OnlineProperties::read(table.metadata())?.ok_or_else(|| Error::CommitConflict {
        table: name.to_string(),
    })
}

/// Superseded rows of this event time and later stay.
fn young_from_us(clock: &dyn Clock, grace: Duration) -> i64 {
    if grace.is_zero() {
        return i64::MAX;
    }
    let now = clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let from = now.saturating_sub(grace);
    i64::try_from(from.as_micros()).unwrap_or(i64::MAX)
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
        feature_view: Some(properties.view.to_string()),
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
