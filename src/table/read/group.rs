//! One row group: fetch the bytes that its wanted rows need, then decode without further waiting. Columns that the
//! cache has are not read at all.

use std::ops::Range;
use std::sync::Arc;

use arrow::error::ArrowError;
use parquet::DecodeResult;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowSelection};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::errors::ParquetError;

use super::cache::{ColumnCache, ColumnKey, Keep};
use super::columns::Projection;
use super::footer::Footer;
use super::group_reader::{GroupReader, WholeGroup};
use super::input::Input;
use crate::error::{Error, Result};

/// An open file with its footer.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) input: Input,
    pub(super) footer: Arc<Footer>,
    /// Where its columns are kept.
    pub(super) columns: Option<Arc<ColumnCache>>,
}

/// Rows of one row group.
#[derive(Clone, Debug)]
pub(super) struct GroupRows {
    pub(super) group: usize,
    /// Rows of the file that are in the row group.
    pub(super) span: Range<u64>,
    /// The wanted ones, counted from the row group's start; `None` for all.
    pub(super) wanted: Option<Vec<Range<u64>>>,
}

impl GroupRows {
    /// The wanted rows, counted from the file's start.
    pub(super) fn rows(&self) -> Vec<Range<u64>> {
        match &self.wanted {
            None => vec![self.span.clone()],
            Some(wanted) => wanted
                .iter()
                .map(|range| self.span.start + range.start..self.span.start + range.end)
                .collect(),
        }
    }

    /// Rows of the row group.
    pub(super) fn span_rows(&self) -> usize {
        narrow(self.span.end - self.span.start)
    }

    pub(super) fn count(&self) -> u64 {
        self.rows()
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }

    fn selection(&self) -> Option<RowSelection> {
        let ranges = self.wanted.as_ref()?.iter();
        Some(RowSelection::from_consecutive_ranges(
            ranges.map(|range| narrow(range.start)..narrow(range.end)),
            self.span_rows(),
        ))
    }
}

pub(super) fn narrow(row: u64) -> usize {
    usize::try_from(row).expect("a row group's rows are fewer than memory has bytes")
}

impl OpenFile {
    /// The wanted rows of a row group's projected columns. `None` where no row is wanted.
    pub(super) async fn open_group(
        &self,
        projection: &Projection,
        rows: &GroupRows,
        batch_size: usize,
        keep: Keep,
    ) -> Result<Option<GroupReader>> {
        let Some(cache) = self.columns.as_ref().filter(|_| keep != Keep::No) else {
            let reader = self.open_reader(projection, rows, batch_size).await?;
            return Ok(reader.map(GroupReader::Decoding));
        };
        let keys = self.column_keys(projection, rows.group);
        if let Some(columns) = cache.get(&keys) {
            let kept = WholeGroup::new(columns, rows.span_rows());
            return Ok(Some(GroupReader::Kept(kept.rows(rows, batch_size))));
        }
        let wants_all = rows.wanted.is_none();
        if keep == Keep::AskedTwice && cache.ask(&keys) && !wants_all {
            return self.load_group(projection, rows, batch_size, &keys).await;
        }
        let reader = self.open_reader(projection, rows, batch_size).await?;
        Ok(reader.map(|reader| match wants_all {
            true => GroupReader::keeping(reader, rows.span_rows(), Arc::clone(cache), keys),
            false => GroupReader::Decoding(reader),
        }))
    }

    /// Decodes and keeps the whole row group to take the wanted rows of it.
    async fn load_group(
        &self,
        projection: &Projection,
        rows: &GroupRows,
        batch_size: usize,
        keys: &[ColumnKey],
    ) -> Result<Option<GroupReader>> {
        let all = GroupRows {
            wanted: None,
            ..rows.clone()
        };
        let Some(reader) = self.open_reader(projection, &all, batch_size).await? else {
            return Ok(None);
        };
        let loaded = WholeGroup::decode(reader).map_err(|error| self.decode_failure(error))?;
        if loaded.count() != rows.span_rows() {
            return Err(self.wrong_row_count());
        }
        if let Some(cache) = &self.columns {
            cache.put(keys, loaded.columns());
        }
        Ok(Some(GroupReader::Kept(loaded.rows(rows, batch_size))))
    }

