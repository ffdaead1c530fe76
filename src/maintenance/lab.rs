//! A table of any layout for tests, with a model of its rows, and other engines that delete from it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType, UInt64Type};
use futures::TryStreamExt;
use iceberg::TableUpdate;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, MAIN_BRANCH, ManifestListWriter,
    ManifestWriterBuilder, NestedField, Operation, PartitionSpec, PrimitiveType,
    Schema as TableSchema, Snapshot, SnapshotReference, SnapshotRetention, Summary, Type,
};
use iceberg::table::Table;
use indicatif::ProgressBar;
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use tempfile::TempDir;
use uuid::Uuid;

use super::{CompactReport, Maintenance};
use crate::catalog::tests::local;
use crate::error::Result;
use crate::model::{RowAddress, TableName};
use crate::table::commit::{Change, NewTable, append, commit_change, create_own_table};
use crate::table::layout::PartitionBy;
use crate::table::read::{ScanSpec, TableScan};
use crate::table::write::{FileStyle, write_as};
use crate::table::{FileCache, FileEntry, PinnedTable, TableCacheConfig, Tables};

const HOUR_US: i64 = 3_600_000_000;
const ROW_ID: i32 = 1;
const DELETE_PATH: i32 = 2_147_483_546;
const DELETE_POSITION: i32 = 2_147_483_545;

/// Driver, event hour, value.
pub(super) type Row = (Option<i64>, i64, Option<i64>);

pub(super) struct Lab {
    _folder: TempDir,
    pub(super) maintenance: Maintenance,
    pub(super) tables: Arc<Tables>,
    pub(super) name: TableName,
    next: i64,
    /// What the table has to hold, by row id.
    pub(super) rows: BTreeMap<i64, Row>,
}

/// By bucket of the driver and by day.
pub(super) fn hybrid() -> Vec<PartitionBy> {
    let bucket = PartitionBy::Bucket {
        column: "driver_id".to_owned(),
        buckets: 3,
    };
    let column = "event_timestamp".to_owned();
    vec![bucket, PartitionBy::Day { column }]
}

impl Lab {
    pub(super) async fn new(partition_by: Vec<PartitionBy>, properties: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let catalogs = local(folder.path());
        let tables = Arc::new(Tables::new(catalogs, TableCacheConfig::default()));
        let name = TableName::parse("default", "t.history").unwrap();
        let new = NewTable {
            schema: schema(),
            partition_by,
            sort_by: vec!["driver_id".to_owned(), "event_timestamp".to_owned()],
        };
        let properties = properties.iter();
        let properties = properties.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        create_own_table(tables.catalogs(), &name, new, properties.collect())
            .await
            .unwrap();
        Self {
            _folder: folder,
            maintenance: Maintenance::new(Arc::clone(&tables)),
            tables,
            name,
            next: 0,
            rows: BTreeMap::new(),
        }
    }

    pub(super) async fn table(&self) -> Table {
        self.tables.catalogs().load_table(&self.name).await.unwrap()
    }

    pub(super) async fn pinned(&self) -> PinnedTable {
        self.tables.pin(&self.name, None).await.unwrap()
    }

    pub(super) async fn files(&self) -> Vec<Arc<FileEntry>> {
        self.pinned().await.files().files.to_vec()
    }

    pub(super) async fn compact(&self) -> CompactReport {
        let hidden = ProgressBar::hidden();
        let compacted = self.maintenance.compact(&self.name, false, &hidden);
        compacted.await.unwrap()
    }

