//! A feature table in memory: its rows laid out in files in any order, scanned in any partitions, fetched by address.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::super::{FetchColumns, FetchRows};
use crate::error::{Error, Result};
use crate::model::RowAddress;

/// Where the rows of a table lie and how they are read.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Rows of each file; one scan partition each.
    pub(super) files: Vec<Vec<usize>>,
    /// Rows of a scanned or fetched batch.
    pub(super) batch_rows: usize,
}

impl Layout {
    /// `rows` rows shuffled over `files` files, as `seed` says.
    pub(super) fn shuffled(rows: usize, files: usize, batch_rows: usize, seed: u64) -> Self {
        let mut state = seed | 1;
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        let mut order: Vec<usize> = (0..rows).collect();
        (1..rows)
            .rev()
            .for_each(|at| order.swap(at, draw() % (at + 1)));
        let mut layout = Self {
            files: vec![Vec::new(); files],
            batch_rows,
        };
        order
            .into_iter()
            .for_each(|row| layout.files[draw() % files].push(row));
        layout
    }
}

/// Rows by address.
#[derive(Debug)]
pub(super) struct TableSource {
    rows: RecordBatch,
    requested: Vec<usize>,
    row_at: HashMap<u64, u32>,
    batch_rows: usize,
}

impl TableSource {
    /// `rows` are the source's columns in tie-break order, `requested` the features among them.
    pub(super) fn new(rows: RecordBatch, requested: Vec<usize>, layout: &Layout) -> Self {
        let addresses = addresses(layout);
        Self {
            rows,
            requested,
            row_at: addresses.map(|(at, row)| (at, row as u32)).collect(),
            batch_rows: layout.batch_rows,
        }
    }
}

fn addresses(layout: &Layout) -> impl Iterator<Item = (u64, usize)> {
    let files = layout.files.iter().enumerate();
    files.flat_map(|(file, rows)| {
        rows.iter()
            .enumerate()
            .map(move |(at, row)| (RowAddress::new(file as u32, at as u64).to_u64(), *row))
    })
}

impl FetchRows for TableSource {
    fn fetch(
        &self,
        addresses: Vec<RowAddress>,
        columns: FetchColumns,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        assert!(
            addresses.is_sorted_by(|a, b| a < b),
            "addresses ascend and are distinct"
        );
        let rows = UInt32Array::from_iter_values(
            addresses
                .iter()
                .map(|address| self.row_at[&address.to_u64()]),
        );
        let source = match columns {
            FetchColumns::Requested => self.rows.project(&self.requested).unwrap(),
            FetchColumns::TieBreak => self.rows.clone(),
        };
        let fetched = take_record_batch(&source, &rows).unwrap();
        futures::stream::iter(
            slices(&fetched, self.batch_rows)
                .into_iter()
                .map(Ok::<_, Error>),
        )
        .boxed()
    }
}

/// `batch` in pieces of at most `rows` rows.
pub(super) fn slices(batch: &RecordBatch, rows: usize) -> Vec<RecordBatch> {
    let starts = (0..batch.num_rows()).step_by(rows);
    starts
        .map(|start| batch.slice(start, rows.min(batch.num_rows() - start)))
        .collect()
}

/// A scan of `columns` (keys, event time, created time), one partition per file.
pub(super) fn scan(columns: &RecordBatch, layout: &Layout) -> Arc<dyn ExecutionPlan> {
    let (all, rows): (Vec<u64>, Vec<usize>) = addresses(layout).unzip();
    let rows = UInt32Array::from_iter_values(rows.into_iter().map(|row| row as u32));
    let laid_out = take_record_batch(columns, &rows).unwrap();
    let schema = scan_schema(
        columns
            .schema()
            .fields()
            .iter()
            .map(|field| field.as_ref().clone()),
    );
    let with_address = laid_out
        .columns()
        .iter()
        .cloned()
        .chain([Arc::new(UInt64Array::from(all)) as ArrayRef]);
    let laid_out = RecordBatch::try_new(Arc::clone(&schema), with_address.collect()).unwrap();
    let mut start = 0;
    let partitions = layout.files.iter().map(|file| {
        start += file.len();
        slices(
            &laid_out.slice(start - file.len(), file.len()),
            layout.batch_rows,
        )
    });
    MemorySourceConfig::try_new_exec(&partitions.collect::<Vec<_>>(), schema, None).unwrap()
}

pub(super) fn scan_schema(columns: impl IntoIterator<Item = Field>) -> Arc<Schema> {
    let address = Field::new(RowAddress::COLUMN, DataType::UInt64, false);
    Arc::new(Schema::new(
        columns.into_iter().chain([address]).collect::<Vec<_>>(),
    ))
}

/// `batches` as a plan of one partition.
pub(super) fn memory(batches: Vec<RecordBatch>, schema: Arc<Schema>) -> Arc<dyn ExecutionPlan> {
    MemorySourceConfig::try_new_exec(&[batches], schema, None).unwrap()
}

/// A context of this batch size on this pool.
pub(super) fn context(batch_size: usize, pool: &Arc<dyn MemoryPool>) -> Arc<TaskContext> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::clone(pool))
        .build_arc()
        .unwrap();
    let config = SessionConfig::new().with_batch_size(batch_size);
    Arc::new(
        TaskContext::default()
            .with_session_config(config)
            .with_runtime(runtime),
    )
}
