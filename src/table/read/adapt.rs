//! Arrays as a file holds them become arrays as the pinned schema wants them.
//!
//! What to do is decided once per file; applying it copies values only where they change.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray,
    ListArray, MapArray, PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray, StructArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, FieldRef, Fields, Float32Type, Float64Type,
    Int32Type, Int64Type, Schema, SchemaRef, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampNanosecondType, UInt32Type,
};
use arrow::util::display::FormatOptions;
use iceberg::spec::{Literal, PrimitiveLiteral};

use crate::error::{Error, Result};

const STRICT: CastOptions<'static> = CastOptions {
    safe: false,
    format_options: FormatOptions::new(),
};

/// How one array becomes another.
#[derive(Debug)]
pub(super) enum Adapt {
    /// It already is.
    Keep,
    /// Same buffers under another name: a zone, a precision.
    Relabel(DataType),
    /// Every value is converted; one that does not fit is an error.
    Cast(DataType),
    /// Nanoseconds to microseconds, towards the past, then as `Relabel`.
    FloorToMicros(DataType),
    /// A struct of the wanted fields.
    Struct(Fields, Vec<Child>),
    /// A list under this element field.
    List(FieldRef, Box<Adapt>),
    /// A map under this entries field.
    Map(FieldRef, Box<(Adapt, Adapt)>),
}

/// Where a field of a struct or batch comes from.
#[derive(Debug)]
pub(super) enum Child {
    /// The field at this position.
    Source(usize, Adapt),
    /// The file lacks it.
    Constant(Constant),
}

impl Child {
    pub(super) fn source(&self) -> Option<usize> {
        match self {
            Self::Source(position, _) => Some(*position),
            Self::Constant(_) => None,
        }
    }

    pub(super) fn apply(&self, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        match self {
            Self::Source(position, adapt) => {
                let column = columns.get(*position);
                adapt.apply(column.ok_or_else(|| {
                    Error::internal("adapting columns", "a decoded column is absent")
                })?)
            }
            Self::Constant(constant) => constant.repeat(rows),
        }
    }
}

impl Adapt {
    pub(super) fn apply(&self, array: &ArrayRef) -> Result<ArrayRef> {
        match self {
            Self::Keep => Ok(Arc::clone(array)),
            Self::Relabel(to) => relabel(array, to),
            Self::Cast(to) => cast_with_options(array, to, &STRICT).map_err(failed),
            Self::FloorToMicros(to) => relabel(&floor_to_micros(array)?, to),
            Self::Struct(fields, children) => adapt_struct(array, fields, children),
            Self::List(field, element) => adapt_list(array, field, element),
            Self::Map(entries, both) => adapt_map(array, entries, both),
        }
    }
}

fn failed(source: arrow::error::ArrowError) -> Error {
    Error::Arrow {
        action: "adapting a column of a data file to the table's schema".to_owned(),
        source,
    }
}

fn unexpected(array: &ArrayRef) -> Error {
    Error::internal(
        "adapting columns",
        format!("unexpected {}", array.data_type()),
    )
}

fn relabel(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let data = array
        .to_data()
        .into_builder()
        .data_type(to.clone())
        .build()
        .map_err(failed)?;
    Ok(arrow::array::make_array(data))
}

fn floor_to_micros(array: &ArrayRef) -> Result<ArrayRef> {
    let nanos = array
        .as_primitive_opt::<TimestampNanosecondType>()
        .ok_or_else(|| unexpected(array))?;
    Ok(Arc::new(nanos.unary::<_, TimestampMicrosecondType>(
        |value| value.div_euclid(1000),
    )))
}

fn adapt_struct(array: &ArrayRef, fields: &Fields, children: &[Child]) -> Result<ArrayRef> {
    let source = array.as_struct_opt().ok_or_else(|| unexpected(array))?;
    let columns = children
        .iter()
        .map(|child| child.apply(source.columns(), source.len()));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let adapted = StructArray::try_new_with_length(
        fields.clone(),
        columns,
        source.nulls().cloned(),
        source.len(),
    );
    Ok(Arc::new(adapted.map_err(failed)?))
}

fn adapt_list(array: &ArrayRef, field: &FieldRef, element: &Adapt) -> Result<ArrayRef> {
    let source = array
        .as_list_opt::<i32>()
        .ok_or_else(|| unexpected(array))?;
    let values = element.apply(source.values())?;
    let adapted = ListArray::try_new(
        Arc::clone(field),
        source.offsets().clone(),
        values,
        source.nulls().cloned(),
    );
    Ok(Arc::new(adapted.map_err(failed)?))
}

fn adapt_map(
    array: &ArrayRef,
    entries: &FieldRef,
    (key, value): &(Adapt, Adapt),
) -> Result<ArrayRef> {
    let source = array.as_map_opt().ok_or_else(|| unexpected(array))?;
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(unexpected(array));
    };
    let columns = vec![key.apply(source.keys())?, value.apply(source.values())?];
    let pairs = StructArray::try_new(fields.clone(), columns, None).map_err(failed)?;
    let offsets = source.offsets().clone();
    let adapted = MapArray::try_new(
        Arc::clone(entries),
        offsets,
        pairs,
        source.nulls().cloned(),
        false,
    );
    Ok(Arc::new(adapted.map_err(failed)?))
}