    fn column_keys(&self, projection: &Projection, group: usize) -> Vec<ColumnKey> {
        let file: Arc<str> = Arc::from(self.input.identity().as_ref());
        let columns = projection.columns.iter();
        let key = |leaves: &Arc<[usize]>| ColumnKey {
            file: Arc::clone(&file),
            group,
            leaves: Arc::clone(leaves),
        };
        columns.map(key).collect()
    }

    /// Reads what the wanted rows need of the projected columns.
    async fn open_reader(
        &self,
        projection: &Projection,
        rows: &GroupRows,
        batch_size: usize,
    ) -> Result<Option<ParquetRecordBatchReader>> {
        let corrupt = |error| self.input.corrupt(error);
        let mut decoder = self
            .decoder(projection, rows, batch_size)
            .map_err(corrupt)?;
        loop {
            match decoder.try_next_reader().map_err(corrupt)? {
                DecodeResult::Data(reader) => return Ok(Some(reader)),
                DecodeResult::Finished => return Ok(None),
                DecodeResult::NeedsData(ranges) => {
                    let bytes = self.input.read(&ranges).await?;
                    decoder.push_ranges(ranges, bytes).map_err(corrupt)?;
                }
            }
        }
    }

    fn decoder(
        &self,
        projection: &Projection,
        rows: &GroupRows,
        batch_size: usize,
    ) -> Result<ParquetPushDecoder, ParquetError> {
        let builder = ParquetPushDecoderBuilder::new_with_metadata(self.footer.reader.clone())
            .with_projection(projection.mask.clone())
            .with_batch_size(batch_size)
            .with_row_groups(vec![rows.group]);
        match rows.selection() {
            None => builder.build(),
            Some(selection) => builder.with_row_selection(selection).build(),
        }
    }

    pub(super) fn wrong_row_count(&self) -> Error {
        let message = "a row group does not have the rows that the footer says".to_owned();
        self.input.corrupt(ParquetError::General(message))
    }

    pub(super) fn decode_failure(&self, error: ArrowError) -> Error {
        self.input.corrupt(match error {
            ArrowError::ParquetError(message) => ParquetError::General(message),
            other => ParquetError::ArrowError(other.to_string()),
        })
    }
}

/// Numbers of the rows that a reader yields, in its order.
#[derive(Debug)]
pub(super) struct RowNumbers {
    ranges: std::vec::IntoIter<Range<u64>>,
    current: Range<u64>,
}

impl RowNumbers {
    pub(super) fn new(ranges: Vec<Range<u64>>) -> Self {
        Self {
            ranges: ranges.into_iter(),
            current: 0..0,
        }
    }

    /// The next `count` numbers, or fewer at the end.
    pub(super) fn next(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::with_capacity(count);
        while numbers.len() < count {
            if self.current.is_empty() {
                match self.ranges.next() {
                    Some(range) => self.current = range,
                    None => break,
                }
            }
            let missing = u64::try_from(count - numbers.len()).unwrap_or(u64::MAX);
            let end = self
                .current
                .end
                .min(self.current.start.saturating_add(missing));
            numbers.extend(self.current.start..end);
            self.current.start = end;
        }
        numbers
    }

    pub(super) fn is_done(&self) -> bool {
        self.current.is_empty() && self.ranges.as_slice().iter().all(Range::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_numbers_cross_ranges() {
        let mut numbers = RowNumbers::new(vec![3..5, 7..7, 9..12]);
        assert_eq!(numbers.next(3), vec![3, 4, 9]);
        assert!(!numbers.is_done());
        assert_eq!(numbers.next(5), vec![10, 11]);
        assert!(numbers.is_done());
    }
}
