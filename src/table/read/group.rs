//! One row group: fetch the bytes that its wanted rows need, then decode without further waiting.

use std::ops::Range;
use std::sync::Arc;

use arrow::error::ArrowError;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowSelection};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::errors::ParquetError;

use super::footer::Footer;
use super::input::Input;
use crate::error::{Error, Result};

/// An open file with its footer.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) input: Input,
    pub(super) footer: Arc<Footer>,
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

    pub(super) fn count(&self) -> u64 {
        self.rows()
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }

    fn selection(&self) -> Option<RowSelection> {
        let narrow = |row: u64| {
            usize::try_from(row).expect("a row group's rows are fewer than memory has bytes")
        };
        let ranges = self
            .wanted
            .as_ref()?
            .iter()
            .map(|range| narrow(range.start)..narrow(range.end));
        Some(RowSelection::from_consecutive_ranges(
            ranges,
            narrow(self.span.end - self.span.start),
        ))
    }
}

impl OpenFile {
    /// Reads what the wanted rows need of the masked columns. `None` where no row is wanted.
    pub(super) async fn open_group(
        &self,
        mask: &ProjectionMask,
        rows: &GroupRows,
        batch_size: usize,
    ) -> Result<Option<ParquetRecordBatchReader>> {
        let corrupt = |error| self.input.corrupt(error);
        let mut decoder = self.decoder(mask, rows, batch_size).map_err(corrupt)?;
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
        mask: &ProjectionMask,
        rows: &GroupRows,
        batch_size: usize,
    ) -> Result<ParquetPushDecoder, ParquetError> {
        let builder = ParquetPushDecoderBuilder::new_with_metadata(self.footer.reader.clone())
            .with_projection(mask.clone())
            .with_batch_size(batch_size)
            .with_row_groups(vec![rows.group]);
        match rows.selection() {
            None => builder.build(),
            Some(selection) => builder.with_row_selection(selection).build(),
        }
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
