//! Values in one type become values in another, or are refused: a value changes its type, never its meaning.
//!
//! The one loss that is accepted: digits of a timestamp below the target's unit are dropped. Naive timestamps are UTC.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, make_array, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, kernels::cmp::not_distinct};
use arrow::datatypes::{DataType, FieldRef, Fields};

use crate::error::{Error, Result};

/// `values` of the column `column` as `target`, whose nested fields are found by name.
///
/// # Errors
/// [`Error::SchemaMismatch`] naming the column, if the type cannot become the other or a value does not fit.
pub(super) fn fit(column: &str, values: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let found = values.data_type();
    if found == target {
        return Ok(Arc::clone(values));
    }
    match (found, target) {
        (DataType::Null, _) => Ok(new_null_array(target, values.len())),
        (DataType::Dictionary(_, item), _) => fit(column, &convert(column, values, item)?, target),
        (DataType::RunEndEncoded(_, item), _) => {
            fit(column, &convert(column, values, item.data_type())?, target)
        }
        (_, DataType::Dictionary(_, item)) => convert(column, &fit(column, values, item)?, target),
        (DataType::Timestamp(..), DataType::Timestamp(..)) => timestamps(column, values, target),
        (_, DataType::List(item)) if is_list(found) => lists(column, values, item),
        (_, DataType::LargeList(item) | DataType::FixedSizeList(item, _)) if is_list(found) => {
            convert(column, &lists(column, values, item)?, target)
        }
        (DataType::Struct(_), DataType::Struct(fields)) => structs(column, values, fields),
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            maps(column, values, entries, *sorted)
        }
        _ if same_meaning(found, target) => convert(column, values, target),
        _ if is_number(found) && is_number(target) => numbers(column, values, target),
        _ => Err(mismatch(column, target, found)),
    }
}

