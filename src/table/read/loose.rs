//! A Parquet file by itself, outside of any scan: what its footer says, and its rows exactly as they were written.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::Stream;
use parquet::DecodeResult;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use super::footer::Footer;
use super::group::OpenFile;
use super::input::{FileRef, Input};
use super::store::FileStore;
use crate::error::Result;

const BATCH_ROWS: usize = 8192;

/// An open file whose footer is known.
#[derive(Debug)]
pub(in crate::table) struct LooseFile(OpenFile);

impl LooseFile {
    /// Opens a file and reads its footer.
    pub(in crate::table) async fn open(store: &FileStore, file: FileRef<'_>) -> Result<Self> {
        let input = Input::open(file, store, &Arc::default(), &Arc::default()).await?;
        let footer = Footer::load(&input, PageIndexPolicy::Optional).await?;
        Ok(Self(OpenFile {
            input,
            footer,
            columns: None,
        }))
    }

    pub(in crate::table) fn metadata(&self) -> &ParquetMetaData {
        self.0.footer.metadata()
    }

    /// Number of rows.
    pub(in crate::table) fn rows(&self) -> u64 {
        self.0.footer.rows()
    }

    /// The columns in Parquet's own types, which scans read.
    pub(in crate::table) fn stored_schema(&self) -> &SchemaRef {
        self.0.footer.reader.schema()
    }

    /// The columns in the types that the writer had.
    pub(in crate::table) fn written_schema(&self) -> Result<SchemaRef> {
        Ok(Arc::clone(self.written()?.schema()))
    }

    fn written(&self) -> Result<ArrowReaderMetadata> {
        let metadata = Arc::clone(self.0.footer.reader.metadata());
        ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new())
            .map_err(|error| self.0.input.corrupt(error))
    }

    /// All rows in the types that the writer had, a row group in memory at a time.
    pub(in crate::table) fn read(
        self,
    ) -> Result<impl Stream<Item = Result<RecordBatch>> + Send + 'static> {
        let decoder = ParquetPushDecoderBuilder::new_with_metadata(self.written()?)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| self.0.input.corrupt(error))?;
        let start = (self, decoder);
        Ok(futures::stream::try_unfold(
            start,
            |(file, mut decoder)| async {
                let batch = file.next(&mut decoder).await?;
                Ok(batch.map(|batch| (batch, (file, decoder))))
            },
        ))
    }

    async fn next(&self, decoder: &mut ParquetPushDecoder) -> Result<Option<RecordBatch>> {
        let corrupt = |error| self.0.input.corrupt(error);
        loop {
            match decoder.try_decode().map_err(corrupt)? {
                DecodeResult::Data(batch) => return Ok(Some(batch)),
                DecodeResult::Finished => return Ok(None),
                DecodeResult::NeedsData(ranges) => {
                    let bytes = self.0.input.read(&ranges).await?;
                    decoder.push_ranges(ranges, bytes).map_err(corrupt)?;
                }
            }
        }
    }
}
