//! Reading an Iceberg table's data files: streams of batches whose rows carry addresses, and rows by address.
//!
//! The reader of the iceberg crate takes no row selection and keeps its handling of deletes and evolved schemas to
//! itself, and a join that fetches late needs all three together. Here a scan first decides what can matter (files,
//! row groups, pages), then reads only the wanted columns of that, brings them to the pinned schema, removes deleted
//! rows, and numbers the rest.
//!
//! - `store`, `input`, `buffers`, `footer`, `group`, `group_reader`: bytes, metadata, decoding of one row group.
//! - `cache`: what is kept of files for the next request.
//! - `file_schema`, `columns`, `adapt`, `types`: from a file's columns to the table's.
//! - `prune`, `bloom`, `deletes`: rows that do not matter and rows that are gone.
//! - `stream`, `fetch`, `units`: the two ways to read, and how the work is shared out.

mod adapt;
mod bloom;
mod buffers;
mod cache;
mod columns;
mod deletes;
mod fetch;
mod file_schema;
mod footer;
mod group;
mod group_reader;
mod input;
mod loose;
mod prune;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod types;
mod units;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef};
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::spec::NestedFieldRef;

pub use cache::{FileCache, Keep};
pub use file_schema::FieldIds;
pub(in crate::table) use input::FileRef;
pub(in crate::table) use loose::LooseFile;
pub use store::FileStore;
pub(in crate::table) use store::object_failure;
pub use types::arrow_field;
pub use units::ScanUnit;

use crate::error::{Error, Result};
use crate::model::{Pruned, RowAddress, ScanCounters, ScanReport};
use crate::table::PinnedTable;
use crate::table::files::FileEntry;
use crate::table::layout::{self, KeysByBucket, ScanFilter};
use buffers::Buffers;
use deletes::DeleteCache;
use group::OpenFile;
use input::Input;

/// What to read of a table.
#[derive(Clone, Debug, Default)]
pub struct ScanSpec {
    /// Top-level field ids in output order.
    pub columns: Vec<i32>,
    /// Rows that matter; the scan may yield others too.
    pub filter: ScanFilter,
    /// Whether batches end with a column [`RowAddress::COLUMN`].
    pub with_addresses: bool,
}

/// The reading of one pinned table; cheap to clone, shared by partitions.
#[derive(Clone, Debug)]
pub struct TableScan(Arc<Scan>);

/// Where a scan reads.
#[derive(Debug)]
struct Place {
    table: String,
    schema: iceberg::spec::SchemaRef,
    store: FileStore,
    field_ids: FieldIds,
}

impl Place {
    fn of(table: &PinnedTable) -> Self {
        Self {
            table: table.name().to_string(),
            schema: Arc::clone(table.schema()),
            store: table.store().clone(),
            field_ids: table.field_ids().clone(),
        }
    }
}

#[derive(Debug)]
struct Scan {
    place: Place,
    files: Vec<Arc<FileEntry>>,
    files_total: u64,
    files_pruned: Pruned,
    opened: Vec<AtomicBool>,
    fields: Vec<NestedFieldRef>,
    output: SchemaRef,
    filter: ScanFilter,
    keys: KeysByBucket,
    with_addresses: bool,
    cache: Arc<FileCache>,
    deletes: DeleteCache,
    counters: Arc<ScanCounters>,
    buffers: Arc<Buffers>,
    keep: Keep,
}

impl TableScan {
    /// Plans a scan: leaves out files that cannot matter. Reads nothing.
    ///
    /// # Errors
    /// [`Error::Internal`] if a column is not a top-level field of the pinned schema, [`Error::Unsupported`] if its
    /// type is, or if the table has more files than addresses can tell apart.
    pub fn try_new(table: PinnedTable, spec: ScanSpec, cache: Arc<FileCache>) -> Result<Self> {
        let (files, pruned) = layout::prune(table.files(), &spec.filter);
        let total = u64::try_from(table.files().files.len()).unwrap_or(u64::MAX);
        Self::over(Place::of(&table), files, spec, cache).map(|mut scan| {
            (scan.files_total, scan.files_pruned) = (total, pruned);
            Self(Arc::new(scan))
        })
    }

    /// Plans a scan of some of a pinned table's files, which somebody else has chosen.
    ///
    /// # Errors
    /// As [`TableScan::try_new`].
    pub fn of_files(
        table: &PinnedTable,
        files: Vec<Arc<FileEntry>>,
        spec: ScanSpec,
        cache: Arc<FileCache>,
    ) -> Result<Self> {
        Self::over(Place::of(table), files, spec, cache).map(|scan| Self(Arc::new(scan)))
    }

