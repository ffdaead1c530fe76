//! The operator against a nested loop that does what the contract says, over drawn spines, tables and layouts.
//!
//! The normal run draws 10,000 cases; `MURRE_PIT_CASES=1000000 cargo test --lib agrees_with_the_nested_loop` is the
//! long run. Inside tests the operator's chunk and shard sizes are tiny, so that small cases cross their borders.

mod cases;
mod directed;
mod failures;
mod fixture;
mod slices;
mod source;

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float64Array,
    Int16Array, Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray, new_null_array,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool, UnboundedMemoryPool};
use datafusion::physical_plan::{ExecutionPlan, collect};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRunner};

use self::cases::{
    Case, FLOATS, FeatureRow, KeyType, STRINGS, SpineRow, ViewCase, case, nanoseconds,
};
use self::source::{Layout, TableSource, context, memory, scan, slices};
use super::{PitJoinExec, PitView};

/// The contract, word by word: the row of the view that a spine row matches.
fn nested_loop<'a>(row: &SpineRow, unit: TimeUnit, view: &'a ViewCase) -> Option<&'a FeatureRow> {
    let instant = i128::from(row.instant?) * nanoseconds(unit);
    let ttl = view
        .ttl
        .filter(|ttl| !ttl.is_zero())
        .map(|ttl| ttl.as_nanos() as i128);
    let matches = |feature: &&FeatureRow| {
        let same_keys = view
            .keys
            .iter()
            .all(|key| row.keys[*key].is_some() && row.keys[*key] == feature.keys[*key]);
        let Some(event) = feature
            .event
            .map(|event| i128::from(event) * nanoseconds(view.unit))
        else {
            return false;
        };
        same_keys && event <= instant && ttl.is_none_or(|ttl| event >= instant - ttl)
    };
    view.rows
        .iter()
        .filter(matches)
        .max_by(|a, b| compare(a, b, view.created_unit.is_some()))
}

fn compare(a: &FeatureRow, b: &FeatureRow, has_created: bool) -> Ordering {
    let created = |row: &FeatureRow| {
        row.created
            .filter(|created| has_created && *created != i64::MIN)
    };
    let source_row = |row: &FeatureRow| (row.values, row.created.filter(|_| has_created));
    (a.event, created(a), source_row(a)).cmp(&(b.event, created(b), source_row(b)))
}

fn expected(case: &Case) -> RecordBatch {
    let mut columns = spine_batch(case).columns().to_vec();
    for view in &case.views {
        let winners: Vec<_> = case
            .spine
            .iter()
            .map(|row| nested_loop(row, case.unit, view))
            .collect();
        columns.extend(value_columns(&winners).into_iter().rev());
    }
    RecordBatch::try_new(output_schema(case), columns).unwrap()
}

fn output_schema(case: &Case) -> Arc<Schema> {
    let spine = spine_batch(case).schema();
    let features = (0..case.views.len()).flat_map(features);
    Arc::new(Schema::new(
        spine
            .fields()
            .iter()
            .map(|f| f.as_ref().clone())
            .chain(features)
            .collect::<Vec<_>>(),
    ))
}

fn features(view: usize) -> Vec<Field> {
    let field = |name: &str, data_type| Field::new(format!("{name}{view}"), data_type, true);
    vec![
        field("c", DataType::Utf8),
        field("b", DataType::Float64),
        field("a", DataType::Int32),
    ]
}

fn value_columns(rows: &[Option<&FeatureRow>]) -> Vec<ArrayRef> {
    let values = || {
        rows.iter()
            .map(|row| row.map_or((None, None, None), |row| row.values))
    };
    vec![
        Arc::new(values().map(|(a, _, _)| a).collect::<Int32Array>()),
        Arc::new(
            values()
                .map(|(_, b, _)| b.map(|b| FLOATS[usize::from(b)]))
                .collect::<Float64Array>(),
        ),
        Arc::new(
            values()
                .map(|(_, _, c)| c.map(|c| STRINGS[usize::from(c)]))
                .collect::<StringArray>(),
        ),
    ]
}

