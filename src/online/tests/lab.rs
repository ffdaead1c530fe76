//! A table that is written, folded and read as a server does it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use bytesize::ByteSize;
use futures::{StreamExt, TryStreamExt};
use iceberg::spec::Operation;
use indicatif::ProgressBar;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::catalog::Catalogs;
use crate::catalog::tests::local;
use crate::clock::ManualClock;
use crate::config::{OnlineConfig, SourcesConfig};
use crate::error::Result;
use crate::ingest::{Ingest, Rows};
use crate::maintenance::Maintenance;
use crate::model::{
    DeclaredFeature, FeatureRef, FeatureSelection, KeyField, KeyType, OnlineDefinition, OnlineKeys,
    OnlineRequest, PartitionStrategy, TeardownRequest, Ttl, ViewVersion, WriteRequest, WriteTarget,
    WriteToken,
};
use crate::online::{OnlineReader, OnlineSources};
use crate::registry::{RegistryReader, TomlRegistry};
use crate::source_rules::SourceRules;
use crate::table::commit::{Change, Removed, commit_change, current_sequence};
use crate::table::online::OnlineLayout;
use crate::table::read::{FileCache, ScanSpec, TableScan};
use crate::table::write::{FileStyle, write_as};
use crate::table::{TableCacheConfig, Tables};

const PROJECT: &str = "shop";

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) strategy: PartitionStrategy,
    pub(super) cache_bytes: u64,
    pub(super) buckets: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategy: PartitionStrategy::EntityHash,
            cache_bytes: 64 << 20,
            buckets: 4,
        }
    }
}

/// A row as a client has it; times in seconds.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) key: i64,
    pub(super) event: i64,
    pub(super) created: Option<i64>,
    pub(super) value: f64,
}

pub(super) struct Lab {
    _folder: TempDir,
    tables: Arc<Tables>,
    registry: Arc<dyn RegistryReader>,
    config: OnlineConfig,
    ingest: Ingest,
    pub(super) clock: Arc<ManualClock>,
    pub(super) reader: Arc<OnlineReader>,
}

impl Lab {
    pub(super) async fn new(settings: Settings) -> Self {
        let folder = TempDir::new().unwrap();
        let catalogs = local(folder.path());
        let tables = Arc::new(Tables::new(catalogs, TableCacheConfig::default()));
        // No definitions: what is read is what the tables say.
        let registry: Arc<dyn RegistryReader> = Arc::new(TomlRegistry::new(
            folder.path().join("none.toml"),
            Vec::new(),
        ));
        let config = OnlineConfig {
            partition_strategy: settings.strategy,
            partition_count: settings.buckets,
            cache_size: ByteSize::b(settings.cache_bytes),
            ..OnlineConfig::default()
        };
        let rules = SourceRules::new(SourcesConfig::default(), true, None);
        let ingest = Ingest::new(Arc::clone(&tables), rules)
            .with_features(Arc::clone(&registry), OnlineLayout::new(&config));
        let clock = Arc::new(ManualClock::new(UNIX_EPOCH + Duration::from_secs(1)));
        Self {
            reader: reader(&config, &tables, &registry, &clock),
            _folder: folder,
            tables,
            registry,
            config,
            ingest,
            clock,
        }
    }

    pub(super) fn restart(&mut self) {
        self.reader = reader(&self.config, &self.tables, &self.registry, &self.clock);
    }

    pub(super) async fn write(&self, rows: &[Row]) -> Option<WriteToken> {
        self.write_view("stats", rows).await
    }

    pub(super) async fn write_view(&self, view: &str, rows: &[Row]) -> Option<WriteToken> {
        let batch = batch(rows);
        let request = WriteRequest {
            project: Some(PROJECT.to_owned()),
            view: ViewVersion::parse(view),
            to: WriteTarget::Online,
            idempotency_key: None,
            definition: Some(definition()),
        };
        let rows = Rows {
            schema: batch.schema(),
            batches: futures::stream::iter([Ok(batch)]).boxed(),
        };
        self.ingest.write_view(request, rows).await.unwrap().token
    }

    /// Drops all tables, of which the reader is not told.
    pub(super) async fn drop_tables(&self) {
        let request = TeardownRequest {
            project: Some(PROJECT.to_owned()),
            ..TeardownRequest::default()
        };
        let dropped = self.ingest.teardown(request).await.unwrap().dropped;
        assert!(!dropped.is_empty());
    }

