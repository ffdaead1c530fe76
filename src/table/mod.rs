//! Iceberg tables, pinned: a snapshot and a schema are fixed once, and everything after that is immutable.
//!
//! - [`files`]: the live files of a snapshot and the deletes that apply to them.
//! - [`layout`]: partitioning, and which files a scan can leave out.
//! - [`read`]: scans with deletes applied, and late fetch by row address.
//! - [`mod@parquet`]: Parquet files outside of any table, pinned alike.
//! - [`mod@write`]: batches become sorted, partitioned Parquet files.
//! - [`commit`]: the only place that changes a table.
//! - [`references`]: which files a table refers to.
//! - [`online`], [`entity_key`]: what an online table looks like, and how its rows are found.

use std::fmt;
use std::sync::Arc;

use bytesize::ByteSize;
use iceberg::spec::{
    DEFAULT_SCHEMA_NAME_MAPPING, NameMapping, NestedFieldRef, SchemaRef, SnapshotRef, TableMetadata,
};
use iceberg::table::Table;
use serde::Deserialize;

use crate::catalog::Catalogs;
use crate::config::TablesConfig;
use crate::error::{Error, Result};
use crate::model::{SnapshotId, SourceLocation, TableName, TablePin};
use crate::source_rules::SourceRules;

pub mod commit;
pub mod entity_key;
pub mod files;
pub mod layout;
mod manifests;
pub mod online;
pub mod parquet;
mod pins;
pub mod read;
pub mod references;
#[cfg(test)]
mod tests;
mod type_names;
pub mod write;

pub use files::{FileEntry, FileIndex};
pub use layout::{KeyFilter, ScanFilter, SortedKeys};
use manifests::ManifestCache;
use parquet::{ParquetFiles, ParquetSource};
use pins::Pins;
use read::FieldIds;
pub use read::{FileCache, FileStore, Keep};

/// How much table metadata is kept, and how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableCacheConfig {
    /// Bytes of parsed manifests, file indexes and summaries of Parquet files, all tables and sources together.
    pub size: ByteSize,
    /// Manifests of one table, or footers of one source of Parquet files, read at a time.
    pub manifest_concurrency: usize,
}

impl TableCacheConfig {
    /// What the configuration asks for.
    pub fn new(config: &TablesConfig) -> Self {
        Self {
            size: config.metadata_cache,
            ..Self::default()
        }
    }
}

impl Default for TableCacheConfig {
    fn default() -> Self {
        Self {
            size: ByteSize::mib(256),
            manifest_concurrency: 16,
        }
    }
}

/// Tables of all catalogs.
#[derive(Debug)]
pub struct Tables {
    catalogs: Catalogs,
    manifests: ManifestCache,
    parquet: ParquetFiles,
    pins: Pins,
    rules: Option<SourceRules>,
}

impl Tables {
    /// Tables of `catalogs`, with an empty cache.
    pub fn new(catalogs: Catalogs, config: TableCacheConfig) -> Self {
        let for_parquet = config.size.as_u64() / 4;
        let for_pins = config.size.as_u64() / 8;
        let for_manifests = config.size.as_u64() - for_parquet - for_pins;
        Self {
            catalogs,
            manifests: ManifestCache::new(for_manifests, config.manifest_concurrency),
            parquet: ParquetFiles::new(for_parquet, config.manifest_concurrency),
            pins: Pins::new(for_pins),
            rules: None,
        }
    }

    /// The same, reading Parquet files only where `rules` allow it.
    pub fn with_rules(mut self, rules: SourceRules) -> Self {
        self.rules = Some(rules);
        self
    }

    /// The catalogs.
    pub fn catalogs(&self) -> &Catalogs {
        &self.catalogs
    }

    /// Fixes the state of a table: the newest, which the catalog is asked for each time, or that of an earlier pin. While the
    /// catalog is down, a pin that was made here within the last minutes is answered from memory, so that what was planned
    /// goes on.
    ///
    /// # Errors
    /// [`Error::TableNotFound`]; [`Error::CatalogUnavailable`]; [`Error::SnapshotNotFound`] if an earlier pin's
    /// snapshot has expired; [`Error::FileNotFound`] if a metadata file is missing; [`Error::Unsupported`] if a live
    /// file is of a kind that cannot be read.
    pub async fn pin(&self, name: &TableName, pin: Option<TablePin>) -> Result<PinnedTable> {
        let table = match (self.catalogs.load_table(name).await, pin) {
            (Err(outage @ Error::CatalogUnavailable { .. }), Some(pin)) => {
                return self.pins.get(name, pin).ok_or(outage);
            }
            (loaded, _) => loaded?,
        };
        let pinned = self.pin_loaded(name, &table, pin).await?;
        self.pins.keep(&pinned);
        Ok(pinned)
    }

    /// The same for a table that the catalog has just shown.
    ///
    /// # Errors
    /// As [`Tables::pin`].
    pub async fn pin_loaded(
        &self,
        name: &TableName,
        table: &Table,
        pin: Option<TablePin>,
    ) -> Result<PinnedTable> {
        let metadata = table.metadata();
        let (snapshot, schema) = match pin {
            None => (
                metadata.current_snapshot().cloned(),
                Arc::clone(metadata.current_schema()),
            ),
            Some(pin) => earlier(metadata, name, pin)?,
        };
        let files = match &snapshot {
            Some(snapshot) => self.manifests.file_index(table, name, snapshot).await?,
            None => Arc::new(FileIndex::new([])),
        };
        let snapshot = snapshot.map(|snapshot| SnapshotId(snapshot.snapshot_id()));
        Ok(PinnedTable(Arc::new(Pinned {
            name: name.clone(),
            pin: TablePin {
                snapshot,
                schema_id: schema.schema_id(),
            },
            schema,
            store: FileStore::Iceberg(table.file_io().clone()),
            files,
            field_ids: FieldIds::InFiles(name_mapping(name, metadata)?),
        })))
    }

