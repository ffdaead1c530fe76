//! Single properties of the operator, each by an example made for it.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, Int32Array, Int64Builder, ListBuilder, MapBuilder, StringBuilder,
    StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Field, Fields, Int32Type, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{Distribution, ExecutionPlan, collect};
use insta::assert_snapshot;
use rstest::rstest;

use super::super::{PitJoinExec, PitView, PitViewReport};
use super::batch;
use super::fixture::{MICRO, Table, join_one, spine, unbounded, values, view};
use super::source::{Layout, TableSource, scan};

#[tokio::test]
async fn both_ends_of_the_window_are_inclusive() {
    let table = Table::of(MICRO, &[(1, 100, 7)]).with_ttl(Duration::from_micros(10));
    let found = values(
        MICRO,
        &[(1, 99), (1, 100), (1, 110), (1, 111), (2, 105)],
        &table,
    )
    .await;
    assert_eq!(found, [None, Some(7), Some(7), None, None]);
}

#[tokio::test]
async fn a_ttl_of_zero_is_unbounded() {
    let table = Table::of(MICRO, &[(1, -1_000_000_000_000_000, 7)]).with_ttl(Duration::ZERO);
    assert_eq!(
        values(MICRO, &[(1, 1_000_000_000_000_000)], &table).await,
        [Some(7)]
    );
}

#[tokio::test]
async fn units_are_compared_exactly() {
    let nanos = TimeUnit::Nanosecond;
    let table = Table::of(MICRO, &[(1, 5, 7)]).with_ttl(Duration::from_nanos(1_500));
    let found = values(
        nanos,
        &[(1, 4_999), (1, 5_000), (1, 6_500), (1, 6_501)],
        &table,
    )
    .await;
    assert_eq!(found, [None, Some(7), Some(7), None]);

    let table = Table::of(nanos, &[(1, 5_001, 7)]).with_ttl(Duration::from_nanos(1_999));
    assert_eq!(
        values(MICRO, &[(1, 5), (1, 6), (1, 7), (1, 8)], &table).await,
        [None, Some(7), Some(7), None]
    );

    let table = Table::of(nanos, &[(1, -1, 7)]);
    assert_eq!(
        values(TimeUnit::Second, &[(1, -1), (1, 0)], &table).await,
        [None, Some(7)]
    );
}

#[rstest]
#[case::far_past(i64::MIN, i64::MIN, None)]
#[case::far_future(i64::MAX, i64::MAX, Some(7))]
#[tokio::test]
async fn instants_beyond_the_unit_of_the_feature_do_not_wrap(
    #[case] instant_s: i64,
    #[case] event_ns: i64,
    #[case] expected: Option<i32>,
) {
    let table = Table::of(TimeUnit::Nanosecond, &[(1, event_ns, 7)]);
    assert_eq!(
        values(TimeUnit::Second, &[(1, instant_s)], &table).await,
        [expected]
    );
    let expiring = table.with_ttl(Duration::from_secs(1));
    assert_eq!(
        values(TimeUnit::Second, &[(1, instant_s)], &expiring).await,
        [None]
    );
}

#[tokio::test]
async fn a_view_without_keys_joins_on_time_alone() {
    let table = Table::of(MICRO, &[(1, 100, 7), (2, 200, 8)]);
    let scan = scan(&batch(table.ranking().split_off(1)), &table.layout());
    let view = PitView {
        keys: Vec::new(),
        ..table.view()
    };
    let join = join_one(spine(MICRO, &[(9, 250), (9, 50), (9, 150)]), scan, view);
    let found = collect(join, unbounded()).await.unwrap();
    assert_eq!(
        found[0]
            .column(2)
            .as_primitive::<Int32Type>()
            .iter()
            .collect::<Vec<_>>(),
        [Some(8), None, Some(7)]
    );
}

#[tokio::test]
async fn an_empty_table_gives_nulls() {
    assert_eq!(
        values(MICRO, &[(1, 1), (1, 1)], &Table::of(MICRO, &[])).await,
        [None, None]
    );
}

fn map(entries: &[(&str, i64)]) -> ArrayRef {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for (key, value) in entries {
        builder.keys().append_value(key);
        builder.values().append_value(*value);
    }
    builder.append(true).unwrap();
    Arc::new(builder.finish())
}

fn list(elements: &[Option<i64>]) -> ArrayRef {
    let mut builder = ListBuilder::new(Int64Builder::new());
    elements
        .iter()
        .for_each(|element| builder.values().append_option(*element));
    builder.append(true);
    Arc::new(builder.finish())
}

