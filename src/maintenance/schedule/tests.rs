//! Rounds over real tables, with a clock that a test moves.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::SystemTime;

use async_trait::async_trait;
use iceberg::TableUpdate;

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::config::OnlineConfig;
use crate::maintenance::lab::{Lab, hybrid};
use crate::maintenance::{MAINTAINER, Maintainer};
use crate::model::{FeatureSource, FeatureView, SourceLocation, Ttl};
use crate::table::commit::Change;

/// Definitions with one view, over the lab's table.
#[derive(Debug)]
struct Defined(TableName);

#[async_trait]
impl RegistryReader for Defined {
    async fn current(&self) -> Result<Arc<Registry>> {
        let view = FeatureView {
            name: "history".to_owned(),
            join_keys: Vec::new(),
            source: FeatureSource {
                location: SourceLocation::Iceberg(self.0.clone()),
                timestamp_field: "event_timestamp".to_owned(),
                created_timestamp_column: None,
                field_mapping: BTreeMap::new(),
            },
            ttl: Ttl::default(),
            features: None,
        };
        Ok(Arc::new(Registry::new("shop", [], [view], [])))
    }
}

/// Files and snapshots of each state that the schedule told.
type Told = Arc<Mutex<Vec<usize>>>;

struct Scheduled {
    lab: Lab,
    clock: Arc<ManualClock>,
    schedule: Arc<Schedule>,
    told: Told,
    stop: watch::Sender<bool>,
}

impl Scheduled {
    async fn new() -> Self {
        Self::with_hook(|told| {
            Arc::new(move |_, table| {
                let snapshots = table.map(|table| table.metadata().snapshots().len());
                told.lock().unwrap().push(snapshots.unwrap_or_default());
            })
        })
        .await
    }

    async fn with_hook(hook: impl FnOnce(Told) -> CommitHook) -> Self {
        let lab = Lab::new(hybrid(), &[]).await;
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let told = Told::default();
        let config = MaintenanceConfig::default();
        let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let maintenance = lab.maintenance.clone().with_clock(Arc::clone(&shared));
        let sources = ScheduleSources {
            registry: Arc::new(Defined(lab.name.clone())),
            layout: OnlineLayout::new(&OnlineConfig::default()),
            clock: shared,
            hook: hook(Arc::clone(&told)),
        };
        Self {
            schedule: Arc::new(Schedule::new(config, maintenance, sources)),
            lab,
            clock,
            told,
            stop: watch::Sender::new(false),
        }
    }

    async fn round(&self) {
        self.schedule.round(&self.stop.subscribe()).await;
    }

    /// What makes a compaction due.
    async fn write_small_files(&mut self) {
        for value in 0..8 {
            self.lab.append(&[(Some(1), 1, Some(value))]).await;
        }
    }

    async fn set(&self, key: &str, value: &str) {
        let updates = [(key.to_owned(), value.to_owned())].into();
        let change = Change {
            updates: vec![TableUpdate::SetProperties { updates }],
            ..Change::default()
        };
        self.lab.change(change).await.unwrap();
    }

    async fn property(&self, key: &str) -> Option<String> {
        self.lab
            .table()
            .await
            .metadata()
            .properties()
            .get(key)
            .cloned()
    }

    async fn files(&self) -> usize {
        self.lab.files().await.len()
    }

    async fn snapshots(&self) -> usize {
        self.lab.table().await.metadata().snapshots().len()
    }

