//! An Iceberg schema for columns that come from Parquet files, and the names by which files are matched to it.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Fields, TimeUnit};
use iceberg::spec::{
    ListType, MapType, MappedField, NameMapping, NestedField, NestedFieldRef, PrimitiveType,
    Schema, StructType, Type,
};

use crate::error::{Error, Result};

/// A schema of columns in readable types; the n-th column has id n, counted from 1.
pub(super) fn iceberg_schema(uri: &str, columns: &Fields) -> Result<(Schema, NameMapping)> {
    let count = i32::try_from(columns.len()).unwrap_or(i32::MAX);
    let mut ids = Ids(count);
    let (fields, mapped) = (1..)
        .zip(columns)
        .map(|(id, column)| ids.field(id, column))
        .collect::<Result<(Vec<_>, Vec<_>)>>()?;
    let schema = Schema::builder().with_fields(fields).build();
    let schema = schema.map_err(|error| Error::Unsupported {
        what: format!("reading the columns of `{uri}` ({})", error.message()),
    })?;
    Ok((schema, NameMapping::new(mapped)))
}

/// Ids of nested fields: the last one given.
struct Ids(i32);

impl Ids {
    fn next(&mut self) -> i32 {
        self.0 = self.0.saturating_add(1);
        self.0
    }

    fn field(&mut self, id: i32, field: &FieldRef) -> Result<(NestedFieldRef, MappedField)> {
        let (field_type, below) = self.field_type(field)?;
        let mapped = MappedField::new(Some(id), vec![field.name().clone()], below);
        Ok((
            Arc::new(NestedField::optional(id, field.name(), field_type)),
            mapped,
        ))
    }

    fn field_type(&mut self, field: &FieldRef) -> Result<(Type, Vec<MappedField>)> {
        match field.data_type() {
            DataType::Struct(fields) => {
                let fields = fields.iter().map(|child| {
                    let id = self.next();
                    self.field(id, child)
                });
                let (fields, mapped) = fields.collect::<Result<(Vec<_>, Vec<_>)>>()?;
                Ok((Type::Struct(StructType::new(fields)), mapped))
            }
            DataType::List(element) => {
                let (element, mapped) = self.role("element", element)?;
                Ok((Type::List(ListType::new(element)), vec![mapped]))
            }
            DataType::Map(entries, _) => self.map(field, entries),
            leaf => Ok((Type::Primitive(primitive(field, leaf)?), Vec::new())),
        }
    }

    fn map(&mut self, field: &FieldRef, entries: &FieldRef) -> Result<(Type, Vec<MappedField>)> {
        let DataType::Struct(pair) = entries.data_type() else {
            return Err(unsupported(field));
        };
        let [key, value] = pair.as_ref() else {
            return Err(unsupported(field));
        };
        let (key, mapped_key) = self.role("key", key)?;
        let (value, mapped_value) = self.role("value", value)?;
        let key = Arc::new(NestedField {
            required: true,
            ..NestedField::clone(&key)
        });
        Ok((
            Type::Map(MapType::new(key, value)),
            vec![mapped_key, mapped_value],
        ))
    }

    /// A field that has a role instead of a name.
    fn role(&mut self, role: &str, field: &FieldRef) -> Result<(NestedFieldRef, MappedField)> {
        let id = self.next();
        let field = field.as_ref().clone().with_name(role);
        self.field(id, &Arc::new(field))
    }
}

fn primitive(field: &FieldRef, data_type: &DataType) -> Result<PrimitiveType> {
    Ok(match data_type {
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int32 => PrimitiveType::Int,
        DataType::Int64 => PrimitiveType::Long,
        DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Utf8 | DataType::Null => PrimitiveType::String,
        DataType::Binary => PrimitiveType::Binary,
        DataType::FixedSizeBinary(length) => {
            PrimitiveType::Fixed(u64::try_from(*length).map_err(|_| unsupported(field))?)
        }
        DataType::Date32 => PrimitiveType::Date,
        DataType::Time64(_) => PrimitiveType::Time,
        DataType::Timestamp(TimeUnit::Nanosecond, None) => PrimitiveType::TimestampNs,
        DataType::Timestamp(TimeUnit::Nanosecond, Some(_)) => PrimitiveType::TimestamptzNs,
        DataType::Timestamp(_, None) => PrimitiveType::Timestamp,
        DataType::Timestamp(_, Some(_)) => PrimitiveType::Timestamptz,
        // More than 38 digits are refused when such a column is read, so that the others can be.
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            PrimitiveType::Decimal {
                precision: u32::from(*precision),
                scale: u32::try_from(*scale).map_err(|_| unsupported(field))?,
            }
        }
        _ => return Err(unsupported(field)),
    })
}

fn unsupported(field: &FieldRef) -> Error {
    Error::Unsupported {
        what: format!("type {} of column `{}`", field.data_type(), field.name()),
    }
}
