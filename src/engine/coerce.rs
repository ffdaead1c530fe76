//! Brings the keys and timestamps of an entity dataframe to the types of the tables, where nothing is lost.
//!
//! | entity column | key column in the table | rule |
//! |---|---|---|
//! | same type | any | as it is |
//! | dictionary of a listed type | any | by its values |
//! | all-null | any | null: matches nothing |
//! | any integer | int, long, decimal | by value |
//! | float, double | int, long | whole values up to 2^53; NaN is null (pandas); fractions are refused |
//! | utf8, large utf8, utf8 view | string | by value |
//! | utf8 | uuid | parsed; other text is refused |
//! | binary, large binary, binary view, fixed binary | binary, uuid, fixed | by value; another length is refused |
//! | date32, date64, timestamp at midnight | date | by day; a time of day is refused |
//! | timestamp of any unit and zone | timestamp, timestamptz | by instant, no zone is UTC |
//! | any decimal | decimal | by value |
//!
//! A value that the table's type cannot hold (5,000,000,000 for an `int`) exists in no row of the table, so it
//! becomes null and matches nothing. A value of the wrong *kind* is a mistake in the dataframe and refused.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, PrimitiveArray,
    new_null_array,
};
use arrow::compute::kernels::cmp::{distinct, eq};
use arrow::compute::{CastOptions, cast, cast_with_options, nullif};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use uuid::Uuid;

use crate::error::{Error, Result};

/// Greatest integer up to which every integer is a double.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;
const NULL_ON_FAILURE: CastOptions<'static> = CastOptions {
    safe: true,
    format_options: arrow::util::display::FormatOptions::new(),
};

/// Coerces a join key column to the type of the table's column, by the table in the module's text.
///
/// # Errors
/// [`Error::SchemaMismatch`] naming `column`, where the types do not go together or a value is of the wrong kind.
pub fn coerce_key(column: &str, array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    if array.data_type() == target {
        return Ok(Arc::clone(array));
    }
    match (array.data_type(), target) {
        (DataType::Null, _) => Ok(new_null_array(target, array.len())),
        (DataType::Dictionary(_, values), _) => {
            coerce_key(column, &try_cast(column, array, values)?, target)
        }
        (from, DataType::Int32 | DataType::Int64) if from.is_integer() => {
            try_cast(column, array, target)
        }
        (from, DataType::Int32 | DataType::Int64) if from.is_floating() => {
            whole_numbers(column, array, target)
        }
        (DataType::LargeUtf8 | DataType::Utf8View, DataType::Utf8) => {
            try_cast(column, array, target)
        }
        (
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View,
            DataType::FixedSizeBinary(16),
        ) => parse_uuids(column, array),
        (from, DataType::Binary | DataType::FixedSizeBinary(_)) if is_binary(from) => {
            same_bytes(column, array, target)
        }
        (DataType::Date64, DataType::Date32) => try_cast(column, array, target),
        (DataType::Timestamp(_, _), DataType::Date32) => whole_days(column, array),
        (DataType::Timestamp(_, _), DataType::Timestamp(_, _)) => {
            same_instant(column, array, target)
        }
        (from, DataType::Decimal128(_, _)) if from.is_integer() => try_cast(column, array, target),
        (from, DataType::Decimal128(_, _)) if from.is_decimal() => {
            null_where_inexact(column, array, target)
        }
        (from, _) => Err(mismatch(column, target.to_string(), from)),
    }
}

/// Turns an event timestamp column into Arrow timestamps: any unit and zone stay, dates are midnight UTC.
///
/// # Errors
/// [`Error::SchemaMismatch`] naming `column`, for any other type.
pub fn coerce_timestamp(column: &str, array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Timestamp(_, _) => Ok(Arc::clone(array)),
        DataType::Null => Ok(new_null_array(&utc_microseconds(), array.len())),
        DataType::Date32 | DataType::Date64 => try_cast(
            column,
            &try_cast(
                column,
                array,
                &DataType::Timestamp(TimeUnit::Microsecond, None),
            )?,
            &utc_microseconds(),
        ),
        other => Err(mismatch(column, "a timestamp", other)),
    }
}

/// Whether [`coerce_timestamp`] accepts the type.
pub fn is_timestamp_like(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Timestamp(_, _) | DataType::Null | DataType::Date32 | DataType::Date64
    )
}

fn utc_microseconds() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn try_cast(column: &str, array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    cast_with_options(array, target, &NULL_ON_FAILURE)
        .map_err(|error| refuse(column, array, target, &error))
}

fn refuse(column: &str, array: &ArrayRef, target: &DataType, error: &ArrowError) -> Error {
    mismatch(
        column,
        format!("a value of type {target} ({error})"),
        array.data_type(),
    )
}