    fn over(
        place: Place,
        files: Vec<Arc<FileEntry>>,
        spec: ScanSpec,
        cache: Arc<FileCache>,
    ) -> Result<Scan> {
        if u32::try_from(files.len()).is_ok_and(|count| count <= RowAddress::MAX_FILE) {
            Scan::try_new(place, files, spec, cache)
        } else {
            Err(Error::Unsupported {
                what: format!(
                    "scanning {} files of table `{}` at once",
                    files.len(),
                    place.table
                ),
            })
        }
    }

    /// The columns in the pinned schema's names and types, then [`RowAddress::COLUMN`] if asked for.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.output)
    }

    /// What has been left out and read so far.
    pub fn report(&self) -> ScanReport {
        self.0
            .counters
            .report(self.0.files_total, self.0.files_pruned)
    }

    /// Shares the scan out among at least one and at most `n` readers, about evenly by size.
    pub fn partitions(&self, n: usize) -> Vec<Vec<ScanUnit>> {
        units::partitions(&self.0.files, n)
    }

    /// Reads units in order, in batches of at most `batch_size` rows. Deleted rows are left out, and so are row
    /// groups and pages that cannot hold a row of the filter; single rows are not filtered.
    pub fn read(
        &self,
        units: Vec<ScanUnit>,
        batch_size: usize,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        stream::read(Arc::clone(&self.0), units, batch_size.max(1)).boxed()
    }

    /// Reads the rows at `addresses`, which this scan's [`Self::read`] has yielded and which ascend strictly, in
    /// exactly that order, as the top-level fields `columns`; `keep` says when the cache gets their row groups.
    ///
    /// Must be polled within a tokio runtime: decoding runs ahead in tasks that end with the stream.
    pub fn fetch(
        &self,
        addresses: Vec<RowAddress>,
        columns: &[i32],
        keep: Keep,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        fetch::fetch(Arc::clone(&self.0), addresses, columns, keep)
    }
}

impl Scan {
    fn try_new(
        place: Place,
        files: Vec<Arc<FileEntry>>,
        spec: ScanSpec,
        cache: Arc<FileCache>,
    ) -> Result<Self> {
        let fields = columns::top_level_fields(&place.table, &place.schema, &spec.columns)?;
        let address = spec
            .with_addresses
            .then(|| Field::new(RowAddress::COLUMN, DataType::UInt64, false));
        let arrow_fields = columns::arrow_fields(&fields)?;
        Ok(Self {
            keep: cache.keep(Keep::Decoded, &files, &arrow_fields),
            output: adapt::schema_of(arrow_fields, address),
            fields,
            opened: files.iter().map(|_| AtomicBool::new(false)).collect(),
            files_total: u64::try_from(files.len()).unwrap_or(u64::MAX),
            files_pruned: Pruned::default(),
            deletes: DeleteCache::new(&files),
            filter: spec.filter,
            keys: KeysByBucket::default(),
            with_addresses: spec.with_addresses,
            counters: Arc::default(),
            buffers: Arc::default(),
            files,
            place,
            cache,
        })
    }

    /// Whether the files lie on a disk of this machine.
    fn is_local(&self) -> bool {
        let first = self.files.first();
        first.is_some_and(|file| input::local_path(&file.path).is_some())
    }

    fn table_fields(&self) -> &[NestedFieldRef] {
        self.place.schema.as_struct().fields()
    }

    /// Opens a data or delete file.
    async fn open(&self, path: &str, size_bytes: u64, version: Option<&str>) -> Result<OpenFile> {
        let file = FileRef {
            table: &self.place.table,
            path,
            size_bytes,
            version,
        };
        let input = Input::open(file, &self.place.store, &self.counters, &self.buffers).await?;
        let footer = self.cache.footers.get(&input).await?;
        Ok(OpenFile {
            input,
            footer,
            columns: self.cache.columns.clone(),
        })
    }

    /// Opens the `index`-th data file of the scan.
    async fn open_data(&self, index: u32) -> Result<(&Arc<FileEntry>, Arc<OpenFile>)> {
        let position = usize::try_from(index).unwrap_or(usize::MAX);
        let unknown = || Error::internal("scanning", format!("no file has number {index}"));
        let (entry, opened) = self
            .files
            .get(position)
            .zip(self.opened.get(position))
            .ok_or_else(unknown)?;
        let version = entry.version.as_deref();
        let file = self.open(&entry.path, entry.size_bytes, version).await?;
        if !opened.swap(true, Ordering::Relaxed) {
            ScanCounters::add(&self.counters.files_read, 1);
        }
        Ok((entry, Arc::new(file)))
    }
}
