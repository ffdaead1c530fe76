//! Small tables on disk, written as other engines write them, and the obvious way to read them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray, UInt64Array,
};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, UInt64Type};
use futures::TryStreamExt;
use iceberg::io::FileIO;
use iceberg::spec::{NameMapping, NestedField, NestedFieldRef, PartitionSpec, Struct, Type};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::super::{
    FieldIds, FileCache, FileStore, Keep, Place, ScanSpec, ScanUnit, TableScan, arrow_field,
};
use crate::error::Result;
use crate::model::RowAddress;
use crate::table::files::{DeleteFile, DeleteKind, FileEntry};

/// How a file is laid out.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) group_rows: usize,
    pub(super) page_rows: usize,
    pub(super) statistics: EnabledStatistics,
    pub(super) offset_index: bool,
    pub(super) dictionary: bool,
    pub(super) bloom: bool,
    pub(super) ids: bool,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            group_rows: 100,
            page_rows: 10,
            statistics: EnabledStatistics::Page,
            offset_index: true,
            dictionary: true,
            bloom: false,
            ids: true,
        }
    }
}

impl Layout {
    fn properties(&self) -> WriterProperties {
        WriterProperties::builder()
            .set_max_row_group_row_count(Some(self.group_rows))
            .set_data_page_row_count_limit(self.page_rows)
            .set_write_batch_size(self.page_rows)
            .set_statistics_enabled(self.statistics)
            .set_offset_index_disabled(!self.offset_index)
            .set_dictionary_enabled(self.dictionary)
            .set_bloom_filter_enabled(self.bloom)
            .build()
    }
}

/// A table in a directory of its own.
pub(super) struct Table {
    pub(super) dir: tempfile::TempDir,
    pub(super) schema: iceberg::spec::SchemaRef,
    pub(super) files: Vec<Arc<FileEntry>>,
    pub(super) mapping: Option<NameMapping>,
    pub(super) cache: Arc<FileCache>,
    pub(super) file_io: FileIO,
}

pub(super) fn iceberg_schema(fields: Vec<NestedField>) -> iceberg::spec::SchemaRef {
    let fields: Vec<NestedFieldRef> = fields.into_iter().map(Arc::new).collect();
    Arc::new(
        iceberg::spec::Schema::builder()
            .with_fields(fields)
            .build()
            .unwrap(),
    )
}

/// The Arrow schema of a table, without ids.
pub(super) fn plain_schema(schema: &iceberg::spec::Schema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .as_struct()
        .fields()
        .iter()
        .map(|field| arrow_field(field).unwrap())
        .collect();
    Arc::new(Schema::new(fields))
}

impl Table {
    pub(super) fn new(fields: Vec<NestedField>) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            schema: iceberg_schema(fields),
            files: Vec::new(),
            mapping: None,
            cache: Arc::new(FileCache::new(1 << 20, 1 << 20)),
            file_io: FileIO::new_with_fs(),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a data file with the ids of `schema`, the one in force when it was written.
    pub(super) fn add(
        &mut self,
        schema: &iceberg::spec::Schema,
        batch: &RecordBatch,
        layout: &Layout,
    ) -> u32 {
        let index = u32::try_from(self.files.len()).unwrap();
        let path = self.path(&format!("data-{index}.parquet"));
        let file_schema = if layout.ids {
            with_ids(schema)
        } else {
            batch.schema()
        };
        let batch = RecordBatch::try_new(Arc::clone(&file_schema), relabelled(batch, &file_schema))
            .unwrap();
        write(&path, &batch, layout.properties());
        self.push(entry(&path, batch.num_rows() as u64));
        index
    }

    pub(super) fn push(&mut self, entry: FileEntry) {
        self.files.push(Arc::new(entry));
    }

    pub(super) fn edit(&mut self, file: u32, change: impl FnOnce(&mut FileEntry)) {
        change(Arc::get_mut(&mut self.files[file as usize]).unwrap());
    }

    /// Writes a position delete file that applies to all data files.
    pub(super) fn delete_positions(&mut self, name: &str, deleted: &[(u32, i64)]) {
        let path_field = id_field(
            Field::new("file_path", DataType::Utf8, false),
            2_147_483_546,
        );
        let pos_field = id_field(Field::new("pos", DataType::Int64, false), 2_147_483_545);
        let paths: StringArray = deleted
            .iter()
            .map(|(file, _)| Some(self.files[*file as usize].path.as_str()))
            .collect();
        let rows: Int64Array = deleted.iter().map(|(_, row)| Some(*row)).collect();
        let schema = Arc::new(Schema::new(vec![path_field, pos_field]));
        let batch = RecordBatch::try_new(schema, vec![Arc::new(paths), Arc::new(rows)]).unwrap();
        self.attach(name, &batch, DeleteKind::Position);
    }

