//! Iceberg schemas as Glue's columns, which other tools of Amazon's show and search. They are written as pyiceberg writes
//! them; Iceberg itself never reads them back.

use std::collections::HashMap;

use aws_sdk_glue::types::Column;
use iceberg::spec::{NestedFieldRef, PrimitiveType, SchemaRef, TableMetadata, Type};

const FIELD_ID: &str = "iceberg.field.id";
const FIELD_OPTIONAL: &str = "iceberg.field.optional";
const FIELD_CURRENT: &str = "iceberg.field.current";
/// Glue refuses longer ones.
const COMMENT_LIMIT: usize = 255;

/// The table's columns and those that it had once. What other tools noted about a column in `existing` stays.
pub(super) fn columns(metadata: &TableMetadata, existing: &[Column]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for (field, is_current) in fields(metadata) {
        if columns.iter().all(|column| column.name != field.name) {
            let known = existing.iter().find(|column| column.name == field.name);
            columns.push(column(field, is_current, known));
        }
    }
    columns
}

/// Those of the current schema, then those of the others from the oldest on.
fn fields(metadata: &TableMetadata) -> impl Iterator<Item = (&NestedFieldRef, bool)> {
    let current = metadata.current_schema();
    let mut others: Vec<&SchemaRef> = metadata.schemas_iter().collect();
    others.sort_by_key(|schema| schema.schema_id());
    let others = others
        .into_iter()
        .filter(|schema| schema.schema_id() != current.schema_id());
    let former = others.flat_map(|schema| schema.as_struct().fields());
    let now = current.as_struct().fields().iter();
    now.map(|field| (field, true))
        .chain(former.map(|field| (field, false)))
}

fn column(field: &NestedFieldRef, is_current: bool, known: Option<&Column>) -> Column {
    let noted = known.and_then(|column| column.parameters.clone());
    let mut parameters: HashMap<String, String> = noted.unwrap_or_default();
    parameters.insert(FIELD_ID.to_owned(), field.id.to_string());
    parameters.insert(FIELD_OPTIONAL.to_owned(), (!field.required).to_string());
    parameters.insert(FIELD_CURRENT.to_owned(), is_current.to_string());
    let comment = match &field.doc {
        Some(doc) => Some(doc.chars().take(COMMENT_LIMIT).collect()),
        None => known.and_then(|column| column.comment.clone()),
    };
    Column::builder()
        .name(&field.name)
        .r#type(glue_type(&field.field_type))
        .set_comment(comment)
        .set_parameters(Some(parameters))
        .build()
        .expect("a column with a name is complete")
}

/// Glue's name of a type.
pub(super) fn glue_type(of: &Type) -> String {
    match of {
        Type::Primitive(primitive) => primitive_type(primitive),
        Type::Struct(of) => {
            let fields = of.fields().iter();
            let fields =
                fields.map(|field| format!("{}:{}", field.name, glue_type(&field.field_type)));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(","))
        }
        Type::List(of) => format!("array<{}>", glue_type(&of.element_field.field_type)),
        Type::Map(of) => format!(
            "map<{},{}>",
            glue_type(&of.key_field.field_type),
            glue_type(&of.value_field.field_type)
        ),
    }
}

fn primitive_type(of: &PrimitiveType) -> String {
    let name = match of {
        PrimitiveType::Decimal { precision, scale } => {
            return format!("decimal({precision},{scale})");
        }
        PrimitiveType::Boolean => "boolean",
        PrimitiveType::Int => "int",
        PrimitiveType::Long => "bigint",
        PrimitiveType::Float => "float",
        PrimitiveType::Double => "double",
        PrimitiveType::Date => "date",
        PrimitiveType::Timestamp
        | PrimitiveType::Timestamptz
        | PrimitiveType::TimestampNs
        | PrimitiveType::TimestamptzNs => "timestamp",
        PrimitiveType::Time | PrimitiveType::String | PrimitiveType::Uuid => "string",
        PrimitiveType::Fixed(_) | PrimitiveType::Binary => "binary",
    };
    name.to_owned()
}
