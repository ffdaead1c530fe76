//! Tables end to end: create, append, pin, expire, and what goes wrong.

use arrow::array::{
    AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema as ArrowSchema, TimeUnit};
use iceberg::Catalog;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, NestedField, PrimitiveType, Schema,
    Type,
};
use iceberg::table::Table;
use tempfile::TempDir;

use super::commit::{NewTable, append, create_table};
use super::layout::PartitionBy;
use super::write::write;
use super::*;

mod writing;

struct Fixture {
    folder: TempDir,
    tables: Tables,
    name: TableName,
}

impl Fixture {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let catalogs = crate::catalog::tests::local(folder.path());
        let tables = Tables::new(catalogs, TableCacheConfig::default());
        Self {
            folder,
            tables,
            name: TableName::parse("default", "demo.stats").unwrap(),
        }
    }

    async fn with_table(partition_by: Vec<PartitionBy>) -> Self {
        let fixture = Self::new();
        let sort_by = vec!["driver_id".to_owned(), "event_timestamp".to_owned()];
        let new = NewTable {
            schema: schema(),
            partition_by,
            sort_by,
        };
        create_table(fixture.tables.catalogs(), &fixture.name, new)
            .await
            .unwrap();
        fixture
    }

    async fn table(&self) -> Table {
        self.tables.catalogs().load_table(&self.name).await.unwrap()
    }

    async fn add(&self, batch: RecordBatch) -> SnapshotId {
        let files = write(&self.table().await, &[batch]).await.unwrap();
        append(self.tables.catalogs(), &self.name, files)
            .await
            .unwrap()
    }

    async fn catalog(&self) -> Arc<dyn Catalog> {
        self.tables.catalogs().get("default").await.unwrap()
    }

    async fn pin(&self) -> PinnedTable {
        self.tables.pin(&self.name, None).await.unwrap()
    }
}

fn schema() -> Schema {
    let field =
        |id, name: &str, kind| NestedField::required(id, name, Type::Primitive(kind)).into();
    let fields = vec![
        field(1, "driver_id", PrimitiveType::Long),
        field(2, "event_timestamp", PrimitiveType::Timestamptz),
        NestedField::optional(3, "conv_rate", Type::Primitive(PrimitiveType::Double)).into(),
        NestedField::optional(4, "city", Type::Primitive(PrimitiveType::String)).into(),
    ];
    Schema::builder().with_fields(fields).build().unwrap()
}

/// One row per (driver, event time in microseconds).
fn batch(rows: &[(i64, i64)]) -> RecordBatch {
    let schema = ArrowSchema::new(vec![
        Field::new("driver_id", DataType::Int64, false),
        Field::new(
            "event_timestamp",
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            false,
        ),
        Field::new("conv_rate", DataType::Float64, true),
        Field::new("city", DataType::Utf8, true),
    ]);
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1))
        .with_timezone("+00:00");
    let rates = Float64Array::from_iter(
        rows.iter()
            .map(|row| (row.0 % 2 == 0).then_some(row.1 as f64)),
    );
    let cities = StringArray::from_iter_values(rows.iter().map(|row| format!("city {}", row.0)));
    let drivers = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(drivers),
            Arc::new(times),
            Arc::new(rates),
            Arc::new(cities),
        ],
    )
    .unwrap()
}

/// All rows of a table by the library's own reader, sorted.
async fn rows(table: &Table) -> Vec<(i64, i64)> {
    use futures::TryStreamExt;
    let stream = table
        .scan()
        .select_all()
        .build()
        .unwrap()
        .to_arrow()
        .await
        .unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    let mut rows: Vec<(i64, i64)> = batches.iter().flat_map(pairs).collect();
    rows.sort_unstable();
    rows
}

