//! Single properties of the operator, each by an example made for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, Int32Array, Int64Array, Int64Builder, ListBuilder, MapBuilder, RecordBatch,
    StringArray, StringBuilder, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool, UnboundedMemoryPool};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{Distribution, ExecutionPlan, collect, execute_stream};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use insta::assert_snapshot;
use rstest::rstest;

use super::super::{FetchColumns, FetchRows, PitJoinExec, PitView, PitViewReport};
use super::source::{Layout, TableSource, context, memory, scan, scan_schema};
use super::{batch, timestamps};
use crate::error::{Error, ErrorKind, Result};
use crate::model::RowAddress;

const MICRO: TimeUnit = TimeUnit::Microsecond;

/// A view `v` of one Int64 key `id`, one feature `value`, no created time.
struct Table {
    unit: TimeUnit,
    ttl: Option<Duration>,
    keys: Vec<Option<i64>>,
    events: Vec<Option<i64>>,
    values: Vec<i32>,
}

impl Table {
    fn of(unit: TimeUnit, rows: &[(i64, i64, i32)]) -> Self {
        let keys = rows.iter().map(|row| Some(row.0)).collect();
        let events = rows.iter().map(|row| Some(row.1)).collect();
        Self {
            unit,
            ttl: None,
            keys,
            events,
            values: rows.iter().map(|row| row.2).collect(),
        }
    }

    fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    fn ranking(&self) -> Vec<(String, ArrayRef)> {
        let keys: ArrayRef = Arc::new(self.keys.iter().copied().collect::<Int64Array>());
        let events = timestamps(self.unit, self.events.iter().copied());
        vec![("id".to_owned(), keys), ("event".to_owned(), events)]
    }

    fn source(&self) -> TableSource {
        let mut columns = self.ranking();
        columns.push((
            "value".to_owned(),
            Arc::new(Int32Array::from(self.values.clone())),
        ));
        TableSource::new(batch(columns), vec![2], &self.layout())
    }

    fn layout(&self) -> Layout {
        Layout {
            files: vec![(0..self.keys.len()).collect()],
            batch_rows: 8192,
        }
    }

    fn view(&self) -> PitView {
        view(self.ttl, Arc::new(self.source()))
    }

    fn scan(&self) -> Arc<dyn ExecutionPlan> {
        scan(&batch(self.ranking()), &self.layout())
    }
}

fn view(ttl: Option<Duration>, fetch: Arc<dyn FetchRows>) -> PitView {
    let features = vec![Field::new("value", DataType::Int32, false)];
    PitView {
        name: "v".to_owned(),
        keys: vec![0],
        ttl,
        has_created: false,
        fetch,
        features,
    }
}

/// A spine of an Int64 key `id` and instants `ts`.
fn spine(unit: TimeUnit, rows: &[(i64, i64)]) -> Arc<dyn ExecutionPlan> {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let instants = timestamps(unit, rows.iter().map(|row| Some(row.1)));
    let rows = batch(vec![("id".to_owned(), keys), ("ts".to_owned(), instants)]);
    let schema = rows.schema();
    memory(vec![rows], schema)
}

fn join_one(
    spine: Arc<dyn ExecutionPlan>,
    scan: Arc<dyn ExecutionPlan>,
    view: PitView,
) -> Arc<PitJoinExec> {
    Arc::new(PitJoinExec::try_new(spine, 1, 2, vec![(scan, view)]).unwrap())
}

fn unbounded() -> Arc<TaskContext> {
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    context(8192, &pool)
}

/// The feature `value` of each output row.
async fn values(unit: TimeUnit, rows: &[(i64, i64)], table: &Table) -> Vec<Option<i32>> {
    let batches = collect(
        join_one(spine(unit, rows), table.scan(), table.view()),
        unbounded(),
    )
    .await
    .unwrap();
    batches
        .iter()
        .flat_map(|batch| {
            batch
                .column(2)
                .as_primitive::<Int32Type>()
                .iter()
                .collect::<Vec<_>>()
        })
        .collect()
}

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

/// A partition that counts how often it is started.
#[derive(Debug)]
struct Scripted {
    schema: Arc<Schema>,
    starts: Arc<AtomicUsize>,
    script: fn(Arc<AtomicUsize>) -> BoxStream<'static, Result<RecordBatch, DataFusionError>>,
}

impl PartitionStream for Scripted {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        self.starts.fetch_add(1, Ordering::SeqCst);
        let stream = (self.script)(Arc::clone(&self.starts));
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            stream,
        ))
    }
}

fn scripted(
    starts: &Arc<AtomicUsize>,
    partitions: usize,
    script: fn(Arc<AtomicUsize>) -> BoxStream<'static, Result<RecordBatch, DataFusionError>>,
) -> Arc<dyn ExecutionPlan> {
    let columns = Table::of(MICRO, &[]).ranking();
    let schema = scan_schema(
        batch(columns)
            .schema()
            .fields()
            .iter()
            .map(|field| field.as_ref().clone()),
    );
    let partition = || -> Arc<dyn PartitionStream> {
        Arc::new(Scripted {
            schema: Arc::clone(&schema),
            starts: Arc::clone(starts),
            script,
        })
    };
    let partitions = (0..partitions).map(|_| partition()).collect();
    Arc::new(
        StreamingTableExec::try_new(Arc::clone(&schema), partitions, None, [], false, None)
            .unwrap(),
    )
}

