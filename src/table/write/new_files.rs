//! Data files on their way into a snapshot. Until a commit is tried with them nothing refers to them, so that whoever
//! gives up on the way, or is cancelled, takes them away again.

use iceberg::io::FileIO;
use iceberg::spec::DataFile;
use iceberg::table::Table;
use tokio::runtime::Handle;

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

    /// The files, for a commit: from here on they stay unless [`discard`] is told otherwise.
    pub fn keep(mut self) -> Vec<DataFile> {
        std::mem::take(&mut self.files)
    }

    /// Deletes the files, and returns once they are gone.
    pub async fn discard(mut self) {
        let (io, files) = (self.io.clone(), std::mem::take(&mut self.files));
        // To its end, whatever becomes of the caller.
        let deleted = self.runtime.spawn(async move { delete(&io, &files).await });
        let _ = deleted.await;
    }
}

impl Drop for NewFiles {
    fn drop(&mut self) {
        if !self.files.is_empty() {
            let (io, files) = (self.io.clone(), std::mem::take(&mut self.files));
            self.runtime.spawn(async move { delete(&io, &files).await });
        }
    }
}

/// Deletes files that no commit was tried with, or none that can still succeed, as far as it goes.
pub async fn discard(table: &Table, files: impl IntoIterator<Item = &DataFile>) {
    delete(table.file_io(), files).await;
}

async fn delete(io: &FileIO, files: impl IntoIterator<Item = &DataFile>) {
    for file in files {
        if let Err(error) = io.delete(file.file_path()).await {
            tracing::warn!(path = file.file_path(), %error, "a file that no table refers to stays");
        }
    }
}
