//! The columns of a new Iceberg table for rows that somebody sent.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};

use crate::error::{Error, Result};

const MICROSECOND: TimeUnit = TimeUnit::Microsecond;

/// The nearest schema that Iceberg has, all of it optional and without metadata.
///
/// # Errors
/// [`Error::SchemaMismatch`] naming a column whose type has no counterpart; [`Error::ColumnCollision`].
pub(super) fn storable(schema: &Schema) -> Result<Schema> {
    let mut names = BTreeSet::new();
    let fields = schema.fields().iter().map(|field| {
        if !names.insert(field.name()) {
            return Err(Error::ColumnCollision {
                column: field.name().clone(),
            });
        }
        let kind = data_type(field.name(), field.data_type())?;
        Ok(Field::new(field.name(), kind, true))
    });
    Ok(Schema::new(fields.collect::<Result<Vec<_>>>()?))
}

fn data_type(column: &str, kind: &DataType) -> Result<DataType> {
    use DataType::*;
    Ok(match kind {
        Boolean | Int32 | Int64 | Float32 | Float64 | Utf8 | FixedSizeBinary(_) | Date32 => {
            kind.clone()
        }
        Int8 | Int16 | UInt8 | UInt16 => Int32,
        // Values above the largest signed one are refused when they come.
        UInt32 | UInt64 => Int64,
        Float16 => Float32,
        Null | LargeUtf8 | Utf8View => Utf8,
        Binary | LargeBinary | BinaryView => LargeBinary,
        Date64 => Date32,
        Time32(_) | Time64(_) => Time64(MICROSECOND),
        Timestamp(_, None) => Timestamp(MICROSECOND, None),
        Timestamp(_, Some(_)) => Timestamp(MICROSECOND, Some("+00:00".into())),
        Decimal32(precision, scale)
        | Decimal64(precision, scale)
        | Decimal128(precision, scale)
        | Decimal256(precision, scale)
            if *scale >= 0 && *precision <= 38 =>
        {
            Decimal128(*precision, *scale)
        }
        Dictionary(_, value) => data_type(column, value)?,
        RunEndEncoded(_, value) => data_type(column, value.data_type())?,
        List(item)
        | LargeList(item)
        | FixedSizeList(item, _)
        | ListView(item)
        | LargeListView(item) => List(child(column, "element", item)?),
        Struct(fields) if !fields.is_empty() => {
            let fields = fields
                .iter()
                .map(|field| child(column, field.name(), field));
            Struct(fields.collect::<Result<_>>()?)
        }
        Map(entries, _) => map(column, entries)?,
        other => return Err(unsupported(column, other)),
    })
}

fn child(column: &str, name: &str, field: &FieldRef) -> Result<FieldRef> {
    let kind = data_type(column, field.data_type())?;
    Ok(Arc::new(Field::new(name, kind, true)))
}

fn map(column: &str, entries: &FieldRef) -> Result<DataType> {
    let DataType::Struct(pair) = entries.data_type() else {
        return Err(unsupported(column, entries.data_type()));
    };
    let [key, value] = pair.as_ref() else {
        return Err(unsupported(column, entries.data_type()));
    };
    let key = Field::new("key", data_type(column, key.data_type())?, false);
    let value = child(column, "value", value)?;
    let pair = DataType::Struct(vec![Arc::new(key), value].into());
    let entries = Field::new("key_value", pair, false);
    Ok(DataType::Map(Arc::new(entries), false))
}

fn unsupported(column: &str, found: &DataType) -> Error {
    Error::SchemaMismatch {
        column: column.to_owned(),
        expected: "a type that Iceberg tables have".to_owned(),
        found: found.to_string(),
    }
}