/// One row: key 1 at 100 µs, at an address that the source of `Table::of(.., &[(1, 100, _)])` knows.
fn one_row() -> RecordBatch {
    let table = Table::of(MICRO, &[(1, 100, 7)]);
    let address: ArrayRef = Arc::new(arrow::array::UInt64Array::from(vec![
        RowAddress::new(0, 0).to_u64(),
    ]));
    let columns: Vec<ArrayRef> = table
        .ranking()
        .into_iter()
        .map(|(_, column)| column)
        .chain([address])
        .collect();
    let fields = batch(table.ranking())
        .schema()
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect::<Vec<_>>();
    RecordBatch::try_new(scan_schema(fields), columns).unwrap()
}

#[tokio::test]
async fn an_empty_spine_starts_no_scan() {
    let starts = Arc::new(AtomicUsize::new(0));
    let scan = scripted(&starts, 2, |_| futures::stream::pending().boxed());
    let join = join_one(spine(MICRO, &[]), scan, Table::of(MICRO, &[]).view());
    let schema = join.schema();
    assert_eq!(
        collect(join, unbounded())
            .await
            .unwrap()
            .iter()
            .map(RecordBatch::num_rows)
            .sum::<usize>(),
        0
    );
    assert_eq!(starts.load(Ordering::SeqCst), 0);
    assert_eq!(schema.field(2), &Field::new("value", DataType::Int32, true));
}

#[tokio::test]
async fn an_error_of_a_scan_ends_the_output() {
    let starts = Arc::new(AtomicUsize::new(0));
    let scan = scripted(&starts, 2, |starts| {
        // The first partition would never end.
        if starts.load(Ordering::SeqCst) == 1 {
            return futures::stream::pending().boxed();
        }
        let lost = Error::FileNotFound {
            table: "t".to_owned(),
            path: "p".to_owned(),
        };
        futures::stream::iter([Ok(one_row()), Err(lost.into())]).boxed()
    });
    let join = join_one(
        spine(MICRO, &[(1, 100)]),
        scan,
        Table::of(MICRO, &[(1, 100, 7)]).view(),
    );
    let error = Error::from(collect(join, unbounded()).await.unwrap_err());
    assert!(matches!(error, Error::FileNotFound { .. }), "{error}");
}

#[tokio::test]
async fn a_scan_that_panics_is_an_error() {
    let starts = Arc::new(AtomicUsize::new(0));
    let scan = scripted(&starts, 1, |_| {
        futures::stream::poll_fn(|_| panic!("a fault in a decoder")).boxed()
    });
    let join = join_one(
        spine(MICRO, &[(1, 100)]),
        scan,
        Table::of(MICRO, &[]).view(),
    );
    let error = collect(join, unbounded()).await.unwrap_err();
    assert!(
        error.to_string().contains("a fault in a decoder"),
        "{error}"
    );
}

/// Fetches as told.
#[derive(Debug)]
struct BadFetch(fn() -> Vec<Result<RecordBatch>>);

impl FetchRows for BadFetch {
    fn fetch(
        &self,
        _: Vec<RowAddress>,
        _: FetchColumns,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        futures::stream::iter((self.0)()).boxed()
    }
}

fn one_value(value: ArrayRef) -> RecordBatch {
    batch(vec![("value".to_owned(), value)])
}

#[rstest]
#[case::fails(|| vec![Err(Error::StorageUnavailable { path: "p".to_owned(), message: "m".to_owned() })], "unavailable")]
#[case::fails_late(
    || vec![Ok(one_value(Arc::new(Int32Array::from(vec![7])))), Err(Error::internal("read", "torn page"))],
    "torn page"
)]
#[case::too_few(|| vec![], "1 rows were asked for by their addresses, 0 came")]
#[case::too_many(
    || vec![Ok(one_value(Arc::new(Int32Array::from(vec![7, 8]))))],
    "1 rows were asked for by their addresses, 2 came"
)]
#[case::wrong_type(|| vec![Ok(one_value(Arc::new(StringArray::from(vec!["7"]))))], "expected columns of [Int32]")]
#[tokio::test]
async fn a_fetch_that_fails_ends_the_output(
    #[case] script: fn() -> Vec<Result<RecordBatch>>,
    #[case] message: &str,
) {
    let table = Table::of(MICRO, &[(1, 100, 7)]);
    let join = join_one(
        spine(MICRO, &[(1, 100)]),
        table.scan(),
        view(None, Arc::new(BadFetch(script))),
    );
    let error = collect(join, unbounded()).await.unwrap_err();
    assert!(error.to_string().contains(message), "{error}");
}

/// Counts itself out when dropped.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn endless(starts: Arc<AtomicUsize>) -> impl Stream<Item = Result<RecordBatch, DataFusionError>> {
    let running = Running(starts);
    futures::stream::repeat_with(move || {
        let _held = &running;
        Ok(one_row())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_output_stops_the_scans() {
    let running = Arc::new(AtomicUsize::new(0));
    let scan = scripted(&running, 2, |starts| endless(starts).boxed());
    let join = join_one(
        spine(MICRO, &[(1, 100)]),
        scan,
        Table::of(MICRO, &[(1, 100, 7)]).view(),
    );
    let mut output = execute_stream(join, unbounded()).unwrap();
    let first = tokio::time::timeout(Duration::from_millis(100), output.next()).await;
    assert!(first.is_err(), "the scans have no end");
    assert_eq!(running.load(Ordering::SeqCst), 2);
    drop(output);
    let stopped = async {
        while running.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), stopped)
        .await
        .expect("the scans stop");
}

#[tokio::test]
async fn over_the_pool_is_resource_exhausted() {
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(4096));
    let rows: Vec<_> = (0..10_000).map(|row| (row, row)).collect();
    let table = Table::of(MICRO, &[(1, 100, 7)]);
    let join = join_one(spine(MICRO, &rows), table.scan(), table.view());
    let error = Error::from(collect(join, context(8192, &pool)).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    assert_eq!(pool.reserved(), 0);
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
