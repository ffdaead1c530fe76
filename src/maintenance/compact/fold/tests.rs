//! The fold against models: which rows stay, which files go, and real tables of every strategy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{BinaryArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt64Array};
use proptest::prelude::*;

use super::plan::{Candidate, FoldPlan, Partition, Sizes, plan};
use super::survivors::{Latest, Rank, Stay, Survivors};
use crate::model::RowAddress;
use crate::table::online::{CREATED_TIMESTAMP, ENTITY_KEY, EVENT_TIMESTAMP, WRITE_SEQUENCE};

mod tables;

const BUCKETS: u32 = 4;

fn sizes(group_bytes: u64) -> Sizes {
    Sizes {
        group_bytes,
        file_bytes: crate::table::write::FILE_BYTES as u64,
    }
}

/// A row of a model: its key and what decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    key: u8,
    rank: Rank,
}

/// Few keys and few times, so that all ties occur; sequences are distinct, as in real tables.
fn files() -> impl Strategy<Value = Vec<(Option<u8>, Vec<Row>)>> {
    let row = (0..6u8, 0..3i64, prop::option::of(0..2i64));
    let file = (prop::option::of(0..3u8), prop::collection::vec(row, 0..12));
    prop::collection::vec(file, 0..8).prop_map(|files| {
        let mut write_sequence = 0;
        let numbered = |(key, event_us, created_us)| {
            write_sequence += 7;
            let rank = Rank {
                event_us,
                created_us,
                write_sequence,
            };
            Row { key, rank }
        };
        let mut numbered = numbered;
        let files = files.into_iter();
        files
            .map(|(place, rows)| (place, rows.into_iter().map(&mut numbered).collect()))
            .collect()
    })
}

/// The slow and obvious way: a row stays if no other of its key is greater, or if it is not older than `young`.
fn oracle(files: &[(Option<u8>, Vec<Row>)], young: i64) -> BTreeSet<Row> {
    let all = || files.iter().flat_map(|(_, rows)| rows);
    let is_latest = |row: &Row| all().all(|it| it.key != row.key || it.rank <= row.rank);
    all()
        .filter(|row| row.rank.event_us >= young || is_latest(row))
        .copied()
        .collect()
}

fn batch(file: u32, rows: &[Row]) -> RecordBatch {
    let times = |at: fn(&Rank) -> Option<i64>| {
        TimestampMicrosecondArray::from_iter(rows.iter().map(|row| at(&row.rank)))
            .with_timezone("UTC")
    };
    let keys = BinaryArray::from_iter_values(rows.iter().map(|row| vec![row.key; 3]));
    let sequences = rows.iter().map(|row| row.rank.write_sequence);
    let addresses = (0..rows.len() as u64).map(|row| RowAddress::new(file, row).to_u64());
    RecordBatch::try_from_iter([
        (ENTITY_KEY, Arc::new(keys) as _),
        (
            EVENT_TIMESTAMP,
            Arc::new(times(|it| Some(it.event_us))) as _,
        ),
        (CREATED_TIMESTAMP, Arc::new(times(|it| it.created_us)) as _),
        (
            WRITE_SEQUENCE,
            Arc::new(Int64Array::from_iter_values(sequences)) as _,
        ),
        (
            RowAddress::COLUMN,
            Arc::new(UInt64Array::from_iter_values(addresses)) as _,
        ),
    ])
    .unwrap()
}

/// The rows that the fold's own code keeps, looking at `step` buckets at a time.
fn kept(files: &[(Option<u8>, Vec<Row>)], step: u32, young: i64) -> (Survivors, BTreeSet<Row>) {
    let mut survivors = Survivors::none_of(files.iter().map(|(_, rows)| rows.len() as u64));
    let mut seen = BTreeSet::new();
    for start in (0..BUCKETS).step_by(step as usize) {
        let latest = Latest::new(start..BUCKETS.min(start + step), BUCKETS);
        let mut latest = latest.keeping_from(young);
        let mut see = |key: &[u8], rank, _| assert!(seen.insert(Row { key: key[0], rank }));
        let mut stay = Stay {
            survivors: &mut survivors,
            see: &mut see,
        };
        for (index, (_, rows)) in files.iter().enumerate() {
            let batch = batch(index as u32, rows);
            latest.add(&batch, |row| row, &mut stay).unwrap();
        }
        latest.settle(&mut stay);
    }
    (survivors, seen)
}

/// The partition that a row of a loose file belongs to; rows of other files are where they are.
fn home(row: &Row) -> Partition {
    [i32::from(row.key % 3), 0]
}

fn candidates(
    files: &[(Option<u8>, Vec<Row>)],
    stays: &BTreeSet<Row>,
) -> (Vec<Candidate>, BTreeMap<Partition, u64>) {
    let mut incoming = BTreeMap::new();
    let staying = |rows: &[Row]| rows.iter().filter(|row| stays.contains(row)).count() as u64;
    for (_, rows) in files.iter().filter(|(place, _)| place.is_none()) {
        for row in rows.iter().filter(|row| stays.contains(row)) {
            *incoming.entry(home(row)).or_default() += 1;
        }
    }
    let candidate = |(place, rows): &(Option<u8>, Vec<Row>)| Candidate {
        partition: place.map(|place| [i32::from(place), 0]),
        rows: rows.len() as u64,
        survivors: staying(rows),
        bytes: 10 * rows.len() as u64,
        deletes: false,
    };
    (files.iter().map(candidate).collect(), incoming)
}

