//! Assembles the joined rows of a slice, a few batches at once, in the spine's order.

use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::metrics::BaselineMetrics;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::values::ViewValues;

/// What the rows of a slice are joined with.
pub(super) struct Output {
    pub(super) values: Vec<ViewValues>,
    pub(super) schema: SchemaRef,
    pub(super) metrics: BaselineMetrics,
    /// Covers the slice's rows.
    pub(super) _memory: MemoryReservation,
}

/// Rows of a slice, and the number of the first.
struct Piece {
    first: usize,
    rows: RecordBatch,
}

impl Output {
    /// The rows of `spine` with their features, in batches of at most `batch_size`.
    pub(super) fn stream(
        self,
        spine: Vec<RecordBatch>,
        batch_size: usize,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let output = Arc::new(self);
        let at_once = std::thread::available_parallelism().map_or(2, NonZero::get);
        futures::stream::iter(pieces(spine, batch_size))
            .map(move |piece| {
                let output = Arc::clone(&output);
                let task = SpawnedTask::spawn(async move { output.assemble(&piece) });
                async {
                    task.join()
                        .await
                        .map_err(|panic| DataFusionError::ExecutionJoin(Box::new(panic)))?
                }
            })
            .buffered(at_once)
            .map_ok(|batches| futures::stream::iter(batches.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    /// The piece as one batch, or as several where its values do not fit into the offsets of their types.
    fn assemble(&self, piece: &Piece) -> Result<Vec<RecordBatch>> {
        let elapsed = self.metrics.elapsed_compute().clone();
        let _timer = elapsed.timer();
        let total = piece.rows.num_rows();
        let (mut batches, mut done) = (Vec::new(), 0);
        while done < total {
            let (rows, batch) = self.widest(piece, done..total)?;
            self.metrics.record_output(rows);
            batches.push(batch);
            done += rows;
        }
        Ok(batches)
    }

    fn widest(
        &self,
        piece: &Piece,
        left: Range<usize>,
    ) -> Result<(usize, RecordBatch), ArrowError> {
        let mut rows = left.len();
        loop {
            match self.join(piece, left.start, rows) {
                Err(ArrowError::OffsetOverflowError(_)) if rows > 1 => rows = rows.div_ceil(2),
                made => return made.map(|batch| (rows, batch)),
            }
        }
    }

    fn join(&self, piece: &Piece, skipped: usize, rows: usize) -> Result<RecordBatch, ArrowError> {
        let first = piece.first + skipped;
        let spine = piece.rows.slice(skipped, rows);
        let mut columns: Vec<ArrayRef> = spine.columns().to_vec();
        for view in &self.values {
            columns.extend(view.gather(first..first + rows)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }
}

fn pieces(spine: Vec<RecordBatch>, batch_size: usize) -> impl Iterator<Item = Piece> {
    let mut first = 0;
    let pieces = spine.into_iter().flat_map(move |batch| {
        (0..batch.num_rows())
            .step_by(batch_size)
            .map(move |start| batch.slice(start, batch_size.min(batch.num_rows() - start)))
    });
    pieces.map(move |rows| {
        first += rows.num_rows();
        Piece {
            first: first - rows.num_rows(),
            rows,
        }
    })
}
