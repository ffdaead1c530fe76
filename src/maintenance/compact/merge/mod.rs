//! The merge: small files become few, sorted by the table's order, and delete files are applied. No row changes.
//!
//! Files go in groups that fit into memory, each group in a commit of its own: what others do meanwhile costs only the group
//! that it concerns, which is planned anew. A group holds whole partitions or, where a partition is larger than a group,
//! some of its files; each file that comes is sorted by itself, as Iceberg's sort orders are. A single file that is larger
//! than a group becomes several. Files outside of the default spec's partitions, such as those of an earlier spec, are
//! moved into them first.
//!
//! Only files that were there at the beginning, and those that came in their place, are looked at: appends go on.

mod plan;
mod rewrite;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use iceberg::spec::DataFile;
use iceberg::table::Table;
use indicatif::ProgressBar;

use super::{ATTEMPTS, CompactReport, Extent};
use crate::error::{Error, Result};
use crate::maintenance::Maintenance;
use crate::model::TableName;
use crate::table::PinnedTable;
use crate::table::files::FileEntry;
pub(in crate::maintenance) use plan::{FileState, Sizes, file_states};
use plan::{Group, chosen, plan};

/// Most times that a table is planned in one run, if new deletes never end.
const ROUNDS: usize = 16;

impl Maintenance {
    /// Merges the files of a table that is no online table.
    pub(super) async fn merge(
        &self,
        name: &TableName,
        dry_run: bool,
        progress: &ProgressBar,
    ) -> Result<CompactReport> {
        let mut merge = Merge::default();
        let mut fruitless = 0;
        for _ in 0..ROUNDS {
            let round = self.round(name, &mut merge).await?;
            if dry_run {
                return Ok(merge.estimate(name, &round.groups));
            }
            if round.groups.is_empty() {
                break;
            }
            match self.merge_round(&round, &mut merge, progress).await? {
                true => fruitless = 0,
                false => fruitless += 1,
            }
            if fruitless == ATTEMPTS {
                return Err(Error::CommitConflict {
                    table: name.to_string(),
                });
            }
        }
        Ok(merge.report(name))
    }

    /// The table as it is now, and what is to be done.
    async fn round(&self, name: &TableName, merge: &mut Merge) -> Result<Round> {
        let table = self.tables.catalogs().load_table(name).await?;
        let pinned = self.tables.pin_loaded(name, &table, None).await?;
        let files = merge.known_of(&pinned.files().files);
        let sizes = Sizes::of(table.metadata(), self.limits.group_bytes);
        let groups = plan(&file_states(&files, table.metadata()), sizes);
        Ok(Round {
            table,
            pinned,
            files,
            sizes,
            groups,
        })
    }

    /// Whether a group was committed.
    async fn merge_round(
        &self,
        round: &Round,
        merge: &mut Merge,
        progress: &ProgressBar,
    ) -> Result<bool> {
        let mut committed = false;
        for group in &round.groups {
            let files = chosen(&round.files, group);
            progress.inc_length(files.iter().map(|file| file.record_count).sum());
            let parts = group.bytes.div_ceil(round.sizes.group_bytes.max(1));
            let parts = usize::try_from(parts).unwrap_or(usize::MAX);
            let attempt = self.attempt(round.pinned.name(), &round.table);
            let written = round.rewrite(&attempt, &files, parts, progress).await?;
            let gone: BTreeSet<String> = files.iter().map(|file| file.path.clone()).collect();
            let swapped = self.swap(&round.table, &round.pinned, gone, written);
            match swapped.await {
                Ok((snapshot, written)) => {
                    merge.committed(&files, &written, snapshot);
                    committed = true;
                }
                Err(error) if matches!(error.root(), Error::CommitConflict { .. }) => {
                    tracing::info!(table = %round.pinned.name(), "merged files were changed by others; planning them anew");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(committed)
    }
}

/// A table at one snapshot, and what is merged of it.
struct Round {
    table: Table,
    pinned: PinnedTable,
    /// Those that may be merged.
    files: Vec<Arc<FileEntry>>,
    sizes: Sizes,
    groups: Vec<Group>,
}

/// What a merge has done so far.
#[derive(Default)]
struct Merge {
    /// Paths of the files that it may merge; absent before the first look.
    known: Option<HashSet<String>>,
    /// Of them, those that it made itself.
    own: HashSet<String>,
    before: Extent,
    gone: Extent,
    came: Extent,
    /// Files that others made and that went.
    removed: u64,
    snapshot: Option<i64>,
}

impl Merge {
    /// The files that may be merged; at the first look all.
    fn known_of(&mut self, files: &[Arc<FileEntry>]) -> Vec<Arc<FileEntry>> {
        if let Some(known) = &self.known {
            let known = files.iter().filter(|file| known.contains(&file.path));
            return known.cloned().collect();
        }
        self.known = Some(files.iter().map(|file| file.path.clone()).collect());
        self.before = extent(files);
        files.to_vec()
    }

    fn committed(&mut self, files: &[Arc<FileEntry>], written: &[DataFile], snapshot: Option<i64>) {
        self.snapshot = snapshot.or(self.snapshot);
        self.gone = self.gone + extent(files);
        for file in files {
            self.removed += u64::from(!self.own.remove(&file.path));
        }
        for file in written {
            self.came = self.came + Extent::of(file.record_count(), file.file_size_in_bytes());
            self.own.insert(file.file_path().to_owned());
        }
        let own = self.own.iter().cloned();
        self.known.get_or_insert_default().extend(own);
    }

    fn report(&self, name: &TableName) -> CompactReport {
        CompactReport {
            table: name.to_string(),
            feature_view: None,
            snapshot_id: self.snapshot,
            before: self.before,
            after: self.before + self.came - self.gone,
            files_removed: self.removed,
            files_added: self.own.len() as u64,
        }
    }

    /// What would be done; how many rows deletes remove, and how much smaller files become, is not known before.
    fn estimate(&self, name: &TableName, groups: &[Group]) -> CompactReport {
        let removed = groups.iter().map(|group| group.files.len() as u64).sum();
        let added = groups.iter().map(|group| group.outputs).sum();
        let mut report = self.report(name);
        report.after.files = self.before.files - removed + added;
        report.files_removed = removed;
        report.files_added = added;
        report
    }
}

fn extent(files: &[Arc<FileEntry>]) -> Extent {
    let extents = files.iter();
    let extents = extents.map(|file| Extent::of(file.record_count, file.size_bytes));
    extents.fold(Extent::default(), |all, one| all + one)
}
