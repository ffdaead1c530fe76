//! Random files, layouts, filters and deletes: what is read is exact, never lacks a row that matters, and never holds
//! a deleted one; what is fetched is what was asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use iceberg::spec::{NestedField, PrimitiveType, Type};
use parquet::file::properties::EnabledStatistics;
use proptest::prelude::*;

use super::super::{FileCache, ScanSpec, TableScan};
use super::harness::{Layout, Table, addresses_of, collect, fetched, plain_schema, rows_of};
use crate::model::{RowAddress, TimeWindow};
use crate::table::layout::{KeyFilter, ScanFilter, SortedKeys};

#[derive(Clone, Debug)]
struct Row {
    id: Option<i64>,
    name: Option<String>,
    at: Option<i64>,
    value: Option<f64>,
}

#[derive(Clone, Debug)]
struct Case {
    files: Vec<(Vec<Row>, Layout)>,
    window: Option<TimeWindow>,
    ids: Option<Vec<i64>>,
    names: Option<Vec<String>>,
    deleted: Vec<(prop::sample::Index, prop::sample::Index)>,
    deleted_ids: Vec<Option<i64>>,
    fetched: Vec<prop::sample::Index>,
    partitions: usize,
    columns: Vec<i32>,
    cache_bytes: u64,
}

fn fields() -> Vec<NestedField> {
    let primitive = |kind| Type::Primitive(kind);
    vec![
        NestedField::optional(1, "id", primitive(PrimitiveType::Long)),
        NestedField::optional(2, "name", primitive(PrimitiveType::String)),
        NestedField::optional(3, "at", primitive(PrimitiveType::Timestamptz)),
        NestedField::optional(4, "value", primitive(PrimitiveType::Double)),
    ]
}

fn name(number: u8) -> String {
    match number % 4 {
        0 => format!("k{number}"),
        1 => format!("ключ-{number}"),
        2 => format!("{}{number}", "long".repeat(30)),
        _ => format!("\u{7f}{number}"),
    }
}

fn row() -> impl Strategy<Value = Row> {
    (
        prop::option::weighted(0.9, 0..40_i64),
        prop::option::weighted(0.9, 0..12_u8),
        prop::option::weighted(0.9, -50..500_i64),
        prop::option::weighted(0.8, any::<f64>()),
    )
        .prop_map(|(id, number, at, value)| Row {
            id,
            name: number.map(name),
            at: at.map(|at| at * 1_000_000),
            value,
        })
}

fn layout() -> impl Strategy<Value = Layout> {
    let statistics = prop_oneof![
        Just(EnabledStatistics::Page),
        Just(EnabledStatistics::Chunk),
        Just(EnabledStatistics::None)
    ];
    (
        1..80_usize,
        1..20_usize,
        statistics,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(group_rows, page_rows, statistics, offset_index, dictionary, bloom)| {
                let offset_index = offset_index || statistics == EnabledStatistics::Page;
                Layout {
                    group_rows,
                    page_rows,
                    statistics,
                    offset_index,
                    dictionary,
                    bloom,
                    ids: true,
                }
            },
        )
}

