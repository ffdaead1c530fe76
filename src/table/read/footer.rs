//! Footers of Parquet files with their page indexes, parsed once and kept while memory allows: a version of a file
//! never changes.
//!
//! A footer is checked here, so that the rest of the module and the parquet crate may rely on its offsets, row counts
//! and page locations.

use std::ops::Range;
use std::sync::Arc;

use moka::future::Cache;
use parquet::DecodeResult;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder,
    RowGroupMetaData,
};

use super::file_schema::FileSchema;
use super::input::Input;
use crate::error::{Error, Result};
use crate::model::RowAddress;

/// Length and magic at the end of a file.
const TAIL_BYTES: usize = 8;

/// Parsed footers by path and version, bounded in bytes. Concurrent requests for one file parse it once.
#[derive(Debug)]
pub(super) struct FooterCache {
    footers: Option<Cache<String, Arc<Footer>>>,
}

impl FooterCache {
    /// A cache of about `max_bytes` of parsed metadata.
    pub(super) fn new(max_bytes: u64) -> Self {
        let weigh = |path: &String, footer: &Arc<Footer>| {
            u32::try_from(path.len().saturating_add(footer.weight)).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().max_capacity(max_bytes).weigher(weigh);
        Self {
            footers: Some(cache.build()),
        }
    }

    /// A cache that keeps nothing, for files that are read whole: their page indexes are not even parsed.
    pub(super) fn none() -> Self {
        Self { footers: None }
    }

    pub(super) async fn get(&self, input: &Input) -> Result<Arc<Footer>> {
        let Some(footers) = &self.footers else {
            return Footer::load(input, PageIndexPolicy::Skip).await;
        };
        let load = Footer::load(input, PageIndexPolicy::Optional);
        match footers
            .try_get_with_by_ref(input.identity().as_ref(), load)
            .await
        {
            Ok(footer) => Ok(footer),
            Err(error) => {
                Err(Arc::try_unwrap(error).unwrap_or_else(|shared| same_failure(&shared, input)))
            }
        }
    }
}

/// The error that another waiter of the same load also got.
fn same_failure(shared: &Error, input: &Input) -> Error {
    match shared {
        Error::FileNotFound { table, path } => Error::FileNotFound {
            table: table.clone(),
            path: path.clone(),
        },
        Error::StorageUnavailable { path, message } => Error::StorageUnavailable {
            path: path.clone(),
            message: message.clone(),
        },
        Error::FileChanged { path } => Error::FileChanged { path: path.clone() },
        Error::Parquet { source, .. } => input.corrupt(ParquetError::General(source.to_string())),
        other => input.corrupt(ParquetError::General(other.to_string())),
    }
}

/// What is known of a file before any of its data is read.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) reader: ArrowReaderMetadata,
    pub(super) schema: FileSchema,
    /// First row of each row group, and the number of rows at the end.
    row_starts: Vec<u64>,
    weight: usize,
}

impl Footer {
    pub(super) async fn load(input: &Input, pages: PageIndexPolicy) -> Result<Arc<Self>> {
        let metadata = load_metadata(input, pages).await?;
        Self::try_new(metadata)
            .map(Arc::new)
            .map_err(|error| input.corrupt(error))
    }

    fn try_new(metadata: ParquetMetaData) -> Result<Self, ParquetError> {
        let row_starts = row_starts(&metadata)?;
        check_chunks(&metadata)?;
        let metadata = Arc::new(without_broken_index(metadata));
        let reader = arrow_metadata(metadata)?;
        let schema = FileSchema::new(reader.schema(), reader.parquet_schema());
        let weight =
            reader.metadata().memory_size() + reader.schema().flattened_fields().len() * 512;
        Ok(Self {
            reader,
            schema,
            row_starts,
            weight,
        })
    }

    pub(super) fn metadata(&self) -> &ParquetMetaData {
        self.reader.metadata()
    }

    pub(super) fn rows(&self) -> u64 {
        self.row_starts.last().copied().unwrap_or(0)
    }

    /// Row groups with the rows of the file that they hold.
    pub(super) fn row_groups(
        &self,
    ) -> impl Iterator<Item = (usize, Range<u64>, &RowGroupMetaData)> {
        let spans = self
            .row_starts
            .windows(2)
            .filter_map(|pair| Some(*pair.first()?..*pair.last()?));
        spans
            .zip(self.metadata().row_groups())
            .enumerate()
            .map(|(index, (rows, group))| (index, rows, group))
    }
}