/// The model's files after the plan was followed.
fn follow(
    files: &[(Option<u8>, Vec<Row>)],
    stays: &BTreeSet<Row>,
    plan: &FoldPlan,
) -> Vec<(Option<u8>, Vec<Row>)> {
    let gone: BTreeSet<usize> = plan.gone.iter().copied().collect();
    let left = files.iter().enumerate();
    let mut after: Vec<_> = left
        .filter(|(index, _)| !gone.contains(index))
        .map(|(_, file)| file.clone())
        .collect();
    for group in &plan.groups {
        for partition in &group.partitions {
            let of_files = group.files.iter().chain(&plan.loose);
            let rows = of_files.flat_map(|index| {
                let (place, rows) = &files[*index];
                let in_place = |row: &Row| place.map_or(home(row), |it| [i32::from(it), 0]);
                rows.iter().filter(move |row| in_place(row) == *partition)
            });
            let rows: Vec<Row> = rows.filter(|row| stays.contains(row)).copied().collect();
            assert!(!rows.is_empty(), "a group rewrites partitions with rows");
            after.push((Some(partition[0] as u8), rows));
        }
    }
    after
}

fn all(files: &[(Option<u8>, Vec<Row>)]) -> Vec<Row> {
    let mut rows: Vec<Row> = files.iter().flat_map(|(_, rows)| rows.clone()).collect();
    rows.sort_unstable();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever lies in which file and however many keys are looked at at a time; 3 is later than all rows.
    #[test]
    fn the_latest_row_of_each_key_stays(files in files(), step in 1..=BUCKETS, young in 0..4i64) {
        let young = if young == 3 { i64::MAX } else { young };
        let (survivors, seen) = kept(&files, step, young);
        let expected = oracle(&files, young);
        prop_assert_eq!(&seen, &expected);
        for (index, (_, rows)) in files.iter().enumerate() {
            let own = rows.iter().filter(|row| expected.contains(row)).count();
            prop_assert_eq!(survivors.count(index), own as u64);
            for (position, row) in rows.iter().enumerate() {
                let address = RowAddress::new(index as u32, position as u64);
                prop_assert_eq!(survivors.contains(address), expected.contains(row));
            }
        }
    }

    /// After a fold exactly the latest rows are there, once each, and another one finds nothing to do.
    #[test]
    fn a_fold_keeps_all_that_stays_and_is_done_then(files in files(), group_bytes in 0..200u64) {
        let stays = oracle(&files, i64::MAX);
        let (before, incoming) = candidates(&files, &stays);
        let plan = plan(&before, &incoming, sizes(group_bytes));
        let after = follow(&files, &stays, &plan);
        prop_assert_eq!(all(&after), stays.iter().copied().collect::<Vec<_>>());
        let (again, incoming) = candidates(&after, &stays);
        prop_assert_eq!(super::plan::plan(&again, &incoming, sizes(group_bytes)), FoldPlan::default());
    }
}

#[test]
fn tidy_partitions_stay_untouched() {
    let file = |partition: Option<i32>, rows, survivors| Candidate {
        partition: partition.map(|bucket| [bucket, 0]),
        rows,
        survivors,
        bytes: 100,
        deletes: false,
    };
    let files = [
        file(Some(0), 5, 5),
        file(Some(1), 5, 4),
        file(Some(2), 5, 5),
        file(Some(2), 1, 1),
        file(Some(3), 5, 0),
        file(None, 2, 1),
        file(None, 2, 0),
        file(Some(4), 5, 5),
    ];
    let plan = plan(&files, &BTreeMap::from([([4, 0], 1)]), sizes(1_000));
    assert_eq!(plan.gone, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(plan.loose, [5]);
    let partitions: Vec<_> = plan.groups.iter().map(|group| &group.partitions).collect();
    assert_eq!(partitions, [&BTreeSet::from([[1, 0], [2, 0], [4, 0]])]);
    assert_eq!(plan.groups[0].files, [1, 2, 3, 7]);
}

#[test]
fn a_partition_may_have_as_many_files_as_its_size_needs() {
    let large = |bytes| Candidate {
        partition: Some([0, 0]),
        rows: 5,
        survivors: 5,
        bytes,
        deletes: false,
    };
    let most = crate::table::write::FILE_BYTES as u64;
    let tidy = [large(most), large(most + 7), large(3)];
    assert_eq!(plan(&tidy, &BTreeMap::new(), sizes(1)), FoldPlan::default());
    let untidy = [large(most), large(4), large(3)];
    assert_eq!(plan(&untidy, &BTreeMap::new(), sizes(1)).gone, [0, 1, 2]);
}
