//! One table `t.stats`, known as data source `stats_source` and as feature view `stats`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::TimestampMicrosecondArray;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use tempfile::TempDir;

use crate::catalog::{CatalogConfig, CatalogType, Catalogs};
use crate::clock::{Clock, ManualClock};
use crate::config::{EngineConfig, EntitySqlConfig};
use crate::engine::Engine;
use crate::error::Result;
use crate::historical::{Historical, HistoricalPlan};
use crate::model::{FeatureSource, FeatureView, ParquetLocation, SourceLocation, TableName, Ttl};
use crate::registry::{Registry, RegistryReader};
use crate::staging::{Staging, StagingConfig};
use crate::table::commit::{NewTable, append, create_table};
use crate::table::layout::PartitionBy;
use crate::table::write::write;
use crate::table::{FileCache, TableCacheConfig, Tables};

/// A row in the order of its columns' field ids: driver, city, event time, created time, value. Ordered as the tie rule
/// orders rows.
pub(super) type Row = (
    Option<i64>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
);

pub(super) const COLUMNS: [&str; 5] = ["driver_id", "city", "event_timestamp", "created", "value"];

/// A row with values for all columns but the created time.
pub(super) fn row(driver: i64, event: i64, value: i64) -> Row {
    (
        Some(driver),
        Some("here".to_owned()),
        Some(event),
        None,
        Some(value),
    )
}

/// Definitions that do not change.
#[derive(Debug)]
struct Fixed(Arc<Registry>);

#[async_trait]
impl RegistryReader for Fixed {
    async fn current(&self) -> Result<Arc<Registry>> {
        Ok(Arc::clone(&self.0))
    }
}

pub(super) struct Fixture {
    _folder: TempDir,
    tables: Arc<Tables>,
    pub(super) registry: Registry,
    pub(super) engine: EngineConfig,
    pub(super) entity_sql: EntitySqlConfig,
}

impl Fixture {
    /// A table with these batches of rows, one commit each.
    pub(super) async fn new(commits: &[Vec<Row>], partition_by: Vec<PartitionBy>) -> Self {
        let folder = TempDir::new().unwrap();
        let config = CatalogConfig {
            kind: CatalogType::Sql,
            uri: format!("sqlite:///{}", folder.path().join("catalog.db").display()),
            warehouse: Some(format!(
                "file://{}",
                folder.path().join("warehouse").display()
            )),
            properties: BTreeMap::new(),
        };
        let catalogs = Catalogs::connect(&BTreeMap::from([("default".to_owned(), config)]));
        let tables = Tables::new(catalogs.unwrap(), TableCacheConfig::default());
        let fixture = Self {
            _folder: folder,
            tables: Arc::new(tables),
            registry: registry(),
            engine: EngineConfig {
                threads: 2,
                ..EngineConfig::default()
            },
            entity_sql: EntitySqlConfig {
                enabled: true,
                timeout: Duration::from_secs(600),
            },
        };
        fixture.create(commits, partition_by).await;
        fixture
    }

    async fn create(&self, commits: &[Vec<Row>], partition_by: Vec<PartitionBy>) {
        let new = NewTable {
            schema: schema(),
            partition_by,
            sort_by: Vec::new(),
        };
        let catalogs = self.tables.catalogs();
        let table = create_table(catalogs, &table_name(), new).await.unwrap();
        for rows in commits.iter().filter(|rows| !rows.is_empty()) {
            let files = write(&table, &[batch(rows)]).await.unwrap();
            append(catalogs, &table_name(), files).await.unwrap();
        }
    }

    /// A server's planner over the table, at noon of 2026-01-02.
    pub(super) fn historical(&self) -> Historical {
        let clock = Arc::new(ManualClock::new(now()));
        let staging = Staging::try_new(
            &StagingConfig::default(),
            Arc::clone(&clock) as Arc<dyn Clock>,
        )
        .unwrap();
        Historical::new(
            Arc::new(Fixed(Arc::new(self.registry.clone()))),
            Arc::clone(&self.tables),
            Arc::new(staging),
            Arc::new(Engine::try_new(&self.engine).unwrap()),
            Arc::new(FileCache::footers_only(1 << 20)),
        )
        .with_entity_sql(self.entity_sql.clone(), clock)
    }
}

pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_355_200)
}