/// How a leaf of type `from` becomes `to`, or `None` where it must not.
pub(super) fn leaf_cast(from: &DataType, to: &DataType) -> Option<Adapt> {
    use DataType::{
        Binary, Date32, Decimal128, Decimal256, FixedSizeBinary, Float16, Float32, Float64, Int32,
        Int64, Null, Time32, Time64, Timestamp, Utf8,
    };
    let cast = || Some(Adapt::Cast(to.clone()));
    match (from, to) {
        _ if from == to => Some(Adapt::Keep),
        (Timestamp(a, _), Timestamp(b, _)) if a == b => Some(Adapt::Relabel(to.clone())),
        (Timestamp(TimeUnit::Nanosecond, _), Timestamp(TimeUnit::Microsecond, _)) => {
            Some(Adapt::FloorToMicros(to.clone()))
        }
        (Decimal128(p, s), Decimal128(q, t)) if s == t && p <= q => {
            Some(Adapt::Relabel(to.clone()))
        }
        (Decimal128(_, s) | Decimal256(_, s), Decimal128(_, t)) if s == t => cast(),
        (integer, Int32 | Int64) if integer.is_integer() => cast(),
        (Float16, Float32 | Float64) | (Float32, Float64) => cast(),
        (Timestamp(..) | Date32, Timestamp(..)) => cast(),
        (Time32(_) | Time64(_), Time64(_)) => cast(),
        (Binary, Utf8) | (Utf8 | FixedSizeBinary(_), Binary) | (Null, _) => cast(),
        _ => None,
    }
}

/// A column that holds one value.
#[derive(Debug)]
pub(super) struct Constant {
    /// One row.
    value: ArrayRef,
}

impl Constant {
    /// `None` is null.
    pub(super) fn try_new(field: Field, value: Option<&Literal>) -> Result<Self> {
        let data_type = field.data_type();
        let value = match value {
            None => Some(new_null_array(data_type, 1)),
            Some(Literal::Primitive(primitive)) => scalar(data_type, primitive),
            Some(Literal::Struct(_) | Literal::List(_) | Literal::Map(_)) => None,
        };
        let unsupported = || Error::Unsupported {
            what: format!("the default or partition value of `{}`", field.name()),
        };
        Ok(Self {
            value: value.ok_or_else(unsupported)?,
        })
    }

    fn repeat(&self, rows: usize) -> Result<ArrayRef> {
        match self.value.is_null(0) {
            true => Ok(new_null_array(self.value.data_type(), rows)),
            false => take(
                &self.value,
                &PrimitiveArray::<UInt32Type>::from_value(0, rows),
                None,
            )
            .map_err(failed),
        }
    }
}

fn scalar(to: &DataType, value: &PrimitiveLiteral) -> Option<ArrayRef> {
    let long = || match value {
        PrimitiveLiteral::Int(value) => Some(i64::from(*value)),
        PrimitiveLiteral::Long(value) => Some(*value),
        _ => None,
    };
    let int = || long().and_then(|value| i32::try_from(value).ok());
    let double = || match value {
        PrimitiveLiteral::Float(value) => Some(f64::from(value.into_inner())),
        PrimitiveLiteral::Double(value) => Some(value.into_inner()),
        _ => None,
    };
    Some(match (to, value) {
        (DataType::Boolean, PrimitiveLiteral::Boolean(value)) => {
            Arc::new(BooleanArray::from(vec![*value]))
        }
        (DataType::Int32, _) => one::<Int32Type>(int()?),
        (DataType::Date32, _) => one::<Date32Type>(int()?),
        (DataType::Int64, _) => one::<Int64Type>(long()?),
        (DataType::Float32, PrimitiveLiteral::Float(value)) => {
            one::<Float32Type>(value.into_inner())
        }
        (DataType::Float64, _) => one::<Float64Type>(double()?),
        (DataType::Time64(TimeUnit::Microsecond), _) => one::<Time64MicrosecondType>(long()?),
        (DataType::Timestamp(TimeUnit::Microsecond, zone), _) => {
            Arc::new(TimestampMicrosecondArray::from(vec![long()?]).with_timezone_opt(zone.clone()))
        }
        (DataType::Timestamp(TimeUnit::Nanosecond, zone), _) => {
            Arc::new(TimestampNanosecondArray::from(vec![long()?]).with_timezone_opt(zone.clone()))
        }
        (DataType::Decimal128(precision, scale), PrimitiveLiteral::Int128(value)) => Arc::new(
            Decimal128Array::from(vec![*value])
                .with_precision_and_scale(*precision, *scale)
                .ok()?,
        ),
        (DataType::Utf8, PrimitiveLiteral::String(value)) => {
            Arc::new(StringArray::from(vec![value.as_str()]))
        }
        (DataType::Binary, PrimitiveLiteral::Binary(value)) => {
            Arc::new(BinaryArray::from(vec![value.as_slice()]))
        }
        (DataType::FixedSizeBinary(length), _) => fixed(*length, value)?,
        _ => return None,
    })
}

fn one<T: ArrowPrimitiveType>(value: T::Native) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_value(value, 1))
}

fn fixed(length: i32, value: &PrimitiveLiteral) -> Option<ArrayRef> {
    let bytes = match value {
        PrimitiveLiteral::UInt128(value) => value.to_be_bytes().to_vec(),
        PrimitiveLiteral::Binary(value) => value.clone(),
        _ => return None,
    };
    let matches = usize::try_from(length).is_ok_and(|length| length == bytes.len());
    let array = FixedSizeBinaryArray::try_from_iter(std::iter::once(bytes)).ok()?;
    matches.then(|| Arc::new(array) as ArrayRef)
}

/// A batch of adapted columns; a null in a required column is an error.
pub(super) fn batch(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(failed)
}

/// A schema of `fields`, followed by `last` where there is one.
pub(super) fn schema_of(mut fields: Vec<FieldRef>, last: Option<Field>) -> SchemaRef {
    fields.extend(last.map(Arc::new));
    Arc::new(Schema::new(fields))
}
