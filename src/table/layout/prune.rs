//! Which files cannot hold a row that matters. Whatever cannot be told keeps the file: a missing bound or partition
//! value, a type that does not fit the filter, a transform that is not known here.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Datelike};
use iceberg::spec::{Datum, Literal, PartitionField, PrimitiveLiteral, PrimitiveType, Transform};

use super::{KeyFilter, ScanFilter, SortedKeys};
use crate::model::{Pruned, TimeWindow};
use crate::table::files::{FileEntry, FileIndex};

const US_PER_HOUR: i64 = 3_600_000_000;
const US_PER_DAY: i64 = 24 * US_PER_HOUR;

/// The files that may hold a row that matters, in index order, and why the others are left out.
pub fn prune(files: &FileIndex, filter: &ScanFilter) -> (Vec<Arc<FileEntry>>, Pruned) {
    let mut pruner = Pruner {
        filter,
        buckets: HashMap::new(),
    };
    let mut pruned = Pruned::default();
    let mut kept = Vec::new();
    for file in &*files.files {
        match pruner.verdict(file) {
            Verdict::Keep => kept.push(Arc::clone(file)),
            Verdict::Time => pruned.by_time += 1,
            Verdict::Partition => pruned.by_partition += 1,
            Verdict::Key => pruned.by_key += 1,
        }
    }
    (kept, pruned)
}

enum Verdict {
    Keep,
    Time,
    Partition,
    Key,
}

struct Pruner<'a> {
    filter: &'a ScanFilter,
    /// The keys' buckets by field id and number of buckets: hashed once, whatever the number of files.
    buckets: HashMap<(i32, u32), Option<Vec<bool>>>,
}

impl Pruner<'_> {
    fn verdict(&mut self, file: &FileEntry) -> Verdict {
        let filter = self.filter;
        let time = filter.timestamp.as_ref();
        if time.is_some_and(|(field_id, window)| !time_may_match(file, *field_id, window)) {
            return Verdict::Time;
        }
        if !filter
            .keys
            .iter()
            .all(|key| self.partition_may_match(file, key))
        {
            return Verdict::Partition;
        }
        match filter
            .keys
            .iter()
            .all(|key| !key.values.is_empty() && key_bounds_may_match(file, key))
        {
            true => Verdict::Keep,
            false => Verdict::Key,
        }
    }

    fn partition_may_match(&mut self, file: &FileEntry, key: &KeyFilter) -> bool {
        partitions_of(file, key.field_id).all(|(field, value)| match (field.transform, value) {
            (Transform::Bucket(buckets), PrimitiveLiteral::Int(bucket)) => {
                let hit = self
                    .buckets
                    .entry((key.field_id, buckets))
                    .or_insert_with(|| key.values.buckets(buckets));
                hit.as_ref().is_none_or(|hit| {
                    usize::try_from(*bucket).map_or(true, |bucket| hit.get(bucket) != Some(&false))
                })
            }
            (Transform::Identity, value) => identity_may_match(&key.values, value),
            (Transform::Truncate(width), value) => truncate_may_match(&key.values, width, value),
            _ => true,
        })
    }
}

/// A file's partition fields over a column, with their values; nulls are left out.
pub(super) fn partitions_of(
    file: &FileEntry,
    source_id: i32,
) -> impl Iterator<Item = (&PartitionField, &PrimitiveLiteral)> {
    let fields = file
        .partition_spec
        .fields()
        .iter()
        .zip(file.partition.fields());
    fields
        .filter(move |(field, _)| field.source_id == source_id)
        .filter_map(|(field, value)| match value {
            Some(Literal::Primitive(value)) => Some((field, value)),
            _ => None,
        })
}

fn identity_may_match(keys: &SortedKeys, value: &PrimitiveLiteral) -> bool {
    match value {
        PrimitiveLiteral::Int(value) => keys.any_in_ints(i64::from(*value), i64::from(*value)),
        PrimitiveLiteral::Long(value) => keys.any_in_ints(*value, *value),
        PrimitiveLiteral::String(value) => {
            keys.any_in_bytes(value.as_bytes(), Some(value.as_bytes()))
        }
        PrimitiveLiteral::Binary(value) => keys.any_in_bytes(value, Some(value)),
        PrimitiveLiteral::UInt128(value) => {
            keys.any_in_bytes(&value.to_be_bytes(), Some(&value.to_be_bytes()))
        }
        _ => true,
    }
}

/// Integers truncate to a multiple of the width, texts to a prefix.
fn truncate_may_match(keys: &SortedKeys, width: u32, value: &PrimitiveLiteral) -> bool {
    let ints = |value: i64| keys.any_in_ints(value, value.saturating_add(i64::from(width) - 1));
    match value {
        PrimitiveLiteral::Int(value) => ints(i64::from(*value)),
        PrimitiveLiteral::Long(value) => ints(*value),
        PrimitiveLiteral::String(value) => keys.any_with_prefix(value.as_bytes()),
        PrimitiveLiteral::Binary(value) => keys.any_with_prefix(value),
        _ => true,
    }
}

