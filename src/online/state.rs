//! One online table at one snapshot: which files can hold a bucket's rows, and the places of their latest rows in memory.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use iceberg::spec::{Literal, PrimitiveLiteral, SnapshotRef, TableMetadata, Transform};
use iceberg::table::Table;

use super::part::Columns;
use super::slot::Slot;
use crate::error::{Error, Result};
use crate::model::{TableName, WriteToken};
use crate::table::PinnedTable;
use crate::table::entity_key::KeyEncoder;
use crate::table::files::FileEntry;
use crate::table::online::{
    CREATED_TIMESTAMP, ENTITY_KEY, EVENT_TIMESTAMP, OWN_COLUMNS, OnlineProperties, WRITE_SEQUENCE,
};
use crate::table::read::arrow_field;

/// Up to so many features, all are loaded with the first; of wider tables those that were asked for so far.
const ALL_FEATURES: usize = 32;
/// Decoded bytes for each byte of a file, on the high side.
const EXPANSION: u64 = 4;
/// Bytes of keys and times in memory for each row, about.
const ROW_BYTES: u64 = 32;

/// Immutable but for what its slots hold.
#[derive(Clone)]
pub(super) struct State {
    pub(super) pinned: PinnedTable,
    pub(super) metadata: Arc<TableMetadata>,
    pub(super) metadata_location: Option<String>,
    pub(super) properties: OnlineProperties,
    pub(super) encoder: KeyEncoder,
    /// Field ids of the entity key, event time, created time and write sequence.
    pub(super) own: [i32; 4],
    /// Features with their field ids, by name.
    pub(super) features: HashMap<String, (i32, Field)>,
    /// What parts hold.
    pub(super) columns: Columns,
    pub(super) files: Files,
    pub(super) buckets: Box<[Arc<Slot>]>,
    pub(super) shared: Arc<Slot>,
}

/// Live files by the keys that they can hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// Files of one bucket each.
    pub(super) by_bucket: Vec<Vec<Arc<FileEntry>>>,
    /// Files that may hold any key.
    pub(super) shared: Vec<Arc<FileEntry>>,
    /// Bytes that the rows of all files are expected to take. Computed once: a table can have very many files, and every
    /// read asks.
    pub(super) bytes: u64,
    /// Those of the files that may hold any key.
    pub(super) shared_bytes: u64,
}

impl State {
    /// The state of a table as the catalog showed it, with nothing resident.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] for a table that is no online table; [`Error::Internal`] for one without its columns.
    pub(super) fn new(pinned: PinnedTable, table: &Table) -> Result<Self> {
        let name = pinned.name();
        let metadata = table.metadata_ref();
        let properties =
            OnlineProperties::read(&metadata)?.ok_or_else(|| Error::AlreadyExists {
                what: format!("table `{name}`, which is no online table of Murre,"),
            })?;
        let own = own_fields(name, &metadata)?;
        let features = features(&metadata, &properties)?;
        let files = Files::new(&pinned, own[0], properties.buckets);
        let buckets = (0..properties.buckets).map(|_| Arc::default()).collect();
        let mut state = Self {
            metadata_location: table.metadata_location().map(str::to_owned),
            encoder: KeyEncoder::new(&properties.definition.join_keys),
            pinned,
            metadata,
            properties,
            own,
            features,
            columns: Arc::new([]),
            files,
            buckets,
            shared: Arc::default(),
        };
        if state.features.len() <= ALL_FEATURES {
            let all = state.features.values();
            state.columns = in_order(all.map(|(id, field)| (*id, field.data_type().clone())));
        }
        Ok(state)
    }

    /// The same snapshot with more columns, and nothing resident.
    pub(super) fn with_columns(&self, wanted: &[(i32, DataType)]) -> Self {
        let columns = self.columns.iter().chain(wanted).cloned();
        Self {
            columns: in_order(columns),
            buckets: self.buckets.iter().map(|_| Arc::default()).collect(),
            shared: Arc::default(),
            ..self.clone()
        }
    }

    pub(super) fn has_columns(&self, wanted: &[(i32, DataType)]) -> bool {
        wanted.iter().all(|column| self.columns.contains(column))
    }

    pub(super) fn snapshot(&self) -> Option<&SnapshotRef> {
        let id = self.pinned.pin().snapshot?;
        self.metadata.snapshot_by_id(id.0)
    }

