//! The rows of some files into new ones; as many as were live.

use std::sync::Arc;

use futures::TryStreamExt;
use indicatif::ProgressBar;

use super::Round;
use crate::error::{Error, Result};
use crate::table::FileCache;
use crate::table::files::FileEntry;
use crate::table::read::{ScanSpec, ScanUnit, TableScan};
use crate::table::write::{Attempt, FileStyle, NewFiles, write_for};

const BATCH_ROWS: usize = 8192;
/// Bytes of footers kept while some files are rewritten.
const FOOTER_BYTES: u64 = 16 * 1024 * 1024;

impl Round {
    /// Writes the live rows of files anew, in so many parts, of which one is in memory at a time. On failure nothing of it
    /// is left.
    ///
    /// # Errors
    /// [`Error::Internal`] if a row would be lost or be there twice; failures of storage.
    pub(super) async fn rewrite(
        &self,
        attempt: &Attempt,
        files: &[Arc<FileEntry>],
        parts: usize,
        progress: &ProgressBar,
    ) -> Result<NewFiles> {
        let scan = self.scan(files)?;
        let mut written = NewFiles::of(attempt, &self.table);
        for units in scan.partitions(parts) {
            match self.part(attempt, &scan, units, progress).await {
                Ok(files) => written.add(files),
                Err(error) => {
                    written.discard().await;
                    return Err(error);
                }
            }
        }
        match self.check(files, &scan, written.rows()) {
            Ok(()) => Ok(written),
            Err(error) => {
                written.discard().await;
                Err(error)
            }
        }
    }

    fn scan(&self, files: &[Arc<FileEntry>]) -> Result<TableScan> {
        let columns = self.pinned.schema().as_struct().fields().iter();
        let spec = ScanSpec {
            columns: columns.map(|field| field.id).collect(),
            ..ScanSpec::default()
        };
        let cache = Arc::new(FileCache::footers_only(FOOTER_BYTES));
        TableScan::of_files(&self.pinned, files.to_vec(), spec, cache)
    }

    async fn part(
        &self,
        attempt: &Attempt,
        scan: &TableScan,
        units: Vec<ScanUnit>,
        progress: &ProgressBar,
    ) -> Result<NewFiles> {
        let rows = scan.read(units, BATCH_ROWS);
        let rows = rows.inspect_ok(|batch| progress.inc(batch.num_rows() as u64));
        let rows: Vec<_> = rows.try_collect().await?;
        if rows.is_empty() {
            return Ok(NewFiles::of(attempt, &self.table));
        }
        let spec = self.table.metadata().default_partition_spec();
        write_for(attempt, &self.table, spec, FileStyle::Scanned, rows).await
    }

    /// Compares what was written with what the files are said to hold, less what their deletes took.
    fn check(&self, files: &[Arc<FileEntry>], scan: &TableScan, written: u64) -> Result<()> {
        let held: u64 = files.iter().map(|file| file.record_count).sum();
        let read = scan.report();
        let live = read.rows_scanned.saturating_sub(read.rows_deleted);
        if read.rows_scanned == held && written == live {
            return Ok(());
        }
        let message = format!(
            "{} files hold {held} rows, of which {} were read, {} are deleted and {written} were written; nothing was \
             changed",
            files.len(),
            read.rows_scanned,
            read.rows_deleted
        );
        let table = self.pinned.name();
        Err(Error::internal(format!("merge table `{table}`"), message))
    }
}