/// Rows in any order, by time, or by key.
fn file() -> impl Strategy<Value = (Vec<Row>, Layout)> {
    (prop::collection::vec(row(), 0..150), 0..3_u8, layout()).prop_map(
        |(mut rows, order, layout)| {
            match order {
                0 => {}
                1 => rows.sort_by_key(|row| row.at),
                _ => rows.sort_by(|a, b| (a.id, &a.name).cmp(&(b.id, &b.name))),
            }
            (rows, layout)
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let window = (prop::option::of(-60..510_i64), prop::option::of(0..200_i64)).prop_map(
        |(start, length)| {
            let start_us = start.map(|start| start * 1_000_000);
            TimeWindow {
                start_us,
                end_us: length.map(|length| start_us.unwrap_or(0) + length * 1_000_000),
            }
        },
    );
    let ids =
        prop::collection::btree_set(-5..50_i64, 0..6).prop_map(|keys| keys.into_iter().collect());
    let names = prop::collection::btree_set((0..14_u8).prop_map(name), 0..4)
        .prop_map(|keys| keys.into_iter().collect());
    let columns = prop::sample::subsequence(vec![1, 2, 3, 4], 0..=4).prop_shuffle();
    (
        (
            prop::collection::vec(file(), 1..4),
            prop::option::of(window),
            prop::option::of(ids),
            prop::option::of(names),
        ),
        prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..8),
        prop::collection::vec(prop::option::weighted(0.8, 0..40_i64), 0..3),
        prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        1..4_usize,
        columns,
        prop::sample::select(vec![0, 8192, 1 << 20]),
    )
        .prop_map(
            |(
                (files, window, ids, names),
                deleted,
                deleted_ids,
                fetched,
                partitions,
                columns,
                cache_bytes,
            )| {
                Case {
                    files,
                    window,
                    ids,
                    names,
                    deleted,
                    deleted_ids,
                    fetched,
                    partitions,
                    columns,
                    cache_bytes,
                }
            },
        )
}

impl Case {
    fn table(&self) -> (Table, Vec<RecordBatch>) {
        let mut table = Table::new(fields());
        table.cache = Arc::new(FileCache::new(1 << 20, self.cache_bytes));
        let schema = Arc::clone(&table.schema);
        let batches: Vec<RecordBatch> = self
            .files
            .iter()
            .map(|(rows, _)| batch(&schema, rows))
            .collect();
        for (batch, (_, layout)) in batches.iter().zip(&self.files) {
            table.add(&schema, batch, layout);
        }
        let positions = self.deleted_positions();
        if !positions.is_empty() {
            table.delete_positions("positions.parquet", &positions);
        }
        if !self.deleted_ids.is_empty() {
            let ids: Int64Array = self.deleted_ids.iter().copied().collect();
            table.delete_equal("ids.parquet", &fields()[..1], vec![Arc::new(ids)]);
        }
        (table, batches)
    }

    fn deleted_positions(&self) -> Vec<(u32, i64)> {
        let of = |(file, row): &(prop::sample::Index, prop::sample::Index)| {
            let file = file.index(self.files.len());
            let rows = self.files[file].0.len();
            (rows > 0).then(|| (file as u32, row.index(rows) as i64))
        };
        self.deleted.iter().filter_map(of).collect()
    }

    fn spec(&self) -> ScanSpec {
        let ids = self.ids.as_ref().map(|ids| KeyFilter {
            field_id: 1,
            values: SortedKeys::Int(ids.as_slice().into()),
        });
        let names = self.names.as_ref().map(|names| {
            let values = names.iter().map(|name| name.as_bytes().into()).collect();
            KeyFilter {
                field_id: 2,
                values: SortedKeys::Bytes(values),
            }
        });
        let filter = ScanFilter {
            timestamp: self.window.map(|window| (3, window)),
            keys: ids.into_iter().chain(names).collect(),
        };
        ScanSpec {
            columns: self.columns.clone(),
            filter,
            with_addresses: true,
        }
    }

    fn matches(&self, row: &Row) -> bool {
        let in_window = |window: &TimeWindow| row.at.is_some_and(|at| window.overlaps(at, at));
        let in_ids = |ids: &Vec<i64>| row.id.is_some_and(|id| ids.contains(&id));
        let in_names =
            |names: &Vec<String>| row.name.as_ref().is_some_and(|name| names.contains(name));
        self.window.as_ref().is_none_or(in_window)
            && self.ids.as_ref().is_none_or(in_ids)
            && self.names.as_ref().is_none_or(in_names)
    }

    /// Addresses of all rows that are not deleted, and of those that match besides.
    fn expected(&self) -> (BTreeSet<RowAddress>, BTreeSet<RowAddress>) {
        let positions: BTreeSet<(u32, i64)> = self.deleted_positions().into_iter().collect();
        let (mut live, mut matching) = (BTreeSet::new(), BTreeSet::new());
        for (file, (rows, _)) in (0..).zip(&self.files) {
            for (number, row) in (0..).zip(rows) {
                if positions.contains(&(file, number)) || self.deleted_ids.contains(&row.id) {
                    continue;
                }
                let address = RowAddress::new(file, number as u64);
                live.insert(address);
                if self.matches(row) {
                    matching.insert(address);
                }
            }
        }
        (live, matching)
    }
}

fn batch(schema: &iceberg::spec::Schema, rows: &[Row]) -> RecordBatch {
    let ids: Int64Array = rows.iter().map(|row| row.id).collect();
    let names: StringArray = rows.iter().map(|row| row.name.as_deref()).collect();
    let times: TimestampMicrosecondArray = rows.iter().map(|row| row.at).collect();
    let values: Float64Array = rows.iter().map(|row| row.value).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids),
        Arc::new(names),
        Arc::new(times.with_timezone("UTC")),
        Arc::new(values),
    ];
    RecordBatch::try_new(plain_schema(schema), columns).unwrap()
}