    /// Whether the table has these columns of another of its states as that has them.
    pub(super) fn knows(&self, other: &Self, columns: &[(i32, DataType)]) -> bool {
        let known = |(id, data_type): &(i32, DataType)| {
            let mut fields = self.features.values();
            fields.any(|(own, field)| own == id && field.data_type() == data_type)
        };
        self.metadata.uuid() == other.metadata.uuid()
            && self.properties.buckets == other.properties.buckets
            && self.own == other.own
            && columns.iter().all(known)
    }

    /// Whether the state has the rows of a write.
    pub(super) fn covers(&self, token: &WriteToken) -> bool {
        let sequence = self
            .snapshot()
            .map_or(0, |snapshot| snapshot.sequence_number());
        self.metadata.uuid() == token.table && sequence >= token.sequence
    }

    /// Whether the latest rows of the buckets should be in memory: if those of the whole table can be expected to fit.
    pub(super) fn keeps_buckets(&self, limit_bytes: u64) -> bool {
        self.files.bytes <= limit_bytes
    }

    /// Whether the latest rows of the files that may hold any key should be in memory, if not those of the buckets.
    pub(super) fn keeps_shared(&self, limit_bytes: u64) -> bool {
        self.keeps_buckets(limit_bytes) || self.files.shared_bytes <= limit_bytes / 4
    }
}

/// Bytes that the rows of some files take in memory, on the high side.
pub(super) fn expected_bytes<'a>(files: impl IntoIterator<Item = &'a Arc<FileEntry>>) -> u64 {
    let of = |file: &Arc<FileEntry>| file.size_bytes * EXPANSION + file.record_count * ROW_BYTES;
    files.into_iter().map(of).sum()
}

impl Files {
    fn new(pinned: &PinnedTable, key_id: i32, buckets: u32) -> Self {
        let mut files = Self {
            by_bucket: vec![Vec::new(); buckets as usize],
            ..Self::default()
        };
        for file in &*pinned.files().files {
            match bucket_of_file(file, key_id, buckets) {
                Some(bucket) => files.by_bucket[bucket].push(Arc::clone(file)),
                None => files.shared.push(Arc::clone(file)),
            }
        }
        files.bytes = expected_bytes(files.all());
        files.shared_bytes = expected_bytes(&files.shared);
        files
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<FileEntry>> {
        self.by_bucket.iter().flatten().chain(&self.shared)
    }

    pub(super) fn count(&self) -> usize {
        self.by_bucket.iter().map(Vec::len).sum::<usize>() + self.shared.len()
    }
}

/// The one bucket whose keys a file holds, if its partition says so.
pub(super) fn bucket_of_file(file: &FileEntry, key_id: i32, buckets: u32) -> Option<usize> {
    let fields = file.partition_spec.fields().iter();
    let mut values = fields.zip(file.partition.fields());
    values.find_map(|(field, value)| match value {
        Some(Literal::Primitive(PrimitiveLiteral::Int(bucket)))
            if field.source_id == key_id && field.transform == Transform::Bucket(buckets) =>
        {
            usize::try_from(*bucket)
                .ok()
                .filter(|bucket| *bucket < buckets as usize)
        }
        _ => None,
    })
}

fn in_order(columns: impl Iterator<Item = (i32, DataType)>) -> Columns {
    let mut columns: Vec<(i32, DataType)> = columns.collect();
    columns.sort_by_key(|(id, _)| *id);
    columns.dedup_by_key(|(id, _)| *id);
    columns.into()
}

fn own_fields(name: &TableName, metadata: &TableMetadata) -> Result<[i32; 4]> {
    let schema = metadata.current_schema();
    let id = |column: &str| {
        schema
            .field_id_by_name(column)
            .ok_or_else(|| Error::TableColumnNotFound {
                table: name.to_string(),
                column: column.to_owned(),
                nearest: Vec::new(),
            })
    };
    Ok([
        id(ENTITY_KEY)?,
        id(EVENT_TIMESTAMP)?,
        id(CREATED_TIMESTAMP)?,
        id(WRITE_SEQUENCE)?,
    ])
}

fn features(
    metadata: &TableMetadata,
    properties: &OnlineProperties,
) -> Result<HashMap<String, (i32, Field)>> {
    let keys = &properties.definition.join_keys;
    let is_feature =
        |name: &str| !OWN_COLUMNS.contains(&name) && !keys.iter().any(|key| key.name == name);
    let fields = metadata.current_schema().as_struct().fields().iter();
    fields
        .filter(|field| is_feature(&field.name))
        .map(|field| Ok((field.name.clone(), (field.id, arrow_field(field)?))))
        .collect()
}