async fn load_metadata(input: &Input, pages: PageIndexPolicy) -> Result<ParquetMetaData> {
    let corrupt = |error| input.corrupt(error);
    let size = input.size_bytes();
    let (tail, bytes) = input.read_tail().await?;
    check_tail(&bytes, size).map_err(corrupt)?;
    let decoder = ParquetMetaDataPushDecoder::try_new(size).map_err(corrupt)?;
    let mut decoder = decoder.with_page_index_policy(pages);
    decoder.push_range(tail, bytes).map_err(corrupt)?;
    loop {
        match decoder.try_decode().map_err(corrupt)? {
            DecodeResult::Data(metadata) => return Ok(metadata),
            DecodeResult::NeedsData(ranges) => {
                let bytes = input.read(&ranges).await?;
                decoder.push_ranges(ranges, bytes).map_err(corrupt)?;
            }
            DecodeResult::Finished => {
                return Err(corrupt(ParquetError::General("no footer".to_owned())));
            }
        }
    }
}

/// The parquet crate subtracts the footer's length from the file's before it looks at it.
fn check_tail(bytes: &[u8], size: u64) -> Result<(), ParquetError> {
    let invalid =
        |message: String| ParquetError::General(format!("invalid Parquet file: {message}"));
    let start = bytes
        .len()
        .checked_sub(TAIL_BYTES)
        .ok_or_else(|| invalid(format!("it has {size} bytes")))?;
    match bytes
        .get(start..)
        .and_then(|tail| tail.split_first_chunk::<4>())
    {
        Some((length, b"PAR1")) => match u64::from(u32::from_le_bytes(*length)) + TAIL_BYTES as u64
        {
            needed if needed <= size => Ok(()),
            needed => Err(invalid(format!(
                "its footer has {needed} bytes, the file {size}"
            ))),
        },
        _ => Err(invalid("it does not end as one".to_owned())),
    }
}

fn row_starts(metadata: &ParquetMetaData) -> Result<Vec<u64>, ParquetError> {
    let mut starts = vec![0];
    let mut total = 0_u64;
    for group in metadata.row_groups() {
        let rows = u64::try_from(group.num_rows())?;
        total = total.saturating_add(rows);
        starts.push(total);
    }
    match total <= RowAddress::MAX_ROW {
        true => Ok(starts),
        false => Err(ParquetError::General(format!("it claims {total} rows"))),
    }
}

fn check_chunks(metadata: &ParquetMetaData) -> Result<(), ParquetError> {
    let leaves = metadata.file_metadata().schema_descr().num_columns();
    let sound = |group: &RowGroupMetaData| {
        group.num_columns() == leaves && group.columns().iter().all(chunk_is_sound)
    };
    match metadata.row_groups().iter().all(sound) {
        true => Ok(()),
        false => Err(ParquetError::General(
            "a column chunk has no valid place in the file".to_owned(),
        )),
    }
}

fn chunk_is_sound(chunk: &ColumnChunkMetaData) -> bool {
    chunk.data_page_offset() >= 0
        && chunk.compressed_size() >= 0
        && chunk.dictionary_page_offset().unwrap_or(0) >= 0
}

/// An index that does not describe its column chunks is worth less than none.
fn without_broken_index(metadata: ParquetMetaData) -> ParquetMetaData {
    match index_is_sound(&metadata) {
        true => metadata,
        false => metadata
            .into_builder()
            .set_column_index(None)
            .set_offset_index(None)
            .build(),
    }
}

fn index_is_sound(metadata: &ParquetMetaData) -> bool {
    let Some(index) = metadata.offset_index() else {
        return metadata.column_index().is_none();
    };
    let groups = metadata.row_groups();
    index.len() == groups.len()
        && index.iter().zip(groups).all(|(columns, group)| {
            columns.len() == group.num_columns()
                && columns
                    .iter()
                    .all(|column| pages_are_sound(column.page_locations(), group.num_rows()))
        })
}

fn pages_are_sound(
    pages: &[parquet::file::page_index::offset_index::PageLocation],
    rows: i64,
) -> bool {
    let starts_at_zero = pages.first().is_some_and(|page| page.first_row_index == 0);
    let ascending = pages.windows(2).all(|pair| match pair {
        [a, b] => a.first_row_index <= b.first_row_index && a.offset < b.offset,
        _ => false,
    });
    let within = pages
        .iter()
        .all(|page| page.offset >= 0 && page.compressed_page_size >= 0)
        && pages
            .last()
            .is_some_and(|page| page.first_row_index <= rows);
    (rows == 0 && pages.is_empty()) || (starts_at_zero && ascending && within)
}

/// Types as the file itself has them, not as the writer's Arrow schema would; INT96 in microseconds, which hold the
/// years that nanoseconds cannot.
fn arrow_metadata(metadata: Arc<ParquetMetaData>) -> Result<ArrowReaderMetadata, ParquetError> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let plain = ArrowReaderMetadata::try_new(Arc::clone(&metadata), options.clone())?;
    match super::file_schema::with_int96_as_micros(plain.schema(), plain.parquet_schema()) {
        None => Ok(plain),
        Some(schema) => {
            ArrowReaderMetadata::try_new(metadata, options.with_schema(Arc::new(schema)))
        }
    }
}
