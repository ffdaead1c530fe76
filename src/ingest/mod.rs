//! Rows that clients send become rows of tables and files: appended to a source, logged, or saved as a dataset. Nothing
//! is visible before all of it is.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::BoxStream;

use crate::error::{Error, Result};
use crate::model::{
    FeatureSource, LogDestination, SourceLocation, TableName, WriteOutcome, WriteRequest,
    WriteTarget,
};
use crate::registry::RegistryReader;
use crate::source_rules::SourceRules;
use crate::table::Tables;
use crate::table::commit::{CommitHook, GroupCommit};
use crate::table::online::OnlineLayout;
use crate::table::write::{Attempt, Journal};
pub use import::{OfflineWrite, Part, joined};
use locks::Locks;
use online::{Features, Sequences};

mod chunks;
mod columns;
mod files;
mod fit;
mod import;
mod locks;
mod offline;
mod online;
mod storable;
mod table;
#[cfg(test)]
mod tests;

/// Rows on their way in: their schema and the batches.
pub struct Rows {
    /// Schema of all batches.
    pub schema: SchemaRef,
    /// The batches.
    pub batches: BoxStream<'static, Result<RecordBatch>>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

/// Bytes of rows that are sorted and written at a time; about three times as much is in use meanwhile.
const CHUNK_BYTES: usize = 64 * 1024 * 1024;

/// Writes rows.
#[derive(Debug)]
pub struct Ingest {
    tables: Arc<Tables>,
    rules: SourceRules,
    locks: Locks,
    chunk_bytes: usize,
    commits: GroupCommit,
    hook: Hook,
    features: Option<Features>,
    sequences: Sequences,
    journal: Option<Arc<Journal>>,
}

/// What [`Ingest::with_commit_hook`] was given.
#[derive(Clone, Default)]
struct Hook(Option<CommitHook>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hook").field(&self.0.is_some()).finish()
    }
}

impl Hook {
    fn tell(&self, name: &TableName, table: Option<&iceberg::table::Table>) {
        if let Self(Some(hook)) = self {
            hook(name, table);
        }
    }
}

impl Ingest {
    /// A writer to these tables, under these rules.
    pub fn new(tables: Arc<Tables>, rules: SourceRules) -> Self {
        Self {
            commits: GroupCommit::new(tables.catalogs().clone(), None),
            tables,
            rules,
            locks: Locks::default(),
            chunk_bytes: CHUNK_BYTES,
            hook: Hook::default(),
            features: None,
            sequences: Sequences::default(),
            journal: None,
        }
    }

    /// The same for feature views too: those of a registry and others, with online tables of this layout.
    #[must_use]
    pub fn with_features(self, registry: Arc<dyn RegistryReader>, layout: OnlineLayout) -> Self {
        Self {
            features: Some(Features { registry, layout }),
            ..self
        }
    }

    /// The same, telling `hook` each new state of a table that rows of views are written to, before the writers know.
    #[must_use]
    pub fn with_commit_hook(self, hook: CommitHook) -> Self {
        Self {
            commits: GroupCommit::new(self.tables.catalogs().clone(), Some(Arc::clone(&hook))),
            hook: Hook(Some(hook)),
            ..self
        }
    }

    /// The same, noting in a journal which files are on their way into tables.
    #[must_use]
    pub fn with_journal(self, journal: Arc<Journal>) -> Self {
        let journal = Some(journal);
        Self { journal, ..self }
    }

    /// An attempt at a commit to a table.
    fn attempt(&self, name: &TableName, table: &iceberg::table::Table) -> Attempt {
        Attempt::begin(self.journal.as_ref(), name, table)
    }

    fn tell(&self, name: &TableName, table: Option<&iceberg::table::Table>) {
        self.hook.tell(name, table);
    }

