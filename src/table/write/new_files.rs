//! Data files on their way into a snapshot. Until a commit is tried with them nothing refers to them, so that whoever
//! gives up on the way, or is cancelled, takes them away again.

use iceberg::io::FileIO;
use iceberg::spec::DataFile;
use iceberg::table::Table;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::Attempt;
use crate::catalog::commit::delete_quietly;

/// See the module's text: dropped, the files are deleted.
#[derive(Debug)]
pub struct NewFiles {
    files: Vec<DataFile>,
    io: FileIO,
    runtime: Handle,
    attempt: Attempt,
    /// Writes of the attempt that the files are of.
    writes: usize,
}

impl NewFiles {
    /// None yet, and of no attempt that is noted. Must be called within a tokio runtime.
    pub fn none(table: &Table) -> Self {
        Self::of(&Attempt::unnoted(), table)
    }

    /// None yet of an attempt. Must be called within a tokio runtime.
    pub fn of(attempt: &Attempt, table: &Table) -> Self {
        Self {
            files: Vec::new(),
            io: table.file_io().clone(),
            runtime: Handle::current(),
            attempt: attempt.clone(),
            writes: 0,
        }
    }

    pub(super) fn push(&mut self, files: impl IntoIterator<Item = DataFile>) {
        self.files.extend(files);
    }

    /// All files of a write are here.
    pub(super) fn whole(mut self) -> Self {
        self.writes += 1;
        self
    }

    /// Takes others of the same attempt in.
    pub fn add(&mut self, others: Self) {
        if others.attempt.is(&self.attempt) {
            self.writes += others.writes;
        }
        self.files.extend(others.keep());
    }

    /// Rows in them.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(DataFile::record_count).sum()
    }

    /// The attempt that they are of.
    pub fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// The files, for a commit: from here on they stay unless their attempt is told otherwise.
    pub fn keep(mut self) -> Vec<DataFile> {
        self.writes = 0;
        std::mem::take(&mut self.files)
    }

    /// Deletes the files, and returns once they are gone.
    pub async fn discard(mut self) {
        // To its end, whatever becomes of the caller.
        let _ = self.deletion().await;
    }

    fn deletion(&mut self) -> JoinHandle<()> {
        let (io, paths) = (self.io.clone(), paths(&std::mem::take(&mut self.files)));
        let (attempt, writes) = (self.attempt.clone(), std::mem::take(&mut self.writes));
        self.runtime.spawn(async move {
            if delete_quietly(&io, &paths).await {
                attempt.writes_gone(writes);
            }
        })
    }
}

impl Drop for NewFiles {
    fn drop(&mut self) {
        if !self.files.is_empty() || self.writes > 0 {
            self.deletion();
        }
    }
}

/// Deletes files, as far as it goes; whether they are all gone.
pub(super) async fn delete_files<'a>(
    table: &Table,
    files: impl IntoIterator<Item = &'a DataFile>,
) -> bool {
    delete_quietly(table.file_io(), &paths(files)).await
}

fn paths<'a>(files: impl IntoIterator<Item = &'a DataFile>) -> Vec<String> {
    let files = files.into_iter();
    files.map(|file| file.file_path().to_owned()).collect()
}
