//! Settings of Parquet files (docs/adr/0013).

use std::collections::HashMap;

use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use iceberg::spec::TableProperties;

use super::FILE_BYTES;
use crate::table::online::{CREATED_TIMESTAMP, ENTITY_KEY, EVENT_TIMESTAMP, WRITE_SEQUENCE};

const ROW_GROUP_ROWS: usize = 128 * 1024;
/// Small pages, because point-in-time joins fetch few rows of many, and a key of an online table that is not in memory is
/// looked up by the pages that can hold it.
const PAGE_ROWS: usize = 1024;
/// Reading any page takes the dictionary too, and that of a whole row group's doubles is a MiB: columns of many values go
/// without.
const DICTIONARY_BYTES: usize = 32 * 1024;
/// A table's own compression, and the level of it.
const CODEC: &str = "write.parquet.compression-codec";
const LEVEL: &str = "write.parquet.compression-level";

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
    pub(super) fn properties(
        self,
        table: &HashMap<String, String>,
        rows: usize,
    ) -> WriterProperties {
        let properties = WriterProperties::builder()
            .set_compression(compression(table))
            .set_statistics_truncate_length(None)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_dictionary_page_size_limit(DICTIONARY_BYTES);
        match self {
            Self::Scanned => properties,
            Self::LookedUp => looked_up(properties, rows),
        }
        .build()
    }
}

/// Bytes that a data file of the table is rolled at.
pub(crate) fn target_bytes(table: &HashMap<String, String>) -> usize {
    let own = table.get(TableProperties::PROPERTY_WRITE_TARGET_FILE_SIZE_BYTES);
    let own = own.and_then(|bytes| bytes.parse().ok());
    own.filter(|bytes| *bytes > 0).unwrap_or(FILE_BYTES)
}

/// What the table's properties ask for; Snappy where they ask for nothing: pages are short, and setting zstd up for each takes
/// longer than decoding it.
fn compression(table: &HashMap<String, String>) -> Compression {
    let level = table.get(LEVEL).and_then(|level| level.parse::<i32>().ok());
    match table.get(CODEC).map(String::as_str) {
        Some("zstd") => {
            let level = level.and_then(|level| ZstdLevel::try_new(level).ok());
            Compression::ZSTD(level.unwrap_or_default())
        }
        Some("gzip") => {
            let level = level.and_then(|level| GzipLevel::try_new(level.try_into().ok()?).ok());
            Compression::GZIP(level.unwrap_or_default())
        }
        Some("lz4") => Compression::LZ4_RAW,
        Some("uncompressed") => Compression::UNCOMPRESSED,
        _ => Compression::SNAPPY,
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(None, FILE_BYTES)]
    #[case(Some("1048576"), 1_048_576)]
    #[case(Some("0"), FILE_BYTES)]
    #[case(Some("large"), FILE_BYTES)]
    fn files_are_as_large_as_the_table_says(#[case] own: Option<&str>, #[case] expected: usize) {
        let key = "write.target-file-size-bytes".to_owned();
        let properties = own.map(|own| (key, own.to_owned())).into_iter().collect();
        assert_eq!(target_bytes(&properties), expected);
    }

    #[rstest]
    #[case(&[], Compression::SNAPPY)]
    #[case(&[(CODEC, "zstd")], Compression::ZSTD(ZstdLevel::default()))]
    #[case(&[(CODEC, "zstd"), (LEVEL, "7")], Compression::ZSTD(ZstdLevel::try_new(7).unwrap()))]
    #[case(&[(CODEC, "zstd"), (LEVEL, "900")], Compression::ZSTD(ZstdLevel::default()))]
    #[case(&[(CODEC, "gzip"), (LEVEL, "2")], Compression::GZIP(GzipLevel::try_new(2).unwrap()))]
    #[case(&[(CODEC, "uncompressed")], Compression::UNCOMPRESSED)]
    #[case(&[(CODEC, "brotli")], Compression::SNAPPY)]
    fn files_are_compressed_as_the_table_says(
        #[case] properties: &[(&str, &str)],
        #[case] expected: Compression,
    ) {
        let properties = properties
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(compression(&properties), expected);
        let written = FileStyle::Scanned.properties(&properties, 10);
        assert_eq!(written.compression(&ColumnPath::from("any")), expected);
    }
}