fn pairs(batch: &RecordBatch) -> Vec<(i64, i64)> {
    let drivers = batch.column(0).as_primitive::<Int64Type>();
    let times = batch
        .column(1)
        .as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    drivers
        .values()
        .iter()
        .copied()
        .zip(times.values().iter().copied())
        .collect()
}

#[tokio::test]
async fn each_pin_sees_the_newest_snapshot_and_old_pins_stay() {
    let fixture = Fixture::with_table(vec![]).await;
    let empty = fixture.pin().await;
    assert_eq!(empty.pin().snapshot, None);
    assert_eq!(empty.files().files.len(), 0);

    let first = fixture.add(batch(&[(1, 10), (2, 20)])).await;
    let old = fixture.pin().await;
    let second = fixture.add(batch(&[(3, 30)])).await;
    let new = fixture.pin().await;
    assert_ne!(first, second);
    assert_eq!(old.pin().snapshot, Some(first));
    assert_eq!(new.pin().snapshot, Some(second));
    assert_eq!((old.files().files.len(), new.files().files.len()), (1, 2));
    assert_eq!(new.files().record_count(), 3);

    for pinned in [&empty, &old, &new] {
        let again = fixture
            .tables
            .pin(&fixture.name, Some(pinned.pin()))
            .await
            .unwrap();
        assert_eq!(again.pin(), pinned.pin());
        assert_eq!(again.files().record_count(), pinned.files().record_count());
    }
    assert_eq!(new.schema().field_by_id(2).unwrap().name, "event_timestamp");
    assert_eq!(
        rows(&fixture.table().await).await,
        [(1, 10), (2, 20), (3, 30)]
    );
}

#[tokio::test]
async fn a_new_snapshot_reads_only_its_new_manifest() {
    let fixture = Fixture::with_table(vec![]).await;
    for i in 0..3 {
        fixture.add(batch(&[(i, i)])).await;
    }
    let first = fixture.pin().await;
    assert_eq!(fixture.tables.manifests_read(), 3);
    fixture.pin().await;
    assert_eq!(fixture.tables.manifests_read(), 3);

    fixture.add(batch(&[(9, 9)])).await;
    let second = fixture.pin().await;
    assert_eq!(fixture.tables.manifests_read(), 4);
    let shared = first.files().files.iter().filter(|file| {
        second
            .files()
            .files
            .iter()
            .any(|new| Arc::ptr_eq(file, new))
    });
    assert_eq!(shared.count(), 3);
}

#[tokio::test]
async fn concurrent_pins_share_one_read() {
    let fixture = Fixture::with_table(vec![]).await;
    for i in 0..4 {
        fixture.add(batch(&[(i, i)])).await;
    }
    let pins =
        futures::future::join_all((0..16).map(|_| fixture.tables.pin(&fixture.name, None))).await;
    assert!(
        pins.iter()
            .all(|pin| pin.as_ref().unwrap().files().files.len() == 4)
    );
    assert_eq!(fixture.tables.manifests_read(), 4);
}

#[tokio::test]
async fn an_expired_snapshot_is_not_found() {
    let fixture = Fixture::with_table(vec![]).await;
    fixture.add(batch(&[(1, 1)])).await;
    let old = fixture.pin().await.pin();
    let gone = TablePin {
        snapshot: Some(SnapshotId(4711)),
        ..old
    };
    let error = fixture
        .tables
        .pin(&fixture.name, Some(gone))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        Error::SnapshotNotFound {
            snapshot_id: 4711,
            ..
        }
    ));

    fixture.add(batch(&[(2, 2)])).await;
    expire_all_but_newest(&fixture).await;
    let error = fixture
        .tables
        .pin(&fixture.name, Some(old))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::SnapshotNotFound { snapshot_id, .. } if Some(SnapshotId(snapshot_id)) == old.snapshot)
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "expires snapshots behind the back of the code under test"
)]
async fn expire_all_but_newest(fixture: &Fixture) {
    use iceberg::transaction::{ApplyTransactionAction, Transaction};
    let transaction = Transaction::new(&fixture.table().await);
    let expire = transaction
        .expire_snapshots()
        .expire_older_than_ms(i64::MAX)
        .retain_last(1);
    let transaction = expire.apply(transaction).unwrap();
    transaction.commit(&*fixture.catalog().await).await.unwrap();
}

