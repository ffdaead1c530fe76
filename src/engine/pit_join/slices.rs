//! Joins the spine as a whole, or slice by slice where memory does not suffice for that.
//!
//! A slice is a range of the spine's rows. Its join takes memory for its own rows only; its output leaves in the spine's
//! order and is gone before the next slice starts, and nothing has to be sorted or spilled. The price is that each slice
//! reads the scans again. The first size is an estimate from the types of the features; a slice that proves too large
//! is halved and joined again, which is possible because nothing of it has left.

use arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use futures::stream::BoxStream;

use super::memory::bytes_of;
use super::spine::Spine;
use super::stream::Job;
use crate::error::{Error, ErrorKind};
use crate::model::value_bytes;

/// Fewest rows that are worth reading the scans for.
pub(super) const MIN_SLICE_ROWS: usize = if cfg!(test) { 2 } else { 8192 };
/// About what the index and the candidates of a view take for each row.
const INDEX_ROW_BYTES: usize = 64;

/// The joined rows of a slice.
type Joined = BoxStream<'static, Result<RecordBatch>>;

/// What is left to be joined.
pub(super) struct Slices {
    job: Job,
    spine: Spine,
    pool: MemoryReservation,
    /// Rows of a slice.
    rows: usize,
}

impl Slices {
    pub(super) fn new(job: Job, spine: Spine, pool: MemoryReservation) -> Self {
        let bytes = job.row_bytes();
        let rows = fitting_rows(spine.rows(), bytes, &pool.new_empty());
        Self {
            job,
            spine,
            pool,
            rows,
        }
    }

    /// Joins the next slice; the output and what is left after it.
    pub(super) async fn next(mut self) -> Result<Option<(Joined, Self)>> {
        while self.spine.rows() > 0 {
            let slice = self.spine.front(self.rows);
            match self.job.join(&slice, &self.pool).await {
                Ok(values) => {
                    let (batches, memory) = self.spine.take_front(slice, self.job.spine_output)?;
                    return Ok(Some((self.job.output(batches, values, memory), self)));
                }
                Err(error) if is_exhausted(&error) && slice.rows() > MIN_SLICE_ROWS => {
                    self.rows = slice.rows().div_ceil(2);
                    tracing::debug!(rows = self.rows, "memory is short: joining smaller slices");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl Job {
    /// About what a row of the spine takes while it is joined.
    fn row_bytes(&self) -> usize {
        let features = self.views.iter().flat_map(|job| &job.view.features);
        let values: u64 = features.map(|field| value_bytes(field.data_type())).sum();
        usize::try_from(values)
            .unwrap_or(usize::MAX)
            .saturating_add(bytes_of::<u32>(self.views.len()) + INDEX_ROW_BYTES)
    }
}

/// Rows of equal slices of which one fits into the memory that is free now.
fn fitting_rows(rows: usize, row_bytes: usize, memory: &MemoryReservation) -> usize {
    let mut fitting = rows.max(1);
    while fitting > MIN_SLICE_ROWS
        && memory
            .try_resize(fitting.saturating_mul(row_bytes))
            .is_err()
    {
        fitting = fitting.div_ceil(2);
    }
    rows.div_ceil(rows.div_ceil(fitting).max(1)).max(1)
}

fn is_exhausted(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => true,
        DataFusionError::External(inner) => inner
            .downcast_ref::<Error>()
            .is_some_and(|error| error.kind() == ErrorKind::ResourceExhausted),
        _ => false,
    }
}
