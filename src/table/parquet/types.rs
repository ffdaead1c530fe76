//! The types that the columns of Parquet files are read as: the nearest of Iceberg's, one for all files of a source.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};

/// The type that a column of this type is read as.
pub(super) fn readable(data_type: &DataType) -> DataType {
    use DataType::*;
    match data_type {
        Int8 | Int16 | Int32 | UInt8 | UInt16 => Int32,
        UInt32 | Int64 | UInt64 | Duration(_) => Int64,
        Float16 | Float32 => Float32,
        Utf8 | LargeUtf8 | Utf8View => Utf8,
        Binary | LargeBinary | BinaryView => Binary,
        Date32 | Date64 => Date32,
        Time32(_) | Time64(_) => Time64(TimeUnit::Microsecond),
        Timestamp(unit, zone) => {
            let zone = zone.as_ref().map(|_| "UTC".into());
            Timestamp(at_least_micros(*unit), zone)
        }
        Decimal32(p, s) | Decimal64(p, s) => Decimal128(*p, *s),
        Decimal256(p, s) if *p <= 38 => Decimal128(*p, *s),
        Dictionary(_, values) => readable(values),
        List(element) | LargeList(element) | FixedSizeList(element, _) => {
            List(nested("element", readable(element.data_type())))
        }
        Struct(fields) => Struct(fields.iter().map(readable_field).collect()),
        Map(entries, sorted) => Map(readable_field(entries), *sorted),
        other => other.clone(),
    }
}

fn at_least_micros(unit: TimeUnit) -> TimeUnit {
    unit.max(TimeUnit::Microsecond)
}

/// Nullable, because another file may lack the field.
fn nested(name: &str, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type, true))
}

/// A field in the type that it is read as.
pub(super) fn readable_field(field: &FieldRef) -> FieldRef {
    nested(field.name(), readable(field.data_type()))
}

/// The readable type that holds the values of both without loss, or `None`.
pub(super) fn common(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::*;
    Some(match (a, b) {
        _ if a == b => a.clone(),
        (Null, other) | (other, Null) => other.clone(),
        (Int32, Int64) | (Int64, Int32) => Int64,
        (Float32, Float64) | (Float64, Float32) => Float64,
        (Timestamp(x, zone), Timestamp(y, _)) => Timestamp(*x.max(y), zone.clone()),
        (Decimal128(p, s), Decimal128(q, t)) if s == t => Decimal128(*p.max(q), *s),
        (List(x), List(y)) => List(nested("element", common(x.data_type(), y.data_type())?)),
        (Map(x, sorted), Map(y, _)) => Map(
            nested(x.name(), common(x.data_type(), y.data_type())?),
            *sorted,
        ),
        (Struct(x), Struct(y)) => Struct(union(x, y).ok()?),
        _ => return None,
    })
}

/// The fields of both by name, those of `a` first; or the one whose types have nothing in common.
pub(crate) fn union(a: &Fields, b: &Fields) -> Result<Fields, FieldRef> {
    let mut fields: Vec<FieldRef> = a.iter().cloned().collect();
    for field in b {
        match fields.iter_mut().find(|known| known.name() == field.name()) {
            None => fields.push(Arc::clone(field)),
            Some(known) => {
                let found = common(known.data_type(), field.data_type());
                let found = found.ok_or_else(|| Arc::clone(field))?;
                *known = nested(field.name(), found);
            }
        }
    }
    Ok(fields.into())
}