fn key_column(key_type: KeyType, keys: impl Iterator<Item = Option<u8>>) -> ArrayRef {
    let keys: Vec<Option<u8>> = keys.collect();
    let ints = || {
        keys.iter()
            .map(|key| key.map(|key| i64::from(key) * 100 - 100))
    };
    let strings = || {
        keys.iter()
            .map(|key| key.map(|key| STRINGS[usize::from(key)]))
    };
    let pairs: [&[u8]; 4] = [b"\0\0", b"\0\x01", b"\xff\0", b"ab"];
    match key_type {
        KeyType::Int64 => Arc::new(ints().collect::<Int64Array>()),
        KeyType::Int32 => Arc::new(
            ints()
                .map(|key| key.map(|key| key as i32))
                .collect::<Int32Array>(),
        ),
        KeyType::Int16 => Arc::new(
            ints()
                .map(|key| key.map(|key| key as i16))
                .collect::<Int16Array>(),
        ),
        KeyType::Date => Arc::new(
            ints()
                .map(|key| key.map(|key| key as i32))
                .collect::<Date32Array>(),
        ),
        KeyType::Timestamp => timestamps(TimeUnit::Microsecond, ints()),
        KeyType::String => Arc::new(strings().collect::<StringArray>()),
        KeyType::LargeString => Arc::new(strings().collect::<LargeStringArray>()),
        KeyType::Binary => Arc::new(
            strings()
                .map(|key| key.map(str::as_bytes))
                .collect::<BinaryArray>(),
        ),
        KeyType::Fixed if keys.iter().all(Option::is_none) => {
            new_null_array(&DataType::FixedSizeBinary(2), keys.len())
        }
        KeyType::Fixed => {
            let values = keys
                .iter()
                .map(|key| key.map(|key| pairs[usize::from(key)]));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 2).unwrap())
        }
        KeyType::Decimal => {
            let values = ints()
                .map(|key| key.map(i128::from))
                .collect::<Decimal128Array>();
            Arc::new(values.with_precision_and_scale(9, 2).unwrap())
        }
        KeyType::Double => Arc::new(
            keys.iter()
                .map(|key| key.map(|key| FLOATS[usize::from(key)]))
                .collect::<Float64Array>(),
        ),
    }
}

fn timestamps(unit: TimeUnit, values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    cast(
        &values.collect::<Int64Array>(),
        &DataType::Timestamp(unit, None),
    )
    .unwrap()
}

