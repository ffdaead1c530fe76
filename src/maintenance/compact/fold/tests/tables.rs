//! Folds of real tables, read back by the library's own reader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use iceberg::TableUpdate;
use iceberg::arrow::arrow_schema_to_schema_auto_assign_ids;
use iceberg::spec::{Operation, PartitionSpec};
use iceberg::table::Table;
use indicatif::ProgressBar;
use rstest::rstest;
use tempfile::TempDir;

use crate::catalog::tests::local;
use crate::clock::{Clock, ManualClock};
use crate::config::OnlineConfig;
use crate::error::Error;
use crate::maintenance::{CompactReport, FoldLimits, Maintenance, Selection};
use crate::model::{
    KeyField, KeyType, OnlineDefinition, PartitionStrategy, TableName, Ttl, ViewVersion,
};
use crate::table::commit::{
    Change, MAX_SEQUENCE, NewTable, commit_change, create_own_table, max_sequence,
};
use crate::table::entity_key::KeyEncoder;
use crate::table::layout::PartitionBy;
use crate::table::online::{OnlineLayout, arrow_schema, properties, sort_by};
use crate::table::write::{FileStyle, write_as};
use crate::table::{TableCacheConfig, Tables};

const HOUR_US: i64 = 3_600_000_000;
const BUCKETS: u32 = 4;

/// Key, event hour, created hour, value.
type Written = (i64, i64, Option<i64>, f64);
/// A row as it is read: key, event, created, sequence, value.
type Read = (i64, i64, Option<i64>, i64, i64);

struct Lab {
    _folder: TempDir,
    maintenance: Maintenance,
    tables: Arc<Tables>,
    name: TableName,
    next: i64,
    written: Vec<Read>,
}

impl Lab {
    async fn new(strategy: PartitionStrategy) -> Self {
        let layout = OnlineLayout {
            catalog: "default".to_owned(),
            namespace: vec!["online".to_owned()],
            strategy,
            partition_count: BUCKETS,
        };
        Self::laid_out(&layout, layout.partition_by()).await
    }

    async fn laid_out(layout: &OnlineLayout, partition_by: Vec<PartitionBy>) -> Self {
        let folder = TempDir::new().unwrap();
        let catalogs = local(folder.path());
        let tables = Arc::new(Tables::new(catalogs, TableCacheConfig::default()));
        let view = ViewVersion::parse("stats@v2");
        let lab = Self {
            _folder: folder,
            maintenance: Maintenance::new(Arc::clone(&tables)),
            tables,
            name: layout.table_name("shop", &view),
            next: 1,
            written: Vec::new(),
        };
        lab.create(&view, partition_by).await;
        lab
    }

    async fn create(&self, view: &ViewVersion, partition_by: Vec<PartitionBy>) {
        let value = Field::new("value", DataType::Float64, true);
        let schema = arrow_schema(&keys(), &[value]).unwrap();
        let new = NewTable {
            schema: arrow_schema_to_schema_auto_assign_ids(&schema).unwrap(),
            partition_by,
            sort_by: sort_by(),
        };
        let definition = OnlineDefinition {
            join_keys: keys(),
            features: Vec::new(),
            ttl: Ttl::default(),
        };
        let properties = properties("shop", view, &definition, BUCKETS);
        let catalogs = self.tables.catalogs();
        create_own_table(catalogs, &self.name, new, properties)
            .await
            .unwrap();
        let spec = PartitionSpec::unpartition_spec().into_unbound();
        let updates = vec![TableUpdate::AddSpec { spec }];
        self.change(Change {
            updates,
            ..Change::default()
        })
        .await;
    }

    async fn change(&self, change: Change) {
        let catalogs = self.tables.catalogs();
        commit_change(catalogs, &self.name, |_| Ok(change.clone()))
            .await
            .unwrap();
    }

    async fn table(&self) -> Table {
        self.tables.catalogs().load_table(&self.name).await.unwrap()
    }