    /// Fixes the state of a source: an Iceberg table as [`Tables::pin`] does, or Parquet files as they are now.
    ///
    /// # Errors
    /// As [`Tables::pin`]; [`Error::NoParquetFiles`]; [`Error::SnapshotNotFound`] if files changed since an earlier
    /// pin; [`Error::SchemaMismatch`] if files have nothing in common; [`Error::NotAllowed`] where the rules forbid the
    /// place; [`Error::UnsupportedSource`] without the source's name, which [`Error::named`] adds.
    pub async fn pin_source(
        &self,
        location: &SourceLocation,
        pin: Option<TablePin>,
    ) -> Result<PinnedTable> {
        self.check_place(location)?;
        match location {
            SourceLocation::Iceberg(name) => self.pin(name, pin).await,
            SourceLocation::Parquet(files) => self.parquet.pin(files, pin).await,
            SourceLocation::Unsupported(kind) => Err(Error::unsupported_source(kind)),
        }
    }

    /// Names and types of a source's columns: Iceberg's types for a table, Arrow's as pyarrow prints them for Parquet files.
    ///
    /// # Errors
    /// As [`Tables::pin_source`].
    pub async fn column_types(&self, location: &SourceLocation) -> Result<Vec<(String, String)>> {
        self.check_place(location)?;
        match location {
            SourceLocation::Iceberg(name) => {
                let table = self.catalogs.load_table(name).await?;
                let fields = table.metadata().current_schema().as_struct().fields();
                let described = |field: &NestedFieldRef| {
                    let printed = type_names::pyiceberg_type(&field.field_type);
                    (field.name.clone(), printed)
                };
                Ok(fields.iter().map(described).collect())
            }
            SourceLocation::Parquet(files) => Ok(ParquetSource::open(files).await?.column_types()),
            SourceLocation::Unsupported(kind) => Err(Error::unsupported_source(kind)),
        }
    }

    fn check_place(&self, location: &SourceLocation) -> Result<()> {
        match (location, &self.rules) {
            (SourceLocation::Parquet(files), Some(rules)) => rules.check_file(files),
            _ => Ok(()),
        }
    }

    /// Manifests read from storage since start; those served from memory do not count.
    pub fn manifests_read(&self) -> u64 {
        self.manifests.manifests_read()
    }
}

fn earlier(
    metadata: &TableMetadata,
    name: &TableName,
    pin: TablePin,
) -> Result<(Option<SnapshotRef>, SchemaRef)> {
    let gone = |snapshot: SnapshotId| Error::SnapshotNotFound {
        table: name.to_string(),
        snapshot_id: snapshot.0,
    };
    let snapshot = match pin.snapshot {
        Some(id) => Some(
            metadata
                .snapshot_by_id(id.0)
                .cloned()
                .ok_or_else(|| gone(id))?,
        ),
        None => None,
    };
    let schema = metadata
        .schema_by_id(pin.schema_id)
        .cloned()
        .ok_or_else(|| {
            Error::invalid(
                "pins",
                format!(
                    "table `{name}` has no schema {}; plan the request again",
                    pin.schema_id
                ),
            )
        })?;
    Ok((snapshot, schema))
}

fn name_mapping(name: &TableName, metadata: &TableMetadata) -> Result<Option<Arc<NameMapping>>> {
    let Some(json) = metadata.properties().get(DEFAULT_SCHEMA_NAME_MAPPING) else {
        return Ok(None);
    };
    let mapping = serde_json::from_str(json).map_err(|error| {
        Error::internal(
            format!("read table `{name}`"),
            format!("property {DEFAULT_SCHEMA_NAME_MAPPING}: {error}"),
        )
    })?;
    Ok(Some(Arc::new(mapping)))
}

/// One table at one snapshot, read by one schema; cheap to clone.
#[derive(Clone)]
pub struct PinnedTable(Arc<Pinned>);

struct Pinned {
    name: TableName,
    pin: TablePin,
    schema: SchemaRef,
    store: FileStore,
    files: Arc<FileIndex>,
    field_ids: FieldIds,
}

impl PinnedTable {
    /// The table.
    pub fn name(&self) -> &TableName {
        &self.0.name
    }

    /// What is pinned, for a later [`Tables::pin`].
    pub fn pin(&self) -> TablePin {
        self.0.pin
    }

    /// Whether both are one pin, so that they are read alike.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The pinned schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.0.schema
    }

    /// Access to the table's files.
    pub fn store(&self) -> &FileStore {
        &self.0.store
    }

    /// The same table with only these of its files.
    pub fn with_files(&self, files: impl IntoIterator<Item = Arc<FileEntry>>) -> Self {
        Self(Arc::new(Pinned {
            name: self.0.name.clone(),
            pin: self.0.pin,
            schema: Arc::clone(&self.0.schema),
            store: self.0.store.clone(),
            files: Arc::new(FileIndex::new(files)),
            field_ids: self.0.field_ids.clone(),
        }))
    }

    /// All live data files.
    pub fn files(&self) -> &FileIndex {
        &self.0.files
    }

    /// How columns of files are told apart.
    pub fn field_ids(&self) -> &FieldIds {
        &self.0.field_ids
    }
}

/// Leaves out the storage options, which may hold keys.
impl fmt::Debug for PinnedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedTable")
            .field("name", &self.0.name)
            .field("pin", &self.0.pin)
            .finish_non_exhaustive()
    }
}
