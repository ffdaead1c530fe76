//! Compaction: many small files become few sorted ones, and rows that are gone leave them.
//!
//! Of online tables only the latest row of each entity key stays ([`fold`]). The rows of every other table stay all as they
//! are ([`merge`]).

mod fold;
mod merge;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use iceberg::spec::{DataFile, FormatVersion, Operation, TableMetadata};
use iceberg::table::Table;
use indicatif::ProgressBar;

use super::Maintenance;
use crate::error::{Error, Result};
use crate::model::TableName;
use crate::table::PinnedTable;
use crate::table::commit::{Change, Removed, commit_change, current_sequence, descends_from};
use crate::table::online::OnlineProperties;
use crate::table::write::{Attempt, NewFiles};

pub use fold::FoldLimits;
pub(super) use merge::{FileState, Sizes, file_states};
pub use report::{CompactReport, Extent};

/// Times that a compaction is begun anew because somebody else removed the files that it had read.
const ATTEMPTS: u32 = 3;

impl Maintenance {
    /// Folds an online table, or merges the files of another one; with `dry_run` only says what it would do. Writers are
    /// not held up: their files stay. What others changed meanwhile is done anew, and nothing else.
    ///
    /// # Errors
    /// [`Error::CommitConflict`] if others were faster each time; [`Error::Unsupported`] for a table whose files cannot be
    /// read or rewritten, for an online table that is partitioned otherwise than those are, or in a catalog that cannot do
    /// it; storage failures. A fold has changed nothing then, and a merge whole partitions or nothing of them.
    pub async fn compact(
        &self,
        name: &TableName,
        dry_run: bool,
        progress: &ProgressBar,
    ) -> Result<CompactReport> {
        let table = self.tables.catalogs().load_table(name).await?;
        check_rewritable(name, table.metadata())?;
        match OnlineProperties::read(table.metadata())? {
            Some(_) => self.fold(name, dry_run, progress).await,
            None => self.merge(name, dry_run, progress).await,
        }
    }

    /// Puts `written` in the place of the files `gone`, which were read at `pinned`. Files are removed again where it is
    /// certain that no snapshot has them.
    async fn swap(
        &self,
        table: &Table,
        pinned: &PinnedTable,
        gone: BTreeSet<String>,
        written: NewFiles,
    ) -> Result<(Option<i64>, Vec<DataFile>)> {
        let (attempt, written) = (written.attempt().clone(), written.keep());
        let spec = table.metadata().default_partition_spec_id();
        let change = Change {
            added: BTreeMap::from([(spec, written.clone())]),
            removed: Removed::Files {
                paths: gone,
                read_at: current_sequence(table),
            },
            operation: Operation::Replace,
            ..Change::default()
        };
        let (name, uuid) = (pinned.name(), table.metadata().uuid());
        let read = pinned.pin().snapshot;
        let committed = commit_change(self.tables.catalogs(), name, |now| {
            let now = now.metadata();
            // A table of the same name that was made meanwhile has nothing to do with these files.
            if now.uuid() != uuid {
                return Err(Error::TableNotFound {
                    table: name.to_string(),
                    catalog: name.catalog.clone(),
                });
            }
            // Nor has a table that was rolled back, whose deletes may be others.
            match read.is_some_and(|read| descends_from(now, read.0)) {
                true => Ok(change.clone()),
                false => Err(Error::CommitConflict {
                    table: name.to_string(),
                }),
            }
        });
        let committed = attempt.settle(table, &written, committed.await).await?;
        Ok((committed.snapshot_id, written))
    }

    /// What writes the files of one commit.
    fn attempt(&self, name: &TableName, table: &Table) -> Attempt {
        Attempt::begin(self.journal.as_ref(), name, table)
    }
}

/// Refuses what would lose row ids.
///
/// # Errors
/// [`Error::Unsupported`].
pub(super) fn check_rewritable(name: &TableName, metadata: &TableMetadata) -> Result<()> {
    match metadata.format_version() {
        FormatVersion::V1 | FormatVersion::V2 => Ok(()),
        FormatVersion::V3 => Err(Error::Unsupported {
            what: format!(
                "rewriting files or manifests of table `{name}`, which has format version 3 and with it row ids that \
                 would be lost,"
            ),
        }),
    }
}
