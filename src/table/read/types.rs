//! Iceberg types as Arrow types: what every stream of this module yields, whatever the file holds.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use iceberg::spec::{NestedField, PrimitiveType, Type};

use crate::error::{Error, Result};

/// The Arrow field of an Iceberg field: same name, nullable unless required, no metadata.
///
/// # Errors
/// [`Error::Unsupported`] if a decimal or fixed type is larger than Arrow's.
pub fn arrow_field(field: &NestedField) -> Result<Field> {
    Ok(Field::new(&field.name, arrow_type(field)?, !field.required))
}

fn arrow_type(field: &NestedField) -> Result<DataType> {
    Ok(match field.field_type.as_ref() {
        Type::Primitive(primitive) => {
            primitive_type(primitive).ok_or_else(|| Error::Unsupported {
                what: format!("type {primitive} of column `{}`", field.name),
            })?
        }
        Type::Struct(fields) => DataType::Struct(
            fields
                .fields()
                .iter()
                .map(|field| arrow_field(field))
                .collect::<Result<Fields>>()?,
        ),
        Type::List(list) => DataType::List(Arc::new(
            arrow_field(&list.element_field)?.with_name("element"),
        )),
        Type::Map(map) => {
            let key = arrow_field(&map.key_field)?
                .with_name("key")
                .with_nullable(false);
            let value = arrow_field(&map.value_field)?.with_name("value");
            let entries = DataType::Struct(Fields::from(vec![key, value]));
            DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
        }
    })
}

fn primitive_type(primitive: &PrimitiveType) -> Option<DataType> {
    let utc = || Some("UTC".into());
    Some(match primitive {
        PrimitiveType::Boolean => DataType::Boolean,
        PrimitiveType::Int => DataType::Int32,
        PrimitiveType::Long => DataType::Int64,
        PrimitiveType::Float => DataType::Float32,
        PrimitiveType::Double => DataType::Float64,
        PrimitiveType::Decimal { precision, scale } => {
            let precision = u8::try_from(*precision)
                .ok()
                .filter(|digits| (1..=38).contains(digits))?;
            DataType::Decimal128(precision, i8::try_from(*scale).ok()?)
        }
        PrimitiveType::Date => DataType::Date32,
        PrimitiveType::Time => DataType::Time64(TimeUnit::Microsecond),
        PrimitiveType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        PrimitiveType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, utc()),
        PrimitiveType::TimestampNs => DataType::Timestamp(TimeUnit::Nanosecond, None),
        PrimitiveType::TimestamptzNs => DataType::Timestamp(TimeUnit::Nanosecond, utc()),
        PrimitiveType::String => DataType::Utf8,
        PrimitiveType::Uuid => DataType::FixedSizeBinary(16),
        PrimitiveType::Fixed(length) => DataType::FixedSizeBinary(i32::try_from(*length).ok()?),
        PrimitiveType::Binary => DataType::Binary,
    })
}