pub(super) fn at_us(us: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(us).unwrap()
}

fn table_name() -> TableName {
    TableName::parse("default", "t.stats").unwrap()
}

pub(super) fn source() -> FeatureSource {
    FeatureSource {
        location: SourceLocation::Iceberg(table_name()),
        timestamp_field: "event_timestamp".to_owned(),
        created_timestamp_column: Some("created".to_owned()),
        field_mapping: BTreeMap::from([
            ("event_timestamp".to_owned(), "ts".to_owned()),
            ("absent".to_owned(), "created".to_owned()),
        ]),
    }
}

fn registry() -> Registry {
    let at = |location| FeatureSource {
        location,
        ..source()
    };
    let files = ParquetLocation {
        uri: "/data/files".to_owned(),
        s3_endpoint: None,
    };
    let other = TableName::parse("default", "t.other").unwrap();
    let sources = [
        ("stats_source", source()),
        ("files", at(SourceLocation::Parquet(files))),
        (
            "queue",
            at(SourceLocation::Unsupported("KafkaSource".to_owned())),
        ),
        ("stats", at(SourceLocation::Iceberg(other))),
    ];
    let sources = sources.map(|(name, source)| (name.to_owned(), source));
    let views = [
        view("driver_stats", &["driver_id"], 0),
        view("driver_recent", &["driver_id"], 10),
        view("weather", &[], 0),
        view("city_stats", &["city"], 0),
        view("stats", &["driver_id"], 0),
    ];
    Registry::new("test", [], views, []).with_data_sources(sources, [])
}

/// A view of the table; its ttl is in microseconds.
fn view(name: &str, keys: &[&str], ttl_us: u64) -> FeatureView {
    FeatureView {
        name: name.to_owned(),
        join_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        source: FeatureSource {
            field_mapping: BTreeMap::new(),
            ..source()
        },
        ttl: Ttl::new(Duration::from_micros(ttl_us)),
        features: Some(vec!["value".to_owned()]),
    }
}

fn schema() -> Schema {
    let types = [
        PrimitiveType::Long,
        PrimitiveType::String,
        PrimitiveType::Timestamptz,
        PrimitiveType::Timestamp,
        PrimitiveType::Long,
    ];
    let fields = COLUMNS
        .iter()
        .zip(types)
        .zip(1..)
        .map(|((name, data_type), id)| {
            Arc::new(NestedField::optional(id, *name, Type::Primitive(data_type)))
        });
    Schema::builder().with_fields(fields).build().unwrap()
}

fn batch(rows: &[Row]) -> RecordBatch {
    let times = |time: fn(&Row) -> Option<i64>| {
        rows.iter().map(time).collect::<TimestampMicrosecondArray>()
    };
    let columns: [ArrayRef; 5] = [
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(
            rows.iter()
                .map(|row| row.1.as_deref())
                .collect::<StringArray>(),
        ),
        Arc::new(times(|row| row.2).with_timezone("UTC")),
        Arc::new(times(|row| row.3)),
        Arc::new(rows.iter().map(|row| row.4).collect::<Int64Array>()),
    ];
    RecordBatch::try_from_iter_with_nullable(
        COLUMNS
            .into_iter()
            .zip(columns)
            .map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

/// Column names and sorted rows of a result, each value as text.
pub(super) type Answer = (Vec<String>, Vec<Vec<Option<String>>>);

pub(super) async fn run(plan: &HistoricalPlan) -> Result<Answer> {
    let batches: Vec<RecordBatch> = plan.execute()?.try_collect().await?;
    let schema = plan.schema();
    let names = schema.fields().iter().map(|field| field.name().clone());
    let mut rows: Vec<_> = batches.iter().flat_map(texts).collect();
    rows.sort();
    Ok((names.collect(), rows))
}

fn texts(batch: &RecordBatch) -> Vec<Vec<Option<String>>> {
    (0..batch.num_rows())
        .map(|row| {
            batch
                .columns()
                .iter()
                .map(|column| text(column, row))
                .collect()
        })
        .collect()
}

fn text(column: &ArrayRef, row: usize) -> Option<String> {
    column.is_valid(row).then(|| match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Timestamp(_, _) => {
            let times = column.as_primitive::<TimestampMicrosecondType>();
            times.value(row).to_string()
        }
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        other => panic!("no text for {other}"),
    })
}