fn key_bounds_may_match(file: &FileEntry, key: &KeyFilter) -> bool {
    let (lower, upper) = bounds_of(file, key.field_id);
    match &key.values {
        SortedKeys::Int(_) => int_bounds_may_match(&key.values, lower, upper),
        SortedKeys::Bytes(_) => {
            let min = lower.and_then(bytes_of).unwrap_or_default();
            key.values.any_in_bytes(min, upper.and_then(bytes_of))
        }
    }
}

/// A column that was a date when the file was listed may be a timestamp now, so its days are tried as both.
fn int_bounds_may_match(keys: &SortedKeys, lower: Option<&Datum>, upper: Option<&Datum>) -> bool {
    let min = lower.and_then(int_of).unwrap_or(i64::MIN);
    let max = upper.and_then(int_of).unwrap_or(i64::MAX);
    let dates = [lower, upper]
        .into_iter()
        .flatten()
        .any(|bound| *bound.data_type() == PrimitiveType::Date);
    keys.any_in_ints(min, max)
        || (dates
            && keys.any_in_ints(
                min.saturating_mul(US_PER_DAY),
                max.saturating_mul(US_PER_DAY),
            ))
}

fn bounds_of(file: &FileEntry, field_id: i32) -> (Option<&Datum>, Option<&Datum>) {
    (
        file.lower_bounds.get(&field_id),
        file.upper_bounds.get(&field_id),
    )
}

fn int_of(bound: &Datum) -> Option<i64> {
    use PrimitiveType::{Date, Int, Long, Timestamp, Timestamptz};
    match (bound.data_type(), bound.literal()) {
        (Int | Date, PrimitiveLiteral::Int(value)) => Some(i64::from(*value)),
        (Long | Timestamp | Timestamptz, PrimitiveLiteral::Long(value)) => Some(*value),
        _ => None,
    }
}

/// Not for uuids: writers have ordered them in more than one way.
fn bytes_of(bound: &Datum) -> Option<&[u8]> {
    match bound.literal() {
        PrimitiveLiteral::String(value) => Some(value.as_bytes()),
        PrimitiveLiteral::Binary(value) => Some(value),
        _ => None,
    }
}

fn time_may_match(file: &FileEntry, field_id: i32, window: &TimeWindow) -> bool {
    let (lower, upper) = bounds_of(file, field_id);
    let min = lower
        .and_then(instants_of)
        .map_or(i64::MIN, |(first, _)| first);
    let max = upper
        .and_then(instants_of)
        .map_or(i64::MAX, |(_, last)| last);
    window.overlaps(min, max)
        && partitions_of(file, field_id).all(|(field, value)| match value {
            PrimitiveLiteral::Int(value) => {
                time_partition_may_match(field.transform, i64::from(*value), window)
            }
            _ => true,
        })
}

/// The first and the last microsecond that a bound can stand for: a date for a whole day.
fn instants_of(bound: &Datum) -> Option<(i64, i64)> {
    use PrimitiveType::{Date, Timestamp, TimestampNs, Timestamptz, TimestamptzNs};
    match (bound.data_type(), bound.literal()) {
        (Timestamp | Timestamptz, PrimitiveLiteral::Long(us)) => Some((*us, *us)),
        (TimestampNs | TimestamptzNs, PrimitiveLiteral::Long(ns)) => {
            let us = ns.div_euclid(1000);
            Some((us, us + 1))
        }
        (Date, PrimitiveLiteral::Int(day)) => {
            let first = i64::from(*day).saturating_mul(US_PER_DAY);
            Some((first, first.saturating_add(US_PER_DAY - 1)))
        }
        _ => None,
    }
}

/// Compares in the partition's own unit. Some writers round instants before 1970 up instead of down, so one more
/// partition than the window's end counts there. Identity partitions are left to the column's bounds, which know their
/// unit.
fn time_partition_may_match(transform: Transform, value: i64, window: &TimeWindow) -> bool {
    let unit = match transform {
        Transform::Hour => |us: i64| Some(us.div_euclid(US_PER_HOUR)),
        Transform::Day => |us: i64| Some(us.div_euclid(US_PER_DAY)),
        Transform::Month => |us: i64| DateTime::from_timestamp_micros(us).map(|at| months(&at)),
        Transform::Year => {
            |us: i64| DateTime::from_timestamp_micros(us).map(|at| i64::from(at.year()) - 1970)
        }
        _ => return true,
    };
    let first = window.start_us.and_then(unit);
    let last = window
        .end_us
        .and_then(unit)
        .map(|last| if last < 0 { last + 1 } else { last });
    first.is_none_or(|first| value >= first) && last.is_none_or(|last| value <= last)
}

fn months(at: &impl Datelike) -> i64 {
    12 * (i64::from(at.year()) - 1970) + i64::from(at.month0())
}
