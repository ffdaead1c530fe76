//! The table of the module's text, row by row.

use arrow::array::{
    BinaryArray, Date32Array, Date64Array, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
    Float64Array, Int8Array, Int32Array, Int64Array, LargeStringArray, NullArray, StringArray,
    StringViewArray, TimestampMicrosecondArray, TimestampNanosecondArray, TimestampSecondArray,
    UInt64Array,
};
use arrow::datatypes::Int32Type;

use super::*;

const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
const DAY_US: i64 = 86_400_000_000;

fn array(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

#[track_caller]
fn becomes(from: ArrayRef, expected: impl Array + 'static) {
    let expected = array(expected);
    let coerced = coerce_key("k", &from, expected.data_type()).unwrap();
    assert_eq!(
        &coerced,
        &expected,
        "{} to {}",
        from.data_type(),
        expected.data_type()
    );
}

#[track_caller]
fn refused(from: ArrayRef, target: &DataType, expected: &str) {
    let error = coerce_key("k", &from, target).unwrap_err().to_string();
    assert!(
        error.starts_with("column `k`: expected ") && error.contains(expected),
        "{error}"
    );
}

#[test]
fn integers_of_any_width_keep_their_value_or_match_nothing() {
    becomes(
        array(Int8Array::from(vec![Some(-1), None])),
        Int64Array::from(vec![Some(-1), None]),
    );
    becomes(
        array(Int64Array::from(vec![7, 5_000_000_000])),
        Int32Array::from(vec![Some(7), None]),
    );
    becomes(
        array(UInt64Array::from(vec![u64::MAX, 1])),
        Int64Array::from(vec![None, Some(1)]),
    );
    let decimals = Decimal128Array::from(vec![Some(700), Some(-100)])
        .with_precision_and_scale(9, 2)
        .unwrap();
    becomes(array(Int64Array::from(vec![7, -1])), decimals);
}

#[test]
fn doubles_that_are_whole_are_integers() {
    becomes(
        array(Float64Array::from(vec![
            Some(3.0),
            Some(f64::NAN),
            None,
            Some(-0.0),
        ])),
        Int64Array::from(vec![Some(3), None, None, Some(0)]),
    );
    refused(
        array(Float64Array::from(vec![1.5])),
        &DataType::Int64,
        "whole numbers",
    );
    refused(
        array(Float64Array::from(vec![1e17])),
        &DataType::Int64,
        "whole numbers",
    );
    refused(
        array(Float64Array::from(vec![f64::INFINITY])),
        &DataType::Int32,
        "whole numbers",
    );
}

#[test]
fn strings_of_any_layout_are_strings() {
    becomes(
        array(LargeStringArray::from(vec!["a"])),
        StringArray::from(vec!["a"]),
    );
    becomes(
        array(StringViewArray::from(vec!["a"])),
        StringArray::from(vec!["a"]),
    );
    let dictionary: DictionaryArray<Int32Type> =
        vec![Some("x"), None, Some("x")].into_iter().collect();
    becomes(
        array(dictionary),
        StringArray::from(vec![Some("x"), None, Some("x")]),
    );
    refused(
        array(StringArray::from(vec!["1"])),
        &DataType::Int64,
        "expected Int64, found Utf8",
    );
    refused(
        array(Int64Array::from(vec![1])),
        &DataType::Utf8,
        "expected Utf8, found Int64",
    );
}

#[test]
fn bytes_keep_their_length() {
    let id = Uuid::from_u128(7);
    let ids = FixedSizeBinaryArray::try_from_iter([id.as_bytes()].into_iter()).unwrap();
    becomes(array(StringArray::from(vec![id.to_string()])), ids.clone());
    becomes(
        array(BinaryArray::from(vec![&id.as_bytes()[..]])),
        ids.clone(),
    );
    becomes(array(ids), BinaryArray::from(vec![&id.as_bytes()[..]]));
    refused(
        array(StringArray::from(vec!["no"])),
        &DataType::FixedSizeBinary(16),
        "a uuid, found `no`",
    );
    refused(
        array(BinaryArray::from(vec![&b"abc"[..]])),
        &DataType::FixedSizeBinary(4),
        "values of 4 bytes",
    );
}

#[test]
fn days_have_no_time() {
    becomes(
        array(Date64Array::from(vec![86_400_000])),
        Date32Array::from(vec![1]),
    );
    becomes(
        array(TimestampMicrosecondArray::from(vec![Some(-DAY_US), None])),
        Date32Array::from(vec![Some(-1), None]),
    );
    let zoned = TimestampMicrosecondArray::from(vec![DAY_US]).with_timezone("+05:00");
    becomes(array(zoned), Date32Array::from(vec![1]));
    refused(
        array(TimestampSecondArray::from(vec![1])),
        &DataType::Date32,
        "whole days",
    );
    refused(
        array(TimestampNanosecondArray::from(vec![DAY_US * 1_000 + 1])),
        &DataType::Date32,
        "whole days",
    );
}

#[test]
fn instants_are_compared_in_utc() {
    let utc =
        |values: Vec<Option<i64>>| TimestampMicrosecondArray::from(values).with_timezone("UTC");
    becomes(
        array(TimestampSecondArray::from(vec![1])),
        utc(vec![Some(1_000_000)]),
    );
    let berlin = TimestampNanosecondArray::from(vec![1_000, 1_001]).with_timezone("+02:00");
    becomes(array(berlin), utc(vec![Some(1), None]));
    becomes(
        array(utc(vec![Some(5)])),
        TimestampMicrosecondArray::from(vec![5]),
    );
    refused(array(Int64Array::from(vec![5])), &MICROS, "Timestamp");
}

#[test]
fn decimals_keep_their_value_or_match_nothing() {
    let decimals = |values, precision, scale| {
        Decimal128Array::from(values)
            .with_precision_and_scale(precision, scale)
            .unwrap()
    };
    becomes(
        array(decimals(vec![Some(1_230), Some(1_234)], 12, 3)),
        decimals(vec![Some(123), None], 9, 2),
    );
    refused(
        array(Float64Array::from(vec![1.0])),
        &DataType::Decimal128(9, 2),
        "Decimal128(9, 2)",
    );
}

#[test]
fn nulls_of_no_type_are_nulls_of_any() {
    becomes(array(NullArray::new(2)), Int64Array::from(vec![None, None]));
    assert_eq!(
        coerce_timestamp("t", &array(NullArray::new(2)))
            .unwrap()
            .null_count(),
        2
    );
}

#[test]
fn bounds_are_rounded_outwards() {
    let bounds = |values: Vec<Option<i64>>| {
        instant_bounds_us(&array(TimestampNanosecondArray::from(values))).unwrap()
    };
    assert_eq!(bounds(vec![Some(-1_001), None, Some(1_001)]), Some((-2, 2)));
    assert_eq!(bounds(vec![None]), None);
    let seconds = array(TimestampSecondArray::from(vec![i64::MAX]));
    assert_eq!(
        instant_bounds_us(&seconds).unwrap(),
        Some((i64::MAX, i64::MAX))
    );
}

#[test]
fn dates_are_midnight() {
    let midnight = coerce_timestamp("t", &array(Date32Array::from(vec![1]))).unwrap();
    assert_eq!(
        midnight
            .as_primitive::<arrow::datatypes::TimestampMicrosecondType>()
            .value(0),
        DAY_US
    );
    assert!(coerce_timestamp("t", &array(StringArray::from(vec!["2026-01-01"]))).is_err());
}
