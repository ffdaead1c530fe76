//! Reading by itself: keys and timestamps of all rows, and the features of few or many, with and without columns that were
//! kept of earlier reads.
//!
//! Four Parquet files of 250,000 rows of a key, a timestamp and eight doubles, zstd. `cargo bench --bench scan`

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures::TryStreamExt;
use murre::catalog::Catalogs;
use murre::model::{ParquetLocation, RowAddress, SourceLocation};
use murre::table::read::{ScanSpec, TableScan};
use murre::table::{FileCache, Keep, PinnedTable, TableCacheConfig, Tables};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tokio::runtime::Runtime;

const FILES: usize = 4;
const FILE_ROWS: usize = 250_000;
const DOUBLES: usize = 8;
const CACHE_BYTES: u64 = 1 << 30;

/// Spreads consecutive numbers over 64 bits (splitmix64), so that rows come in no order.
fn scatter(number: usize) -> u64 {
    let mut bits = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn rows(file: usize) -> RecordBatch {
    let numbers = || file * FILE_ROWS..(file + 1) * FILE_ROWS;
    let keys = numbers().map(|row| (scatter(row) % 100_000) as i64);
    let times = numbers().map(|row| (scatter(row + 1) % 1_000_000_000) as i64);
    let mut columns: Vec<(String, ArrayRef)> = vec![
        (
            "key".to_owned(),
            Arc::new(Int64Array::from_iter_values(keys)),
        ),
        (
            "ts".to_owned(),
            Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
        ),
    ];
    for column in 0..DOUBLES {
        let values = numbers().map(|row| (scatter(row * DOUBLES + column) % 1_000_000) as f64);
        let values: ArrayRef = Arc::new(Float64Array::from_iter_values(values));
        columns.push((format!("f{column}"), values));
    }
    RecordBatch::try_from_iter(columns).expect("columns are equally long")
}

fn write(directory: &std::path::Path) {
    let zstd = Compression::ZSTD(ZstdLevel::default());
    for number in 0..FILES {
        let batch = rows(number);
        let file = std::fs::File::create(directory.join(format!("{number}.parquet")));
        let properties = WriterProperties::builder().set_compression(zstd).build();
        let file = file.expect("the directory can be written");
        let writer = ArrowWriter::try_new(file, batch.schema(), Some(properties));
        let mut writer = writer.expect("the schema has a Parquet form");
        writer.write(&batch).expect("the disk has room");
        writer.close().expect("the disk has room");
    }
}

async fn pin(directory: &std::path::Path) -> PinnedTable {
    let catalogs = Catalogs::connect(&Default::default()).expect("no catalogs are no fault");
    let tables = Tables::new(catalogs, TableCacheConfig::default());
    let location = SourceLocation::Parquet(ParquetLocation {
        uri: directory.to_string_lossy().into_owned(),
        s3_endpoint: None,
    });
    let pinned = tables.pin_source(&location, None).await;
    pinned.expect("the files have just been written")
}

fn plan(table: &PinnedTable, cache: &Arc<FileCache>) -> TableScan {
    let fields = table.schema().as_struct().fields();
    let spec = ScanSpec {
        columns: fields.iter().take(2).map(|field| field.id).collect(),
        with_addresses: true,
        ..ScanSpec::default()
    };
    TableScan::try_new(table.clone(), spec, Arc::clone(cache)).expect("the columns are there")
}

async fn scan(table: &PinnedTable, cache: &Arc<FileCache>) -> usize {
    let scan = plan(table, cache);
    let units = scan.partitions(1).into_iter().flatten().collect();
    let batches = scan
        .read(units, 8192)
        .try_fold(0, |rows, batch| async move { Ok(rows + batch.num_rows()) });
    batches.await.expect("the files can be read")
}

/// Fetches every `step`-th row.
async fn fetch(table: &PinnedTable, cache: &Arc<FileCache>, step: usize) -> usize {
    let fields = table.schema().as_struct().fields();
    let features: Vec<i32> = fields.iter().skip(2).map(|field| field.id).collect();
    let rows = (0..FILES as u32).flat_map(|file| {
        (0..FILE_ROWS as u64)
            .step_by(step)
            .map(move |row| RowAddress::new(file, row))
    });
    let rows = plan(table, cache).fetch(rows.collect(), &features, Keep::AskedTwice);
    let count = rows.try_fold(0, |rows, batch| async move { Ok(rows + batch.num_rows()) });
    count.await.expect("the rows are there")
}

fn reading(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    write(directory.path());
    let table = runtime.block_on(pin(directory.path()));
    let caches = [
        ("cold", Arc::new(FileCache::footers_only(1 << 26))),
        ("kept", Arc::new(FileCache::new(1 << 26, CACHE_BYTES))),
    ];
    let mut group = criterion.benchmark_group("scan");
    group.sample_size(10);
    for (name, cache) in &caches {
        group.throughput(Throughput::Elements((FILES * FILE_ROWS) as u64));
        group.bench_function(BenchmarkId::new("keys", name), |bencher| {
            bencher.iter(|| runtime.block_on(scan(&table, cache)));
        });
        for step in [1000, 100, 10, 1] {
            group.throughput(Throughput::Elements((FILES * FILE_ROWS / step) as u64));
            let id = BenchmarkId::new(format!("fetch every {step}th"), name);
            group.bench_function(id, |bencher| {
                bencher.iter(|| runtime.block_on(fetch(&table, cache, step)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, reading);
criterion_main!(benches);