fn mismatch(column: &str, expected: impl Into<String>, found: impl ToString) -> Error {
    Error::SchemaMismatch {
        column: column.to_owned(),
        expected: expected.into(),
        found: found.to_string(),
    }
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

fn whole_numbers(column: &str, array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let doubles = try_cast(column, array, &DataType::Float64)?;
    let doubles: &Float64Array = doubles.as_primitive::<Float64Type>();
    let integers = doubles
        .iter()
        .map(|value| match value {
            Some(value) if value.is_nan() => Ok(None),
            Some(value) if value.fract() == 0.0 && value.abs() <= MAX_WHOLE => {
                Ok(Some(value as i64))
            }
            Some(value) => Err(mismatch(
                column,
                format!("whole numbers up to 2^53, for {target}"),
                value,
            )),
            None => Ok(None),
        })
        .collect::<Result<Int64Array>>()?;
    try_cast(column, &(Arc::new(integers) as ArrayRef), target)
}

fn parse_uuids(column: &str, array: &ArrayRef) -> Result<ArrayRef> {
    let text = try_cast(column, array, &DataType::Utf8)?;
    let parsed = text
        .as_string::<i32>()
        .iter()
        .map(|value| value.map(|text| parse_uuid(column, text)).transpose())
        .collect::<Result<Vec<_>>>()?;
    fixed_binary(
        column,
        parsed
            .iter()
            .map(|value| value.as_ref().map(|id| &id.as_bytes()[..])),
        16,
    )
}

fn parse_uuid(column: &str, text: &str) -> Result<Uuid> {
    Uuid::try_parse(text).map_err(|_| mismatch(column, "a uuid", format!("`{text}`")))
}

fn fixed_binary<'a>(
    column: &str,
    values: impl Iterator<Item = Option<&'a [u8]>>,
    size: i32,
) -> Result<ArrayRef> {
    arrow::array::FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, size)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|_| mismatch(column, format!("values of {size} bytes"), "another length"))
}

fn same_bytes(column: &str, array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let bytes = try_cast(column, array, &DataType::Binary)?;
    match target {
        DataType::FixedSizeBinary(size) => {
            fixed_binary(column, bytes.as_binary::<i32>().iter(), *size)
        }
        _ => Ok(bytes),
    }
}

fn whole_days(column: &str, array: &ArrayRef) -> Result<ArrayRef> {
    let naive = drop_zone(column, array)?;
    let instants = try_cast(
        column,
        &naive,
        &DataType::Timestamp(TimeUnit::Microsecond, None),
    )?;
    let days = try_cast(column, &instants, &DataType::Date32)?;
    let back = try_cast(column, &days, instants.data_type())?;
    let differs = distinct(&instants, &back).map_err(Error::arrow("compare days"))?;
    let finer = exact(column, &naive, &instants)?.false_count() > 0;
    if differs.true_count() > 0 || finer {
        return Err(mismatch(column, "whole days", "a time of day"));
    }
    Ok(days)
}

/// Casts between timestamp types; an instant that the target's unit cannot express becomes null.
fn same_instant(column: &str, array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let naive = drop_zone(column, array)?;
    let DataType::Timestamp(unit, zone) = target else {
        return Err(mismatch(column, target.to_string(), array.data_type()));
    };
    let converted = null_where_inexact(column, &naive, &DataType::Timestamp(*unit, None))?;
    match zone {
        None => Ok(converted),
        Some(zone) => with_zone(&converted, *unit, zone),
    }
}

/// The same instants without their zone: the stored numbers are UTC already.
fn drop_zone(column: &str, array: &ArrayRef) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, Some(_)) = array.data_type() else {
        return Ok(Arc::clone(array));
    };
    let integers = cast(array, &DataType::Int64)
        .map_err(Error::arrow(format!("read timestamps of `{column}`")))?;
    cast(&integers, &DataType::Timestamp(*unit, None))
        .map_err(Error::arrow(format!("read timestamps of `{column}`")))
}

fn with_zone(array: &ArrayRef, unit: TimeUnit, zone: &Arc<str>) -> Result<ArrayRef> {
    let integers = cast(array, &DataType::Int64).map_err(Error::arrow("set a time zone"))?;
    cast(
        &integers,
        &DataType::Timestamp(unit, Some(Arc::clone(zone))),
    )
    .map_err(Error::arrow("set a time zone"))
}

fn null_where_inexact(column: &str, array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let converted = try_cast(column, array, target)?;
    let exact = exact(column, array, &converted)?;
    let inexact = BooleanArray::from_iter(exact.iter().map(|same| Some(same != Some(true))));
    nullif(&converted, &inexact).map_err(Error::arrow("drop values that do not fit"))
}

/// Whether each converted value turns back into the original; null where either is null.
fn exact(column: &str, original: &ArrayRef, converted: &ArrayRef) -> Result<BooleanArray> {
    let back = try_cast(column, converted, original.data_type())?;
    eq(original, &back).map_err(Error::arrow("compare values"))
}

/// The least and greatest instant of a timestamp column in microseconds, rounded outwards; `None` if all are null.
pub fn instant_bounds_us(array: &ArrayRef) -> Result<Option<(i64, i64)>> {
    let DataType::Timestamp(unit, _) = array.data_type() else {
        return Err(Error::internal("read timestamps", array.data_type()));
    };
    let integers = cast(array, &DataType::Int64).map_err(Error::arrow("read timestamps"))?;
    let integers: &PrimitiveArray<Int64Type> = integers.as_primitive();
    let bounds = arrow::compute::min(integers).zip(arrow::compute::max(integers));
    Ok(bounds.map(|(min, max)| match unit {
        TimeUnit::Second => (min.saturating_mul(1_000_000), max.saturating_mul(1_000_000)),
        TimeUnit::Millisecond => (min.saturating_mul(1_000), max.saturating_mul(1_000)),
        TimeUnit::Microsecond => (min, max),
        TimeUnit::Nanosecond => (min.div_euclid(1_000), -((-max).div_euclid(1_000))),
    }))
}

#[cfg(test)]
mod tests;
