//! When a table is due: decided from its lists of files and manifests alone, so that a schedule can ask often.

use std::collections::HashMap;
use std::fmt;

use bytesize::ByteSize;
use iceberg::spec::Struct;

use super::Maintenance;
use super::compact::{FileState, Sizes, check_rewritable, file_states};
use crate::error::Result;
use crate::model::TableName;
use crate::table::commit::{ManifestCount, count_manifests};

/// What makes a compaction due. Each by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Triggers {
    /// So many files of one partition that any two of them could be merged into one.
    pub small_files: usize,
    /// So many bytes of at least two such files of one partition.
    pub small_bytes: u64,
    /// So many files outside of the partitions that the table has by now, such as write-optimised ones.
    pub loose_files: usize,
    /// So many bytes of such files.
    pub loose_bytes: u64,
    /// Such a share, between 0 and 1, of all bytes is in files that delete files apply to.
    pub delete_share: f64,
    /// So many small manifests that could be merged.
    pub small_manifests: usize,
    /// More manifests than this, if some could be merged.
    pub manifests: usize,
}

impl Default for Triggers {
    fn default() -> Self {
        Self {
            small_files: 8,
            small_bytes: 128 * 1024 * 1024,
            loose_files: 60,
            loose_bytes: 64 * 1024 * 1024,
            delete_share: 0.1,
            small_manifests: 30,
            manifests: 100,
        }
    }
}

/// Why a table is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// Small files of one partition.
    SmallFiles {
        /// How many.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// Files outside of the table's partitions.
    LooseFiles {
        /// How many.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// Files that delete files apply to.
    Deletes {
        /// How many.
        files: usize,
        /// Their share of all bytes.
        share: f64,
    },
    /// Manifests: [`Maintenance::merge_manifests`] is enough.
    Manifests {
        /// Those that could be merged.
        small: usize,
        /// All.
        total: usize,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SmallFiles { files, bytes } => {
                let bytes = ByteSize::b(*bytes);
                write!(f, "a partition has {files} small files of {bytes}")
            }
            Self::LooseFiles { files, bytes } => {
                let bytes = ByteSize::b(*bytes);
                write!(f, "{files} files of {bytes} are in no partition yet")
            }
            Self::Deletes { files, share } => {
                let percent = 100.0 * share;
                write!(
                    f,
                    "deletes apply to {files} files, {percent:.0} % of all bytes"
                )
            }
            Self::Manifests { small, total } => {
                write!(f, "{small} of {total} manifests are small")
            }
        }
    }
}

impl Triggers {
    /// Whether a compaction is due, and why.
    pub(super) fn needs_compaction(&self, files: &[FileState<'_>], sizes: Sizes) -> Option<Reason> {
        let small = || self.small_files(files, sizes);
        let deletes = || self.deletes(files);
        self.loose_files(files).or_else(small).or_else(deletes)
    }

    /// Whether a merging of manifests is due.
    pub(super) fn needs_manifest_merge(&self, count: &ManifestCount) -> Option<Reason> {
        let many = count.replaced >= self.small_manifests
            || (count.replaced > 0 && count.total > self.manifests);
        many.then_some(Reason::Manifests {
            small: count.replaced,
            total: count.total,
        })
    }

    fn loose_files(&self, files: &[FileState<'_>]) -> Option<Reason> {
        let loose = files.iter().filter(|file| file.partition.is_none());
        let (files, bytes) = tally(loose);
        let due = files >= self.loose_files || bytes >= self.loose_bytes;
        (due && files > 0).then_some(Reason::LooseFiles { files, bytes })
    }

    /// Only of files that a compaction certainly merges: a due one would else stay due.
    fn small_files(&self, files: &[FileState<'_>], sizes: Sizes) -> Option<Reason> {
        let mut partitions: HashMap<&Struct, Vec<&FileState<'_>>> = HashMap::new();
        for file in files.iter().filter(|it| it.bytes <= sizes.file_bytes / 2) {
            if let Some(partition) = file.partition {
                partitions.entry(partition).or_default().push(file);
            }
        }
        let tallies = partitions
            .into_values()
            .map(|files| tally(files.into_iter()));
        let due = |(files, bytes): &(usize, u64)| {
            *files > 1 && (*files >= self.small_files || *bytes >= self.small_bytes)
        };
        let (files, bytes) = tallies.filter(due).max()?;
        Some(Reason::SmallFiles { files, bytes })
    }

    fn deletes(&self, files: &[FileState<'_>]) -> Option<Reason> {
        let (_, all) = tally(files.iter());
        let (files, bytes) = tally(files.iter().filter(|file| file.deletes));
        let share = bytes as f64 / all.max(1) as f64;
        (files > 0 && share >= self.delete_share).then_some(Reason::Deletes { files, share })
    }
}

fn tally<'a>(files: impl Iterator<Item = &'a FileState<'a>>) -> (usize, u64) {
    files.fold((0, 0), |(files, bytes), file| {
        (files + 1, bytes + file.bytes)
    })
}

impl Maintenance {
    /// Why upkeep of a table is due, in words; `None` if it is not, or if nothing can be done.
    ///
    /// # Errors
    /// As [`Maintenance::due_reason`].
    pub async fn due(&self, name: &TableName) -> Result<Option<String>> {
        let reason = self.due_reason(name).await?;
        Ok(reason.map(|reason| reason.to_string()))
    }

    /// Why a compaction of a table is due or, for [`Reason::Manifests`], a merging of its manifests; `None` if neither is,
    /// or if nothing can be done. Reads lists of files only.
    ///
    /// # Errors
    /// As [`crate::table::Tables::pin`].
    pub async fn due_reason(&self, name: &TableName) -> Result<Option<Reason>> {
        let table = self.tables.catalogs().load_table(name).await?;
        if check_rewritable(name, table.metadata()).is_err() {
            return Ok(None);
        }
        let pinned = self.tables.pin_loaded(name, &table, None).await?;
        let files = file_states(&pinned.files().files, table.metadata());
        let sizes = Sizes::of(table.metadata(), self.limits.group_bytes);
        if let Some(reason) = self.triggers.needs_compaction(&files, sizes) {
            return Ok(Some(reason));
        }
        let count = count_manifests(&table).await?;
        Ok(self.triggers.needs_manifest_merge(&count))
    }
}

#[cfg(test)]
mod tests;
