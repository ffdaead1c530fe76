//! Manifests as planning sees them, read once: a manifest file never changes, so what was parsed for one snapshot serves
//! every later one that still lists it. Memory is bounded by bytes, and concurrent readers of one manifest share one read.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};
use iceberg::io::FileIO;
use iceberg::metadata_columns::RESERVED_FIELD_ID_DELETE_FILE_PATH;
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, Datum, Manifest, ManifestEntry, ManifestFile,
    PartitionSpec, PrimitiveLiteral, SnapshotRef,
};
use iceberg::table::Table;
use moka::future::Cache;
use uuid::Uuid;

use super::files::{DeleteFile, DeleteKind, DeleteScope, FileEntry, FileIndex, ScopedDelete};
use crate::error::{Error, Result};
use crate::model::TableName;
use crate::storage;

/// The live entries of one manifest.
#[derive(Debug, Default)]
pub(super) struct ManifestContents {
    pub(super) files: Vec<Arc<FileEntry>>,
    pub(super) deletes: Vec<ScopedDelete>,
}

/// Parsed manifests of all tables and the file indexes made of them.
#[derive(Clone, Debug)]
pub(super) struct ManifestCache {
    manifests: Cache<(Uuid, String), Arc<ManifestContents>>,
    indexes: Cache<(Uuid, i64), Arc<FileIndex>>,
    concurrency: usize,
    read: Arc<AtomicU64>,
}

impl ManifestCache {
    /// A cache of at most `size_bytes`, which reads `concurrency` manifests at a time.
    pub(super) fn new(size_bytes: u64, concurrency: usize) -> Self {
        let half = size_bytes / 2;
        Self {
            manifests: Cache::builder()
                .max_capacity(half)
                .weigher(|_, contents: &Arc<ManifestContents>| manifest_weight(contents))
                .build(),
            indexes: Cache::builder()
                .max_capacity(half)
                .weigher(|_, index: &Arc<FileIndex>| index_weight(index))
                .build(),
            concurrency: concurrency.max(1),
            read: Arc::default(),
        }
    }

    /// Manifests read from storage so far.
    pub(super) fn manifests_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// The files of a snapshot; only manifests that were not seen before are read.
    pub(super) async fn file_index(
        &self,
        table: &Table,
        name: &TableName,
        snapshot: &SnapshotRef,
    ) -> Result<Arc<FileIndex>> {
        let key = (table.metadata().uuid(), snapshot.snapshot_id());
        self.indexes
            .try_get_with(key, self.build_index(table, name, snapshot))
            .await
            .map_err(Error::from)
    }

    async fn build_index(
        &self,
        table: &Table,
        name: &TableName,
        snapshot: &SnapshotRef,
    ) -> Result<Arc<FileIndex>> {
        let list = match table.manifest_list_reader(snapshot).load().await {
            Ok(list) => list,
            Err(error) => {
                return Err(
                    read_error(table.file_io(), name, snapshot.manifest_list(), error).await,
                );
            }
        };
        let live =
            |manifest: &ManifestFile| manifest.has_added_files() || manifest.has_existing_files();
        let reads: Vec<_> = list
            .consume_entries()
            .into_iter()
            .filter(live)
            .map(|manifest| self.clone().contents(table.clone(), name.clone(), manifest))
            .collect();
        let contents: Vec<_> = futures::stream::iter(reads)
            .buffered(self.concurrency)
            .try_collect()
            .await?;
        let files = contents.iter().flat_map(|manifest| &manifest.files);
        let deletes = contents.iter().flat_map(|manifest| &manifest.deletes);
        Ok(Arc::new(FileIndex::assign(files, deletes)))
    }

    async fn contents(
        self,
        table: Table,
        name: TableName,
        manifest: ManifestFile,
    ) -> Result<Arc<ManifestContents>> {
        let key = (table.metadata().uuid(), manifest.manifest_path.clone());
        let file_io = table.file_io().clone();
        let read = async {
            self.read.fetch_add(1, Ordering::Relaxed);
            // A task of its own: parsing is work for a processor, and manifests should not wait for each other.
            tokio::spawn(async move { read_manifest(&file_io, &name, &manifest).await })
                .await
                .map_err(|error| Error::internal("read manifest", error))?
        };
        self.manifests
            .try_get_with(key, read)
            .await
            .map_err(Error::from)
    }
}

async fn read_manifest(
    file_io: &FileIO,
    name: &TableName,
    manifest: &ManifestFile,
) -> Result<Arc<ManifestContents>> {
    match manifest.load_manifest(file_io).await {
        Ok(parsed) => contents(name, manifest, &parsed).map(Arc::new),
        Err(error) => Err(read_error(file_io, name, &manifest.manifest_path, error).await),
    }
}

/// Storage back ends word their errors freely, so the store, unless it is down, is asked whether the file is there at all.
async fn read_error(
    file_io: &FileIO,
    name: &TableName,
    path: &str,
    error: iceberg::Error,
) -> Error {
    if let Some((_, message)) = storage::outage(&error) {
        let path = path.to_owned();
        return Error::StorageUnavailable { path, message };
    }
    match file_io.exists(path).await {
        Ok(true) => Error::iceberg(format!("read `{path}` of table `{name}`"))(error),
        Ok(false) => Error::FileNotFound {
            table: name.to_string(),
            path: path.to_owned(),
        },
        Err(outage) => Error::StorageUnavailable {
            path: path.to_owned(),
            message: outage.message().to_owned(),
        },
    }
}

