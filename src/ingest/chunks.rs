//! Batches of any size become chunks of a bounded one.

use std::collections::VecDeque;

use arrow::array::{Array, RecordBatch};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::columns::Columns;
use crate::error::Result;

/// Cuts a stream of batches.
pub(super) struct Chunks<'a> {
    batches: BoxStream<'static, Result<RecordBatch>>,
    columns: Option<&'a Columns>,
    limit_bytes: usize,
    /// Pieces of the last batch that are not yet in a chunk.
    pieces: VecDeque<RecordBatch>,
}

impl<'a> Chunks<'a> {
    /// Chunks of `batches`, fitted by `columns`, of about `limit_bytes` each.
    pub(super) fn new(
        batches: BoxStream<'static, Result<RecordBatch>>,
        columns: &'a Columns,
        limit_bytes: usize,
    ) -> Self {
        Self {
            columns: Some(columns),
            ..Self::raw(batches, limit_bytes)
        }
    }

    /// Chunks of `batches` as they are.
    pub(super) fn raw(
        batches: BoxStream<'static, Result<RecordBatch>>,
        limit_bytes: usize,
    ) -> Self {
        Self {
            batches,
            columns: None,
            limit_bytes,
            pieces: VecDeque::new(),
        }
    }

    /// The next chunk; `None` after the last. A chunk has rows.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<RecordBatch>>> {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while bytes < self.limit_bytes {
            let Some(piece) = self.piece().await? else {
                break;
            };
            bytes += size(&piece);
            chunk.push(match self.columns {
                Some(columns) => columns.fit(&piece)?,
                None => piece,
            });
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    async fn piece(&mut self) -> Result<Option<RecordBatch>> {
        while self.pieces.is_empty() {
            match self.batches.next().await.transpose()? {
                Some(batch) => self.pieces.extend(cut(&batch, self.limit_bytes)),
                None => return Ok(None),
            }
        }
        Ok(self.pieces.pop_front())
    }
}

/// Slices of about `limit_bytes`, none without rows.
fn cut(batch: &RecordBatch, limit_bytes: usize) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    let parts = size(batch).div_ceil(limit_bytes).clamp(1, rows.max(1));
    let step = rows.div_ceil(parts).max(1);
    (0..rows)
        .step_by(step)
        .map(|start| batch.slice(start, step.min(rows - start)))
        .collect()
}

/// Bytes of a batch's own rows, not of the buffers that it is a slice of.
pub(super) fn size(batch: &RecordBatch) -> usize {
    let bytes = |column: &dyn Array| {
        let data = column.to_data();
        data.get_slice_memory_size()
            .unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(|column| bytes(column)).sum()
}
