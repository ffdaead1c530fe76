//! A client that goes away takes its work with it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use murre::catalog::Catalogs;
use murre::clock::SystemClock;
use murre::engine::Engine;
use murre::historical::{EntityFrame, Historical};
use murre::model::{EntitySource, FeatureRef, FeatureSelection, HistoricalRequest, Principal};
use murre::staging::Staging;
use murre::table::{FileCache, TableCacheConfig, Tables};

use crate::harness::{Store, entities, rows};

const COMMITS: i64 = 24;
const ROWS_PER_COMMIT: i64 = 100_000;

fn historical(store: &Store) -> Historical {
    let mut config = store.config();
    config.engine.threads = 1;
    let catalogs = Catalogs::connect(&config.catalogs).unwrap();
    Historical::new(
        murre::registry::open(&config.registry, &catalogs).unwrap(),
        Arc::new(Tables::new(catalogs, TableCacheConfig::default())),
        Arc::new(Staging::try_new(&config.staging, Arc::new(SystemClock)).unwrap()),
        Arc::new(Engine::try_new(&config.engine).unwrap()),
        Arc::new(FileCache::footers_only(1 << 20)),
    )
}

fn request() -> HistoricalRequest {
    HistoricalRequest {
        project: None,
        features: FeatureSelection::Refs(vec![FeatureRef {
            view: "stats".to_owned(),
            feature: "value".to_owned(),
        }]),
        full_feature_names: false,
        entity: EntitySource::Attached,
        ordered: true,
        pins: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_stops_the_scan_within_a_second() {
    let commit = |n: i64| rows((0..ROWS_PER_COMMIT).map(move |key| (key, n, 1.0)));
    let store = Store::new(&(0..COMMITS).map(commit).collect::<Vec<_>>(), Vec::new()).await;
    let frame = entities((0..ROWS_PER_COMMIT).map(|key| (key, COMMITS)));
    let frame = EntityFrame::new(frame.schema(), vec![frame]);
    let plan = historical(&store)
        .plan(&Principal::anonymous(), &request(), Some(frame))
        .await
        .unwrap();
    let scanned = || plan.reports()[0].scan.rows_scanned;

    let mut stream = plan.execute().unwrap();
    while scanned() == 0 {
        let _ = tokio::time::timeout(Duration::from_millis(1), stream.next()).await;
    }
    drop(stream);
    murre::clock::sleep(Duration::from_secs(1)).await;
    let stopped_at = scanned();
    assert!(
        stopped_at < (COMMITS * ROWS_PER_COMMIT) as u64,
        "the scan ran to its end: {stopped_at} rows"
    );
    murre::clock::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        scanned(),
        stopped_at,
        "the scan goes on after its stream was dropped"
    );
}