#[tokio::test]
async fn missing_tables_and_files_are_told_apart() {
    let fixture = Fixture::with_table(vec![]).await;
    let missing = TableName::parse("default", "demo.nothing").unwrap();
    let error = fixture.tables.pin(&missing, None).await.unwrap_err();
    assert!(
        matches!(&error, Error::TableNotFound { table, catalog } if table == "demo.nothing" && catalog == "default")
    );
    let nowhere = TableName::parse("default", "no.where").unwrap();
    assert!(matches!(
        fixture.tables.pin(&nowhere, None).await,
        Err(Error::TableNotFound { .. })
    ));

    fixture.add(batch(&[(1, 1)])).await;
    let metadata = fixture
        .table()
        .await
        .metadata_location()
        .unwrap()
        .to_owned();
    remove(&fixture, "-m0.avro");
    let error = fixture.tables.pin(&fixture.name, None).await.unwrap_err();
    assert!(
        matches!(error.root(), Error::FileNotFound { path, .. } if path.ends_with("-m0.avro")),
        "{error}"
    );
    remove(&fixture, "snap-");
    let error = fixture.tables.pin(&fixture.name, None).await.unwrap_err();
    assert!(
        matches!(error.root(), Error::FileNotFound { path, .. } if path.contains("snap-")),
        "{error}"
    );
    std::fs::remove_file(metadata.trim_start_matches("file://")).unwrap();
    let error = fixture.tables.pin(&fixture.name, None).await.unwrap_err();
    assert!(
        matches!(error.root(), Error::FileNotFound { path, .. } if path.ends_with(".metadata.json")),
        "{error}"
    );
}

/// Removes the metadata files whose names contain `part`.
fn remove(fixture: &Fixture, part: &str) {
    let folder = fixture.folder.path().join("warehouse/demo/stats/metadata");
    let files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    let named = files
        .iter()
        .filter(|file| file.file_name().unwrap().to_string_lossy().contains(part));
    assert_ne!(
        named
            .map(|file| std::fs::remove_file(file).unwrap())
            .count(),
        0
    );
}

#[tokio::test]
async fn a_failed_read_is_not_remembered() {
    let fixture = Fixture::with_table(vec![]).await;
    fixture.add(batch(&[(1, 1)])).await;
    let folder = fixture.folder.path().join("warehouse");
    let away = fixture.folder.path().join("away");
    std::fs::rename(folder.join("demo/stats/metadata"), &away).unwrap();
    fixture.tables.pin(&fixture.name, None).await.unwrap_err();
    std::fs::rename(&away, folder.join("demo/stats/metadata")).unwrap();
    assert_eq!(fixture.pin().await.files().record_count(), 1);
}

#[tokio::test]
async fn a_catalog_that_vanished_is_unavailable_but_pins_go_on() {
    let fixture = Fixture::with_table(vec![]).await;
    fixture.add(batch(&[(1, 10)])).await;
    let pin = fixture.pin().await.pin();
    std::fs::write(
        fixture.folder.path().join("catalog.db"),
        "gone".repeat(4096),
    )
    .unwrap();
    let error = fixture.tables.pin(&fixture.name, None).await.unwrap_err();
    assert!(
        matches!(&error, Error::CatalogUnavailable { catalog, .. } if catalog == "default"),
        "{error}"
    );
    let pinned = fixture.tables.pin(&fixture.name, Some(pin)).await.unwrap();
    assert_eq!(pinned.files().record_count(), 1);
}

