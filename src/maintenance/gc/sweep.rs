//! Lists files, drops those that the table refers to from the list, and deletes the others. The table is loaded again after
//! each so many files were found, right before they are deleted: whatever it refers to by then stays.

use futures::{StreamExt, TryStreamExt};
use iceberg::table::Table;
use indicatif::ProgressBar;

use super::GcReport;
use crate::catalog::Catalogs;
use crate::error::{Error, Result};
use crate::model::TableName;
use crate::storage::{self, Listed};
use crate::table::references::{References, Referred};

/// Files that are found before the table is looked at again.
const CHUNK: usize = 10_000;
/// Files that are deleted at a time.
const DELETIONS: usize = 16;

/// One look through a table's files.
pub(super) struct Sweep<'a> {
    catalogs: &'a Catalogs,
    name: &'a TableName,
    /// As it was last loaded.
    table: Table,
    references: References,
    found: Vec<Listed>,
    report: GcReport,
}

impl<'a> Sweep<'a> {
    pub(super) async fn begin(
        catalogs: &'a Catalogs,
        name: &'a TableName,
        table: Table,
        dry_run: bool,
    ) -> Result<Self> {
        let mut references = References::default();
        references.add(name, &table).await?;
        Ok(Self {
            catalogs,
            name,
            table,
            references,
            found: Vec::new(),
            report: GcReport::of(name, dry_run),
        })
    }

    /// Deletes what is below a folder, may go and is not referred to.
    pub(super) async fn run(
        &mut self,
        folder: &str,
        may_go: impl Fn(&Listed) -> Result<bool> + Send + Sync,
        progress: &ProgressBar,
    ) -> Result<()> {
        let mut listed = storage::list(self.table.file_io(), folder)?;
        while let Some(file) = listed.try_next().await? {
            progress.inc(1);
            self.report.files += 1;
            if may_go(&file)? {
                self.look(file)?;
            }
            if self.found.len() >= CHUNK {
                self.delete().await?;
            }
        }
        self.delete().await
    }

    pub(super) fn end(self) -> GcReport {
        self.report
    }

    pub(super) fn look(&mut self, file: Listed) -> Result<()> {
        match self.references.get(&file.path)? {
            Referred::Yes => {}
            Referred::No => self.found.push(file),
            Referred::ByName => {
                tracing::warn!(table = %self.name, path = file.path, "a file of this name is referred to elsewhere; it stays");
                self.report.ambiguous += 1;
            }
        }
        Ok(())
    }

    /// Deletes what was found so far and is still not referred to.
    pub(super) async fn delete(&mut self) -> Result<()> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.look_again().await?;
        for file in std::mem::take(&mut self.found) {
            self.look(file)?;
        }
        let orphans = std::mem::take(&mut self.found);
        for orphan in &orphans {
            self.report.add(orphan);
        }
        if !self.report.dry_run {
            self.delete_all(&orphans).await;
        }
        Ok(())
    }

    /// Adds what the table refers to by now.
    async fn look_again(&mut self) -> Result<()> {
        let now = self.catalogs.load_table(self.name).await?;
        if now.metadata().uuid() != self.table.metadata().uuid() {
            return Err(Error::CommitConflict {
                table: self.name.to_string(),
            });
        }
        if now.metadata_location() != self.table.metadata_location() {
            self.references.add(self.name, &now).await?;
        }
        self.table = now;
        Ok(())
    }

    async fn delete_all(&mut self, orphans: &[Listed]) {
        let io = self.table.file_io();
        let deletions = orphans.iter().map(|orphan| async move {
            let deleted = io.delete(&orphan.path).await;
            deleted
                .inspect_err(|error| tracing::warn!(path = orphan.path, %error, "an orphan stays"))
                .is_ok()
        });
        let deletions: Vec<_> = deletions.collect();
        let mut deletions = futures::stream::iter(deletions).buffer_unordered(DELETIONS);
        while let Some(is_gone) = deletions.next().await {
            match is_gone {
                true => self.report.deleted += 1,
                false => self.report.failed += 1,
            }
        }
    }
}