/// What a manifest lists.
///
/// # Errors
/// [`Error::Unsupported`] for a file that cannot be read.
pub(super) fn contents(
    name: &TableName,
    manifest: &ManifestFile,
    parsed: &Manifest,
) -> Result<ManifestContents> {
    // The manifest's own spec, because partition values were decoded by it.
    let spec = parsed
        .metadata()
        .partition_spec
        .clone()
        .with_spec_id(manifest.partition_spec_id);
    let spec = Arc::new(spec);
    let mut contents = ManifestContents::default();
    for entry in parsed.entries().iter().filter(|entry| entry.is_alive()) {
        check_readable(name, entry.data_file())?;
        let sequence_number = entry.sequence_number().ok_or_else(|| {
            Error::internal(
                format!("read table `{name}`"),
                format!("`{}` has no sequence number", entry.file_path()),
            )
        })?;
        match delete_kind(entry.data_file()) {
            None => contents
                .files
                .push(Arc::new(file_entry(entry, sequence_number, &spec))),
            Some(kind) => contents
                .deletes
                .push(scoped_delete(entry, sequence_number, kind, &spec)),
        }
    }
    Ok(contents)
}

fn check_readable(name: &TableName, file: &DataFile) -> Result<()> {
    let what = match file.file_format() {
        DataFileFormat::Parquet if file.key_metadata().is_none() => return Ok(()),
        DataFileFormat::Parquet => {
            format!("encryption (file `{}` of table `{name}`)", file.file_path())
        }
        DataFileFormat::Puffin => format!("deletion vectors (table `{name}`)"),
        format => format!(
            "file format {format} (file `{}` of table `{name}`)",
            file.file_path()
        ),
    };
    Err(Error::Unsupported { what })
}

fn delete_kind(file: &DataFile) -> Option<DeleteKind> {
    match file.content_type() {
        DataContentType::Data => None,
        DataContentType::PositionDeletes => Some(DeleteKind::Position),
        DataContentType::EqualityDeletes => Some(DeleteKind::Equality {
            field_ids: file.equality_ids().unwrap_or_default(),
        }),
    }
}

fn file_entry(entry: &ManifestEntry, sequence_number: i64, spec: &Arc<PartitionSpec>) -> FileEntry {
    let file = entry.data_file();
    FileEntry {
        path: file.file_path().to_owned(),
        size_bytes: file.file_size_in_bytes(),
        version: None,
        record_count: file.record_count(),
        partition_spec: Arc::clone(spec),
        partition: file.partition().clone(),
        lower_bounds: file.lower_bounds().clone(),
        upper_bounds: file.upper_bounds().clone(),
        sequence_number,
        deletes: Vec::new(),
    }
}

fn scoped_delete(
    entry: &ManifestEntry,
    sequence_number: i64,
    kind: DeleteKind,
    spec: &PartitionSpec,
) -> ScopedDelete {
    let file = entry.data_file();
    let scope = match &kind {
        DeleteKind::Position => single_path(file).map(DeleteScope::Path),
        DeleteKind::Equality { .. } => spec.is_unpartitioned().then_some(DeleteScope::Table),
    };
    ScopedDelete {
        scope: scope
            .unwrap_or_else(|| DeleteScope::Partition(spec.spec_id(), file.partition().clone())),
        file: Arc::new(DeleteFile {
            path: file.file_path().to_owned(),
            size_bytes: file.file_size_in_bytes(),
            sequence_number,
            kind,
        }),
    }
}

/// The data file that all position deletes of a delete file are in, if it says so.
fn single_path(file: &DataFile) -> Option<String> {
    let bound = |bounds: &HashMap<i32, Datum>| match bounds
        .get(&RESERVED_FIELD_ID_DELETE_FILE_PATH)?
        .literal()
    {
        PrimitiveLiteral::String(path) => Some(path.clone()),
        _ => None,
    };
    file.referenced_data_file().or_else(|| {
        let (lower, upper) = (bound(file.lower_bounds())?, bound(file.upper_bounds())?);
        (lower == upper).then_some(lower)
    })
}

fn manifest_weight(contents: &ManifestContents) -> u32 {
    let files: usize = contents.files.iter().map(|file| file_weight(file)).sum();
    let deletes: usize = contents
        .deletes
        .iter()
        .map(|delete| 200 + delete.file.path.len())
        .sum();
    u32::try_from(64 + files + deletes).unwrap_or(u32::MAX)
}

/// Counts files that the index shares with manifests again: it keeps them alive by itself.
pub(super) fn index_weight(index: &FileIndex) -> u32 {
    let files: usize = index
        .files
        .iter()
        .map(|file| file_weight(file) + 8 * file.deletes.len())
        .sum();
    u32::try_from(64 + files).unwrap_or(u32::MAX)
}

/// Heap bytes of an entry, roughly: a hash map slot for a bound takes 72, texts their length on top.
fn file_weight(file: &FileEntry) -> usize {
    let bounds = file.lower_bounds.values().chain(file.upper_bounds.values());
    let bounds: usize = bounds
        .map(|bound| 72 + literal_bytes(bound.literal()))
        .sum();
    size_of::<FileEntry>() + file.path.len() + 48 * file.partition.fields().len() + bounds
}

fn literal_bytes(literal: &PrimitiveLiteral) -> usize {
    match literal {
        PrimitiveLiteral::String(text) => text.len(),
        PrimitiveLiteral::Binary(bytes) => bytes.len(),
        _ => 0,
    }
}
