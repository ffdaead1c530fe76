//! What must not become a short or wrong result: failing scans and fetches, clients that leave, full pools.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, collect, execute_stream};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use rstest::rstest;

use super::super::spine::check_rows;
use super::super::{FetchColumns, FetchRows};
use super::batch;
use super::fixture::{MICRO, Table, join_one, spine, unbounded, view};
use super::source::{context, scan_schema};
use crate::error::{Error, ErrorKind, Result};
use crate::model::RowAddress;

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
    let address: ArrayRef = Arc::new(UInt64Array::from(vec![RowAddress::new(0, 0).to_u64()]));
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

#[test]
fn more_rows_than_can_be_numbered_are_refused() {
    assert_eq!(check_rows(1, 2).unwrap(), 3);
    let error = check_rows(u32::MAX as usize - 1, 1).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("entity dataframe of 4294967295 or more rows"),
        "{error}"
    );
}