    /// One snapshot of these rows, in partitions or together.
    async fn write(&mut self, rows: &[Written], together: bool) {
        let table = self.table().await;
        let batch = self.batch(rows);
        let metadata = table.metadata();
        let spec = match together {
            true => metadata
                .partition_specs_iter()
                .find(|it| it.is_unpartitioned())
                .unwrap(),
            false => metadata.default_partition_spec(),
        };
        let files = write_as(&table, spec, FileStyle::LookedUp, vec![batch])
            .await
            .unwrap();
        let summary = [(MAX_SEQUENCE.to_owned(), (self.next - 1).to_string())];
        self.change(Change {
            added: BTreeMap::from([(spec.spec_id(), files.keep())]),
            summary: summary.into(),
            ..Change::default()
        })
        .await;
    }

    fn batch(&mut self, rows: &[Written]) -> RecordBatch {
        let sequences: Vec<i64> = (self.next..).take(rows.len()).collect();
        self.next += rows.len() as i64;
        for (row, sequence) in rows.iter().zip(&sequences) {
            let hours = |hours| hours * HOUR_US;
            let read = (
                row.0,
                hours(row.1),
                row.2.map(hours),
                *sequence,
                row.3 as i64,
            );
            self.written.push(read);
        }
        let times = |hours: Vec<Option<i64>>| -> ArrayRef {
            let micros = hours.into_iter().map(|hours| Some(hours? * HOUR_US));
            Arc::new(TimestampMicrosecondArray::from_iter(micros).with_timezone("+00:00"))
        };
        let drivers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|it| it.0)));
        let encoder = KeyEncoder::new(&keys());
        let entity_keys = encoder.encode(rows.len(), |_| Some(&drivers)).unwrap();
        let values = Float64Array::from_iter_values(rows.iter().map(|it| it.3));
        RecordBatch::try_from_iter([
            ("entity_key", Arc::new(entity_keys) as ArrayRef),
            ("driver_id", Arc::clone(&drivers)),
            (
                "event_timestamp",
                times(rows.iter().map(|it| Some(it.1)).collect()),
            ),
            (
                "created_timestamp",
                times(rows.iter().map(|it| it.2).collect()),
            ),
            ("write_sequence", Arc::new(Int64Array::from(sequences))),
            ("value", Arc::new(values)),
        ])
        .unwrap()
    }

    async fn rows(&self, snapshot: Option<i64>) -> BTreeSet<Read> {
        let table = self.table().await;
        let mut scan = table.scan().select_all();
        if let Some(snapshot) = snapshot {
            scan = scan.snapshot_id(snapshot);
        }
        let stream = scan.build().unwrap().to_arrow().await.unwrap();
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        let rows: Vec<Read> = batches.iter().flat_map(read).collect();
        let distinct: BTreeSet<Read> = rows.iter().copied().collect();
        assert_eq!(rows.len(), distinct.len());
        distinct
    }

    /// Of each key the greatest by event, created, sequence.
    fn latest(&self) -> BTreeSet<Read> {
        let all = self.written.iter();
        let is_latest = |row: &&Read| {
            let mut others = self.written.iter().filter(|other| other.0 == row.0);
            others.all(|other| (other.1, other.2, other.3) <= (row.1, row.2, row.3))
        };
        all.filter(is_latest).copied().collect()
    }

    async fn compact(&self) -> CompactReport {
        let progress = ProgressBar::hidden();
        self.maintenance
            .compact(&self.name, false, &progress)
            .await
            .unwrap()
    }

    async fn snapshot(&self) -> Option<i64> {
        self.table().await.metadata().current_snapshot_id()
    }

    /// Specs of the live files, and how many files share a partition at most.
    async fn layout(&self) -> (BTreeSet<i32>, usize) {
        let pinned = self.tables.pin(&self.name, None).await.unwrap();
        let mut partitions: BTreeMap<String, usize> = BTreeMap::new();
        for file in &*pinned.files().files {
            let place = format!("{} {:?}", file.partition_spec.spec_id(), file.partition);
            *partitions.entry(place).or_default() += 1;
        }
        let files = pinned.files().files.iter();
        let specs = files.map(|file| file.partition_spec.spec_id());
        (
            specs.collect(),
            partitions.values().copied().max().unwrap_or(0),
        )
    }

    /// Large writes, small ones, late rows, ties, several days.
    async fn fill(&mut self) {
        let many: Vec<Written> = (0..200).map(|key| (key, key % 50, None, 1.0)).collect();
        self.write(&many, false).await;
        let newer: Vec<Written> = (0..90).map(|key| (key * 2, 60, Some(1), 2.0)).collect();
        self.write(&newer, false).await;
        for round in 0..5 {
            let few: Vec<Written> = (0..20)
                .map(|key| {
                    (
                        key * 11 + round,
                        10 * (round + 2),
                        (key % 2 == 0).then_some(1),
                        3.0,
                    )
                })
                .collect();
            self.write(&few, true).await;
        }
        self.write(
            &[
                (1, 60, Some(2), 4.0),
                (3, 60, None, 4.0),
                (5, 0, Some(9), 4.0),
            ],
            true,
        )
        .await;
        self.write(&[(3, 60, None, 5.0), (500, 61, None, 5.0)], true)
            .await;
    }
}

