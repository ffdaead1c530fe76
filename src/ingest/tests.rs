//! Rows end to end: into tables, into files, and what is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use futures::{StreamExt, TryStreamExt};
use iceberg::spec::{NestedField, PrimitiveType, Type};
use tempfile::TempDir;

use super::*;
use crate::catalog::tests::local;
use crate::config::SourcesConfig;
use crate::model::{ParquetLocation, TableName};
use crate::table::TableCacheConfig;
use crate::table::commit::{NewTable, create_table};

mod files;
mod fitting;
mod online;
mod tables;

struct Fixture {
    folder: TempDir,
    tables: Arc<Tables>,
    ingest: Ingest,
    name: TableName,
}

impl Fixture {
    /// A catalog whose database is not there yet.
    fn empty() -> Self {
        let folder = TempDir::new().unwrap();
        let catalogs = local(folder.path());
        let tables = Arc::new(Tables::new(catalogs, TableCacheConfig::default()));
        let rules = SourceRules::new(SourcesConfig::default(), true, None);
        Self {
            folder,
            ingest: Ingest::new(Arc::clone(&tables), rules),
            tables,
            name: TableName::parse("default", "demo.stats").unwrap(),
        }
    }

    /// A catalog with the table `demo.stats`.
    async fn new() -> Self {
        let fixture = Self::empty();
        let new = NewTable {
            schema: stats_schema(),
            partition_by: vec![],
            sort_by: vec!["driver_id".to_owned()],
        };
        create_table(fixture.tables.catalogs(), &fixture.name, new)
            .await
            .unwrap();
        fixture
    }

    fn source(&self) -> FeatureSource {
        source(SourceLocation::Iceberg(self.name.clone()))
    }

    fn file(&self, name: &str) -> ParquetLocation {
        ParquetLocation {
            uri: self.folder.path().join(name).display().to_string(),
            s3_endpoint: None,
        }
    }

    async fn append(&self, rows: Rows) -> Result<u64> {
        self.ingest.append("stats", &self.source(), rows).await
    }

    async fn table(&self, name: &TableName) -> iceberg::table::Table {
        self.tables.catalogs().load_table(name).await.unwrap()
    }

    async fn snapshots(&self) -> usize {
        self.table(&self.name).await.metadata().snapshots().len()
    }

    /// All rows of a table by the library's own reader.
    async fn rows(&self, name: &TableName) -> Vec<RecordBatch> {
        self.rows_at(name, None).await
    }

    async fn rows_at(&self, name: &TableName, snapshot: Option<i64>) -> Vec<RecordBatch> {
        let table = self.table(name).await;
        let mut scan = table.scan().select_all();
        if let Some(snapshot) = snapshot {
            scan = scan.snapshot_id(snapshot);
        }
        let stream = scan.build().unwrap().to_arrow().await.unwrap();
        stream.try_collect().await.unwrap()
    }

    fn data_files(&self) -> usize {
        fn count(folder: &std::path::Path) -> usize {
            let Ok(entries) = std::fs::read_dir(folder) else {
                return 0;
            };
            entries
                .map(|entry| entry.unwrap().path())
                .map(|path| match path.is_dir() {
                    true => count(&path),
                    false => usize::from(path.extension().is_some_and(|it| it == "parquet")),
                })
                .sum()
        }
        count(self.folder.path())
    }
}

fn source(location: SourceLocation) -> FeatureSource {
    FeatureSource {
        location,
        timestamp_field: "event_timestamp".to_owned(),
        created_timestamp_column: None,
        field_mapping: BTreeMap::from([
            ("rate".to_owned(), "conv_rate".to_owned()),
            ("absent".to_owned(), "ignored".to_owned()),
        ]),
    }
}

fn stats_schema() -> iceberg::spec::Schema {
    let required =
        |id, name: &str, kind| NestedField::required(id, name, Type::Primitive(kind)).into();
    let fields = vec![
        required(1, "driver_id", PrimitiveType::Long),
        required(2, "event_timestamp", PrimitiveType::Timestamptz),
        NestedField::optional(3, "rate", Type::Primitive(PrimitiveType::Double)).into(),
        NestedField::optional(4, "trips", Type::Primitive(PrimitiveType::Int)).into(),
    ];
    iceberg::spec::Schema::builder()
        .with_fields(fields)
        .build()
        .unwrap()
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, values)| (name, values, true)),
    )
    .unwrap()
}

fn rows_of(batches: Vec<RecordBatch>) -> Rows {
    Rows {
        schema: batches[0].schema(),
        batches: futures::stream::iter(batches.into_iter().map(Ok)).boxed(),
    }
}

/// As Feast's client sends them: nanoseconds, and another order.
fn stats(drivers: &[i64]) -> RecordBatch {
    let times = drivers.iter().map(|driver| driver * 1_000_000_007);
    let times = TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC");
    batch(vec![
        ("event_timestamp", Arc::new(times)),
        ("driver_id", Arc::new(Int64Array::from(drivers.to_vec()))),
        (
            "trips",
            Arc::new(Int64Array::from_iter(drivers.iter().map(|it| Some(it * 2)))),
        ),
        (
            "rate",
            Arc::new(Float64Array::from_iter(
                drivers.iter().map(|it| (it % 2 == 0).then_some(0.5)),
            )),
        ),
    ])
}

fn column<'a>(batches: &'a [RecordBatch], name: &str) -> Vec<&'a ArrayRef> {
    batches
        .iter()
        .map(|batch| batch.column_by_name(name).unwrap())
        .collect()
}

fn integers(batches: &[RecordBatch], name: &str) -> Vec<i64> {
    let mut values: Vec<i64> = column(batches, name)
        .into_iter()
        .flat_map(|values| {
            let values = arrow::compute::cast(values, &DataType::Int64).unwrap();
            let values =
                arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&values);
            values.iter().flatten().collect::<Vec<_>>()
        })
        .collect();
    values.sort_unstable();
    values
}

/// A stream that breaks after its first batches.
fn broken(batches: Vec<RecordBatch>) -> Rows {
    let schema = batches[0].schema();
    let end = std::iter::once(Err(Error::internal("receive", "the client went away")));
    Rows {
        schema,
        batches: futures::stream::iter(batches.into_iter().map(Ok).chain(end)).boxed(),
    }
}
