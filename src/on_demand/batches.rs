//! Rows are gathered to larger batches for the worker, and its answers made columns of the declared types.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::protocol::Job;
use crate::error::{Error, Result};

/// Rows that are enough for one call.
const ENOUGH_ROWS: usize = 64 * 1024;
/// Bytes that are enough for one call.
const ENOUGH_BYTES: usize = 16 << 20;

/// The same rows in order, in batches that are worth a call.
pub(super) fn gathered(
    rows: SendableRecordBatchStream,
) -> impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send {
    let schema = rows.schema();
    stream::try_unfold(rows.fuse(), move |mut rows| {
        let schema = Arc::clone(&schema);
        async move {
            let (mut batches, mut count, mut bytes) = (Vec::new(), 0, 0);
            while count < ENOUGH_ROWS && bytes < ENOUGH_BYTES {
                let Some(batch) = rows.try_next().await? else {
                    break;
                };
                count += batch.num_rows();
                bytes += size_of(&batch);
                batches.push(batch);
            }
            Ok(match batches.is_empty() {
                true => None,
                false => Some((concat_batches(&schema, &batches)?, rows)),
            })
        }
    })
}

/// Bytes of the rows themselves, where they are a slice of something larger.
fn size_of(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter().map(|column| {
        let data = column.to_data();
        data.get_slice_memory_size()
            .unwrap_or_else(|_| column.get_array_memory_size())
    });
    columns.sum()
}

/// An answer about no rows, which need no worker.
pub(super) fn no_rows(columns: &[Field]) -> RecordBatch {
    RecordBatch::new_empty(Arc::new(Schema::new(columns.to_vec())))
}

/// `rows` with the columns of `answer`, cast to the declared types.
pub(super) fn appended(
    rows: &RecordBatch,
    answer: &RecordBatch,
    job: &Job,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    if answer.num_columns() != job.columns.len() || answer.num_rows() != rows.num_rows() {
        return Err(wrong_shape(rows, answer, job));
    }
    let mut columns = rows.columns().to_vec();
    for (column, declared) in answer.columns().iter().zip(&job.columns) {
        columns.push(declared_type(column, declared, job)?);
    }
    let action = "append on-demand features";
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(Error::arrow(action))
}

fn declared_type(column: &ArrayRef, declared: &Field, job: &Job) -> Result<ArrayRef> {
    if column.is_empty() {
        return Ok(new_empty_array(declared.data_type()));
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, declared.data_type(), &strict).map_err(|error| {
        let (name, found) = (declared.name(), column.data_type());
        let expected = declared.data_type();
        failed(
            job,
            format!(
                "feature `{name}` is declared as {expected}, but its code made {found}: {error}"
            ),
        )
    })
}

fn wrong_shape(rows: &RecordBatch, answer: &RecordBatch, job: &Job) -> Error {
    let shape = |columns: usize, rows: usize| format!("{columns} columns of {rows} rows");
    let expected = shape(job.columns.len(), rows.num_rows());
    let found = shape(answer.num_columns(), answer.num_rows());
    failed(job, format!("expected {expected}, its code made {found}"))
}

fn failed(job: &Job, message: String) -> Error {
    Error::OnDemandFailed {
        view: job.names.join(", "),
        message,
    }
}