pub(super) fn mismatch(column: &str, expected: &DataType, found: impl ToString) -> Error {
    Error::SchemaMismatch {
        column: column.to_owned(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// Arrow's conversion, where a value that does not fit is an error and not a null.
fn convert(column: &str, values: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let found = values.data_type();
    cast_with_options(values, target, &strict)
        .map_err(|error| mismatch(column, target, format!("{found}: {error}")))
}

/// Numbers that come back from the other type as they were.
fn numbers(column: &str, values: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let fitted = convert(column, values, target)?;
    let back = convert(column, &fitted, values.data_type())?;
    let rounds = target.is_floating() && values.data_type().is_floating();
    let kept = match rounds {
        true => fitted_floats(&back, values),
        false => not_distinct(&back, values).map(|same| same.false_count() == 0),
    };
    match kept.map_err(Error::arrow("compare numbers"))? {
        true => Ok(fitted),
        false => Err(mismatch(
            column,
            target,
            format!("{} values that it cannot hold", values.data_type()),
        )),
    }
}

/// Whether no finite number became infinite; digits may be lost, as the narrower column holds no more.
fn fitted_floats(back: &ArrayRef, values: &ArrayRef) -> Result<bool, arrow::error::ArrowError> {
    let infinite = |values: &ArrayRef| -> Result<Vec<bool>, arrow::error::ArrowError> {
        let wide = arrow::compute::cast(values, &DataType::Float64)?;
        let wide = wide.as_primitive::<arrow::datatypes::Float64Type>();
        Ok(wide
            .iter()
            .map(|value| value.is_some_and(f64::is_infinite))
            .collect())
    };
    Ok(infinite(back)? == infinite(values)?)
}

fn timestamps(column: &str, values: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let naive = |kind: &DataType| match kind {
        DataType::Timestamp(unit, _) => DataType::Timestamp(*unit, None),
        other => other.clone(),
    };
    let values = renamed(values, &naive(values.data_type()))?;
    renamed(&convert(column, &values, &naive(target))?, target)
}

/// The same numbers under a type with the same layout.
fn renamed(values: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let data = values.to_data().into_builder().data_type(target.clone());
    data.build()
        .map(make_array)
        .map_err(Error::arrow("name time zone"))
}

fn lists(column: &str, values: &ArrayRef, item: &FieldRef) -> Result<ArrayRef> {
    let own = match values.data_type() {
        DataType::List(own)
        | DataType::LargeList(own)
        | DataType::FixedSizeList(own, _)
        | DataType::ListView(own)
        | DataType::LargeListView(own) => Arc::clone(own),
        other => return Err(mismatch(column, item.data_type(), other)),
    };
    let values = convert(column, values, &DataType::List(own))?;
    let (_, offsets, items, nulls) = values.as_list::<i32>().clone().into_parts();
    let items = child(column, &items, item)?;
    ListArray::try_new(Arc::clone(item), offsets, items, nulls)
        .map(|list| Arc::new(list) as ArrayRef)
        .map_err(|error| mismatch(column, item.data_type(), error))
}

fn structs(column: &str, values: &ArrayRef, fields: &Fields) -> Result<ArrayRef> {
    let values = values.as_struct();
    let children = fields.iter().map(|field| {
        let found = values.column_by_name(field.name());
        let found = found.ok_or_else(|| nested(column, fields, values.data_type()))?;
        child(&format!("{column}.{}", field.name()), found, field)
    });
    let children = children.collect::<Result<Vec<_>>>()?;
    if values.num_columns() != fields.len() {
        return Err(nested(column, fields, values.data_type()));
    }
    let built = StructArray::try_new_with_length(
        fields.clone(),
        children,
        values.nulls().cloned(),
        values.len(),
    );
    built
        .map(|built| Arc::new(built) as ArrayRef)
        .map_err(|error| mismatch(column, &DataType::Struct(fields.clone()), error))
}

fn nested(column: &str, fields: &Fields, found: &DataType) -> Error {
    mismatch(column, &DataType::Struct(fields.clone()), found)
}

fn maps(column: &str, values: &ArrayRef, entries: &FieldRef, sorted: bool) -> Result<ArrayRef> {
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(mismatch(column, entries.data_type(), values.data_type()));
    };
    let (_, offsets, pairs, nulls, _) = values.as_map().clone().into_parts();
    let pairs = fields
        .iter()
        .zip(pairs.columns())
        .map(|(field, found)| child(&format!("{column}.{}", field.name()), found, field))
        .collect::<Result<Vec<_>>>()?;
    StructArray::try_new(fields.clone(), pairs, None)
        .and_then(|pairs| MapArray::try_new(Arc::clone(entries), offsets, pairs, nulls, sorted))
        .map(|map| Arc::new(map) as ArrayRef)
        .map_err(|error| mismatch(column, entries.data_type(), error))
}

/// Nested values, which may be required like columns.
fn child(column: &str, values: &ArrayRef, field: &FieldRef) -> Result<ArrayRef> {
    fit(column, values, field.data_type())
}

fn is_list(kind: &DataType) -> bool {
    use DataType::{FixedSizeList, LargeList, LargeListView, List, ListView};
    matches!(
        kind,
        List(_) | LargeList(_) | FixedSizeList(..) | ListView(_) | LargeListView(_)
    )
}

fn is_number(kind: &DataType) -> bool {
    kind.is_integer() || kind.is_floating() || kind.is_decimal()
}

/// Types that differ in width or layout only.
fn same_meaning(found: &DataType, target: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Date32, Date64, FixedSizeBinary, LargeBinary, LargeUtf8, Time32,
        Time64, Utf8, Utf8View,
    };
    let text = |kind: &DataType| matches!(kind, Utf8 | LargeUtf8 | Utf8View);
    let bytes =
        |kind: &DataType| matches!(kind, Binary | LargeBinary | BinaryView | FixedSizeBinary(_));
    let date = |kind: &DataType| matches!(kind, Date32 | Date64);
    let time = |kind: &DataType| matches!(kind, Time32(_) | Time64(_));
    [text as fn(&DataType) -> bool, bytes, date, time]
        .iter()
        .any(|family| family(found) && family(target))
}
