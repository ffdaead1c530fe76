//! Point-in-time joins with Parquet files, as a server makes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
    TimestampNanosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::Int32Type;
use futures::TryStreamExt;

use super::harness::{Folder, batch, names, shown};
use crate::catalog::Catalogs;
use crate::clock::SystemClock;
use crate::config::EngineConfig;
use crate::engine::Engine;
use crate::error::Result;
use crate::historical::{EntityFrame, Historical};
use crate::model::{
    EntitySource, FeatureRef, FeatureSelection, FeatureSource, FeatureView, HistoricalRequest,
    Principal, SourceLocation, Ttl,
};
use crate::registry::{Registry, RegistryReader};
use crate::staging::{Staging, StagingConfig};
use crate::table::{FileCache, TableCacheConfig, Tables};

const HOUR_US: i64 = 3_600_000_000;

#[derive(Debug)]
struct Fixed(Arc<Registry>);

#[async_trait::async_trait]
impl RegistryReader for Fixed {
    async fn current(&self) -> Result<Arc<Registry>> {
        Ok(Arc::clone(&self.0))
    }
}

fn historical(location: SourceLocation) -> Historical {
    let view = FeatureView {
        name: "stats".to_owned(),
        join_keys: vec!["driver".to_owned()],
        source: FeatureSource {
            location,
            timestamp_field: "event_timestamp".to_owned(),
            created_timestamp_column: Some("created".to_owned()),
            field_mapping: BTreeMap::from([("driver_id".to_owned(), "driver".to_owned())]),
        },
        ttl: Ttl::new(Duration::from_secs(2 * 3600)),
        features: Some(vec!["rate".to_owned(), "city".to_owned()]),
    };
    let registry = Registry::new("test", [], [view], []);
    let catalogs = Catalogs::connect(&BTreeMap::new()).unwrap();
    Historical::new(
        Arc::new(Fixed(Arc::new(registry))),
        Arc::new(Tables::new(catalogs, TableCacheConfig::default())),
        Arc::new(Staging::try_new(&StagingConfig::default(), Arc::new(SystemClock)).unwrap()),
        Arc::new(Engine::try_new(&EngineConfig::default()).unwrap()),
        Arc::new(FileCache::footers_only(1 << 20)),
    )
}

/// Rows of (driver, event hour, created hour, rate), typed as `feast init` writes them.
fn stats(rows: &[(i64, i64, i64, f64)]) -> [(&'static str, ArrayRef); 5] {
    let of = |pick: fn(&(i64, i64, i64, f64)) -> i64| rows.iter().map(pick);
    let nanos = TimestampNanosecondArray::from_iter_values(of(|row| row.1 * HOUR_US * 1000));
    let created = TimestampMicrosecondArray::from_iter_values(of(|row| row.2 * HOUR_US));
    let cities: DictionaryArray<Int32Type> = rows.iter().map(|_| "Oslo").collect();
    [
        ("event_timestamp", Arc::new(nanos.with_timezone("UTC"))),
        (
            "driver_id",
            Arc::new(Int64Array::from_iter_values(of(|row| row.0))),
        ),
        ("created", Arc::new(created)),
        (
            "rate",
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.3))),
        ),
        ("city", Arc::new(cities)),
    ]
}

async fn joined(historical: &Historical, entities: &[(i64, i64)]) -> RecordBatch {
    let times = entities.iter().map(|(_, hour)| hour * HOUR_US);
    let drivers = Int64Array::from_iter_values(entities.iter().map(|(driver, _)| *driver));
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let frame = batch(&[
        ("driver", Arc::new(drivers)),
        ("event_timestamp", Arc::new(times)),
    ]);
    let feature = |feature: &str| FeatureRef {
        view: "stats".to_owned(),
        feature: feature.to_owned(),
    };
    let request = HistoricalRequest {
        project: None,
        features: FeatureSelection::Refs(vec![feature("rate"), feature("city")]),
        full_feature_names: false,
        entity: EntitySource::Attached,
        ordered: true,
        pins: None,
    };
    let frame = EntityFrame::new(frame.schema(), vec![frame]);
    let plan = historical
        .plan(&Principal::anonymous(), &request, Some(frame))
        .await
        .unwrap();
    let batches: Vec<RecordBatch> = plan.execute().unwrap().try_collect().await.unwrap();
    concat_batches(&plan.schema(), &batches).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn features_of_a_file_are_joined_and_new_rows_are_seen() {
    let folder = Folder::new();
    let mut rows = vec![
        (1, 10, 0, 0.1),
        (1, 11, 0, 0.2),
        (1, 11, 5, 0.3),
        (2, 3, 0, 0.4),
    ];
    folder.write("stats.parquet", &stats(&rows));
    let historical = historical(SourceLocation::Parquet(folder.location("stats.parquet")));
    let entities = [(2, 12), (1, 12), (1, 10), (3, 12)];
    let before = joined(&historical, &entities).await;
    assert_eq!(
        names(&before),
        ["driver", "event_timestamp", "rate", "city"]
    );
    assert_eq!(shown(&before, "rate"), ["", "0.3", "0.1", ""]);
    assert_eq!(shown(&before, "city"), ["", "Oslo", "Oslo", ""]);

    rows.push((3, 12, 0, 0.5));
    folder.write("stats.parquet", &stats(&rows));
    let after = joined(&historical, &entities).await;
    assert_eq!(shown(&after, "rate"), ["", "0.3", "0.1", "0.5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn features_of_a_folder_are_joined_whichever_file_they_are_in() {
    let folder = Folder::new();
    folder.write(
        "f/day=1/a.parquet",
        &stats(&[(1, 10, 0, 0.1), (2, 11, 0, 0.2)]),
    );
    folder.write(
        "f/day=2/b.parquet",
        &stats(&[(1, 11, 0, 0.3), (2, 10, 0, 0.4)]),
    );
    let historical = historical(SourceLocation::Parquet(folder.location("f")));
    let found = joined(&historical, &[(1, 12), (2, 12), (1, 10)]).await;
    assert_eq!(shown(&found, "rate"), ["0.3", "0.2", "0.1"]);
}