    /// Rows that the table has to hold from now on, for [`commit_rows`].
    pub(super) fn take(&mut self, rows: &[Row]) -> RecordBatch {
        let ids: Vec<i64> = (self.next..).take(rows.len()).collect();
        self.next += rows.len() as i64;
        self.rows
            .extend(ids.iter().copied().zip(rows.iter().copied()));
        let times = rows.iter().map(|row| row.1 * HOUR_US);
        let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("+00:00");
        let columns: [(&str, ArrayRef); 4] = [
            ("row_id", Arc::new(Int64Array::from(ids))),
            (
                "driver_id",
                Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0))),
            ),
            ("event_timestamp", Arc::new(times)),
            (
                "value",
                Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.2))),
            ),
        ];
        RecordBatch::try_from_iter_with_nullable(
            columns.map(|(name, column)| (name, column, name != "row_id")),
        )
        .unwrap()
    }

    /// One snapshot of these rows.
    pub(super) async fn append(&mut self, rows: &[Row]) {
        let batch = self.take(rows);
        commit_rows(&self.tables, &self.name, batch).await;
    }

    /// The same outside of the partitions, under another spec.
    pub(super) async fn append_together(&mut self, rows: &[Row]) {
        let batch = self.take(rows);
        let spec = PartitionSpec::unpartition_spec().into_unbound();
        let updates = vec![TableUpdate::AddSpec { spec }];
        self.change(Change {
            updates,
            ..Change::default()
        })
        .await
        .unwrap();
        let table = self.table().await;
        let mut specs = table.metadata().partition_specs_iter();
        let spec = specs.find(|spec| spec.is_unpartitioned()).unwrap();
        let files = write_as(&table, spec, FileStyle::Scanned, vec![batch]).await;
        self.change(Change {
            added: BTreeMap::from([(spec.spec_id(), files.unwrap().keep())]),
            operation: Operation::Append,
            ..Change::default()
        })
        .await
        .unwrap();
    }

    pub(super) async fn change(&self, change: Change) -> Result<()> {
        let catalogs = self.tables.catalogs();
        let changed = commit_change(catalogs, &self.name, |_| Ok(change.clone())).await;
        changed.map(drop)
    }

    /// Each row of the table with the address that it has in a scan of all files.
    pub(super) async fn stored(&self) -> Vec<(i64, Row, RowAddress)> {
        let pinned = self.pinned().await;
        let spec = ScanSpec {
            columns: vec![1, 2, 3, 4],
            with_addresses: true,
            ..ScanSpec::default()
        };
        let files = pinned.files().files.to_vec();
        let scan = TableScan::of_files(&pinned, files, spec, Arc::new(FileCache::none())).unwrap();
        let units = scan.partitions(1).concat();
        let batches: Vec<RecordBatch> = scan.read(units, 1_000).try_collect().await.unwrap();
        batches.iter().flat_map(read).collect()
    }

    /// Compares the table with the model, row by row.
    pub(super) async fn check(&self) {
        let stored = self.stored().await;
        let rows: BTreeMap<i64, Row> = stored.iter().map(|(id, row, _)| (*id, *row)).collect();
        assert_eq!(stored.len(), rows.len(), "a row is there twice");
        assert_eq!(rows, self.rows);
    }

    /// Another engine deletes rows by their positions: one delete file for each partition that has some.
    pub(super) async fn delete_positions(&mut self, ids: &[i64]) {
        let (files, stored) = (self.files().await, self.stored().await);
        let mut by_partition: HashMap<_, Vec<(String, i64)>> = HashMap::new();
        for (_, _, address) in stored.iter().filter(|(id, ..)| ids.contains(id)) {
            let file = &files[address.file() as usize];
            let partition = (file.partition_spec.spec_id(), file.partition.clone());
            let position = (file.path.clone(), address.row() as i64);
            by_partition.entry(partition).or_default().push(position);
        }
        let mut deletes = Vec::new();
        for ((spec, partition), mut positions) in by_partition {
            positions.sort();
            let paths = StringArray::from_iter_values(positions.iter().map(|it| &it.0));
            let rows = Int64Array::from_iter_values(positions.iter().map(|it| it.1));
            let columns: [(i32, &str, ArrayRef); 2] = [
                (DELETE_PATH, "file_path", Arc::new(paths)),
                (DELETE_POSITION, "pos", Arc::new(rows)),
            ];
            let mut file = self.delete_file(&columns).await;
            file.content(DataContentType::PositionDeletes);
            file.partition_spec_id(spec).partition(partition);
            deletes.push((spec, file.build().unwrap()));
        }
        self.deleted(ids, deletes).await;
    }

    /// Another engine deletes rows by their ids: one delete file for each partition.
    pub(super) async fn delete_equal(&mut self, ids: &[i64]) {
        let mut deletes: HashMap<_, (i32, DataFile)> = HashMap::new();
        for entry in self.files().await {
            let spec = entry.partition_spec.spec_id();
            let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
            let mut file = self.delete_file(&[(ROW_ID, "row_id", ids)]).await;
            file.content(DataContentType::EqualityDeletes)
                .equality_ids(Some(vec![ROW_ID]));
            file.partition_spec_id(spec)
                .partition(entry.partition.clone());
            let place = (spec, entry.partition.clone());
            deletes.insert(place, (spec, file.build().unwrap()));
        }
        self.deleted(ids, deletes.into_values().collect()).await;
    }

    async fn deleted(&mut self, ids: &[i64], deletes: Vec<(i32, DataFile)>) {
        self.rows.retain(|id, _| !ids.contains(id));
        let mut by_spec: BTreeMap<i32, Vec<DataFile>> = BTreeMap::new();
        for (spec, file) in deletes {
            by_spec.entry(spec).or_default().push(file);
        }
        for (spec, files) in by_spec {
            commit_deletes(&self.tables, &self.name, spec, files).await;
        }
    }

    async fn delete_file(&self, columns: &[(i32, &str, ArrayRef)]) -> DataFileBuilder {
        let field = |(id, name, column): &(i32, &str, ArrayRef)| {
            let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
            Field::new(*name, column.data_type().clone(), false).with_metadata(id)
        };
        let fields: Vec<Field> = columns.iter().map(field).collect();
        let arrays = columns.iter().map(|it| Arc::clone(&it.2)).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let table = self.table().await;
        let path = format!(
            "{}/data/{}-deletes.parquet",
            table.metadata().location(),
            Uuid::new_v4()
        );
        let output = table.file_io().new_output(&path).unwrap();
        let size = bytes.len() as u64;
        output.write(bytes.into()).await.unwrap();
        let mut file = DataFileBuilder::default();
        file.file_path(path).file_format(DataFileFormat::Parquet);
        file.record_count(batch.num_rows() as u64)
            .file_size_in_bytes(size);
        file
    }
}

