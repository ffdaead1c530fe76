//! What a removal of orphans came to.

use std::fmt;

use bytesize::ByteSize;
use serde::Serialize;

use crate::model::TableName;
use crate::storage::Listed;

/// Paths that a report has at most.
const PATHS: usize = 1000;

/// What a removal of orphans from one table did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GcReport {
    /// The table.
    pub table: String,
    /// Whether nothing was to be deleted.
    pub dry_run: bool,
    /// Files in the table's folder.
    pub files: u64,
    /// Files that nothing refers to and that may go.
    pub orphans: u64,
    /// Bytes of them.
    pub orphan_bytes: u64,
    /// Orphans that were deleted.
    pub deleted: u64,
    /// Orphans that could not be deleted; each is logged.
    pub failed: u64,
    /// Files that stay because the table refers to a file of the same name elsewhere: its folder may have two names.
    pub ambiguous: u64,
    /// Orphans, by location; the first thousand.
    pub paths: Vec<String>,
}

impl GcReport {
    pub(super) fn of(name: &TableName, dry_run: bool) -> Self {
        Self {
            table: name.to_string(),
            dry_run,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, orphan: &Listed) {
        self.orphans += 1;
        self.orphan_bytes += orphan.size_bytes;
        if self.paths.len() < PATHS {
            self.paths.push(orphan.path.clone());
        }
    }
}

impl fmt::Display for GcReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (orphans, bytes) = (self.orphans, ByteSize::b(self.orphan_bytes));
        write!(f, "{}: ", self.table)?;
        match (orphans, self.dry_run) {
            (0, _) => write!(f, "no orphans among {} files", self.files)?,
            (_, true) => write!(
                f,
                "{orphans} orphans of {bytes} among {} files (nothing was deleted)",
                self.files
            )?,
            (_, false) => write!(
                f,
                "{} of {orphans} orphans deleted, {bytes} in all",
                self.deleted
            )?,
        }
        if self.failed > 0 {
            write!(f, ", {} could not be deleted", self.failed)?;
        }
        if self.ambiguous > 0 {
            write!(
                f,
                ", {} stay because a file of their name is referred to elsewhere",
                self.ambiguous
            )?;
        }
        Ok(())
    }
}