fn limits(pass_rows: u64, group_bytes: u64) -> FoldLimits {
    FoldLimits {
        pass_rows,
        group_bytes,
        ..FoldLimits::default()
    }
}

fn keys() -> Vec<KeyField> {
    vec![KeyField {
        name: "driver_id".to_owned(),
        key_type: KeyType::Int64,
    }]
}

fn read(batch: &RecordBatch) -> Vec<Read> {
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let times = |name: &str| column(name).as_primitive::<TimestampMicrosecondType>();
    let longs = |name: &str| column(name).as_primitive::<Int64Type>();
    let (keys, sequences) = (longs("driver_id"), longs("write_sequence"));
    let (events, created) = (times("event_timestamp"), times("created_timestamp"));
    let values = column("value").as_primitive::<Float64Type>();
    (0..batch.num_rows())
        .map(|row| {
            (
                keys.value(row),
                events.value(row),
                created.is_valid(row).then(|| created.value(row)),
                sequences.value(row),
                values.value(row) as i64,
            )
        })
        .collect()
}

#[rstest]
#[case(PartitionStrategy::EntityHash, FoldLimits::default())]
#[case(PartitionStrategy::EntityHash, limits(70, 1))]
#[case(PartitionStrategy::Timestamp, FoldLimits::default())]
#[case(PartitionStrategy::Timestamp, limits(70, 1))]
#[case(PartitionStrategy::Hybrid, FoldLimits::default())]
#[case(PartitionStrategy::Hybrid, limits(1, 20_000))]
#[tokio::test]
async fn only_the_latest_rows_stay_in_one_file_a_partition(
    #[case] strategy: PartitionStrategy,
    #[case] limits: FoldLimits,
) {
    let mut lab = Lab::new(strategy).await;
    lab.maintenance = lab.maintenance.clone().with_limits(limits);
    lab.fill().await;
    let (before, old) = (lab.snapshot().await, lab.rows(None).await);
    let report = lab.compact().await;
    assert_eq!(lab.rows(None).await, lab.latest());
    let default = lab.table().await.metadata().default_partition_spec_id();
    assert_eq!(lab.layout().await, (BTreeSet::from([default]), 1));

    let table = lab.table().await;
    let snapshot = table.metadata().current_snapshot().unwrap();
    assert_eq!(report.snapshot_id, Some(snapshot.snapshot_id()));
    assert_eq!(snapshot.summary().operation, Operation::Replace);
    assert_eq!(max_sequence(table.metadata()), Some(lab.next - 1));
    assert_eq!(
        (report.before.rows, report.after.rows),
        (old.len() as u64, lab.latest().len() as u64)
    );
    let files = lab
        .tables
        .pin(&lab.name, None)
        .await
        .unwrap()
        .files()
        .files
        .len();
    assert_eq!(report.after.files, files as u64);
    assert_eq!(lab.rows(before).await, old, "old snapshots stay readable");

    let again = lab.compact().await;
    assert_eq!((again.snapshot_id, again.files_removed), (None, 0));
    assert_eq!(lab.snapshot().await, report.snapshot_id);
}

#[tokio::test]
async fn buckets_without_news_keep_their_files() {
    let mut lab = Lab::new(PartitionStrategy::EntityHash).await;
    lab.fill().await;
    lab.compact().await;
    lab.write(&[(7, 99, None, 9.0)], true).await;
    let report = lab.compact().await;
    assert_eq!((report.files_removed, report.files_added), (2, 1));
    assert_eq!(lab.rows(None).await, lab.latest());
}