/// One snapshot of some rows, which [`Lab::take`] has made.
pub(super) async fn commit_rows(tables: &Tables, name: &TableName, batch: RecordBatch) {
    let table = tables.catalogs().load_table(name).await.unwrap();
    let files = crate::table::write::write(&table, &[batch]).await.unwrap();
    append(tables.catalogs(), name, files).await.unwrap();
}

/// One snapshot of delete files, as no writer of Murre makes.
async fn commit_deletes(tables: &Tables, name: &TableName, spec: i32, files: Vec<DataFile>) {
    let table = tables.catalogs().load_table(name).await.unwrap();
    let (metadata, io) = (table.metadata(), table.file_io());
    let id = i64::from(rand::random::<u32>()) + 1;
    let path = |kind: &str| format!("{}/metadata/{kind}-{id}.avro", metadata.location());
    let output = io.new_output(path("deletes")).unwrap();
    let schema = Arc::clone(metadata.current_schema());
    let spec = metadata.partition_spec_by_id(spec).unwrap();
    let mut writer = ManifestWriterBuilder::new(output, Some(id), schema, spec.as_ref().clone())
        .build_v2_deletes();
    for file in files {
        writer.add_file(file, -1).unwrap();
    }
    let manifest = writer.write_manifest_file().await.unwrap();
    let current = metadata.current_snapshot().unwrap();
    let kept = table.manifest_list_reader(current).load().await.unwrap();
    let output = io.new_output(path("snap")).unwrap();
    let output = output.writer().await.unwrap();
    let (parent, sequence) = (current.snapshot_id(), metadata.next_sequence_number());
    let mut list = ManifestListWriter::v2(output, id, Some(parent), sequence);
    list.add_manifests(kept.consume_entries().into_iter().chain([manifest]))
        .unwrap();
    list.close().await.unwrap();
    let snapshot = Snapshot::builder()
        .with_manifest_list(path("snap"))
        .with_snapshot_id(id)
        .with_parent_snapshot_id(Some(parent))
        .with_sequence_number(sequence)
        .with_summary(Summary {
            operation: Operation::Delete,
            additional_properties: HashMap::new(),
        })
        .with_schema_id(metadata.current_schema_id())
        .with_timestamp_ms(metadata.last_updated_ms())
        .build();
    let updates = vec![TableUpdate::AddSnapshot { snapshot }, to_main(id)];
    let change = Change {
        updates,
        ..Change::default()
    };
    commit_change(tables.catalogs(), name, |_| Ok(change.clone()))
        .await
        .unwrap();
}

/// Makes a snapshot the current one.
pub(super) fn to_main(snapshot_id: i64) -> TableUpdate {
    let retention = SnapshotRetention::branch(None, None, None);
    TableUpdate::SetSnapshotRef {
        ref_name: MAIN_BRANCH.to_owned(),
        reference: SnapshotReference::new(snapshot_id, retention),
    }
}

fn schema() -> TableSchema {
    let optional = |id, name: &str, kind| NestedField::optional(id, name, Type::Primitive(kind));
    let fields = vec![
        NestedField::required(ROW_ID, "row_id", Type::Primitive(PrimitiveType::Long)).into(),
        optional(2, "driver_id", PrimitiveType::Long).into(),
        optional(3, "event_timestamp", PrimitiveType::Timestamptz).into(),
        optional(4, "value", PrimitiveType::Long).into(),
    ];
    TableSchema::builder().with_fields(fields).build().unwrap()
}

fn read(batch: &RecordBatch) -> Vec<(i64, Row, RowAddress)> {
    assert_eq!(batch.column(0).data_type(), &DataType::Int64);
    let longs = |column: usize| batch.column(column).as_primitive::<Int64Type>();
    let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
    let addresses = batch.column(4).as_primitive::<UInt64Type>();
    let optional = |column: usize, row: usize| {
        let column = longs(column);
        column.is_valid(row).then(|| column.value(row))
    };
    let row = |row: usize| {
        let read = (
            optional(1, row),
            times.value(row) / HOUR_US,
            optional(3, row),
        );
        let address = RowAddress::from_u64(addresses.value(row));
        (longs(0).value(row), read, address)
    };
    (0..batch.num_rows()).map(row).collect()
}
