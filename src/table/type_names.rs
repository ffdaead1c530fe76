//! Iceberg types as pyiceberg prints them, which clients parse.

use iceberg::spec::{NestedField, PrimitiveType, Type};

/// The type of a column.
pub(super) fn pyiceberg_type(data_type: &Type) -> String {
    match data_type {
        Type::Primitive(PrimitiveType::Decimal { precision, scale }) => {
            format!("decimal({precision}, {scale})")
        }
        Type::Primitive(PrimitiveType::Fixed(length)) => format!("fixed[{length}]"),
        Type::Primitive(other) => other.to_string(),
        Type::List(list) => format!("list<{}>", pyiceberg_type(&list.element_field.field_type)),
        Type::Map(map) => format!(
            "map<{}, {}>",
            pyiceberg_type(&map.key_field.field_type),
            pyiceberg_type(&map.value_field.field_type)
        ),
        Type::Struct(fields) => {
            let fields = fields.fields().iter().map(|field| field_text(field));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

fn field_text(field: &NestedField) -> String {
    let need = if field.required {
        "required"
    } else {
        "optional"
    };
    let text = format!(
        "{}: {}: {need} {}",
        field.id,
        field.name,
        pyiceberg_type(&field.field_type)
    );
    match field.doc.as_deref() {
        None | Some("") => text,
        Some(doc) => format!("{text} ({doc})"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use iceberg::spec::{ListType, MapType, StructType};

    use super::*;

    fn nested() -> Type {
        let int = || Type::Primitive(PrimitiveType::Int);
        let text = || Type::Primitive(PrimitiveType::String);
        let a = NestedField::optional(1, "a", int());
        let b = NestedField::required(2, "b", text()).with_doc("a doc");
        let record = Type::Struct(StructType::new(vec![Arc::new(a), Arc::new(b)]));
        let map = Type::Map(MapType::optional(3, text(), 4, record));
        Type::List(ListType::new(Arc::new(NestedField::list_element(
            5, map, true,
        ))))
    }

    /// The right-hand sides are what `str()` of pyiceberg 0.12's types printed.
    #[test]
    fn types_are_printed_as_pyiceberg_prints_them() {
        let expected = [
            (PrimitiveType::Boolean, "boolean"),
            (PrimitiveType::Int, "int"),
            (PrimitiveType::Long, "long"),
            (PrimitiveType::Float, "float"),
            (PrimitiveType::Double, "double"),
            (PrimitiveType::String, "string"),
            (PrimitiveType::Binary, "binary"),
            (PrimitiveType::Date, "date"),
            (PrimitiveType::Time, "time"),
            (PrimitiveType::Timestamp, "timestamp"),
            (PrimitiveType::Timestamptz, "timestamptz"),
            (PrimitiveType::TimestampNs, "timestamp_ns"),
            (PrimitiveType::TimestamptzNs, "timestamptz_ns"),
            (
                PrimitiveType::Decimal {
                    precision: 9,
                    scale: 2,
                },
                "decimal(9, 2)",
            ),
            (PrimitiveType::Uuid, "uuid"),
            (PrimitiveType::Fixed(16), "fixed[16]"),
        ];
        for (data_type, printed) in expected {
            assert_eq!(pyiceberg_type(&Type::Primitive(data_type)), printed);
        }
        let printed =
            "list<map<string, struct<1: a: optional int, 2: b: required string (a doc)>>>";
        assert_eq!(pyiceberg_type(&nested()), printed);
    }
}
