//! Settings of Parquet files.

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::table::online::{CREATED_TIMESTAMP, ENTITY_KEY, EVENT_TIMESTAMP, WRITE_SEQUENCE};

const ROW_GROUP_ROWS: usize = 128 * 1024;
/// Small pages, because point-in-time joins fetch few rows of many, and a key of an online table that is not in memory is
/// looked up by the pages that can hold it.
const PAGE_ROWS: usize = 2 * 1024;

/// What a file is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileStyle {
    /// Many rows of some columns.
    Scanned,
    /// The rows of a few entity keys, in an online table.
    LookedUp,
}

impl FileStyle {
    /// Page index on (the default). Statistics are never truncated: iceberg 0.10.1 skips row groups with inexact
    /// statistics when it computes a file's bounds, so a truncated one would leave the bounds too narrow and hide rows.
    pub(super) fn properties(self, rows: usize) -> WriterProperties {
        let properties = WriterProperties::builder()
            .set_compression(self.compression())
            .set_statistics_truncate_length(None)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_data_page_row_count_limit(PAGE_ROWS);
        match self {
            Self::Scanned => properties,
            Self::LookedUp => looked_up(properties, rows),
        }
        .build()
    }

    /// A bucket is loaded while somebody waits: short chunks of many columns, for which setting zstd up takes longer than
    /// decoding does.
    fn compression(self) -> Compression {
        match self {
            Self::Scanned => Compression::ZSTD(ZstdLevel::default()),
            Self::LookedUp => Compression::SNAPPY,
        }
    }
}

/// Keys are sorted, and numbers of rows rise, so that differences are short.
fn looked_up(properties: WriterPropertiesBuilder, rows: usize) -> WriterPropertiesBuilder {
    let key = || ColumnPath::from(ENTITY_KEY);
    let distinct = u64::try_from(rows.clamp(1, ROW_GROUP_ROWS)).unwrap_or(1);
    let properties = properties
        .set_column_bloom_filter_enabled(key(), true)
        .set_column_bloom_filter_ndv(key(), distinct)
        .set_column_dictionary_enabled(key(), false)
        .set_column_encoding(key(), Encoding::DELTA_BYTE_ARRAY);
    let numbers = [EVENT_TIMESTAMP, CREATED_TIMESTAMP, WRITE_SEQUENCE];
    numbers.into_iter().fold(properties, |properties, column| {
        properties
            .set_column_dictionary_enabled(ColumnPath::from(column), false)
            .set_column_encoding(ColumnPath::from(column), Encoding::DELTA_BINARY_PACKED)
    })
}
