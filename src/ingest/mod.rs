//! Rows that clients send become rows of tables and files: appended to a source, logged, or saved as a dataset. Nothing
//! is visible before all of it is.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::BoxStream;

use crate::error::{Error, Result};
use crate::model::{FeatureSource, LogDestination, SourceLocation};
use crate::source_rules::SourceRules;
use crate::table::Tables;

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

/// Writes rows.
#[derive(Debug)]
pub struct Ingest {
    tables: Arc<Tables>,
    rules: SourceRules,
}

impl Ingest {
    /// A writer to these tables, under these rules.
    pub fn new(tables: Arc<Tables>, rules: SourceRules) -> Self {
        Self { tables, rules }
    }

    /// Appends rows to an existing source, with its columns and types; answers their number. Columns may go by the
    /// source's names or by the mapped ones.
    ///
    /// # Errors
    /// [`Error::ColumnsDiffer`] naming both lists; [`Error::SchemaMismatch`] for values that do not fit.
    pub async fn append(&self, _name: &str, _source: &FeatureSource, _rows: Rows) -> Result<u64> {
        let _ = (&self.tables, &self.rules);
        Err(unsupported())
    }

    /// Appends log rows, creating the destination with the first.
    ///
    /// # Errors
    /// As [`Ingest::append`].
    pub async fn log(&self, _destination: &LogDestination, _rows: Rows) -> Result<u64> {
        Err(unsupported())
    }

    /// Writes a saved dataset: all of it or nothing.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if something is there and `overwrite` is not set; [`Error::NotAllowed`].
    pub async fn save(
        &self,
        _location: &SourceLocation,
        _overwrite: bool,
        _rows: Rows,
    ) -> Result<u64> {
        Err(unsupported())
    }
}

fn unsupported() -> Error {
    Error::Unsupported {
        what: "writing".to_owned(),
    }
}
