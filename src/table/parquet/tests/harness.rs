//! Writing files, pinning them, and reading them both ways: by scan, and by the addresses that the scan gave.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, UInt64Type};
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use crate::error::Result;
use crate::model::{ParquetLocation, RowAddress};
use crate::table::parquet::ParquetFiles;
use crate::table::read::{FileCache, Keep, ScanSpec, TableScan};
use crate::table::{PinnedTable, ScanFilter};

pub(super) struct Folder {
    pub(super) dir: TempDir,
    pub(super) files: ParquetFiles,
    pub(super) cache: Arc<FileCache>,
}

impl Folder {
    pub(super) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            files: ParquetFiles::new(1 << 20, 4),
            cache: Arc::new(FileCache::footers_only(1 << 20)),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn write(&self, name: &str, columns: &[(&str, ArrayRef)]) {
        write(
            &self.path(name),
            &batch(columns),
            WriterProperties::default(),
        );
    }

    pub(super) fn location(&self, name: &str) -> ParquetLocation {
        location(&self.path(name))
    }

    /// Pins a file or folder in the folder; the empty name is the folder itself.
    pub(super) async fn pin(&self, name: &str) -> Result<PinnedTable> {
        self.files.pin(&self.location(name), None).await
    }

    /// All rows and columns.
    pub(super) async fn rows(&self, name: &str) -> Result<RecordBatch> {
        self.read(self.pin(name).await?, ScanFilter::default())
            .await
    }

    /// Scans all columns, fetches the same rows again by address, and compares.
    pub(super) async fn read(&self, table: PinnedTable, filter: ScanFilter) -> Result<RecordBatch> {
        let columns = columns_of(&table);
        self.read_filtered(table, &columns, filter).await
    }

    pub(super) async fn read_columns(
        &self,
        table: PinnedTable,
        columns: &[i32],
    ) -> Result<RecordBatch> {
        self.read_filtered(table, columns, ScanFilter::default())
            .await
    }

    async fn read_filtered(
        &self,
        table: PinnedTable,
        columns: &[i32],
        filter: ScanFilter,
    ) -> Result<RecordBatch> {
        let scan = self.scan(table, columns, filter)?;
        let mut batches: Vec<RecordBatch> = Vec::new();
        for units in scan.partitions(1) {
            batches.extend(scan.read(units, 1000).try_collect::<Vec<_>>().await?);
        }
        let mut scanned = concat_batches(&scan.schema(), &batches).unwrap();
        let addresses = scanned.remove_column(columns.len());
        let addresses = addresses.as_primitive::<UInt64Type>().values();
        let addresses = addresses.iter().map(|bits| RowAddress::from_u64(*bits));
        let fetched = scan.fetch(addresses.collect(), columns, Keep::No);
        let fetched: Vec<RecordBatch> = fetched.try_collect().await?;
        assert_eq!(
            concat_batches(&scanned.schema(), &fetched).unwrap(),
            scanned
        );
        Ok(scanned)
    }

    pub(super) fn scan(
        &self,
        table: PinnedTable,
        columns: &[i32],
        filter: ScanFilter,
    ) -> Result<TableScan> {
        let spec = ScanSpec {
            columns: columns.to_vec(),
            filter,
            with_addresses: true,
        };
        TableScan::try_new(table, spec, Arc::clone(&self.cache))
    }
}

/// Ids of all columns.
pub(super) fn columns_of(table: &PinnedTable) -> Vec<i32> {
    let fields = table.schema().as_struct().fields();
    fields.iter().map(|field| field.id).collect()
}

pub(super) fn location(path: &Path) -> ParquetLocation {
    ParquetLocation {
        uri: path.to_str().unwrap().to_owned(),
        s3_endpoint: None,
    }
}

pub(super) fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let columns = columns
        .iter()
        .map(|(name, array)| (*name, Arc::clone(array), true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

pub(super) fn write(path: &Path, batch: &RecordBatch, properties: WriterProperties) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// The batch with its columns' field ids set.
pub(super) fn with_ids(batch: &RecordBatch, ids: &[i32]) -> RecordBatch {
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(ids).map(|(field, id)| {
        let id = ("PARQUET:field_id".to_owned(), id.to_string());
        field.as_ref().clone().with_metadata(HashMap::from([id]))
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), batch.columns().to_vec()).unwrap()
}

/// The columns' names.
pub(super) fn names(batch: &RecordBatch) -> Vec<String> {
    let schema = batch.schema();
    schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect()
}

/// A column's values as text; null is empty.
pub(super) fn shown(batch: &RecordBatch, column: &str) -> Vec<String> {
    let options = arrow::util::display::FormatOptions::default();
    let array = batch.column_by_name(column).unwrap();
    let shown = arrow::util::display::ArrayFormatter::try_new(array, &options).unwrap();
    (0..array.len())
        .map(|row| shown.value(row).to_string())
        .collect()
}
