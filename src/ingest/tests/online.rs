//! Rows of feature views, into online tables and batch sources.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::{AsArray, BooleanArray};
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use iceberg::spec::{DataFile, Literal, Operation, PrimitiveLiteral};
use rstest::rstest;

use super::*;
use crate::model::{
    DeclaredFeature, Entity, FeatureView, JoinKey, KeyField, KeyType, OnlineDefinition,
    PartitionStrategy, Ttl, UpdateOutcome, UpdateRequest, ViewVersion,
};
use crate::registry::Registry;
use crate::table::commit::{
    Change, MAX_SEQUENCE, Removed, append, commit_change, current_sequence, max_sequence,
};
use crate::table::entity_key::bucket_of;
use crate::table::online::OnlineProperties;
use crate::table::write::{arrow_schema, write};

mod concurrent;
mod expired;
mod refused;
mod tables;

#[derive(Debug)]
struct Fixed(Arc<Registry>);

#[async_trait]
impl RegistryReader for Fixed {
    async fn current(&self) -> Result<Arc<Registry>> {
        Ok(Arc::clone(&self.0))
    }
}

/// The registry has the view `stats` of `driver_id`, INT64, whose batch source is `demo.offline`.
struct Lab {
    base: Fixture,
    ingest: Ingest,
}

const BUCKETS: u32 = 4;

impl Lab {
    async fn new() -> Self {
        Self::with(PartitionStrategy::EntityHash).await
    }

    async fn with(strategy: PartitionStrategy) -> Self {
        Self::over(Fixture::new().await, strategy)
    }

    fn over(base: Fixture, strategy: PartitionStrategy) -> Self {
        let view = FeatureView {
            name: "stats".to_owned(),
            join_keys: vec!["driver_id".to_owned()],
            source: FeatureSource {
                location: SourceLocation::Iceberg(named("demo.offline")),
                timestamp_field: "ts".to_owned(),
                created_timestamp_column: None,
                field_mapping: BTreeMap::new(),
            },
            ttl: Ttl::default(),
            features: None,
        };
        let driver = Entity {
            name: "driver".to_owned(),
            join_keys: vec![JoinKey {
                name: "driver_id".to_owned(),
                data_type: Some(DataType::Int64),
            }],
        };
        let registry = Fixed(Arc::new(Registry::new("shop", [driver], [view], [])));
        let layout = OnlineLayout {
            catalog: "default".to_owned(),
            namespace: vec!["online".to_owned()],
            strategy,
            partition_count: BUCKETS,
        };
        let rules = SourceRules::new(SourcesConfig::default(), true, None);
        let ingest =
            Ingest::new(Arc::clone(&base.tables), rules).with_features(Arc::new(registry), layout);
        Self { base, ingest }
    }

    async fn write(&self, request: WriteRequest, batch: RecordBatch) -> Result<WriteOutcome> {
        self.ingest.write_view(request, rows_of(vec![batch])).await
    }

    async fn table(&self) -> iceberg::table::Table {
        self.base.table(&named("online.shop_stats")).await
    }

    async fn stored(&self) -> Vec<RecordBatch> {
        self.base.rows(&named("online.shop_stats")).await
    }

    /// Live data files with their spec ids.
    async fn files(&self) -> Vec<(i32, DataFile)> {
        let table = self.table().await;
        let Some(current) = table.metadata().current_snapshot() else {
            return Vec::new();
        };
        let list = table.manifest_list_reader(current).load().await.unwrap();
        let mut files = Vec::new();
        for file in list.entries() {
            let manifest = file.load_manifest(table.file_io()).await.unwrap();
            let live = manifest.entries().iter().filter(|entry| entry.is_alive());
            files.extend(live.map(|it| (file.partition_spec_id, it.data_file().clone())));
        }
        files
    }
}

fn named(qualified: &str) -> TableName {
    TableName::parse("default", qualified).unwrap()
}

fn online(view: &str) -> WriteRequest {
    WriteRequest {
        project: None,
        view: ViewVersion::parse(view),
        to: WriteTarget::Online,
        idempotency_key: None,
        definition: None,
    }
}

fn keyed(key: &str) -> WriteRequest {
    WriteRequest {
        idempotency_key: Some(key.to_owned()),
        ..online("stats")
    }
}

fn definition(keys: &[(&str, KeyType)], features: &[(&str, &str)]) -> OnlineDefinition {
    OnlineDefinition {
        join_keys: keys
            .iter()
            .map(|(name, key_type)| KeyField {
                name: (*name).to_owned(),
                key_type: *key_type,
            })
            .collect(),
        features: features
            .iter()
            .map(|(name, type_name)| DeclaredFeature {
                name: (*name).to_owned(),
                type_name: (*type_name).to_owned(),
            })
            .collect(),
        ttl: Ttl::default(),
    }
}

fn times(rows: usize) -> ArrayRef {
    let micros = (0..rows).map(|row| 1_700_000_000_000_000 + row as i64);
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros))
}

fn ids(ids: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(ids))
}

/// One row per driver, whose feature is its id.
fn drivers(range: std::ops::Range<i64>) -> RecordBatch {
    batch(vec![
        ("driver_id", ids(range.clone())),
        ("event_timestamp", times(range.clone().count())),
        ("row_id", ids(range)),
    ])
}
