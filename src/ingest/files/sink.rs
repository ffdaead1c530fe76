//! One Parquet file on its way to a store. It appears, or takes an older one's place, when it is finished: both kinds
//! of store keep an unfinished upload to themselves.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parquet::arrow::AsyncArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use std::sync::Arc;

use super::place::Place;
use crate::error::{Error, Result};

/// Bytes of a row group that are held before they are written.
const GROUP_BYTES: usize = 64 * 1024 * 1024;
const GROUP_ROWS: usize = 128 * 1024;
const UPLOADS_AT_ONCE: usize = 4;

pub(super) struct Sink {
    writer: AsyncArrowWriter<BufWriter>,
    uri: String,
}

impl Sink {
    pub(super) fn new(place: &Place, path: &Path, schema: &SchemaRef) -> Result<Self> {
        let output = BufWriter::new(Arc::clone(&place.located.store), path.clone())
            .with_max_concurrency(UPLOADS_AT_ONCE);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_truncate_length(None)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .build();
        let uri = place.location.uri.clone();
        let writer = AsyncArrowWriter::try_new(output, Arc::clone(schema), Some(properties));
        Ok(Self {
            writer: writer.map_err(failed(&uri))?,
            uri,
        })
    }

    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let written = self.writer.write(batch).await;
        written.map_err(failed(&self.uri))?;
        if self.writer.in_progress_size() > GROUP_BYTES {
            let flushed = self.writer.flush().await;
            flushed.map_err(failed(&self.uri))?;
        }
        Ok(())
    }

    /// Makes the file appear if all rows were written; else it never was.
    pub(super) async fn finish_with(mut self, written: Result<u64>) -> Result<u64> {
        let rows = match written {
            Ok(rows) => rows,
            Err(error) => {
                // What is left of the upload is the store's to sweep.
                let _ = self.writer.into_inner().abort().await;
                return Err(error);
            }
        };
        let finished = self.writer.finish().await;
        finished.map_err(failed(&self.uri))?;
        Ok(rows)
    }
}

fn failed(uri: &str) -> impl FnOnce(ParquetError) -> Error {
    let path = uri.to_owned();
    |error| match error {
        ParquetError::External(cause) => Error::StorageUnavailable {
            path,
            message: cause.to_string(),
        },
        other => Error::internal(format!("write `{path}`"), other),
    }
}
