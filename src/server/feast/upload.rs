//! The table that comes with every command.
//!
//! Commands that need none come with a marker: Feast's clients build it of the string `mock_key`, which makes a table of
//! eight rows with one column, `key`. An entity dataframe has at least an event timestamp, so the column's name tells.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::execution::memory_pool::MemoryReservation;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::Mutex;

use super::command::Read;
use super::read::Frame;
use crate::error::Result;
use crate::ingest::Rows;
use crate::server::ipc_guard::GuardedStream;
use crate::server::{Services, do_exchange};

const MARKER_COLUMN: &str = "key";

/// A table on its way in. Whoever reads its batches may give up; what is left can still be received.
#[derive(Debug)]
pub(super) struct Upload(Arc<Mutex<GuardedStream>>);

impl Upload {
    pub(super) fn new(stream: GuardedStream) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    pub(super) async fn schema(&self) -> Result<SchemaRef> {
        self.0.lock().await.schema().await
    }

    pub(super) fn batches(&self) -> BoxStream<'static, Result<RecordBatch>> {
        let batches = stream::try_unfold(Arc::clone(&self.0), async |stream| {
            let batch = stream.lock().await.next_batch().await?;
            Ok(batch.map(|batch| (batch, stream)))
        });
        batches.boxed()
    }

    pub(super) async fn rows(&self) -> Result<Rows> {
        Ok(Rows {
            schema: self.schema().await?,
            batches: self.batches(),
        })
    }

    /// The entity dataframe, if this is one and `read` takes one; charged to the engine until the plan accounts for it.
    pub(super) async fn frame(
        &self,
        services: &Services,
        read: &Read,
    ) -> Result<(Frame, Option<MemoryReservation>)> {
        let schema = self.schema().await?;
        if !takes_frame(read, &schema) {
            return Ok((Frame::None, None));
        }
        let (frame, memory) = do_exchange::collect(services, schema, self.batches()).await?;
        Ok((Frame::Attached(frame), Some(memory)))
    }

    /// Receives what is left.
    pub(super) async fn drain(&self) {
        self.0.lock().await.drain().await;
    }
}

/// Whether a table of `schema` is an entity dataframe that `read` wants.
pub(super) fn takes_frame(read: &Read, schema: &Schema) -> bool {
    matches!(read, Read::Historical(_)) && !is_marker(schema)
}

fn is_marker(schema: &Schema) -> bool {
    matches!(schema.fields().as_ref(), [column] if column.name() == MARKER_COLUMN)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&["key"], true)]
    #[case(&["key", "event_timestamp"], false)]
    #[case(&["keys"], false)]
    #[case(&[], false)]
    fn one_column_called_key_is_the_marker(#[case] columns: &[&str], #[case] expected: bool) {
        let fields = columns
            .iter()
            .map(|name| Field::new(*name, DataType::Utf8, true));
        assert_eq!(
            is_marker(&Schema::new(fields.collect::<Vec<_>>())),
            expected
        );
    }
}