    /// A search was made just now, so that none is due.
    async fn skip_gc(&self) {
        let now = lease::millis(self.clock.now()).to_string();
        self.set(GC_AT, &now).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_done_and_told() {
    let mut it = Scheduled::new().await;
    it.write_small_files().await;
    it.skip_gc().await;
    it.round().await;
    assert_eq!(it.files().await, 1);
    assert_eq!(it.property(MAINTAINER).await, None);
    let snapshots = it.snapshots().await;
    assert_eq!(*it.told.lock().unwrap(), [snapshots]);
    it.lab.check().await;

    // Nothing is due, and nothing is committed.
    let before = it.lab.table().await.metadata_location().map(str::to_owned);
    it.round().await;
    let after = it.lab.table().await.metadata_location().map(str::to_owned);
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_do_not_say_on_are_left_alone() {
    let mut it = Scheduled::new().await;
    it.write_small_files().await;
    it.set(MAINTENANCE, "off").await;
    it.round().await;
    assert_eq!(it.files().await, 8);
    it.set(MAINTENANCE, ON).await;
    it.round().await;
    assert_eq!(it.files().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_another_server_maintains_is_skipped() {
    let mut it = Scheduled::new().await;
    it.write_small_files().await;
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&it.clock);
    let other = Maintainer::new(it.lab.tables.catalogs().clone(), clock);
    let taken = other.take(&it.lab.name).await.unwrap();
    assert!(matches!(taken, Take::Ours(_)));
    it.round().await;
    assert_eq!(it.files().await, 8);
    it.clock.advance(lease::LEASE + Duration::from_secs(1));
    it.round().await;
    assert_eq!(it.files().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_snapshots_expire_at_most_every_hour() {
    let mut it = Scheduled::new().await;
    it.lab.append(&[(Some(1), 1, None)]).await;
    it.lab.append(&[(Some(1), 2, None)]).await;
    it.skip_gc().await;
    it.round().await;
    assert_eq!(it.snapshots().await, 2);
    it.clock.advance(Duration::from_secs(6 * 24 * 60 * 60));
    it.skip_gc().await;
    it.round().await;
    assert_eq!(it.snapshots().await, 1);
    it.lab.append(&[(Some(1), 3, None)]).await;
    it.round().await;
    assert_eq!(it.snapshots().await, 2, "the clock stood still");
    it.clock.advance(Duration::from_secs(60 * 60));
    it.skip_gc().await;
    it.round().await;
    assert_eq!(it.snapshots().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_searched_for_once_a_day_whoever_did_it_last() {
    let mut it = Scheduled::new().await;
    it.lab.append(&[(Some(1), 1, None)]).await;
    let folder = it.lab.table().await.metadata().location().to_owned();
    let orphan = format!(
        "{}/data/orphan.parquet",
        folder.trim_start_matches("file://")
    );
    std::fs::write(&orphan, "x").unwrap();
    it.round().await;
    let searched = it.property(GC_AT).await.unwrap();
    assert_eq!(searched, lease::millis(it.clock.now()).to_string());
    assert!(std::fs::exists(&orphan).unwrap(), "it is too young");

    it.clock.advance(Duration::from_secs(4 * 24 * 60 * 60));
    it.skip_gc().await;
    it.round().await;
    assert!(
        std::fs::exists(&orphan).unwrap(),
        "another server has searched"
    );
    it.clock.advance(Duration::from_secs(24 * 60 * 60));
    it.round().await;
    assert!(!std::fs::exists(&orphan).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_stops_no_other_and_waits() {
    let mut it = Scheduled::new().await;
    it.write_small_files().await;
    it.set("gc.enabled", "false").await;
    it.round().await;
    assert_eq!(it.files().await, 1);
    assert_eq!(it.property(GC_AT).await, None);
    let name = it.lab.name.clone();
    let may = |at: SystemTime| it.schedule.memory.may(&name, Job::Gc, at);
    let now = it.clock.now();
    assert!(!may(now));
    assert!(may(now + it.schedule.config.interval));
    assert!(it.schedule.memory.may(&name, Job::Compact, now));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_neither_the_round_nor_the_next() {
    let mut it = Scheduled::with_hook(|told| {
        Arc::new(move |_, _| {
            told.lock().unwrap().push(0);
            panic!("no");
        })
    })
    .await;
    it.write_small_files().await;
    it.round().await;
    it.write_small_files().await;
    it.round().await;
    assert_eq!(it.files().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_at_once_when_told_to() {
    let mut it = Scheduled::new().await;
    it.write_small_files().await;
    let started = it.schedule.start(it.stop.subscribe());
    it.stop.send_replace(true);
    let ended = tokio::time::timeout(Duration::from_secs(10), started);
    ended.await.unwrap().unwrap();
    it.round().await;
    assert_eq!(it.files().await, 8);
}