    /// Writes an equality delete file that applies to all data files.
    pub(super) fn delete_equal(
        &mut self,
        name: &str,
        fields: &[NestedField],
        columns: Vec<ArrayRef>,
    ) {
        let arrow: Vec<Field> = fields
            .iter()
            .map(|field| id_field(arrow_field(field).unwrap(), field.id))
            .collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(arrow)), columns).unwrap();
        let field_ids = fields.iter().map(|field| field.id).collect();
        self.attach(name, &batch, DeleteKind::Equality { field_ids });
    }

    fn attach(&mut self, name: &str, batch: &RecordBatch, kind: DeleteKind) {
        let path = self.path(name);
        write(&path, batch, Layout::default().properties());
        let size_bytes = std::fs::metadata(&path).unwrap().len();
        let path = path.to_str().unwrap().to_owned();
        let delete = Arc::new(DeleteFile {
            path,
            size_bytes,
            sequence_number: 2,
            kind,
        });
        for file in &mut self.files {
            Arc::get_mut(file)
                .unwrap()
                .deletes
                .push(Arc::clone(&delete));
        }
    }

    pub(super) fn scan(&self, spec: ScanSpec) -> TableScan {
        let place = Place {
            table: "n.t".to_owned(),
            schema: Arc::clone(&self.schema),
            store: FileStore::Iceberg(self.file_io.clone()),
            field_ids: FieldIds::InFiles(self.mapping.clone().map(Arc::new)),
        };
        let scan =
            TableScan::over(place, self.files.clone(), spec, Arc::clone(&self.cache)).unwrap();
        TableScan(Arc::new(scan))
    }

    /// A scan of all columns with addresses.
    pub(super) fn scan_all(&self) -> TableScan {
        self.scan(ScanSpec {
            columns: self.ids(),
            with_addresses: true,
            ..ScanSpec::default()
        })
    }

    pub(super) fn ids(&self) -> Vec<i32> {
        self.schema
            .as_struct()
            .fields()
            .iter()
            .map(|field| field.id)
            .collect()
    }

    /// All rows of all columns, without addresses.
    pub(super) async fn rows(&self) -> Result<RecordBatch> {
        let scan = self.scan(ScanSpec {
            columns: self.ids(),
            ..ScanSpec::default()
        });
        collect(&scan, whole(&scan)).await
    }
}

pub(super) fn whole(scan: &TableScan) -> Vec<ScanUnit> {
    scan.partitions(1).remove(0)
}

pub(super) async fn collect(scan: &TableScan, units: Vec<ScanUnit>) -> Result<RecordBatch> {
    let batches: Vec<RecordBatch> = scan.read(units, 64).try_collect().await?;
    assert!(
        batches
            .iter()
            .all(|batch| batch.num_rows() <= 64 && batch.schema() == scan.schema())
    );
    Ok(concat_batches(&scan.schema(), &batches).unwrap())
}

pub(super) async fn fetched(
    scan: &TableScan,
    addresses: Vec<RowAddress>,
    columns: &[i32],
) -> Result<Vec<RecordBatch>> {
    scan.fetch(addresses, columns, Keep::AskedTwice)
        .try_collect()
        .await
}

pub(super) fn addresses_of(batch: &RecordBatch) -> Vec<RowAddress> {
    let column = batch
        .column_by_name(RowAddress::COLUMN)
        .unwrap()
        .as_primitive::<UInt64Type>();
    column
        .values()
        .iter()
        .map(|bits| RowAddress::from_u64(*bits))
        .collect()
}

/// Rows of a batch by number.
pub(super) fn rows_of(batch: &RecordBatch, rows: impl Iterator<Item = u64>) -> RecordBatch {
    let rows = UInt64Array::from_iter_values(rows);
    match batch.num_columns() {
        0 => {
            let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
            RecordBatch::try_new_with_options(batch.schema(), Vec::new(), &options).unwrap()
        }
        _ => take_record_batch(batch, &rows).unwrap(),
    }
}

pub(super) fn entry(path: &std::path::Path, record_count: u64) -> FileEntry {
    FileEntry {
        path: format!("file://{}", path.to_str().unwrap()).replace("file:///", "/"),
        size_bytes: std::fs::metadata(path)
            .map(|known| known.len())
            .unwrap_or(0),
        version: None,
        record_count,
        partition_spec: Arc::new(PartitionSpec::unpartition_spec()),
        partition: Struct::empty(),
        lower_bounds: HashMap::new(),
        upper_bounds: HashMap::new(),
        sequence_number: 1,
        deletes: Vec::new(),
    }
}

pub(super) fn write(path: &std::path::Path, batch: &RecordBatch, properties: WriterProperties) {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// The Arrow schema of an Iceberg schema with field ids at all levels.
pub(super) fn with_ids(schema: &iceberg::spec::Schema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .as_struct()
        .fields()
        .iter()
        .map(|field| field_with_ids(field))
        .collect();
    Arc::new(Schema::new(fields))
}

fn id_field(field: Field, id: i32) -> Field {
    field.with_metadata(HashMap::from([(
        PARQUET_FIELD_ID_META_KEY.to_owned(),
        id.to_string(),
    )]))
}

fn field_with_ids(field: &NestedField) -> Field {
    let plain = arrow_field(field).unwrap();
    let data_type = match (field.field_type.as_ref(), plain.data_type()) {
        (Type::Struct(inner), _) => DataType::Struct(
            inner
                .fields()
                .iter()
                .map(|field| field_with_ids(field))
                .collect::<Fields>(),
        ),
        (Type::List(list), _) => DataType::List(Arc::new(
            field_with_ids(&list.element_field).with_name("element"),
        )),
        (Type::Map(map), DataType::Map(entries, sorted)) => {
            let key = field_with_ids(&map.key_field);
            let value = field_with_ids(&map.value_field);
            let pair = DataType::Struct(Fields::from(vec![key, value]));
            DataType::Map(
                Arc::new(entries.as_ref().clone().with_data_type(pair)),
                *sorted,
            )
        }
        (_, other) => other.clone(),
    };
    id_field(plain.with_data_type(data_type), field.id)
}

/// The same values under a schema that differs in metadata only.
fn relabelled(batch: &RecordBatch, schema: &Schema) -> Vec<ArrayRef> {
    let relabel = |(column, field): (&ArrayRef, &Arc<Field>)| {
        let data = arrow::compute::cast(column, field.data_type()).unwrap();
        assert_eq!(data.len(), column.len());
        data
    };
    batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(relabel)
        .collect()
}