#[tokio::test]
async fn superseded_rows_stay_for_the_grace_period() {
    let mut lab = Lab::new(PartitionStrategy::EntityHash).await;
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let clock = Arc::new(ManualClock::new(UNIX_EPOCH + hours(62)));
    let graced = FoldLimits {
        grace: hours(10),
        ..FoldLimits::default()
    };
    let maintenance = lab.maintenance.clone().with_limits(graced);
    lab.maintenance = maintenance.with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
    lab.fill().await;
    lab.compact().await;
    let young = |from: i64| {
        let all = lab.written.iter().copied();
        let young = all.filter(move |row| row.1 >= from * HOUR_US);
        young.chain(lab.latest()).collect::<BTreeSet<Read>>()
    };
    let (kept, latest) = (young(52), lab.latest());
    assert!(kept.len() > latest.len());
    assert_eq!(lab.rows(None).await, kept);
    assert_eq!(lab.compact().await.snapshot_id, None);
    clock.advance(hours(20));
    lab.compact().await;
    assert_eq!(lab.rows(None).await, latest);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let mut lab = Lab::new(PartitionStrategy::EntityHash).await;
    lab.fill().await;
    let (before, old) = (lab.snapshot().await, lab.rows(None).await);
    let hidden = ProgressBar::hidden();
    let said = lab
        .maintenance
        .compact(&lab.name, true, &hidden)
        .await
        .unwrap();
    assert_eq!((lab.snapshot().await, lab.rows(None).await), (before, old));
    let done = lab.compact().await;
    assert_eq!(said.snapshot_id, None);
    assert_eq!(said.before, done.before);
    assert_eq!(
        (said.after.rows, said.after.files),
        (done.after.rows, done.after.files)
    );
}

#[tokio::test]
async fn writes_and_folds_at_the_same_time_lose_nothing() {
    let mut lab = Lab::new(PartitionStrategy::Hybrid).await;
    lab.fill().await;
    let (maintenance, name) = (lab.maintenance.clone(), lab.name.clone());
    let fold = |maintenance: Maintenance, name: TableName| async move {
        let progress = ProgressBar::hidden();
        match maintenance.compact(&name, false, &progress).await {
            Ok(_) | Err(Error::CommitConflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    };
    let folds = tokio::spawn(async move {
        for _ in 0..3 {
            let one = fold(maintenance.clone(), name.clone());
            futures::join!(one, fold(maintenance.clone(), name.clone()));
        }
    });
    for round in 0..10 {
        lab.write(
            &[(round, 70, None, 6.0), (1_000 + round, 70, None, 6.0)],
            true,
        )
        .await;
    }
    folds.await.unwrap();
    lab.compact().await;
    assert_eq!(lab.rows(None).await, lab.latest());
}

#[tokio::test]
async fn tables_are_chosen_by_project_and_view() {
    let lab = Lab::new(PartitionStrategy::EntityHash).await;
    let layout = OnlineLayout::new(&OnlineConfig::default());
    let find = async |project: Option<&str>, views: &[&str]| {
        let meant = Selection {
            project: project.map(str::to_owned),
            feature_views: views.iter().map(ToString::to_string).collect(),
            ..Selection::default()
        };
        lab.maintenance.select(&layout, None, &meant).await
    };
    let all = vec![lab.name.clone()];
    assert_eq!(find(None, &[]).await.unwrap(), all);
    assert_eq!(find(Some("shop"), &["stats"]).await.unwrap(), all);
    assert_eq!(find(None, &["stats@v2"]).await.unwrap(), all);
    assert_eq!(find(Some("other"), &[]).await.unwrap(), []);
    let error = find(None, &["stat"]).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "feature view `stat` not found; did you mean `stats`?"
    );
    let elsewhere = ["n".to_owned()];
    let none = lab.maintenance.online_tables("default", &elsewhere);
    assert_eq!(none.await.unwrap(), []);
}

#[tokio::test]
async fn tables_of_another_layout_are_refused() {
    let layout = OnlineLayout {
        catalog: "default".to_owned(),
        namespace: vec!["online".to_owned()],
        strategy: PartitionStrategy::EntityHash,
        partition_count: BUCKETS,
    };
    let by_driver = PartitionBy::Bucket {
        column: "driver_id".to_owned(),
        buckets: 2,
    };
    let lab = Lab::laid_out(&layout, vec![by_driver]).await;
    let hidden = ProgressBar::hidden();
    let refused = lab
        .maintenance
        .compact(&lab.name, false, &hidden)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused}");
}
