//! Data files on their way into a snapshot. Until a commit is tried with them nothing refers to them, so that whoever
//! gives up on the way, or is cancelled, takes them away again.

use iceberg::io::FileIO;
use iceberg::spec::DataFile;
use iceberg::table::Table;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::catalog::commit::delete_quietly;
use crate::error::Result;
use crate::table::commit::left_nothing;

/// See the module's text: dropped, the files are deleted.
#[derive(Debug)]
pub struct NewFiles {
    files: Vec<DataFile>,
    io: FileIO,
    runtime: Handle,
}

impl NewFiles {
    /// None yet. Must be called within a tokio runtime.
    pub fn none(table: &Table) -> Self {
        Self {
            files: Vec::new(),
            io: table.file_io().clone(),
            runtime: Handle::current(),
        }
    }

    pub(super) fn push(&mut self, files: impl IntoIterator<Item = DataFile>) {
        self.files.extend(files);
    }

    /// Takes others in.
    pub fn add(&mut self, others: Self) {
        self.files.extend(others.keep());
    }

    /// Rows in them.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(DataFile::record_count).sum()
    }

    /// The files, for a commit: from here on they stay unless [`discard`] is told otherwise.
    pub fn keep(mut self) -> Vec<DataFile> {
        std::mem::take(&mut self.files)
    }

    /// Deletes the files, and returns once they are gone.
    pub async fn discard(mut self) {
        // To its end, whatever becomes of the caller.
        let _ = self.deletion().await;
    }

    fn deletion(&mut self) -> JoinHandle<()> {
        let (io, paths) = (self.io.clone(), paths(&std::mem::take(&mut self.files)));
        self.runtime
            .spawn(async move { delete_quietly(&io, &paths).await })
    }
}

impl Drop for NewFiles {
    fn drop(&mut self) {
        if !self.files.is_empty() {
            self.deletion();
        }
    }
}

/// What a commit of files came to; they go where it is certain that no snapshot has them.
///
/// # Errors
/// Those of the commit.
pub async fn settle<T>(table: &Table, files: &[DataFile], committed: Result<T>) -> Result<T> {
    if committed.as_ref().is_err_and(left_nothing) {
        discard(table, files).await;
    }
    committed
}

/// Deletes files that no commit was tried with, or none that can still succeed, as far as it goes.
pub async fn discard<'a>(table: &Table, files: impl IntoIterator<Item = &'a DataFile>) {
    delete_quietly(table.file_io(), &paths(files)).await;
}

fn paths<'a>(files: impl IntoIterator<Item = &'a DataFile>) -> Vec<String> {
    let files = files.into_iter();
    files.map(|file| file.file_path().to_owned()).collect()
}
