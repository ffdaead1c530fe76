//! Columns of a table follow what is written: new ones are added, and types become wider where Iceberg allows it, so that
//! files of before stay as they are.

use std::sync::Arc;

use arrow::datatypes::Schema as ArrowSchema;
use iceberg::TableUpdate;
use iceberg::arrow::arrow_schema_to_schema_auto_assign_ids;
use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType,
    TableMetadata, Type,
};

use super::replace::numbered;
use crate::error::{Error, Result};
use crate::model::TableName;
use crate::table::type_names::pyiceberg_type;

/// What makes the table hold rows of these columns: nothing if it does already. New columns are optional.
///
/// # Errors
/// [`Error::TypeNotWidened`] naming a column that cannot hold both what it has and what is written.
pub fn column_updates(
    name: &TableName,
    metadata: &TableMetadata,
    written: &ArrowSchema,
) -> Result<Vec<TableUpdate>> {
    let current = metadata.current_schema();
    let types = arrow_schema_to_schema_auto_assign_ids(written);
    let types = types.map_err(Error::iceberg("plan columns"))?;
    let mut fields: Vec<NestedFieldRef> = current.as_struct().fields().to_vec();
    for field in &mut fields {
        if let Some(written) = top_level(&types, &field.name) {
            *field = held(name, field, written)?;
        }
    }
    let new = written.fields().iter();
    let new = new.filter(|field| current.as_struct().field_by_name(field.name()).is_none());
    let new: Vec<_> = new.cloned().collect();
    if !new.is_empty() {
        let new = numbered(&ArrowSchema::new(new.clone()), metadata)?;
        let own = new.as_struct().fields().iter();
        let own = own.filter(|field| top_level(&types, &field.name).is_some());
        fields.extend(own.map(optional));
    }
    if fields == current.as_struct().fields() {
        return Ok(Vec::new());
    }
    let schema = Schema::builder()
        .with_fields(fields)
        .with_identifier_field_ids(current.identifier_field_ids())
        .build()
        .map_err(Error::iceberg("plan columns"))?;
    Ok(vec![
        TableUpdate::AddSchema { schema },
        TableUpdate::SetCurrentSchema { schema_id: -1 },
    ])
}

fn top_level<'a>(schema: &'a Schema, name: &str) -> Option<&'a NestedFieldRef> {
    schema.as_struct().field_by_name(name)
}

fn optional(field: &NestedFieldRef) -> NestedFieldRef {
    Arc::new(NestedField {
        required: false,
        ..field.as_ref().clone()
    })
}

/// The table's field with a type that holds both.
fn held(
    name: &TableName,
    own: &NestedFieldRef,
    written: &NestedFieldRef,
) -> Result<NestedFieldRef> {
    match wider(&own.field_type, &written.field_type) {
        Some(both) if both == *own.field_type => Ok(Arc::clone(own)),
        Some(both) => Ok(with_type(own, both)),
        None => Err(Error::TypeNotWidened {
            table: name.to_string(),
            column: own.name.clone(),
            stored: pyiceberg_type(&own.field_type),
            written: pyiceberg_type(&written.field_type),
        }),
    }
}

fn with_type(field: &NestedFieldRef, field_type: Type) -> NestedFieldRef {
    Arc::new(NestedField {
        field_type: Box::new(field_type),
        ..field.as_ref().clone()
    })
}

/// The least type that `own` may become and that holds values of `written`, with the ids of `own`.
fn wider(own: &Type, written: &Type) -> Option<Type> {
    Some(match (own, written) {
        (Type::Primitive(own), Type::Primitive(written)) => {
            Type::Primitive(wider_primitive(own, written)?)
        }
        (Type::List(own), Type::List(written)) => Type::List(ListType::new(wider_field(
            &own.element_field,
            &written.element_field,
        )?)),
        (Type::Map(own), Type::Map(written))
            if own.key_field.field_type == written.key_field.field_type =>
        {
            let value = wider_field(&own.value_field, &written.value_field)?;
            Type::Map(MapType::new(Arc::clone(&own.key_field), value))
        }
        (Type::Struct(own), Type::Struct(written))
            if own.fields().len() == written.fields().len() =>
        {
            let fields = own.fields().iter();
            let fields =
                fields.map(|field| wider_field(field, written.field_by_name(&field.name)?));
            Type::Struct(StructType::new(fields.collect::<Option<_>>()?))
        }
        _ => return None,
    })
}

fn wider_field(own: &NestedFieldRef, written: &NestedFieldRef) -> Option<NestedFieldRef> {
    Some(with_type(own, wider(&own.field_type, &written.field_type)?))
}

fn wider_primitive(own: &PrimitiveType, written: &PrimitiveType) -> Option<PrimitiveType> {
    use PrimitiveType::{
        Binary, Decimal, Double, Fixed, Float, Int, Long, Timestamp, Timestamptz, Uuid,
    };
    Some(match (own, written) {
        _ if own == written => own.clone(),
        (Int, Long) | (Long, Int) => Long,
        (Float, Double) | (Double, Float) => Double,
        (
            Decimal { precision, scale },
            Decimal {
                precision: written,
                scale: other,
            },
        ) if scale == other => Decimal {
            precision: *precision.max(written),
            scale: *scale,
        },
        // Values that are the same in the table's own words.
        (Binary, Fixed(_)) => Binary,
        (Uuid, Fixed(16)) => Uuid,
        (Timestamp | Timestamptz, Timestamp | Timestamptz) => own.clone(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const INT: Type = Type::Primitive(PrimitiveType::Int);
    const LONG: Type = Type::Primitive(PrimitiveType::Long);
    const FLOAT: Type = Type::Primitive(PrimitiveType::Float);
    const DOUBLE: Type = Type::Primitive(PrimitiveType::Double);
    const TEXT: Type = Type::Primitive(PrimitiveType::String);

    fn decimal(precision: u32, scale: u32) -> Type {
        Type::Primitive(PrimitiveType::Decimal { precision, scale })
    }

    fn list(id: i32, element: Type) -> Type {
        let element = NestedField::list_element(id, element, false);
        Type::List(ListType::new(element.into()))
    }

    #[rstest]
    #[case(INT, LONG, Some(LONG))]
    #[case(LONG, INT, Some(LONG))]
    #[case(FLOAT, DOUBLE, Some(DOUBLE))]
    #[case(DOUBLE, FLOAT, Some(DOUBLE))]
    #[case(decimal(9, 2), decimal(12, 2), Some(decimal(12, 2)))]
    #[case(decimal(12, 2), decimal(9, 2), Some(decimal(12, 2)))]
    #[case(decimal(9, 2), decimal(12, 3), None)]
    #[case(list(7, INT), list(1, LONG), Some(list(7, LONG)))]
    #[case(list(7, INT), list(1, TEXT), None)]
    #[case(LONG, DOUBLE, None)]
    #[case(DOUBLE, LONG, None)]
    #[case(TEXT, LONG, None)]
    #[case(list(7, INT), INT, None)]
    fn types_become_wider_where_iceberg_allows_it(
        #[case] own: Type,
        #[case] written: Type,
        #[case] expected: Option<Type>,
    ) {
        assert_eq!(wider(&own, &written), expected);
    }
}
