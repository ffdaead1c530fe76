//! What an expiry tells.

use std::fmt;

use bytesize::ByteSize;
use serde::Serialize;

/// What an expiry of one table's snapshots did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpireReport {
    /// The table.
    pub table: String,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Snapshots that the table had.
    pub snapshots_before: u64,
    /// Those of them that it has still.
    pub snapshots_after: u64,
    /// Branches and tags that were over.
    pub refs_removed: Vec<String>,
    /// What went with them.
    #[serde(flatten)]
    pub files: ExpiredFiles,
}

/// Files that only expired snapshots referred to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExpiredFiles {
    /// Data and delete files.
    pub data_files: u64,
    /// Manifests.
    pub manifests: u64,
    /// Manifest lists.
    pub manifest_lists: u64,
    /// Statistics, earlier metadata, and the earlier ledger of idempotency keys.
    pub other_files: u64,
    /// Bytes of these files, as far as the table's metadata tells them: not those of lists and earlier metadata.
    pub bytes: u64,
    /// Files that stay because they are not in the table's own folders.
    pub files_elsewhere: u64,
    /// Files that could not be read or deleted, and stay.
    pub failures: u64,
}

impl ExpiredFiles {
    /// Files that went.
    pub fn count(&self) -> u64 {
        self.data_files + self.manifests + self.manifest_lists + self.other_files
    }
}

impl fmt::Display for ExpireReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, files, .. } = self;
        let (before, after) = (self.snapshots_before, self.snapshots_after);
        if before == after && self.refs_removed.is_empty() {
            return write!(f, "{table}: nothing to do, {before} snapshots");
        }
        write!(f, "{table}: {before} snapshots → {after}")?;
        if !self.refs_removed.is_empty() {
            write!(f, ", without {}", self.refs_removed.join(", "))?;
        }
        let (count, bytes) = (files.count(), ByteSize::b(files.bytes));
        write!(f, ", {count} files of {bytes} deleted")?;
        if files.files_elsewhere > 0 {
            write!(f, ", {} outside of the table stay", files.files_elsewhere)?;
        }
        if files.failures > 0 {
            write!(f, ", {} failed and are left to gc", files.failures)?;
        }
        match self.dry_run {
            true => write!(f, " (nothing was changed)"),
            false => Ok(()),
        }
    }
}
