//! Batches to Flight messages: results as the join makes them, one large upload that is sent back in pieces, text in views,
//! and what compression costs.
//!
//! A million rows each. `cargo bench --bench encode`

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, StringViewArray};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures::{StreamExt, TryStreamExt, stream};
use murre::error::Error;
use murre::server::encode::{Encoding, flight_data};
use tokio::runtime::Runtime;
use tonic::metadata::MetadataMap;

const ROWS: usize = 1 << 20;
const BATCH_ROWS: usize = 8192;
const COLUMNS: usize = 8;

/// Doubles of few bits, which compress about as features do.
fn doubles(rows: usize) -> ArrayRef {
    let values = (0..rows).map(|row| (row.wrapping_mul(0x9e37_79b9) % 100_000) as f64 / 8.0);
    Arc::new(Float64Array::from_iter_values(values))
}

fn words(rows: usize) -> impl Iterator<Item = String> {
    (0..rows).map(|row| format!("a text of more than twelve bytes {}", row % 1000))
}

fn table(rows: usize, column: impl Fn(usize) -> ArrayRef) -> RecordBatch {
    let columns = (0..COLUMNS).map(|number| (format!("f{number}"), column(rows)));
    RecordBatch::try_from_iter(columns).expect("columns are equally long")
}

fn batches(column: impl Fn(usize) -> ArrayRef) -> Vec<RecordBatch> {
    vec![table(BATCH_ROWS, column); ROWS / BATCH_ROWS]
}

fn compressed(codec: &'static str) -> Encoding {
    let mut headers = MetadataMap::new();
    headers.insert(
        "x-murre-compression",
        codec.parse().expect("a name is a header"),
    );
    Encoding::asked_by(&headers).expect("the codec is known")
}

async fn encode(encoding: &Encoding, batches: Vec<RecordBatch>) -> usize {
    let schema = batches.first().expect("there are batches").schema();
    let batches = stream::iter(batches).map(Ok::<_, Error>);
    flight_data(encoding, schema, batches)
        .try_fold(0, |bytes, message| async move {
            Ok(bytes + message.data_body.len())
        })
        .await
        .expect("batches are of their schema")
}

fn encoding(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be started");
    let plain = Encoding::default();
    let text = |rows| Arc::new(StringArray::from_iter_values(words(rows))) as ArrayRef;
    let views = |rows| Arc::new(StringViewArray::from_iter_values(words(rows))) as ArrayRef;
    let cases = [
        ("doubles", &plain, batches(doubles)),
        (
            "doubles in one batch",
            &plain,
            vec![table(ROWS, |rows| doubles(rows))],
        ),
        ("doubles, lz4", &compressed("lz4"), batches(doubles)),
        ("doubles, zstd", &compressed("zstd"), batches(doubles)),
        ("text", &plain, batches(text)),
        ("text in views", &plain, batches(views)),
    ];
    let mut group = criterion.benchmark_group("encode");
    group.sample_size(10);
    for (name, encoding, batches) in cases {
        let bytes: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| runtime.block_on(encode(encoding, batches.clone())));
        });
    }
    group.finish();
}

criterion_group!(benches, encoding);
criterion_main!(benches);
