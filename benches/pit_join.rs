//! The point-in-time operator alone, on tables in memory: what it adds to reading the files.
//!
//! One thing varies at a time around a base of 100,000 spine rows over 10,000 integer keys with 50 rows of history
//! each, in two partitions: spine size, history depth, partitions, key type. Throughput counts feature rows scanned.
//! `cargo bench --bench pit_join`

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Field, Schema};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, collect};
use futures::StreamExt;
use futures::stream::BoxStream;
use murre::engine::pit_join::{FetchColumns, FetchRows, PitJoinExec, PitView};
use murre::error::Result;
use murre::model::RowAddress;

const KEYS: u64 = 10_000;
const HOUR_US: u64 = 3_600_000_000;
const BATCH_ROWS: usize = 8192;

#[derive(Clone, Copy, Debug)]
enum KeyType {
    Int,
    String,
    Composite,
}

#[derive(Clone, Copy, Debug)]
struct Size {
    spine_rows: usize,
    depth: usize,
    partitions: usize,
    keys: KeyType,
}

const BASE: Size = Size {
    spine_rows: 100_000,
    depth: 50,
    partitions: 2,
    keys: KeyType::Int,
};

/// Spreads consecutive numbers over 64 bits (splitmix64), so that rows come in no order.
fn scatter(number: usize) -> u64 {
    let mut bits = (number as u64)
        .wrapping_add(1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Key columns and a timestamp of rows drawn from `seed` on, the instants within `hours`.
fn rows(size: Size, count: usize, seed: usize, hours: u64) -> Vec<(&'static str, ArrayRef)> {
    let keys: Vec<u64> = (0..count).map(|row| scatter(seed + row) % KEYS).collect();
    let strings =
        || StringArray::from_iter_values(keys.iter().map(|key| format!("driver-{key:06}")));
    let ints = || Int64Array::from_iter_values(keys.iter().map(|key| *key as i64));
    let halves = || Int32Array::from_iter_values(keys.iter().map(|key| (*key % 16) as i32));
    let mut columns: Vec<(&str, ArrayRef)> = match size.keys {
        KeyType::Int => vec![("k", Arc::new(ints()))],
        KeyType::String => vec![("k", Arc::new(strings()))],
        KeyType::Composite => vec![("k", Arc::new(strings())), ("l", Arc::new(halves()))],
    };
    let instants = (0..count).map(|row| (scatter(seed + count + row) % (hours * HOUR_US)) as i64);
    columns.push((
        "ts",
        Arc::new(TimestampMicrosecondArray::from_iter_values(instants)),
    ));
    columns
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let field =
        |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(schema), columns).expect("columns of equal length")
}

fn slices(batch: &RecordBatch) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    (0..rows)
        .step_by(BATCH_ROWS)
        .map(|start| batch.slice(start, BATCH_ROWS.min(rows - start)))
        .collect()
}

/// Values by row number.
#[derive(Debug)]
struct Values(RecordBatch);

impl FetchRows for Values {
    fn fetch(
        &self,
        addresses: Vec<RowAddress>,
        _: FetchColumns,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let rows = addresses
            .iter()
            .map(|address| u32::try_from(address.row()).expect("few rows"));
        let rows = UInt32Array::from_iter_values(rows);
        let values = take_record_batch(&self.0, &rows).expect("addresses of the scan");
        futures::stream::iter(slices(&values).into_iter().map(Ok)).boxed()
    }
}

fn values(count: usize) -> Vec<(&'static str, ArrayRef)> {
    let floats = Float64Array::from_iter_values((0..count).map(|row| scatter(row) as f64));
    let ints = Int64Array::from_iter_values((0..count).map(|row| scatter(row) as i64));
    let strings =
        StringArray::from_iter_values((0..count).map(|row| format!("value {}", row % 1000)));
    vec![
        ("float", Arc::new(floats)),
        ("int", Arc::new(ints)),
        ("string", Arc::new(strings)),
    ]
}

fn join(size: Size) -> Arc<dyn ExecutionPlan> {
    let spine = batch(rows(size, size.spine_rows, 0, 1_000));
    let keys = spine.num_columns() - 1;
    let spine_plan = MemorySourceConfig::try_new_exec(&[slices(&spine)], spine.schema(), None)
        .expect("valid spine");

    let count = KEYS as usize * size.depth;
    let mut scanned = rows(size, count, 1 << 40, 1_000);
    scanned.push((
        RowAddress::COLUMN,
        Arc::new(UInt64Array::from_iter_values(0..count as u64)),
    ));
    let scanned = batch(scanned);
    let mut partitions = vec![Vec::new(); size.partitions];
    for (at, slice) in slices(&scanned).into_iter().enumerate() {
        partitions[at % size.partitions].push(slice);
    }
    let scan =
        MemorySourceConfig::try_new_exec(&partitions, scanned.schema(), None).expect("valid scan");

    let values = batch(values(count));
    let features = values
        .schema()
        .fields()
        .iter()
        .map(|field| field.as_ref().clone())
        .collect();
    let view = PitView {
        name: "view".to_owned(),
        keys: (0..keys).collect(),
        ttl: Some(Duration::from_secs(7 * 86_400)),
        has_created: false,
        fetch: Arc::new(Values(values)),
        features,
    };
    Arc::new(
        PitJoinExec::try_new(spine_plan, keys, keys + 1, vec![(scan, view)]).expect("valid join"),
    )
}

fn sizes() -> Vec<(String, Size)> {
    let spine = [10_000, 1_000_000].map(|spine_rows| Size { spine_rows, ..BASE });
    let depth = [5, 200].map(|depth| Size { depth, ..BASE });
    let partitions = [1, 4].map(|partitions| Size { partitions, ..BASE });
    let keys = [KeyType::String, KeyType::Composite].map(|keys| Size { keys, ..BASE });
    let all = [[BASE, BASE], spine, depth, partitions, keys]
        .into_iter()
        .flatten()
        .skip(1);
    let name = |size: &Size| {
        format!(
            "{}spine_{}deep_{}partitions_{:?}",
            size.spine_rows, size.depth, size.partitions, size.keys
        )
    };
    all.map(|size| (name(&size), size)).collect()
}

fn pit_join(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .build()
        .expect("threads can be started");
    let context = Arc::new(TaskContext::default());
    let mut group = criterion.benchmark_group("pit_join");
    group.sample_size(10);
    for (name, size) in sizes() {
        let plan = join(size);
        group.throughput(Throughput::Elements(KEYS * size.depth as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &plan, |bencher, plan| {
            bencher.iter(|| {
                let joined = runtime.block_on(collect(Arc::clone(plan), Arc::clone(&context)));
                joined.expect("the join runs").len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pit_join);
criterion_main!(benches);