fn batch(columns: Vec<(String, ArrayRef)>) -> RecordBatch {
    let field =
        |(name, column): &(String, ArrayRef)| Field::new(name, column.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(
        Arc::new(schema),
        columns.into_iter().map(|(_, column)| column).collect(),
    )
    .unwrap()
}

/// Key columns, then the instants.
fn spine_batch(case: &Case) -> RecordBatch {
    let key = |at: usize| {
        key_column(
            case.key_types[at],
            case.spine.iter().map(|row| row.keys[at]),
        )
    };
    let instants = timestamps(case.unit, case.spine.iter().map(|row| row.instant));
    batch(vec![
        ("k0".to_owned(), key(0)),
        ("k1".to_owned(), key(1)),
        ("ts".to_owned(), instants),
    ])
}

/// The columns that the scan reads.
fn ranking_columns(case: &Case, view: &ViewCase) -> Vec<(String, ArrayRef)> {
    let keys = view.keys.iter();
    let key = |at: &usize| {
        key_column(
            case.key_types[*at],
            view.rows.iter().map(|row| row.keys[*at]),
        )
    };
    let mut columns: Vec<_> = keys.map(|at| (format!("k{at}"), key(at))).collect();
    columns.push((
        "event".to_owned(),
        timestamps(view.unit, view.rows.iter().map(|row| row.event)),
    ));
    if let Some(unit) = view.created_unit {
        columns.push((
            "created".to_owned(),
            timestamps(unit, view.rows.iter().map(|row| row.created)),
        ));
    }
    columns
}

fn view_plan(case: &Case, at: usize, layout: &Layout) -> (Arc<dyn ExecutionPlan>, PitView) {
    let view = &case.views[at];
    let ranking = ranking_columns(case, view);
    let scanned = batch(ranking.clone());
    let values = value_columns(&view.rows.iter().map(Some).collect::<Vec<_>>());
    // Values first: a row that lost by its times must not lose its ties by them too.
    let named = ["a", "b", "c"].map(str::to_owned).into_iter().zip(values);
    let fetch = TableSource::new(batch(named.chain(ranking).collect()), vec![2, 1, 0], layout);
    let plan = PitView {
        name: format!("view{at}"),
        keys: view.keys.clone(),
        ttl: view.ttl,
        has_created: view.created_unit.is_some(),
        fetch: Arc::new(fetch),
        features: features(at),
    };
    (scan(&scanned, layout), plan)
}

fn join(case: &Case, files: usize, seed: u64) -> Arc<PitJoinExec> {
    let spine = spine_batch(case);
    let schema = spine.schema();
    let spine = memory(slices(&spine, case.spine_batch_rows), schema);
    let layout =
        |view: &ViewCase| Layout::shuffled(view.rows.len(), files, case.spine_batch_rows, seed);
    let views = case
        .views
        .iter()
        .enumerate()
        .map(|(at, view)| view_plan(case, at, &layout(view)));
    Arc::new(PitJoinExec::try_new(spine, 2, 3, views.collect()).unwrap())
}

async fn run(
    join: Arc<PitJoinExec>,
    context: Arc<TaskContext>,
) -> Result<RecordBatch, DataFusionError> {
    let schema = join.schema();
    let batch_size = context.session_config().batch_size();
    let batches = collect(join, context).await?;
    assert!(
        batches
            .iter()
            .all(|batch| batch.num_rows() <= batch_size && batch.num_rows() > 0)
    );
    Ok(concat_batches(&schema, &batches)?)
}

/// The environment of a worker of the property test: contexts are costly to make.
struct Bench {
    runtime: tokio::runtime::Runtime,
    contexts: Vec<Arc<TaskContext>>,
}

impl Bench {
    fn new() -> Self {
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        Self {
            runtime,
            contexts: [1, 2, 7, 8192]
                .map(|batch_size| context(batch_size, &pool))
                .into(),
        }
    }

    fn check(&self, case: &Case) -> TestCaseResult {
        let expected = expected(case);
        for (at, context) in self.contexts.iter().enumerate() {
            let seed = case.seed.wrapping_add(at as u64);
            let join = join(case, if seed.is_multiple_of(2) { 1 } else { 4 }, seed);
            let found = self
                .runtime
                .block_on(run(join, Arc::clone(context)))
                .unwrap();
            prop_assert_eq!(&found, &expected);
        }
        self.check_small_pool(case, &expected)
    }

    fn check_small_pool(&self, case: &Case, expected: &RecordBatch) -> TestCaseResult {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(case.pool_bytes));
        let found = self
            .runtime
            .block_on(run(join(case, 2, case.seed), context(7, &pool)));
        match found.map_err(|error| error.find_root().to_string()) {
            Ok(found) => prop_assert_eq!(&found, expected),
            Err(error) => prop_assert!(error.contains("Resources exhausted"), "{}", error),
        }
        prop_assert_eq!(pool.reserved(), 0);
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's size, not configuration of the product"
)]
fn cases() -> u32 {
    std::env::var("MURRE_PIT_CASES").map_or(10_000, |cases| cases.parse().unwrap())
}

#[test]
fn agrees_with_the_nested_loop() {
    let workers = std::thread::available_parallelism().map_or(1, |workers| workers.get() as u32);
    let config = Config {
        cases: cases().div_ceil(workers),
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::XorShift,
        ..Config::default()
    };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let config = config.clone();
            scope.spawn(move || {
                let bench = Bench::new();
                TestRunner::new(config)
                    .run(&case(), |case| bench.check(&case))
                    .unwrap();
            });
        }
    });
}