    /// Writes rows of a feature view: to its online table or to its batch source, each created if it is missing. All
    /// rows become visible in one snapshot or none does. A write of an idempotency key that was committed before is
    /// answered, not repeated.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] and [`Error::TypeNotWidened`] naming a column; [`Error::FeatureViewNotFound`] for a view
    /// that nothing is known of;
    /// [`Error::CatalogUnavailable`], also if it is not known whether the rows were written.
    pub async fn write_view(&self, request: WriteRequest, rows: Rows) -> Result<WriteOutcome> {
        match request.to {
            WriteTarget::Online => self.write_online(request, rows).await,
            WriteTarget::Offline => self.write_offline(request, rows).await,
        }
    }

    /// Appends rows to an existing source, with its columns and types; answers their number. Columns may go by the
    /// source's names or by the mapped ones. Naive timestamps are UTC, and digits below the column's unit are dropped.
    ///
    /// # Errors
    /// [`Error::ColumnsDiffer`] naming both lists; [`Error::SchemaMismatch`] for values that do not fit.
    pub async fn append(&self, name: &str, source: &FeatureSource, rows: Rows) -> Result<u64> {
        self.append_once(name, source, None, rows).await
    }

    /// [`Ingest::append`] that happens once for each idempotency key.
    ///
    /// # Errors
    /// As [`Ingest::append`]; [`Error::Unsupported`] for a key where rows are Parquet files outside of a table.
    pub async fn append_once(
        &self,
        name: &str,
        source: &FeatureSource,
        key: Option<String>,
        rows: Rows,
    ) -> Result<u64> {
        let place = format!("data source `{name}`");
        let mapping = &source.field_mapping;
        match &source.location {
            SourceLocation::Iceberg(table) => {
                self.append_table(&place, table, mapping, key, rows).await
            }
            SourceLocation::Parquet(files) => {
                refuse_key(&place, key.as_deref())?;
                self.append_files_at(&place, files, mapping, rows).await
            }
            SourceLocation::Unsupported(kind) => Err(unsupported(name, kind)),
        }
    }

    /// Appends log rows, creating the destination with the first.
    ///
    /// # Errors
    /// As [`Ingest::append`].
    pub async fn log(&self, destination: &LogDestination, rows: Rows) -> Result<u64> {
        self.log_once(destination, None, rows).await
    }

    /// [`Ingest::log`] that happens once for each idempotency key.
    ///
    /// # Errors
    /// As [`Ingest::append_once`].
    pub async fn log_once(
        &self,
        destination: &LogDestination,
        key: Option<String>,
        rows: Rows,
    ) -> Result<u64> {
        match &destination.location {
            SourceLocation::Iceberg(table) => self.log_table(table, key, rows).await,
            SourceLocation::Parquet(files) => {
                refuse_key("a logging destination", key.as_deref())?;
                self.log_files(files, &destination.partition_by, rows).await
            }
            SourceLocation::Unsupported(kind) => Err(unsupported("logging destination", kind)),
        }
    }

    /// Writes a saved dataset: all of it or nothing. What it replaces in a table stays readable by its snapshot.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if something is there and `overwrite` is not set; [`Error::NotAllowed`];
    /// [`Error::SchemaMismatch`] for a type that the place has not.
    pub async fn save(
        &self,
        location: &SourceLocation,
        overwrite: bool,
        rows: Rows,
    ) -> Result<u64> {
        match location {
            SourceLocation::Iceberg(table) => {
                self.rules.check_dataset(table)?;
                self.save_table(table, overwrite, rows).await
            }
            SourceLocation::Parquet(files) => self.save_files(files, overwrite, rows).await,
            SourceLocation::Unsupported(kind) => Err(unsupported("saved dataset", kind)),
        }
    }
}

/// Nobody knows whether Parquet files have a write already.
fn refuse_key(place: &str, key: Option<&str>) -> Result<()> {
    match key {
        None => Ok(()),
        Some(_) => Err(Error::Unsupported {
            what: format!(
                "an idempotency key for {place}, whose rows are Parquet files outside of a table,"
            ),
        }),
    }
}

fn unsupported(name: &str, kind: &str) -> Error {
    Error::UnsupportedSource {
        source_name: name.to_owned(),
        source_kind: kind.to_owned(),
    }
}
