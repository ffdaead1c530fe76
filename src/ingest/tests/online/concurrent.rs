//! Writers beside each other, in this process and in others.

use futures::future::join_all;
use iceberg::TableUpdate;
use iceberg::spec::{SnapshotReference, SnapshotRetention};
use proptest::prelude::*;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_first_writes_lose_nothing() {
    let lab = Lab::new().await;
    let writes = (0..8).map(|i| lab.write(online("stats"), drivers(i * 10..i * 10 + 10)));
    for outcome in join_all(writes).await {
        assert_eq!(outcome.unwrap().rows, 10);
    }
    let rows = lab.stored().await;
    assert_eq!(integers(&rows, "row_id"), (0..80).collect::<Vec<_>>());
    let sequences: BTreeSet<i64> = integers(&rows, "write_sequence").into_iter().collect();
    assert_eq!(sequences.len(), 80);
}

/// On one thread all of them wait before the first commit starts.
#[tokio::test]
async fn writes_that_wait_are_one_snapshot() {
    let lab = Lab::new().await;
    lab.write(online("stats"), drivers(0..1)).await.unwrap();
    let (table, before) = (lab.table().await, lab.stored().await);
    let spec = table.metadata().default_partition_spec_id();
    let mut submissions = Vec::new();
    for i in 0..8 {
        let files = write(&table, &[before[0].clone()]).await.unwrap();
        submissions.push(crate::table::commit::Submission {
            // The last was written for a table that is gone.
            table: match i {
                7 => uuid::Uuid::nil(),
                _ => table.metadata().uuid(),
            },
            files: BTreeMap::from([(spec, files)]),
            rows: 1,
            key: Some(format!("key {}", i / 2)),
            max_sequence: None,
        });
    }
    let name = named("online.shop_stats");
    let commits = submissions
        .into_iter()
        .map(|it| lab.ingest.commits.commit(&name, it));
    let results = join_all(commits).await;
    let (bad, good): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_err);
    let good: Vec<_> = good.into_iter().map(|it| it.unwrap()).collect();
    assert_eq!((bad.len(), good.len()), (1, 7));
    let snapshots: BTreeSet<i64> = good.iter().map(|it| it.write.snapshot_id).collect();
    assert_eq!(snapshots.len(), 1);
    assert_eq!(good.iter().filter(|it| it.replayed).count(), 3);
    assert_eq!(lab.table().await.metadata().snapshots().len(), 2);
    assert_eq!(integers(&lab.stored().await, "row_id").len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_is_written_once() {
    let lab = Lab::new().await;
    let writes = (0..4).map(|_| lab.write(keyed("once"), drivers(0..5)));
    let outcomes: Vec<WriteOutcome> = join_all(writes)
        .await
        .into_iter()
        .map(|it| it.unwrap())
        .collect();
    let again = lab.write(keyed("once"), drivers(0..5)).await.unwrap();
    assert_eq!(outcomes.iter().filter(|it| !it.replayed).count(), 1);
    let all = outcomes.iter().chain([&again]);
    assert!(
        all.clone()
            .all(|it| it.rows == 5 && it.snapshot == again.snapshot && it.token == again.token)
    );
    assert!(again.replayed);
    assert_eq!(integers(&lab.stored().await, "row_id").len(), 5);
    assert_eq!(lab.base.data_files(), 1);
}

/// As after a rollback, or where another engine has set the table back.
#[tokio::test]
async fn a_key_counts_only_while_its_rows_are_there() {
    let lab = Lab::new().await;
    let first = lab.write(keyed("first"), drivers(0..1)).await.unwrap();
    lab.write(keyed("second"), drivers(1..2)).await.unwrap();
    let back = TableUpdate::SetSnapshotRef {
        ref_name: "main".to_owned(),
        reference: SnapshotReference::new(
            first.snapshot.unwrap().0,
            SnapshotRetention::branch(None, None, None),
        ),
    };
    let change = Change {
        updates: vec![back],
        ..Change::default()
    };
    let name = named("online.shop_stats");
    let set_back = commit_change(lab.base.tables.catalogs(), &name, |_| Ok(change.clone()));
    set_back.await.unwrap();
    let again = lab.write(keyed("second"), drivers(1..2)).await.unwrap();
    let known = lab.write(keyed("first"), drivers(0..1)).await.unwrap();
    assert!(!again.replayed && known.replayed);
    assert_eq!(integers(&lab.stored().await, "row_id"), [0, 1]);
}

#[tokio::test]
async fn a_writer_that_goes_away_takes_nothing_with_it() {
    let lab = Lab::new().await;
    lab.write(online("stats"), drivers(0..1)).await.unwrap();
    let gone = lab.write(online("stats"), drivers(1..2));
    let stays = lab.write(online("stats"), drivers(2..3));
    let limit = std::time::Duration::from_millis(3);
    let (gone, stays) = futures::join!(tokio::time::timeout(limit, gone), stays);
    stays.unwrap();
    lab.write(online("stats"), drivers(3..4)).await.unwrap();
    let rows = integers(&lab.stored().await, "row_id");
    let acknowledged: &[i64] = if gone.is_ok() {
        &[0, 1, 2, 3]
    } else {
        &[0, 2, 3]
    };
    assert!(acknowledged.iter().all(|it| rows.contains(it)), "{rows:?}");
}

#[tokio::test]
async fn others_may_append_in_between() {
    let lab = Lab::new().await;
    lab.write(online("stats"), drivers(0..2)).await.unwrap();
    foreign(&lab).await;
    let highest = max_sequence(lab.table().await.metadata()).unwrap();
    lab.write(online("stats"), drivers(2..3)).await.unwrap();
    assert_eq!(integers(&lab.stored().await, "row_id"), [0, 0, 1, 2]);
    let table = lab.table().await;
    let told = &table
        .metadata()
        .current_snapshot()
        .unwrap()
        .summary()
        .additional_properties;
    assert!(told[MAX_SEQUENCE].parse::<i64>().unwrap() > highest);
    assert_eq!(told["total-records"], "4");
}

/// Another process appends the first stored row again, by the library's own transaction.
async fn foreign(lab: &Lab) {
    let first = lab.stored().await.into_iter().find(|it| it.num_rows() > 0);
    let first = first.unwrap().slice(0, 1);
    let table = lab.table().await;
    let schema = Arc::new(arrow_schema(&table).unwrap());
    // A scan has the snapshot's columns, which may be fewer.
    let columns = schema.fields().iter().map(|field| {
        let found = first.column_by_name(field.name()).cloned();
        found.unwrap_or_else(|| arrow::array::new_null_array(field.data_type(), 1))
    });
    let row = RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap();
    let files = write(&table, &[row]).await.unwrap();
    append(
        lab.base.tables.catalogs(),
        &named("online.shop_stats"),
        files,
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn files_are_replaced_if_they_are_still_there() {
    let lab = Lab::new().await;
    for i in 0..3 {
        lab.write(online("stats"), drivers(i..i + 1)).await.unwrap();
    }
    let (table, name) = (lab.table().await, named("online.shop_stats"));
    let files = lab.files().await;
    let spec = table.metadata().default_partition_spec_id();
    let rows = lab.stored().await;
    let change = |added| Change {
        added: BTreeMap::from([(spec, added)]),
        removed: Removed::Files {
            paths: files
                .iter()
                .take(2)
                .map(|it| it.1.file_path().to_owned())
                .collect(),
            read_at: current_sequence(&table),
        },
        operation: Operation::Replace,
        summary: HashMap::from([("murre.test".to_owned(), "yes".to_owned())]),
        ..Change::default()
    };
    let kept = files[2].1.file_path().to_owned();
    let folded: Vec<RecordBatch> = {
        let mut all = arrow::compute::concat_batches(&rows[0].schema(), &rows).unwrap();
        let last = integers(&lab.rows_of_file(&kept).await, "row_id");
        let mask: BooleanArray = all
            .column_by_name("row_id")
            .unwrap()
            .as_primitive::<Int64Type>()
            .iter()
            .map(|it| it.map(|it| !last.contains(&it)))
            .collect();
        all = arrow::compute::filter_record_batch(&all, &mask).unwrap();
        vec![all]
    };
    let highest = max_sequence(table.metadata());
    let added = write(&table, &folded).await.unwrap();
    let catalogs = lab.base.tables.catalogs();
    let committed = commit_change(catalogs, &name, |_| Ok(change(added.clone())))
        .await
        .unwrap();
    assert_eq!(integers(&lab.stored().await, "row_id"), [0, 1, 2]);
    let metadata = committed.table.metadata();
    let summary = metadata.current_snapshot().unwrap().summary();
    assert_eq!(summary.operation, Operation::Replace);
    assert_eq!(summary.additional_properties["murre.test"], "yes");
    assert_eq!(summary.additional_properties["total-records"], "3");
    assert_eq!(max_sequence(metadata), highest);
    let current = metadata.current_snapshot().unwrap();
    let list = committed
        .table
        .manifest_list_reader(current)
        .load()
        .await
        .unwrap();
    assert_eq!(list.entries().len(), 2, "small manifests are merged");
    let again = commit_change(catalogs, &name, |_| Ok(change(added.clone()))).await;
    assert!(matches!(again, Err(Error::CommitConflict { .. })));
}

impl Lab {
    async fn rows_of_file(&self, path: &str) -> Vec<RecordBatch> {
        let table = self.table().await;
        let bytes = table
            .file_io()
            .new_input(path)
            .unwrap()
            .read()
            .await
            .unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1_024);
        reader.unwrap().map(|it| it.unwrap()).collect()
    }
}

/// One of several writers that run at the same time.
#[derive(Clone, Debug)]
struct Writer {
    rows: i64,
    key: Option<u8>,
    column: Option<u8>,
    wide: bool,
}

fn writer() -> impl Strategy<Value = Writer> {
    let key = proptest::option::of(0u8..3);
    let column = proptest::option::of(0u8..2);
    (1..4i64, key, column, any::<bool>()).prop_map(|(rows, key, column, wide)| Writer {
        rows,
        key,
        column,
        wide,
    })
}

fn written_by(writer: &Writer, first: i64) -> (WriteRequest, RecordBatch) {
    let request = match writer.key {
        Some(key) => keyed(&key.to_string()),
        None => online("stats"),
    };
    let range = first..first + writer.rows;
    let mut columns = vec![
        ("driver_id", ids(range.clone().map(|id| id % 3))),
        ("event_timestamp", times(range.clone().count())),
        ("row_id", ids(range.clone())),
    ];
    if let Some(column) = writer.column {
        let name = ["x", "y"][usize::from(column)];
        let narrow = Int32Array::from_iter_values(range.clone().map(|_| 1));
        let values: ArrayRef = if writer.wide {
            ids(range)
        } else {
            Arc::new(narrow)
        };
        columns.push((name, values));
    }
    (request, batch(columns))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Waves of concurrent writers, with appends of others between them.
    #[test]
    fn every_acknowledged_row_is_there_exactly_once(
        waves in proptest::collection::vec((proptest::collection::vec(writer(), 1..5), any::<bool>()), 1..4)
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(run(waves));
    }
}

async fn run(waves: Vec<(Vec<Writer>, bool)>) {
    let lab = Lab::new().await;
    let (mut next, mut expected, mut keys) = (0, Vec::new(), BTreeSet::new());
    for (writers, foreign_after) in waves {
        let mut planned = Vec::new();
        for writer in writers {
            planned.push((
                written_by(&writer, next),
                writer.key,
                next..next + writer.rows,
            ));
            next += writer.rows;
        }
        let writes = planned
            .iter()
            .map(|((request, batch), ..)| lab.write(request.clone(), batch.clone()));
        let outcomes = join_all(writes).await;
        for (outcome, (_, key, rows)) in outcomes.into_iter().zip(planned) {
            if !outcome.unwrap().replayed {
                expected.extend(rows);
                assert!(
                    key.is_none_or(|key| keys.insert(key)),
                    "one write for each key"
                );
            }
        }
        if foreign_after {
            let before = integers(&lab.stored().await, "row_id");
            foreign(&lab).await;
            let after = integers(&lab.stored().await, "row_id");
            let twice = after.iter().find(|it| {
                let count = |rows: &[i64]| rows.iter().filter(|row| row == it).count();
                count(&after) > count(&before)
            });
            expected.push(*twice.unwrap());
        }
        let mut sorted = expected.clone();
        sorted.sort_unstable();
        assert_eq!(integers(&lab.stored().await, "row_id"), sorted);
    }
}
