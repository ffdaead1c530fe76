//! From files and what is known of each to what the scans of Iceberg tables read: schema, names, files with bounds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use iceberg::spec::{Datum, Literal, NameMapping, PartitionSpec, SchemaRef, Struct, Transform};

use super::hive;
use super::listing::{ListedFile, Listing};
use super::schema::iceberg_schema;
use super::summary::FileSummary;
use super::types;
use crate::error::{Error, Result};
use crate::model::{ParquetLocation, SourceLocation, TablePin};
use crate::table::files::{FileEntry, FileIndex};
use crate::table::read::FieldIds;
use crate::table::{Pinned, PinnedTable};

/// Everything of a pinned table that depends on the files alone.
#[derive(Debug)]
pub(super) struct Pinnable {
    schema: SchemaRef,
    names: Arc<NameMapping>,
    files: Arc<FileIndex>,
    weight: usize,
}

impl Pinnable {
    pub(super) fn new(listing: &Listing, summaries: &[Arc<FileSummary>]) -> Result<Self> {
        let stored = stored_columns(listing, summaries)?;
        let folders = folder_columns(&listing.files, &stored);
        let all: Fields = stored.iter().chain(&folders).cloned().collect();
        let (schema, names) = iceberg_schema(&listing.uri, &all)?;
        let schema = Arc::new(schema);
        let entries = Entries {
            ids: (1..)
                .zip(&all)
                .map(|(id, field)| (field.name().as_str(), (id, field.data_type())))
                .collect(),
            spec: Arc::new(partition_spec(&schema, &folders)?),
            folders: &folders,
        };
        let files = listing.files.iter().zip(summaries);
        let files: Vec<_> = files
            .map(|(file, summary)| entries.entry(file, summary))
            .collect();
        Ok(Self {
            weight: 4 * all.size() + files.iter().map(|file| entry_weight(file)).sum::<usize>(),
            files: Arc::new(FileIndex::new(files)),
            names: Arc::new(names),
            schema,
        })
    }

    pub(super) fn pinned(
        &self,
        location: &ParquetLocation,
        listing: &Listing,
        pin: TablePin,
    ) -> PinnedTable {
        PinnedTable(Arc::new(Pinned {
            name: SourceLocation::Parquet(location.clone()).table_name(),
            pin,
            schema: Arc::clone(&self.schema),
            store: listing.store.clone(),
            files: Arc::clone(&self.files),
            field_ids: FieldIds::ByName(Arc::clone(&self.names)),
        }))
    }

    /// Heap bytes, roughly.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }
}

/// The columns of all files by name, those of the first file first.
fn stored_columns(listing: &Listing, summaries: &[Arc<FileSummary>]) -> Result<Fields> {
    let mut columns = Fields::empty();
    for (file, summary) in listing.files.iter().zip(summaries) {
        columns = types::union(&columns, &summary.columns).map_err(|field| {
            let known = columns.iter().find(|known| known.name() == field.name());
            let known = known.map(|known| known.data_type().to_string());
            Error::SchemaMismatch {
                column: field.name().clone(),
                expected: known.unwrap_or_default(),
                found: format!("{} in `{}`", field.data_type(), file.path),
            }
        })?;
    }
    Ok(columns)
}

/// The columns that only folders have, in the order of their nesting.
pub(super) fn folder_columns(files: &[ListedFile], stored: &Fields) -> Fields {
    let keys = files.iter().flat_map(|file| &file.partition);
    let mut values: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for key in keys.filter(|key| stored.find(&key.column).is_none()) {
        let place = *places.entry(&key.column).or_insert_with(|| {
            values.push((&key.column, Vec::new()));
            values.len() - 1
        });
        if let Some((_, values)) = values.get_mut(place) {
            values.extend(key.value.as_deref());
        }
    }
    let field = |(name, values): (&str, Vec<&str>)| {
        Field::new(name, hive::data_type(values.into_iter()), true)
    };
    values.into_iter().map(field).collect()
}

fn partition_spec(schema: &SchemaRef, folders: &Fields) -> Result<PartitionSpec> {
    let mut spec = PartitionSpec::builder(Arc::clone(schema));
    let failed = |error| Error::iceberg("describe partition folders")(error);
    for folder in folders {
        spec = spec
            .add_partition_field(folder.name(), folder.name(), Transform::Identity)
            .map_err(failed)?;
    }
    spec.build().map_err(failed)
}

struct Entries<'a> {
    /// Field id and type of each column of the source.
    ids: BTreeMap<&'a str, (i32, &'a DataType)>,
    spec: Arc<PartitionSpec>,
    folders: &'a Fields,
}

impl Entries<'_> {
    fn entry(&self, file: &ListedFile, summary: &FileSummary) -> Arc<FileEntry> {
        let (lower_bounds, upper_bounds) = self.bounds(summary);
        Arc::new(FileEntry {
            path: file.path.clone(),
            size_bytes: file.size_bytes,
            version: Some(Arc::clone(&file.version)),
            record_count: summary.rows,
            partition_spec: Arc::clone(&self.spec),
            partition: self.partition(file),
            lower_bounds,
            upper_bounds,
            sequence_number: 0,
            deletes: Vec::new(),
        })
    }

    /// Of the columns that the file has in the source's own type.
    fn bounds(&self, summary: &FileSummary) -> (HashMap<i32, Datum>, HashMap<i32, Datum>) {
        let bounds = summary.bounds.iter().filter_map(|(name, (lower, upper))| {
            let (id, data_type) = self.ids.get(name.as_str())?;
            let (_, own) = summary.columns.find(name)?;
            (own.data_type() == *data_type).then(|| ((*id, lower.clone()), (*id, upper.clone())))
        });
        bounds.unzip()
    }

    fn partition(&self, file: &ListedFile) -> Struct {
        let value = |folder: &Arc<Field>| -> Option<Literal> {
            let mut keys = file.partition.iter();
            let key = keys.find(|key| key.column == *folder.name())?;
            hive::literal(key.value.as_deref()?, folder.data_type())
        };
        self.folders.iter().map(value).collect()
    }
}

fn entry_weight(file: &FileEntry) -> usize {
    size_of::<FileEntry>() + file.path.len() + 160 * file.lower_bounds.len() + 64
}