async fn pin_with(format: DataFileFormat, content: DataContentType) -> Error {
    let fixture = Fixture::with_table(vec![]).await;
    fixture.add(batch(&[(1, 1)])).await;
    add_by_hand(&fixture, format, content).await;
    fixture.tables.pin(&fixture.name, None).await.unwrap_err()
}

fn entry(format: DataFileFormat, content: DataContentType) -> DataFile {
    let mut file = DataFileBuilder::default();
    file.content(content)
        .file_path("file:///x/other".to_owned())
        .file_format(format);
    file.record_count(1)
        .file_size_in_bytes(1)
        .partition_spec_id(0);
    file.build().unwrap()
}

/// Replaces the current manifest list by one with a further manifest: no writer here makes such files.
async fn add_by_hand(fixture: &Fixture, format: DataFileFormat, content: DataContentType) {
    use iceberg::spec::{ManifestListWriter, ManifestWriterBuilder};
    let table = fixture.table().await;
    let (metadata, io) = (table.metadata(), table.file_io());
    let snapshot = metadata.current_snapshot().unwrap();
    let path = format!("{}/metadata/by-hand.avro", metadata.location());
    let builder = ManifestWriterBuilder::new(
        io.new_output(path).unwrap(),
        Some(snapshot.snapshot_id()),
        Arc::clone(metadata.current_schema()),
        metadata.default_partition_spec().as_ref().clone(),
    );
    let mut writer = match content {
        DataContentType::Data => builder.build_v2_data(),
        _ => builder.build_v2_deletes(),
    };
    writer.add_file(entry(format, content), 1).unwrap();
    let manifest = writer.write_manifest_file().await.unwrap();
    let kept = table.manifest_list_reader(snapshot).load().await.unwrap();
    let mut list = ManifestListWriter::v2(
        io.new_output(snapshot.manifest_list())
            .unwrap()
            .writer()
            .await
            .unwrap(),
        snapshot.snapshot_id(),
        None,
        snapshot.sequence_number(),
    );
    list.add_manifests(kept.consume_entries().into_iter().chain([manifest]))
        .unwrap();
    list.close().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_by_name() {
    let vectors = pin_with(DataFileFormat::Puffin, DataContentType::PositionDeletes).await;
    assert_eq!(
        vectors.to_string(),
        "deletion vectors (table `demo.stats`) is not supported"
    );
    let orc = pin_with(DataFileFormat::Orc, DataContentType::Data).await;
    assert_eq!(
        orc.to_string(),
        "file format orc (file `file:///x/other` of table `demo.stats`) is not supported"
    );
    assert_eq!(orc.kind(), crate::error::ErrorKind::InvalidRequest);
}

#[tokio::test]
async fn debug_of_a_pinned_table_hides_storage_options() {
    let fixture = Fixture::with_table(vec![]).await;
    let shown = format!("{:?}", fixture.pin().await);
    assert!(
        shown.contains("stats") && !shown.contains("config"),
        "{shown}"
    );
}

#[tokio::test]
async fn columns_are_described_in_the_words_of_their_source() {
    let fixture = Fixture::with_table(Vec::new()).await;
    let table = SourceLocation::Iceberg(fixture.name.clone());
    let columns = fixture.tables.column_types(&table).await.unwrap();
    let printed: Vec<String> = columns
        .iter()
        .map(|(name, t)| format!("{name} {t}"))
        .collect();
    let expected = [
        "driver_id long",
        "event_timestamp timestamptz",
        "conv_rate double",
        "city string",
    ];
    assert_eq!(printed, expected);

    let unsupported = SourceLocation::Unsupported("RedshiftSource".to_owned());
    for error in [
        fixture.tables.column_types(&unsupported).await.unwrap_err(),
        fixture
            .tables
            .pin_source(&unsupported, None)
            .await
            .unwrap_err(),
    ] {
        let expected = "data source `rides` is a RedshiftSource, which this server cannot read";
        assert!(error.named("rides").to_string().starts_with(expected));
    }
}