    pub(super) async fn fold(&self) {
        let name = self
            .reader
            .layout()
            .table_name(PROJECT, &ViewVersion::parse("stats"));
        let maintenance = Maintenance::new(Arc::clone(&self.tables));
        match maintenance
            .compact(&name, false, &ProgressBar::hidden())
            .await
        {
            Ok(_) | Err(crate::error::Error::TableNotFound { .. }) => {}
            // Not even the catalog is there before the first write.
            Err(crate::error::Error::CatalogUnavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Another engine puts all rows into one file outside of the partitions.
    pub(super) async fn put_together(&self) {
        let view = ViewVersion::parse("stats");
        let name = self.reader.layout().table_name(PROJECT, &view);
        let table = self.tables.catalogs().load_table(&name).await.unwrap();
        let pinned = self.tables.pin(&name, None).await.unwrap();
        let paths = pinned.files().files.iter().map(|file| file.path.clone());
        let removed = Removed::Files {
            paths: paths.collect(),
            read_at: current_sequence(&table),
        };
        let fields = pinned.schema().as_struct().fields().iter();
        let spec = ScanSpec {
            columns: fields.map(|field| field.id).collect(),
            ..ScanSpec::default()
        };
        let cache = Arc::new(FileCache::none());
        let scan = TableScan::try_new(pinned, spec, cache).unwrap();
        let units = scan.partitions(1).concat();
        let rows: Vec<RecordBatch> = scan.read(units, 8192).try_collect().await.unwrap();
        let mut specs = table.metadata().partition_specs_iter();
        let together = specs.find(|spec| spec.is_unpartitioned()).unwrap();
        let files = write_as(&table, together, FileStyle::Scanned, rows).await;
        let change = Change {
            added: BTreeMap::from([(together.spec_id(), files.unwrap().keep())]),
            removed,
            operation: Operation::Replace,
            ..Change::default()
        };
        let catalogs = self.tables.catalogs();
        let committed = commit_change(catalogs, &name, |_| Ok(change.clone())).await;
        committed.unwrap();
    }

    /// Event second and value of each key.
    pub(super) async fn read(
        &self,
        keys: &[i64],
        token: Option<WriteToken>,
    ) -> Result<Vec<Option<(i64, f64)>>> {
        Ok(rows_of(&self.answer(request("stats", token), keys).await?))
    }

    pub(super) async fn read_view(
        &self,
        view: &str,
        keys: &[i64],
    ) -> Result<Vec<Option<(i64, f64)>>> {
        Ok(rows_of(&self.answer(request(view, None), keys).await?))
    }

    pub(super) async fn statuses(&self, keys: &[i64], ignore_ttl: bool) -> Vec<String> {
        let request = OnlineRequest {
            ignore_ttl,
            ..request("stats", None)
        };
        let answer = self.answer(request, keys).await.unwrap();
        let statuses = answer.column_by_name("value__status").unwrap();
        let statuses = statuses.as_string::<i32>().iter();
        statuses.map(|status| status.unwrap().to_owned()).collect()
    }

    async fn answer(&self, request: OnlineRequest, keys: &[i64]) -> Result<RecordBatch> {
        let plan = self.reader.plan(&request).await?;
        self.reader.read(&plan, &key_batch(keys)).await
    }

    pub(super) async fn explain(&self, keys: &[i64]) -> String {
        let plan = self.reader.plan(&request("stats", None)).await.unwrap();
        self.reader.explain(&plan, &key_batch(keys)).await.unwrap()
    }
}

fn reader(
    config: &OnlineConfig,
    tables: &Arc<Tables>,
    registry: &Arc<dyn RegistryReader>,
    clock: &Arc<ManualClock>,
) -> Arc<OnlineReader> {
    let sources = OnlineSources {
        registry: Arc::clone(registry),
        tables: Arc::clone(tables),
        layout: OnlineLayout::new(config),
        clock: Arc::<ManualClock>::clone(clock),
    };
    OnlineReader::try_new(config, sources).unwrap()
}

/// A reader of no tables, with these definitions.
pub(super) fn reader_of(registry: &Arc<dyn RegistryReader>) -> Arc<OnlineReader> {
    let tables = Tables::new(
        Catalogs::connect(&BTreeMap::new()).unwrap(),
        TableCacheConfig::default(),
    );
    let clock = Arc::new(ManualClock::new(UNIX_EPOCH));
    reader(
        &OnlineConfig::default(),
        &Arc::new(tables),
        registry,
        &clock,
    )
}

pub(super) fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

pub(super) fn request(view: &str, token: Option<WriteToken>) -> OnlineRequest {
    OnlineRequest {
        project: Some(PROJECT.to_owned()),
        features: FeatureSelection::Refs(vec![FeatureRef {
            view: view.to_owned(),
            feature: "value".to_owned(),
        }]),
        full_feature_names: false,
        keys: OnlineKeys::Attached,
        include_timestamps: true,
        include_status: true,
        ignore_ttl: false,
        token,
    }
}

/// Values that tell their key, all at one event second.
pub(super) fn rows(keys: Range<i32>, event: i64) -> Vec<Row> {
    let row = |key: i32| Row {
        key: i64::from(key),
        event,
        created: None,
        value: f64::from(key),
    };
    keys.map(row).collect()
}

fn definition() -> OnlineDefinition {
    OnlineDefinition {
        join_keys: vec![KeyField {
            name: "id".to_owned(),
            key_type: KeyType::Int64,
        }],
        features: vec![DeclaredFeature {
            name: "value".to_owned(),
            type_name: "DOUBLE".to_owned(),
        }],
        ttl: Ttl::new(Duration::from_secs(3600)),
    }
}

fn batch(rows: &[Row]) -> RecordBatch {
    let micros = |seconds: i64| seconds * 1_000_000;
    let events = rows.iter().map(|row| Some(micros(row.event)));
    let created = rows.iter().map(|row| row.created.map(micros));
    let columns: [(&str, ArrayRef); 4] = [
        (
            "id",
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.key))),
        ),
        (
            "event_timestamp",
            Arc::new(TimestampMicrosecondArray::from_iter(events).with_timezone("UTC")),
        ),
        (
            "created_timestamp",
            Arc::new(TimestampMicrosecondArray::from_iter(created).with_timezone("UTC")),
        ),
        (
            "value",
            Arc::new(Float64Array::from_iter_values(
                rows.iter().map(|row| row.value),
            )),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn key_batch(keys: &[i64]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(Int64Array::from(keys.to_vec()));
    RecordBatch::try_from_iter([("id", keys)]).unwrap()
}

fn rows_of(answer: &RecordBatch) -> Vec<Option<(i64, f64)>> {
    let values = answer.column_by_name("value").unwrap();
    let values = values.as_primitive::<Float64Type>();
    let times = answer.columns().last().unwrap();
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let row = |row: usize| {
        times
            .is_valid(row)
            .then(|| (times.value(row) / 1_000_000, values.value(row)))
    };
    (0..answer.num_rows()).map(row).collect()
}
