//! One attempt at a commit, from its first data file until it is known what became of them. Its files share the beginning of
//! their names, by which the journal knows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use iceberg::spec::DataFile;
use iceberg::table::Table;
use uuid::Uuid;

use super::data_folder;
use super::journal::{Intent, Journal};
use super::new_files::delete_files;
use crate::error::Result;
use crate::model::TableName;
use crate::table::commit::left_nothing;

/// See the module's text. Dropped by all who have it, it is settled if each of its writes is, and else in doubt.
#[derive(Clone, Debug)]
pub struct Attempt(Arc<Noted>);

#[derive(Debug)]
struct Noted {
    id: Uuid,
    journal: Option<Arc<Journal>>,
    /// Runs of rows that were given a name so far.
    runs: AtomicU32,
    /// Writes whose files are neither in a snapshot nor deleted.
    unsettled: AtomicUsize,
}

impl Attempt {
    /// An attempt at a commit to a table, noted in a journal if there is one.
    pub fn begin(journal: Option<&Arc<Journal>>, name: &TableName, table: &Table) -> Self {
        let attempt = Self::new(journal.map(Arc::clone));
        if let Some(journal) = journal {
            journal.begin(Intent {
                id: attempt.0.id,
                catalog: name.catalog.clone(),
                namespace: name.namespace.clone(),
                name: name.name.clone(),
                table: table.metadata().uuid(),
                folder: data_folder(table.metadata()),
                started_ms: journal.now_ms(),
                doubted_ms: None,
            });
        }
        attempt
    }

    /// An attempt that nobody cleans up after if its process dies.
    pub fn unnoted() -> Self {
        Self::new(None)
    }

    fn new(journal: Option<Arc<Journal>>) -> Self {
        Self(Arc::new(Noted {
            id: Uuid::new_v4(),
            journal,
            runs: AtomicU32::new(0),
            unsettled: AtomicUsize::new(0),
        }))
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What became of a commit of all its files; they go where it is certain that no snapshot has them.
    ///
    /// # Errors
    /// Those of the commit.
    pub async fn settle<T: Send + Sync>(
        &self,
        table: &Table,
        files: &[DataFile],
        committed: Result<T>,
    ) -> Result<T> {
        match &committed {
            Ok(_) => self.committed(),
            Err(error) if left_nothing(error) => self.discard(table, files).await,
            Err(_) => {}
        }
        committed
    }

    /// Its files are in a snapshot.
    pub fn committed(&self) {
        self.0.unsettled.store(0, Ordering::Relaxed);
    }

    /// Deletes all its files, as far as it goes: no commit was tried with them, or none that can still succeed.
    pub async fn discard<'a>(
        &self,
        table: &Table,
        files: impl IntoIterator<Item = &'a DataFile> + Send,
    ) {
        if delete_files(table, files).await {
            self.committed();
        }
    }

    /// Another name of files: up to the number that the writer appends.
    pub(super) fn next_name(&self) -> String {
        let run = self.0.runs.fetch_add(1, Ordering::Relaxed);
        format!("{}-{run:05}", self.0.id)
    }

    /// A write begins. Unless it is told to be over, the attempt is in doubt.
    pub(super) fn write_begins(&self) {
        self.0.unsettled.fetch_add(1, Ordering::Relaxed);
    }

    /// The files of so many writes are gone.
    pub(super) fn writes_gone(&self, writes: usize) {
        self.0.unsettled.fetch_sub(writes, Ordering::Relaxed);
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let Some(journal) = &self.journal else {
            return;
        };
        match self.unsettled.load(Ordering::Relaxed) {
            0 => journal.settled(self.id),
            _ => journal.doubt(self.id),
        }
    }
}
