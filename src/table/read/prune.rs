//! Which row groups and pages of a file can hold a row that matters, by their statistics.
//!
//! Pruning must never lose a row, so whatever is absent, contradictory, of an order that the writer does not vouch
//! for, or of a type not understood here, keeps its rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use iceberg::spec::{PrimitiveType, Schema};
use parquet::basic::{ColumnOrder, SortOrder, Type as PhysicalType};
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;

use super::file_schema::FileSchema;
use crate::model::TimeWindow;
use crate::table::layout::{ScanFilter, SortedKeys};

/// Whether a row group can matter, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    ByTime,
    ByKey,
}

/// The conditions of a scan on the leaves of one file.
#[derive(Debug)]
pub(super) struct FileFilter {
    conditions: Vec<Condition>,
}

#[derive(Debug)]
struct Condition {
    leaf: usize,
    order: ColumnOrder,
    physical: PhysicalType,
    wanted: Wanted,
}

/// Keys that are looked for in Bloom filters, as the file has them.
#[derive(Clone, Copy, Debug)]
pub(super) enum FewKeys<'a> {
    Int32(&'a [i64]),
    Int64(&'a [i64]),
    Bytes(&'a [Box<[u8]>]),
}

impl FewKeys<'_> {
    /// Whether one of them may be in a filter.
    pub(super) fn any_in(self, filter: &Sbbf) -> bool {
        match self {
            // A key that the file's type cannot hold is not there.
            Self::Int32(keys) => {
                let mut narrow = keys.iter().filter_map(|key| i32::try_from(*key).ok());
                narrow.any(|key| filter.check(&key))
            }
            Self::Int64(keys) => keys.iter().any(|key| filter.check(key)),
            Self::Bytes(keys) => keys.iter().any(|key| filter.check(&**key)),
        }
    }
}

#[derive(Debug)]
enum Wanted {
    Window(TimeWindow, Scale),
    Ints(Arc<[i64]>, Scale),
    Bytes(Arc<[Box<[u8]>]>),
}

/// From a file's integers to those of the filter.
#[derive(Clone, Copy, Debug)]
enum Scale {
    Times(i64),
    NanosToMicros,
}

impl Scale {
    fn floor(self, value: i64) -> i64 {
        match self {
            Self::Times(factor) => value.saturating_mul(factor),
            Self::NanosToMicros => value.div_euclid(1000),
        }
    }

    fn ceil(self, value: i64) -> i64 {
        match self {
            Self::Times(factor) => value.saturating_mul(factor),
            Self::NanosToMicros => value.div_euclid(1000) + i64::from(value.rem_euclid(1000) != 0),
        }
    }
}

impl FileFilter {
    pub(super) fn new(
        filter: &ScanFilter,
        schema: &Schema,
        file: &FileSchema,
        metadata: &ParquetMetaData,
    ) -> Self {
        let time = filter.timestamp.as_ref().and_then(|(id, window)| {
            let (leaf, data_type) = leaf(file, *id)?;
            Some((leaf, Wanted::Window(*window, micros_scale(data_type)?)))
        });
        let keys = filter.keys.iter().filter_map(|key| {
            let (leaf, data_type) = leaf(file, key.field_id)?;
            let target = schema
                .field_by_id(key.field_id)?
                .field_type
                .as_primitive_type()?
                .clone();
            Some((leaf, wanted_keys(&key.values, &target, data_type)?))
        });
        let leaves = metadata.file_metadata();
        let condition = |(leaf, wanted)| Condition {
            leaf,
            order: leaves.column_order(leaf),
            physical: leaves.schema_descr().column(leaf).physical_type(),
            wanted,
        };
        Self {
            conditions: time.into_iter().chain(keys).map(condition).collect(),
        }
    }

    /// By the statistics of the row group's column chunks.
    pub(super) fn row_group(&self, group: &RowGroupMetaData) -> Verdict {
        let fails = |condition: &&Condition| match group.columns().get(condition.leaf) {
            Some(chunk) => !condition.may_hold(chunk),
            None => false,
        };
        match self.conditions.iter().find(fails) {
            None => Verdict::Keep,
            Some(Condition {
                wanted: Wanted::Window(..),
                ..
            }) => Verdict::ByTime,
            Some(_) => Verdict::ByKey,
        }
    }

    /// The keys on each leaf, where they are at most so many and can be looked for by their bytes.
    pub(super) fn few_keys(&self, most: usize) -> impl Iterator<Item = (usize, FewKeys<'_>)> {
        let conditions = self.conditions.iter();
        conditions.filter_map(move |condition| {
            let (count, keys) = condition.keys()?;
            (count <= most).then_some((condition.leaf, keys))
        })
    }

    /// The rows of a row group, counted from its start, whose pages can matter; `None` for all of them.
    pub(super) fn pages(
        &self,
        metadata: &ParquetMetaData,
        group: usize,
        rows: u64,
    ) -> Option<Vec<Range<u64>>> {
        let kept = self
            .conditions
            .iter()
            .filter_map(|condition| condition.pages(metadata, group, rows));
        let kept = kept.reduce(|a, b| intersect(&a, &b))?;
        (kept
            .iter()
            .map(|range| range.end - range.start)
            .sum::<u64>()
            < rows)
            .then_some(kept)
    }
}

fn leaf(file: &FileSchema, id: i32) -> Option<(usize, &DataType)> {
    let column = file.column(id)?;
    column
        .children
        .is_empty()
        .then_some((column.first_leaf, &column.data_type))
}

fn micros_scale(data_type: &DataType) -> Option<Scale> {
    match data_type {
        DataType::Date32 => Some(Scale::Times(86_400_000_000)),
        DataType::Timestamp(TimeUnit::Second, _) => Some(Scale::Times(1_000_000)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => Some(Scale::Times(1000)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(Scale::Times(1)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(Scale::NanosToMicros),
        _ => None,
    }
}

fn wanted_keys(keys: &SortedKeys, target: &PrimitiveType, file: &DataType) -> Option<Wanted> {
    use DataType::{Binary, Date32, FixedSizeBinary, Int8, Int16, Int32, Int64, Utf8};
    match (keys, target, file) {
        (
            SortedKeys::Int(keys),
            PrimitiveType::Int | PrimitiveType::Long,
            Int8 | Int16 | Int32 | Int64,
        )
        | (SortedKeys::Int(keys), PrimitiveType::Date, Date32 | Int32) => {
            Some(Wanted::Ints(Arc::clone(keys), Scale::Times(1)))
        }
        (SortedKeys::Int(keys), PrimitiveType::Timestamp | PrimitiveType::Timestamptz, file) => {
            Some(Wanted::Ints(Arc::clone(keys), micros_scale(file)?))
        }
        (
            SortedKeys::Bytes(keys),
            PrimitiveType::String
            | PrimitiveType::Binary
            | PrimitiveType::Uuid
            | PrimitiveType::Fixed(_),
            Utf8 | Binary | FixedSizeBinary(_),
        ) => Some(Wanted::Bytes(Arc::clone(keys))),
        _ => None,
    }
}

impl Condition {
    /// The number of keys, and the keys as the file has them.
    fn keys(&self) -> Option<(usize, FewKeys<'_>)> {
        match (&self.wanted, self.physical) {
            (Wanted::Ints(keys, Scale::Times(1)), PhysicalType::INT32) => {
                Some((keys.len(), FewKeys::Int32(keys)))
            }
            (Wanted::Ints(keys, Scale::Times(1)), PhysicalType::INT64) => {
                Some((keys.len(), FewKeys::Int64(keys)))
            }
            (
                Wanted::Bytes(keys),
                PhysicalType::BYTE_ARRAY | PhysicalType::FIXED_LEN_BYTE_ARRAY,
            ) => Some((keys.len(), FewKeys::Bytes(keys))),
            _ => None,
        }
    }

    fn may_hold(&self, chunk: &ColumnChunkMetaData) -> bool {
        let Some(statistics) = chunk.statistics() else {
            return true;
        };
        if only_nulls(chunk, statistics) {
            return false;
        }
        let deprecated = statistics.is_min_max_deprecated();
        match statistics {
            Statistics::Int32(known) => {
                let bounds = (
                    known.min_opt().copied().map(i64::from),
                    known.max_opt().copied().map(i64::from),
                );
                self.may_hold_ints(deprecated, bounds)
            }
            Statistics::Int64(known) => self.may_hold_ints(
                deprecated,
                (known.min_opt().copied(), known.max_opt().copied()),
            ),
            Statistics::ByteArray(_) | Statistics::FixedLenByteArray(_) if !deprecated => {
                self.may_hold_bytes((statistics.min_bytes_opt(), statistics.max_bytes_opt()))
            }
            _ => true,
        }
    }

    /// The first statistics that Parquet had compare as signed, whatever the type; that suits signed integers.
    fn may_hold_ints(&self, deprecated: bool, bounds: (Option<i64>, Option<i64>)) -> bool {
        let trusted = match self.order {
            ColumnOrder::TYPE_DEFINED_ORDER(order) => order == SortOrder::SIGNED,
            ColumnOrder::UNDEFINED => deprecated,
            ColumnOrder::UNKNOWN => false,
        };
        !trusted || self.wanted.in_ints(bounds)
    }

    fn may_hold_bytes(&self, bounds: (Option<&[u8]>, Option<&[u8]>)) -> bool {
        self.order != ColumnOrder::TYPE_DEFINED_ORDER(SortOrder::UNSIGNED)
            || self.wanted.in_bytes(bounds)
    }

    fn pages(
        &self,
        metadata: &ParquetMetaData,
        group: usize,
        rows: u64,
    ) -> Option<Vec<Range<u64>>> {
        let index = metadata.column_index()?.get(group)?.get(self.leaf)?;
        if matches!(index, ColumnIndexMetaData::NONE) {
            return None;
        }
        let pages = metadata
            .offset_index()?
            .get(group)?
            .get(self.leaf)?
            .page_locations();
        let starts: Vec<u64> = pages
            .iter()
            .map(|page| page.first_row_index.try_into())
            .collect::<Result<_, _>>()
            .ok()?;
        if u64::try_from(starts.len()).ok()? != index.num_pages() {
            return None;
        }
        let ends = starts.iter().copied().skip(1).chain([rows]);
        let spans = starts.iter().copied().zip(ends).enumerate();
        let kept = spans
            .filter(|(page, _)| self.page_may_hold(index, *page))
            .map(|(_, (start, end))| start..end);
        Some(joined(kept))
    }

    fn page_may_hold(&self, index: &ColumnIndexMetaData, page: usize) -> bool {
        let wide = |value: Option<&i32>| value.copied().map(i64::from);
        match index {
            ColumnIndexMetaData::NONE => true,
            _ if index.is_null_page(page) => false,
            ColumnIndexMetaData::INT32(index) => self.may_hold_ints(
                false,
                (wide(index.min_value(page)), wide(index.max_value(page))),
            ),
            ColumnIndexMetaData::INT64(index) => self.may_hold_ints(
                false,
                (
                    index.min_value(page).copied(),
                    index.max_value(page).copied(),
                ),
            ),
            ColumnIndexMetaData::BYTE_ARRAY(index)
            | ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(index) => {
                self.may_hold_bytes((index.min_value(page), index.max_value(page)))
            }
            _ => true,
        }
    }
}

impl Wanted {
    fn in_ints(&self, (min, max): (Option<i64>, Option<i64>)) -> bool {
        if min.zip(max).is_some_and(|(min, max)| min > max) {
            return true;
        }
        let span = |scale: &Scale| {
            (
                min.map_or(i64::MIN, |min| scale.floor(min)),
                max.map_or(i64::MAX, |max| scale.ceil(max)),
            )
        };
        match self {
            Self::Window(window, scale) => {
                let (min, max) = span(scale);
                window.overlaps(min, max)
            }
            Self::Ints(keys, scale) => {
                let (min, max) = span(scale);
                keys.get(keys.partition_point(|key| *key < min))
                    .is_some_and(|key| *key <= max)
            }
            Self::Bytes(_) => true,
        }
    }

    fn in_bytes(&self, (min, max): (Option<&[u8]>, Option<&[u8]>)) -> bool {
        let Self::Bytes(keys) = self else { return true };
        if min.zip(max).is_some_and(|(min, max)| min > max) {
            return true;
        }
        let first = keys.partition_point(|key| min.is_some_and(|min| key.as_ref() < min));
        keys.get(first)
            .is_some_and(|key| max.is_none_or(|max| key.as_ref() <= max))
    }
}

/// A null matches neither a window nor a key.
fn only_nulls(chunk: &ColumnChunkMetaData, statistics: &Statistics) -> bool {
    let values = u64::try_from(chunk.num_values()).unwrap_or(0);
    let bounded = statistics.min_bytes_opt().is_some() || statistics.max_bytes_opt().is_some();
    values > 0 && !bounded && statistics.null_count_opt() == Some(values)
}

/// Ascending ranges, with neighbours made one and empty ones left out.
fn joined(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges.filter(|range| !range.is_empty()) {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

/// What two lists of ascending ranges have in common.
fn intersect(a: &[Range<u64>], b: &[Range<u64>]) -> Vec<Range<u64>> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut common = Vec::new();
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        common.push(x.start.max(y.start)..x.end.min(y.end));
        if x.end <= y.end {
            a.next()
        } else {
            b.next()
        };
    }
    joined(common.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_intersect() {
        let common = intersect(&[0..10, 20..30], &[5..22, 25..40]);
        assert_eq!(common, vec![5..10, 20..22, 25..30]);
        assert_eq!(
            intersect(&[0..5, 9..9], &[5..9, 12..13]),
            Vec::<Range<u64>>::new()
        );
    }

    #[test]
    fn nanoseconds_round_outwards() {
        assert_eq!(
            (
                Scale::NanosToMicros.floor(-1),
                Scale::NanosToMicros.ceil(-1)
            ),
            (-1, 0)
        );
        assert_eq!(
            (
                Scale::NanosToMicros.floor(1999),
                Scale::NanosToMicros.ceil(1999)
            ),
            (1, 2)
        );
        assert_eq!(
            (
                Scale::NanosToMicros.floor(2000),
                Scale::NanosToMicros.ceil(2000)
            ),
            (2, 2)
        );
        assert_eq!(Scale::Times(1000).ceil(i64::MAX), i64::MAX);
    }

    fn keys(values: &[i64]) -> Wanted {
        Wanted::Ints(values.into(), Scale::Times(1))
    }

    #[test]
    fn a_span_holds_a_key_only_between_its_ends() {
        assert!(keys(&[1, 5, 9]).in_ints((Some(5), Some(5))));
        assert!(!keys(&[1, 5, 9]).in_ints((Some(6), Some(8))));
        assert!(keys(&[1, 5, 9]).in_ints((None, Some(1))));
        assert!(!keys(&[1, 5, 9]).in_ints((Some(10), None)));
        assert!(!keys(&[]).in_ints((None, None)));
        assert!(
            keys(&[1]).in_ints((Some(9), Some(3))),
            "contradictory statistics keep"
        );
    }

    #[test]
    fn bytes_compare_unsigned() {
        let wanted = Wanted::Bytes(vec![Box::from([0x61_u8]), Box::from([0xff_u8])].into());
        assert!(wanted.in_bytes((Some(&[0x80]), None)));
        assert!(!wanted.in_bytes((Some(&[0x62]), Some(&[0xfe, 0xff]))));
        assert!(wanted.in_bytes((None, Some(&[0x61, 0]))));
    }

    #[test]
    fn statistics_of_unknown_order_keep() {
        let condition = |order| Condition {
            leaf: 0,
            order,
            physical: PhysicalType::INT64,
            wanted: keys(&[1]),
        };
        let far = (Some(5), Some(6));
        assert!(
            !condition(ColumnOrder::TYPE_DEFINED_ORDER(SortOrder::SIGNED))
                .may_hold_ints(false, far)
        );
        assert!(
            condition(ColumnOrder::TYPE_DEFINED_ORDER(SortOrder::UNSIGNED))
                .may_hold_ints(false, far)
        );
        assert!(condition(ColumnOrder::UNDEFINED).may_hold_ints(false, far));
        assert!(!condition(ColumnOrder::UNDEFINED).may_hold_ints(true, far));
        assert!(condition(ColumnOrder::UNKNOWN).may_hold_ints(true, far));
        let text = |order| Condition {
            leaf: 0,
            order,
            physical: PhysicalType::BYTE_ARRAY,
            wanted: Wanted::Bytes(vec![Box::from([1_u8])].into()),
        };
        let bounds = (Some(&[5_u8][..]), Some(&[6_u8][..]));
        assert!(!text(ColumnOrder::TYPE_DEFINED_ORDER(SortOrder::UNSIGNED)).may_hold_bytes(bounds));
        assert!(text(ColumnOrder::TYPE_DEFINED_ORDER(SortOrder::SIGNED)).may_hold_bytes(bounds));
        assert!(text(ColumnOrder::UNDEFINED).may_hold_bytes(bounds));
    }
}
