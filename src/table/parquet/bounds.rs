//! The least and the greatest value of a file's columns by the statistics of its row groups, where these can be trusted.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use iceberg::spec::Datum;
use parquet::basic::{ColumnOrder, SortOrder};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

/// Bounds by column name.
pub(super) type Bounds = BTreeMap<String, (Datum, Datum)>;

/// The bounds of the columns of a file, which has them in the types of `schema`.
pub(super) fn bounds(metadata: &ParquetMetaData, schema: &Schema) -> Bounds {
    let leaves = metadata.file_metadata().schema_descr();
    let top_level =
        (0..leaves.num_columns()).filter_map(|leaf| match leaves.column(leaf).path().parts() {
            [name] => Some((leaf, name.clone())),
            _ => None,
        });
    top_level
        .filter_map(|(leaf, name)| {
            let data_type = schema.field_with_name(&name).ok()?.data_type();
            Some((name, column(metadata, leaf, data_type)?))
        })
        .collect()
}

fn column(metadata: &ParquetMetaData, leaf: usize, data_type: &DataType) -> Option<(Datum, Datum)> {
    let order = metadata.file_metadata().column_order(leaf);
    match data_type {
        DataType::Utf8 => {
            let (min, max) = extremes(metadata, leaf, order, SortOrder::UNSIGNED, text)?;
            Some((Datum::string(min), Datum::string(max)))
        }
        _ => {
            let (min, max) = extremes(metadata, leaf, order, SortOrder::SIGNED, integers)?;
            Some((datum(data_type, min)?, datum(data_type, max)?))
        }
    }
}

/// Over all row groups; `None` if one of them does not say, or none has a value.
fn extremes<T: Ord>(
    metadata: &ParquetMetaData,
    leaf: usize,
    order: ColumnOrder,
    expected: SortOrder,
    read: impl Fn(&Statistics) -> Option<(T, T)>,
) -> Option<(T, T)> {
    if order != ColumnOrder::TYPE_DEFINED_ORDER(expected) {
        return None;
    }
    let mut known: Option<(T, T)> = None;
    for group in metadata.row_groups() {
        let chunk = group.column(leaf);
        let statistics = chunk.statistics();
        let nulls = statistics.and_then(Statistics::null_count_opt);
        if group.num_rows() == 0 || nulls == u64::try_from(chunk.num_values()).ok() {
            continue;
        }
        let (min, max) = statistics
            .filter(|statistics| !statistics.is_min_max_deprecated())
            .and_then(&read)
            .filter(|(min, max)| min <= max)?;
        known = Some(match known {
            None => (min, max),
            Some((least, greatest)) => (least.min(min), greatest.max(max)),
        });
    }
    known
}

fn integers(statistics: &Statistics) -> Option<(i64, i64)> {
    match statistics {
        Statistics::Int32(known) => Some(((*known.min_opt()?).into(), (*known.max_opt()?).into())),
        Statistics::Int64(known) => Some((*known.min_opt()?, *known.max_opt()?)),
        _ => None,
    }
}

fn text(statistics: &Statistics) -> Option<(String, String)> {
    let text = |bytes: Option<&[u8]>| Some(std::str::from_utf8(bytes?).ok()?.to_owned());
    Some((
        text(statistics.min_bytes_opt())?,
        text(statistics.max_bytes_opt())?,
    ))
}

fn datum(data_type: &DataType, value: i64) -> Option<Datum> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond};
    let int = || i32::try_from(value).ok();
    Some(match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 => Datum::int(int()?),
        DataType::Int64 => Datum::long(value),
        DataType::Date32 => Datum::date(int()?),
        DataType::Timestamp(Millisecond, None) => Datum::timestamp_micros(value.checked_mul(1000)?),
        DataType::Timestamp(Millisecond, Some(_)) => {
            Datum::timestamptz_micros(value.checked_mul(1000)?)
        }
        DataType::Timestamp(Microsecond, None) => Datum::timestamp_micros(value),
        DataType::Timestamp(Microsecond, Some(_)) => Datum::timestamptz_micros(value),
        DataType::Timestamp(Nanosecond, None) => Datum::timestamp_nanos(value),
        DataType::Timestamp(Nanosecond, Some(_)) => Datum::timestamptz_nanos(value),
        _ => return None,
    })
}
