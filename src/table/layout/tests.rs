//! Pruning never drops a file that may hold a match.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Int32Array,
    Int64Array, LargeStringArray, StringArray, StringViewArray, TimestampMicrosecondArray,
    TimestampNanosecondArray,
};
use iceberg::spec::{Datum, Literal, NestedField, PartitionSpec, PrimitiveType, Struct, Type};
use uuid::Uuid;

use super::*;
use crate::model::Pruned;
use crate::table::files::{FileEntry, FileIndex};

mod buckets;
mod random;

const KEY: i32 = 1;
const TIME: i32 = 2;
const DAY_US: i64 = 86_400_000_000;

fn ints(keys: &SortedKeys) -> &[i64] {
    let SortedKeys::Int(keys) = keys else {
        panic!("not integers")
    };
    keys
}

fn key_filter(array: &dyn Array) -> ScanFilter {
    let values = SortedKeys::try_new(array).unwrap();
    ScanFilter {
        timestamp: None,
        keys: vec![KeyFilter {
            field_id: KEY,
            values,
        }],
    }
}

fn window(start_us: Option<i64>, end_us: Option<i64>) -> ScanFilter {
    ScanFilter {
        timestamp: Some((TIME, TimeWindow { start_us, end_us })),
        keys: vec![],
    }
}

/// A file with one key partition value and these bounds.
fn file(
    schema: &Schema,
    transform: Transform,
    value: Option<Literal>,
    bounds: &[(i32, Datum, Datum)],
) -> FileEntry {
    let spec = PartitionSpec::builder(schema.clone())
        .add_partition_field("key", "part", transform)
        .unwrap();
    FileEntry {
        path: "f".to_owned(),
        size_bytes: 1,
        version: None,
        record_count: 1,
        partition_spec: Arc::new(spec.build().unwrap()),
        partition: Struct::from_iter([value]),
        lower_bounds: bounds
            .iter()
            .map(|(id, lower, _)| (*id, lower.clone()))
            .collect(),
        upper_bounds: bounds
            .iter()
            .map(|(id, _, upper)| (*id, upper.clone()))
            .collect(),
        sequence_number: 1,
        deletes: vec![],
    }
}

fn schema(key: PrimitiveType) -> Schema {
    let fields = vec![
        NestedField::optional(KEY, "key", Type::Primitive(key)).into(),
        NestedField::optional(TIME, "time", Type::Primitive(PrimitiveType::Timestamptz)).into(),
    ];
    Schema::builder().with_fields(fields).build().unwrap()
}

fn pruned(file: FileEntry, filter: &ScanFilter) -> Pruned {
    prune(&FileIndex::new([Arc::new(file)]), filter).1
}

/// A file without partition value whose column has these bounds.
fn bounded(id: i32, lower: Datum, upper: Datum) -> FileEntry {
    file(
        &schema(PrimitiveType::Long),
        Transform::Void,
        None,
        &[(id, lower, upper)],
    )
}