fn in_struct(inner: ArrayRef, valid: bool) -> ArrayRef {
    let fields = Fields::from(vec![Field::new("m", inner.data_type().clone(), true)]);
    Arc::new(StructArray::new(
        fields,
        vec![inner],
        Some(NullBuffer::from(vec![valid])),
    ))
}

/// `values` ascend; each is a row of the same key and time.
#[rstest]
#[case::maps(vec![map(&[]), map(&[("a", 1)]), map(&[("a", 1), ("b", 0)]), map(&[("a", 2)]), map(&[("b", 0)])])]
#[case::lists(vec![list(&[]), list(&[None]), list(&[Some(1)]), list(&[Some(1), None]), list(&[Some(2)])])]
#[case::maps_in_structs(vec![
    in_struct(map(&[("z", 9)]), false),
    in_struct(map(&[("a", 1)]), true),
    in_struct(map(&[("a", 2)]), true),
])]
#[tokio::test]
async fn ties_are_decided_by_nested_values(#[case] values: Vec<ArrayRef>) {
    let count = values.len();
    let all =
        arrow::compute::concat(&values.iter().map(AsRef::as_ref).collect::<Vec<_>>()).unwrap();
    let table = Table::of(MICRO, &vec![(1, 100, 0); count]);
    let mut columns = table.ranking();
    columns.push(("value".to_owned(), Arc::clone(&all)));
    columns.push((
        "rank".to_owned(),
        Arc::new((0..count as i32).collect::<Int32Array>()),
    ));
    for winner in 0..count {
        // Only rows up to the winner, in every rotation: the answer must not depend on their order.
        for shift in 0..=winner {
            let rows: Vec<usize> = (0..=winner)
                .map(|row| (row + shift) % (winner + 1))
                .collect();
            let layout = Layout {
                files: rows.chunks(2).map(<[usize]>::to_vec).collect(),
                batch_rows: 1,
            };
            let fetch = TableSource::new(batch(columns.clone()), vec![3], &layout);
            let join = join_one(
                spine(MICRO, &[(1, 100)]),
                scan(&batch(table.ranking()), &layout),
                view(None, Arc::new(fetch)),
            );
            let found = collect(join, unbounded()).await.unwrap();
            assert_eq!(
                found[0].column(2).as_primitive::<Int32Type>().value(0),
                winner as i32
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_on_several_threads_agree_with_one() {
    let rows: Vec<_> = (0..20_000i64)
        .map(|row| (row * 7919 % 97, row * 104_729 % 1_000, row as i32 % 13))
        .collect();
    let spine_rows: Vec<_> = (0..3_000i64)
        .map(|row| (row % 101, row * 31 % 1_100))
        .collect();
    let table = Table::of(MICRO, &rows).with_ttl(Duration::from_micros(40));
    let expected = values(MICRO, &spine_rows, &table).await;
    assert!(expected.iter().flatten().count() > 1_000);
    for files in [2, 5] {
        let layout = Layout::shuffled(rows.len(), files, 100, 42);
        let mut columns = table.ranking();
        columns.push((
            "value".to_owned(),
            Arc::new(Int32Array::from(table.values.clone())),
        ));
        let fetch = Arc::new(TableSource::new(batch(columns), vec![2], &layout));
        let join = join_one(
            spine(MICRO, &spine_rows),
            scan(&batch(table.ranking()), &layout),
            view(table.ttl, fetch),
        );
        let found = collect(join, unbounded()).await.unwrap();
        let found = found.iter().flat_map(|b| {
            b.column(2)
                .as_primitive::<Int32Type>()
                .iter()
                .collect::<Vec<_>>()
        });
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn counts_and_plan_text() {
    let table = Table::of(
        MICRO,
        &[
            (1, 100, 7),
            (1, 100, 9),
            (1, 150, 8),
            (2, 100, 1),
            (3, 1, 1),
        ],
    );
    let table = table.with_ttl(Duration::from_secs(7 * 86_400));
    let other = PitView {
        name: "w".to_owned(),
        ttl: None,
        ..table.view()
    };
    let views = vec![(table.scan(), table.view()), (table.scan(), other)];
    let spine = spine(MICRO, &[(1, 120), (1, 120), (1, 99), (2, 100), (4, 100)]);
    let join = Arc::new(PitJoinExec::try_new(spine, 1, 2, views).unwrap());
    let plan: Arc<dyn ExecutionPlan> = Arc::clone(&join) as _;
    assert_snapshot!(DisplayableExecutionPlan::new(plan.as_ref()).indent(false), @r"
    PitJoinExec: timestamp=ts@1, views=[v(keys=[id@0], ttl=7days, features=[value]), w(keys=[id@0], ttl=none, features=[value])]
      DataSourceExec: partitions=1, partition_sizes=[1]
      DataSourceExec: partitions=1, partition_sizes=[1]
      DataSourceExec: partitions=1, partition_sizes=[1]
    ");

    let found = collect(Arc::clone(&plan), unbounded()).await.unwrap();
    assert_snapshot!(pretty_format_batches(&found).unwrap(), @r"
    +----+----------------------------+-------+-------+
    | id | ts                         | value | value |
    +----+----------------------------+-------+-------+
    | 1  | 1970-01-01T00:00:00.000120 | 9     | 9     |
    | 1  | 1970-01-01T00:00:00.000120 | 9     | 9     |
    | 1  | 1970-01-01T00:00:00.000099 |       |       |
    | 2  | 1970-01-01T00:00:00.000100 | 1     | 1     |
    | 4  | 1970-01-01T00:00:00.000100 |       |       |
    +----+----------------------------+-------+-------+
    ");
    let report = PitViewReport {
        rows_scanned: 5,
        candidates: 2,
        ties: 1,
        rows_matched: 3,
    };
    assert_eq!(
        join.view_metrics(),
        [("v".to_owned(), report), ("w".to_owned(), report)]
    );
    let with_metrics = DisplayableExecutionPlan::with_metrics(plan.as_ref())
        .indent(false)
        .to_string();
    assert!(
        with_metrics.contains("v.rows_scanned=5") && with_metrics.contains("w.rows_matched=3"),
        "{with_metrics}"
    );
}

#[test]
fn the_node_keeps_its_shape() {
    let table = Table::of(MICRO, &[(1, 100, 7)]);
    let join = join_one(spine(MICRO, &[(1, 100)]), table.scan(), table.view());
    assert!(matches!(
        join.required_input_distribution()[..],
        [
            Distribution::SinglePartition,
            Distribution::UnspecifiedDistribution
        ]
    ));
    assert_eq!(join.maintains_input_order(), [true, false]);
    assert_eq!(join.benefits_from_input_partitioning(), [false, false]);
    let children: Vec<_> = join.children().into_iter().cloned().collect();
    let rebuilt = Arc::clone(&join)
        .with_new_children(children.clone())
        .unwrap();
    assert_eq!(rebuilt.schema(), join.schema());
    assert!(
        Arc::clone(&join)
            .with_new_children(children[..1].to_vec())
            .is_err()
    );
    assert!(join.execute(1, unbounded()).is_err());
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let table = Table::of(MICRO, &[(1, 100, 7)]);
    let refusal = |spine: Arc<dyn ExecutionPlan>, timestamp: usize, view: PitView| {
        PitJoinExec::try_new(spine, timestamp, 2, vec![(table.scan(), view)])
            .unwrap_err()
            .to_string()
    };
    let good = || spine(MICRO, &[(1, 100)]);
    assert_snapshot!(refusal(good(), 0, table.view()), @"column `id`: expected a timestamp, found Int64");
    assert_snapshot!(refusal(good(), 1, PitView { keys: vec![1], ..table.view() }), @"column `ts`: expected Int64 (as in v), found Timestamp(µs)");
    assert_snapshot!(refusal(good(), 1, PitView { has_created: true, ..table.view() }), @"plan point-in-time join: the scan of v has 3 columns instead of 4");
}

#[tokio::test]
async fn spine_columns_beyond_the_output_only_serve_the_join() {
    let table = Table::of(MICRO, &[(1, 100, 7)]);
    for kept in 0..2 {
        let views = vec![(table.scan(), table.view())];
        let join =
            PitJoinExec::try_new(spine(MICRO, &[(1, 100), (2, 100)]), 1, kept, views).unwrap();
        let found = collect(Arc::new(join), unbounded()).await.unwrap();
        assert_eq!(found[0].num_columns(), kept + 1);
        let values = found[0].column(kept).as_primitive::<Int32Type>();
        assert_eq!(values.iter().collect::<Vec<_>>(), [Some(7), None]);
    }
}
