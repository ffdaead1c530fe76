//! Where memory is short: the same answer in slices, in order, and all memory given back.

use std::sync::Arc;

use arrow::compute::concat_batches;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::physical_plan::{ExecutionPlan, collect};

use super::fixture::{MICRO, Table, join_one, spine, unbounded};
use super::source::context;

const SPINE_ROWS: i64 = 4000;
const TABLE_ROWS: i64 = 1000;

fn rows() -> Vec<(i64, i64)> {
    (0..SPINE_ROWS)
        .map(|row| (row * 7 % 50, row * 13 % 900))
        .collect()
}

fn table() -> Table {
    let rows: Vec<_> = (0..TABLE_ROWS)
        .map(|row| (row % 60, row * 11 % 1000, row as i32))
        .collect();
    Table::of(MICRO, &rows)
}

#[tokio::test]
async fn a_join_that_does_not_fit_is_done_in_slices() {
    let (spine, table) = (spine(MICRO, &rows()), table());
    let join = || join_one(Arc::clone(&spine), table.scan(), table.view());
    let schema = join().schema();
    let whole = collect(join(), unbounded()).await.unwrap();
    let whole = concat_batches(&schema, &whole).unwrap();
    let mut most_scans = 0;
    for bytes in [80_000, 90_000, 100_000, 130_000, 200_000, 1_000_000] {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(bytes));
        let join = join();
        let found = collect(Arc::clone(&join) as _, context(64, &pool)).await;
        assert_eq!(
            concat_batches(&schema, &found.unwrap()).unwrap(),
            whole,
            "in {bytes} bytes"
        );
        let scanned = join.view_metrics()[0].1.rows_scanned;
        most_scans = most_scans.max(scanned / TABLE_ROWS as u64);
        assert_eq!(pool.reserved(), 0);
    }
    assert!(most_scans > 3, "only {most_scans} scans");
}

#[tokio::test]
async fn a_join_that_fits_reads_its_scan_once() {
    let (spine, table) = (spine(MICRO, &rows()), table());
    let join = join_one(spine, table.scan(), table.view());
    collect(Arc::clone(&join) as _, unbounded()).await.unwrap();
    let scanned = join.view_metrics()[0].1.rows_scanned;
    assert_eq!(scanned, TABLE_ROWS as u64);
}