#[test]
fn keys_are_distinct_sorted_and_without_nulls() {
    let longs = Int64Array::from(vec![Some(5), None, Some(-1), Some(5)]);
    assert_eq!(ints(&SortedKeys::try_new(&longs).unwrap()), [-1, 5]);
    let more = Int64Array::from(vec![7, -1]);
    assert_eq!(
        ints(&SortedKeys::from_chunks(&[&longs, &more]).unwrap()),
        [-1, 5, 7]
    );
    assert_eq!(
        ints(&SortedKeys::try_new(&Int32Array::from(vec![3, 1])).unwrap()),
        [1, 3]
    );
    assert_eq!(
        ints(&SortedKeys::try_new(&Date32Array::from(vec![3, 1])).unwrap()),
        [1, 3]
    );
    assert_eq!(
        ints(&SortedKeys::try_new(&TimestampMicrosecondArray::from(vec![3, 1])).unwrap()),
        [1, 3]
    );
    assert!(
        SortedKeys::try_new(&Int64Array::from(vec![None]))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn texts_sort_by_bytes_whatever_their_array() {
    let expected = SortedKeys::Bytes(
        [b"A".as_slice(), b"z", "ä".as_bytes()]
            .map(Box::from)
            .into(),
    );
    let texts = vec![Some("ä"), Some("z"), None, Some("A"), Some("z")];
    let arrays: [ArrayRef; 4] = [
        Arc::new(StringArray::from(texts.clone())),
        Arc::new(LargeStringArray::from(texts.clone())),
        Arc::new(StringViewArray::from(texts.clone())),
        Arc::new(BinaryArray::from_iter(texts)),
    ];
    for array in arrays {
        assert_eq!(SortedKeys::try_new(&array).unwrap(), expected);
    }
}

#[test]
fn types_with_another_order_or_unit_are_not_pruned_by() {
    assert!(SortedKeys::try_new(&Decimal128Array::from(vec![1])).is_none());
    assert!(SortedKeys::try_new(&TimestampNanosecondArray::from(vec![1])).is_none());
    assert!(SortedKeys::from_chunks(&[]).is_none());
}

#[test]
fn ranges_are_inclusive() {
    let keys = SortedKeys::try_new(&Int64Array::from(vec![10, 20])).unwrap();
    for (min, max, hit) in [
        (1, 9, false),
        (1, 10, true),
        (10, 10, true),
        (11, 19, false),
        (20, 30, true),
        (21, 30, false),
    ] {
        assert_eq!(keys.any_in_ints(min, max), hit, "{min}..={max}");
    }
    let texts = SortedKeys::try_new(&StringArray::from(vec!["b", "d"])).unwrap();
    for (min, max, hit) in [
        ("a", Some("az"), false),
        ("a", Some("b"), true),
        ("c", Some("cz"), false),
        ("d", None, true),
        ("e", None, false),
    ] {
        assert_eq!(
            texts.any_in_bytes(min.as_bytes(), max.map(str::as_bytes)),
            hit,
            "{min}..={max:?}"
        );
    }
    assert!(
        texts.any_in_bytes(b"", None)
            && texts.any_in_ints(0, 0)
            && keys.any_in_bytes(b"x", Some(b"x"))
    );
}

/// Hash values of the specification's appendix B, which every writer must agree with.
#[test]
fn buckets_are_those_of_the_specification() {
    let timestamp = 1_510_871_468_000_000;
    let uuid = Uuid::parse_str("f79c3e09-677c-4bbd-a479-3f349cb785e7").unwrap();
    let uuids = FixedSizeBinaryArray::try_from_iter([uuid.as_bytes()].into_iter()).unwrap();
    let cases: [(ArrayRef, i32); 7] = [
        (Arc::new(Int32Array::from(vec![34])), 2_017_239_379),
        (Arc::new(Int64Array::from(vec![34])), 2_017_239_379),
        (Arc::new(Date32Array::from(vec![17_486])), -653_330_422),
        (
            Arc::new(TimestampMicrosecondArray::from(vec![timestamp])),
            -2_047_944_441,
        ),
        (Arc::new(StringArray::from(vec!["iceberg"])), 1_210_000_089),
        (Arc::new(uuids), 1_488_055_340),
        (
            Arc::new(BinaryArray::from_iter_values([[0u8, 1, 2, 3]])),
            -188_683_207,
        ),
    ];
    for (array, hash) in cases {
        let hit = SortedKeys::try_new(&array).unwrap().buckets(997).unwrap();
        let expected = usize::try_from((hash & i32::MAX) % 997).unwrap();
        assert_eq!(
            hit.iter().position(|hit| *hit),
            Some(expected),
            "{:?}",
            array.data_type()
        );
        assert_eq!(hit.iter().filter(|hit| **hit).count(), 1);
    }
}

#[test]
fn no_filter_keeps_everything_and_no_key_nothing() {
    let entry = bounded(KEY, Datum::long(1), Datum::long(2));
    assert_eq!(pruned(entry.clone(), &ScanFilter::default()).total(), 0);
    assert_eq!(pruned(entry.clone(), &window(None, None)).total(), 0);
    assert_eq!(
        pruned(entry, &key_filter(&Int64Array::from(vec![None]))).by_key,
        1
    );
}

#[test]
fn a_missing_or_foreign_bound_keeps() {
    let filter = key_filter(&Int64Array::from(vec![100]));
    let schema = schema(PrimitiveType::Long);
    assert_eq!(
        pruned(file(&schema, Transform::Void, None, &[]), &filter).total(),
        0
    );
    assert_eq!(
        pruned(file(&schema, Transform::Identity, None, &[]), &filter).total(),
        0
    );
    assert_eq!(
        pruned(
            bounded(KEY, Datum::double(1.0), Datum::double(2.0)),
            &filter
        )
        .total(),
        0
    );
    let mut half = bounded(KEY, Datum::long(1), Datum::long(2));
    half.upper_bounds.clear();
    assert_eq!(pruned(half.clone(), &filter).total(), 0);
    assert_eq!(
        pruned(half, &key_filter(&Int64Array::from(vec![0]))).by_key,
        1
    );
}

#[test]
fn bounds_of_a_promoted_column_are_compared_by_value() {
    let ints = bounded(KEY, Datum::int(1), Datum::int(9));
    assert_eq!(
        pruned(ints.clone(), &key_filter(&Int64Array::from(vec![9]))).total(),
        0
    );
    assert_eq!(
        pruned(ints, &key_filter(&Int64Array::from(vec![10]))).by_key,
        1
    );
    // Listed as a date, read as a date or, after promotion, as a timestamp.
    let dates = bounded(KEY, Datum::date(10), Datum::date(20));
    assert_eq!(
        pruned(dates.clone(), &key_filter(&Date32Array::from(vec![15]))).total(),
        0
    );
    assert_eq!(
        pruned(
            dates.clone(),
            &key_filter(&TimestampMicrosecondArray::from(vec![15 * DAY_US]))
        )
        .total(),
        0
    );
    assert_eq!(
        pruned(dates.clone(), &key_filter(&Date32Array::from(vec![21]))).by_key,
        1
    );
    assert_eq!(
        pruned(
            dates,
            &key_filter(&TimestampMicrosecondArray::from(vec![21 * DAY_US]))
        )
        .by_key,
        1
    );
}

#[test]
fn time_bounds_are_inclusive_in_every_unit() {
    let us = bounded(
        TIME,
        Datum::timestamptz_micros(10),
        Datum::timestamptz_micros(20),
    );
    assert_eq!(pruned(us.clone(), &window(Some(20), None)).total(), 0);
    assert_eq!(pruned(us.clone(), &window(Some(21), None)).by_time, 1);
    assert_eq!(pruned(us.clone(), &window(None, Some(10))).total(), 0);
    assert_eq!(pruned(us, &window(None, Some(9))).by_time, 1);
    let ns = bounded(
        TIME,
        Datum::timestamptz_nanos(10_999),
        Datum::timestamptz_nanos(20_001),
    );
    assert_eq!(pruned(ns.clone(), &window(Some(20), None)).total(), 0);
    assert_eq!(pruned(ns.clone(), &window(None, Some(10))).total(), 0);
    assert_eq!(pruned(ns.clone(), &window(None, Some(9))).by_time, 1);
    assert_eq!(pruned(ns, &window(Some(22), None)).by_time, 1);
    let days = bounded(TIME, Datum::date(1), Datum::date(1));
    assert_eq!(
        pruned(days.clone(), &window(Some(2 * DAY_US - 1), None)).total(),
        0
    );
    assert_eq!(pruned(days, &window(Some(2 * DAY_US), None)).by_time, 1);
}

/// Older writers truncated towards zero, so instants before 1970 stand one partition too high.
#[test]
fn partitions_before_1970_may_be_one_too_high() {
    let schema = schema(PrimitiveType::Timestamptz);
    let day = |day| {
        let spec = PartitionSpec::builder(schema.clone())
            .add_partition_field("time", "part", Transform::Day)
            .unwrap();
        FileEntry {
            partition_spec: Arc::new(spec.build().unwrap()),
            ..file(&schema, Transform::Void, Some(Literal::date(day)), &[])
        }
    };
    let last_of_1969 = window(Some(-1), Some(-1));
    assert_eq!(pruned(day(-1), &last_of_1969).total(), 0);
    assert_eq!(pruned(day(0), &last_of_1969).total(), 0);
    assert_eq!(pruned(day(1), &last_of_1969).by_time, 1);
    assert_eq!(pruned(day(-2), &last_of_1969).by_time, 1);
    let first_of_1970 = window(Some(0), Some(0));
    assert_eq!(pruned(day(0), &first_of_1970).total(), 0);
    assert_eq!(pruned(day(1), &first_of_1970).by_time, 1);
}

#[test]
fn truncated_text_bounds_keep_what_they_cover() {
    let entry = file(
        &schema(PrimitiveType::String),
        Transform::Void,
        None,
        &[(KEY, Datum::string("ab"), Datum::string("ad"))],
    );
    assert_eq!(
        pruned(entry.clone(), &key_filter(&StringArray::from(vec!["acme"]))).total(),
        0
    );
    assert_eq!(
        pruned(entry, &key_filter(&StringArray::from(vec!["add"]))).by_key,
        1
    );
}

#[test]
fn uuids_are_pruned_by_partition_but_not_by_bounds() {
    let uuid = |n: u128| Uuid::from_u128(n);
    let keys = FixedSizeBinaryArray::try_from_iter([uuid(5).into_bytes()].into_iter()).unwrap();
    let bounds = [(KEY, Datum::uuid(uuid(6)), Datum::uuid(uuid(7)))];
    let schema = schema(PrimitiveType::Uuid);
    assert_eq!(
        pruned(
            file(&schema, Transform::Void, None, &bounds),
            &key_filter(&keys)
        )
        .total(),
        0
    );
    let identity = |n| {
        file(
            &schema,
            Transform::Identity,
            Some(Literal::uuid(uuid(n))),
            &[],
        )
    };
    assert_eq!(pruned(identity(5), &key_filter(&keys)).total(), 0);
    assert_eq!(pruned(identity(6), &key_filter(&keys)).by_partition, 1);
}

#[test]
fn the_layout_of_a_new_table_names_its_columns() {
    let schema = schema(PrimitiveType::Long);
    let bucket = PartitionBy::Bucket {
        column: "key".to_owned(),
        buckets: 16,
    };
    let spec = partition_spec(
        &schema,
        &[
            bucket.clone(),
            PartitionBy::Day {
                column: "time".to_owned(),
            },
        ],
    )
    .unwrap();
    let fields: Vec<_> = spec
        .fields()
        .iter()
        .map(|field| (field.source_id, field.transform, field.name.as_str()))
        .collect();
    assert_eq!(
        fields,
        [
            (KEY, Transform::Bucket(16), "key_bucket"),
            (TIME, Transform::Day, "time_day")
        ]
    );
    assert!(matches!(
        partition_spec(&schema, &[bucket.clone(), bucket]),
        Err(Error::InvalidRequest { .. })
    ));
    assert!(matches!(
        sort_order(&schema, &["nope".to_owned()]),
        Err(Error::InvalidRequest { .. })
    ));
}