/// The named columns of the rows at addresses.
fn naive(batches: &[RecordBatch], addresses: &[RowAddress], columns: &[i32]) -> Vec<RecordBatch> {
    let projection: Vec<usize> = columns.iter().map(|id| *id as usize - 1).collect();
    let of_file = |(file, batch): (u32, &RecordBatch)| {
        let rows = addresses
            .iter()
            .filter(|address| address.file() == file)
            .map(|address| address.row());
        rows_of(&batch.project(&projection).unwrap(), rows)
    };
    (0..).zip(batches).map(of_file).collect()
}

fn same(actual: &[RecordBatch], expected: &[RecordBatch]) -> bool {
    let join = |batches: &[RecordBatch]| {
        batches
            .first()
            .map(|first| concat_batches(&first.schema(), batches).unwrap())
    };
    match (join(actual), join(expected)) {
        (Some(actual), Some(expected)) => actual == expected,
        (None, expected) => expected.is_none_or(|expected| expected.num_rows() == 0),
        (Some(actual), None) => actual.num_rows() == 0,
    }
}

/// Reads everything three times, the second and third time from what was kept.
async fn check(case: &Case) -> Result<(), TestCaseError> {
    let (table, batches) = case.table();
    for _ in 0..3 {
        check_scan(case, &table.scan(case.spec()), &batches).await?;
    }
    Ok(())
}

async fn check_scan(
    case: &Case,
    scan: &TableScan,
    batches: &[RecordBatch],
) -> Result<(), TestCaseError> {
    let mut seen = BTreeSet::new();
    for units in scan.partitions(case.partitions) {
        let read = collect(scan, units).await.unwrap();
        let addresses = addresses_of(&read);
        prop_assert!(addresses.is_sorted());
        prop_assert!(
            addresses.iter().all(|address| seen.insert(*address)),
            "a row came twice"
        );
        let values: Vec<usize> = (0..case.columns.len()).collect();
        let expected = naive(batches, &addresses, &case.columns);
        prop_assert!(
            same(&[read.project(&values).unwrap()], &expected),
            "{read:?} is not {expected:?}"
        );
    }
    let (live, matching) = case.expected();
    prop_assert!(
        seen.is_subset(&live),
        "deleted rows {:?}",
        seen.difference(&live)
    );
    prop_assert!(
        matching.is_subset(&seen),
        "lost rows {:?}",
        matching.difference(&seen)
    );
    check_counters(case, scan, seen.len() as u64)?;
    check_fetch(case, scan, batches).await
}

fn check_counters(case: &Case, scan: &TableScan, read: u64) -> Result<(), TestCaseError> {
    let report = scan.report();
    let groups: usize = case
        .files
        .iter()
        .map(|(rows, layout)| rows.len().div_ceil(layout.group_rows))
        .sum();
    prop_assert_eq!(report.row_groups, groups as u64);
    prop_assert_eq!(report.files_read, case.files.len() as u64);
    prop_assert_eq!(report.rows_scanned - report.rows_deleted, read);
    if report.row_groups_pruned.total() == 0 {
        let rows: usize = case.files.iter().map(|(rows, _)| rows.len()).sum();
        prop_assert_eq!(
            report.rows_scanned + report.rows_pruned_by_page,
            rows as u64
        );
    }
    Ok(())
}

async fn check_fetch(
    case: &Case,
    scan: &TableScan,
    batches: &[RecordBatch],
) -> Result<(), TestCaseError> {
    let all: Vec<RowAddress> = (0..)
        .zip(batches)
        .flat_map(|(file, batch)| {
            (0..batch.num_rows() as u64).map(move |row| RowAddress::new(file, row))
        })
        .collect();
    let picked: BTreeSet<RowAddress> = case
        .fetched
        .iter()
        .filter(|_| !all.is_empty())
        .map(|index| all[index.index(all.len())])
        .collect();
    for addresses in [picked.into_iter().collect(), all] {
        let count = addresses.len() as u64;
        let before = scan.report().rows_fetched;
        let expected = naive(batches, &addresses, &case.columns);
        let rows = fetched(scan, addresses, &case.columns).await.unwrap();
        prop_assert!(same(&rows, &expected), "{rows:?} is not {expected:?}");
        prop_assert_eq!(scan.report().rows_fetched - before, count);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 400, ..ProptestConfig::default() })]
    #[test]
    fn reading_agrees_with_naive_reading(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(&case))?;
    }
}
