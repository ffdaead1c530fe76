//! The batches of a row group's wanted rows: decoded, decoded and kept for others, or taken from what was kept.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::cache::{ColumnCache, ColumnKey};
use super::group::{GroupRows, narrow};

/// Batches of wanted rows, in order.
pub(super) enum GroupReader {
    Decoding(ParquetRecordBatchReader),
    Keeping(Box<Keeping>),
    Kept(KeptRows),
}

impl GroupReader {
    /// Decodes all rows, and keeps them once all have been decoded.
    pub(super) fn keeping(
        reader: ParquetRecordBatchReader,
        rows: usize,
        cache: Arc<ColumnCache>,
        keys: Vec<ColumnKey>,
    ) -> Self {
        Self::Keeping(Box::new(Keeping {
            reader,
            rows,
            decoded: Vec::new(),
            cache,
            keys,
        }))
    }
}

impl Iterator for GroupReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Decoding(reader) => reader.next(),
            Self::Keeping(reader) => reader.next(),
            Self::Kept(rows) => rows.next(),
        }
    }
}

/// Decodes all rows of a row group on behalf of the cache too.
pub(super) struct Keeping {
    reader: ParquetRecordBatchReader,
    decoded: Vec<RecordBatch>,
    rows: usize,
    cache: Arc<ColumnCache>,
    keys: Vec<ColumnKey>,
}

impl Keeping {
    fn next(&mut self) -> Option<Result<RecordBatch, ArrowError>> {
        match self.reader.next() {
            Some(Ok(batch)) => {
                self.decoded.push(batch.clone());
                Some(Ok(batch))
            }
            Some(Err(error)) => {
                self.decoded.clear();
                Some(Err(error))
            }
            None => {
                self.keep();
                None
            }
        }
    }

    /// Columns that do not fit into one array each are not kept.
    fn keep(&mut self) {
        let decoded = std::mem::take(&mut self.decoded);
        let Some(first) = decoded.first() else { return };
        if let Ok(whole) = concat_batches(&first.schema(), &decoded)
            && whole.num_rows() == self.rows
        {
            self.cache.put(&self.keys, whole.columns());
        }
    }
}

/// All rows of a row group.
pub(super) struct WholeGroup {
    columns: Vec<ArrayRef>,
    rows: usize,
}

impl WholeGroup {
    pub(super) fn new(columns: Vec<ArrayRef>, rows: usize) -> Self {
        Self { columns, rows }
    }

    pub(super) fn decode(reader: ParquetRecordBatchReader) -> Result<Self, ArrowError> {
        let schema = arrow::array::RecordBatchReader::schema(&reader);
        let batches = reader.collect::<Result<Vec<_>, _>>()?;
        let whole = concat_batches(&schema, &batches)?;
        Ok(Self::new(whole.columns().to_vec(), whole.num_rows()))
    }

    pub(super) fn count(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> &[ArrayRef] {
        &self.columns
    }

    /// The wanted rows in batches.
    pub(super) fn rows(self, rows: &GroupRows, batch_size: usize) -> KeptRows {
        let wanted = rows.wanted.as_ref().map(|wanted| {
            let rows = wanted
                .iter()
                .flat_map(|range| range.clone())
                .map(|row| narrow(row) as u32);
            rows.collect()
        });
        let count = wanted.as_ref().map_or(self.rows, Vec::len);
        KeptRows {
            schema: Arc::new(nameless(&self.columns)),
            whole: self,
            wanted,
            left: 0..count,
            batch_size,
        }
    }
}

/// A schema for columns whose names nobody asks for.
fn nameless(columns: &[ArrayRef]) -> Schema {
    let field = |column: &ArrayRef| Field::new("", column.data_type().clone(), true);
    Schema::new(columns.iter().map(field).collect::<Vec<_>>())
}

/// Wanted rows of a row group in memory.
pub(super) struct KeptRows {
    whole: WholeGroup,
    schema: Arc<Schema>,
    /// Rows of the row group; `None` for all.
    wanted: Option<Vec<u32>>,
    left: Range<usize>,
    batch_size: usize,
}

impl KeptRows {
    fn next(&mut self) -> Option<Result<RecordBatch, ArrowError>> {
        let count = self.left.len().min(self.batch_size);
        (count > 0).then(|| {
            let start = self.left.start;
            self.left.start += count;
            self.batch(start, count)
        })
    }

    fn batch(&self, start: usize, count: usize) -> Result<RecordBatch, ArrowError> {
        let columns = self.whole.columns.iter();
        let columns = match self.wanted.as_ref().and_then(|rows| rows.get(start..)) {
            None => Ok(columns.map(|column| column.slice(start, count)).collect()),
            Some(rows) => {
                let rows = UInt32Array::from_iter_values(rows.iter().take(count).copied());
                columns.map(|column| take(column, &rows, None)).collect()
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns?, &options)
    }
}
