//! What Glue is told about tables: columns as pyiceberg writes them, and all that others put there.

use std::collections::HashMap;

use aws_sdk_glue::types::{SerDeInfo, StorageDescriptor, Table};
use iceberg::TableCreation;
use iceberg::spec::{
    ListType, MapType, NestedField, PrimitiveType, Schema, StructType, TableMetadata,
    TableMetadataBuilder, Type,
};
use rstest::rstest;

use super::schema::{columns, glue_type};
use super::table_input::{changed, created, renamed};

fn of(primitive: PrimitiveType) -> Type {
    Type::Primitive(primitive)
}

#[rstest]
#[case(PrimitiveType::Boolean, "boolean")]
#[case(PrimitiveType::Int, "int")]
#[case(PrimitiveType::Long, "bigint")]
#[case(PrimitiveType::Float, "float")]
#[case(PrimitiveType::Double, "double")]
#[case(PrimitiveType::Decimal { precision: 12, scale: 2 }, "decimal(12,2)")]
#[case(PrimitiveType::Date, "date")]
#[case(PrimitiveType::Time, "string")]
#[case(PrimitiveType::Timestamp, "timestamp")]
#[case(PrimitiveType::Timestamptz, "timestamp")]
#[case(PrimitiveType::TimestampNs, "timestamp")]
#[case(PrimitiveType::TimestamptzNs, "timestamp")]
#[case(PrimitiveType::String, "string")]
#[case(PrimitiveType::Uuid, "string")]
#[case(PrimitiveType::Fixed(16), "binary")]
#[case(PrimitiveType::Binary, "binary")]
fn every_primitive_has_a_type_of_glue(#[case] primitive: PrimitiveType, #[case] expected: &str) {
    assert_eq!(glue_type(&of(primitive)), expected);
}

#[test]
fn nested_types_are_spelled_out() {
    let list = Type::List(ListType::new(
        NestedField::list_element(3, of(PrimitiveType::Timestamptz), true).into(),
    ));
    let map = Type::Map(MapType::new(
        NestedField::map_key_element(4, of(PrimitiveType::String)).into(),
        NestedField::map_value_element(5, list, false).into(),
    ));
    let row = Type::Struct(StructType::new(vec![
        NestedField::optional(1, "a", of(PrimitiveType::Long)).into(),
        NestedField::optional(2, "m", map).into(),
    ]));
    assert_eq!(
        glue_type(&row),
        "struct<a:bigint,m:map<string,array<timestamp>>>"
    );
}

fn schema(names: &[&str]) -> Schema {
    let fields = names.iter().zip(1..).map(|(name, id)| {
        let field = match id {
            1 => NestedField::required(id, *name, of(PrimitiveType::Timestamptz)),
            _ => NestedField::optional(id, *name, of(PrimitiveType::Long)),
        };
        field.with_doc(format!("about {name}")).into()
    });
    Schema::builder().with_fields(fields).build().unwrap()
}

/// Has `gone` in its first schema only.
fn metadata() -> TableMetadata {
    let creation = TableCreation::builder()
        .name("stats".to_owned())
        .location("s3://lake/stats".to_owned())
        .schema(schema(&["at", "kept", "gone"]))
        .build();
    let first = TableMetadataBuilder::from_table_creation(creation).unwrap();
    let first = first.build().unwrap().metadata;
    let builder = first.into_builder(None);
    let builder = builder.add_current_schema(schema(&["at", "kept"])).unwrap();
    builder.build().unwrap().metadata
}

#[test]
fn columns_are_as_pyiceberg_writes_them() {
    let columns = columns(&metadata(), &[]);
    let shown: Vec<String> = columns
        .iter()
        .map(|column| {
            let of = |key: &str| column.parameters().unwrap()[key].clone();
            format!(
                "{} {} {} {} {} {}",
                column.name,
                column.r#type().unwrap(),
                of("iceberg.field.id"),
                of("iceberg.field.optional"),
                of("iceberg.field.current"),
                column.comment().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "at timestamp 1 false true about at",
            "kept bigint 2 true true about kept",
            "gone bigint 3 true false about gone",
        ]
    );
}

/// A table as other tools keep it.
fn stored() -> Table {
    let mut columns = columns(&metadata(), &[]);
    let noted = columns[0].parameters.as_mut().unwrap();
    noted.insert("lf.tag".to_owned(), "pii".to_owned());
    let serde = SerDeInfo::builder().name("other").build();
    let descriptor = StorageDescriptor::builder()
        .set_columns(Some(columns))
        .serde_info(serde)
        .additional_locations("s3://other/data");
    Table::builder()
        .name("stats")
        .description("kept by hand")
        .owner("ann")
        .retention(7)
        .table_type("EXTERNAL_TABLE")
        .parameters("table_type", "iceberg")
        .parameters("metadata_location", "old")
        .parameters("previous_metadata_location", "older")
        .parameters("optimizer", "on")
        .storage_descriptor(descriptor.build())
        .build()
        .unwrap()
}

#[test]
fn a_commit_keeps_what_others_put_there() {
    let input = changed(&stored(), &metadata(), "old", "new");
    let expected = HashMap::from(
        [
            ("table_type", "ICEBERG"),
            ("metadata_location", "new"),
            ("previous_metadata_location", "old"),
            ("optimizer", "on"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    assert_eq!(input.parameters, Some(expected));
    assert_eq!(input.description(), Some("kept by hand"));
    assert_eq!((input.owner(), input.retention()), (Some("ann"), 7));
    let descriptor = input.storage_descriptor().unwrap();
    assert_eq!(descriptor.location(), Some("s3://lake/stats"));
    assert_eq!(descriptor.additional_locations(), ["s3://other/data"]);
    assert_eq!(descriptor.serde_info().unwrap().name(), Some("other"));
    assert_eq!(
        descriptor.columns()[0].parameters().unwrap()["lf.tag"],
        "pii"
    );
}

#[test]
fn a_new_table_says_what_it_is_and_another_name_changes_nothing_else() {
    let input = created("stats", &metadata(), "s3://lake/stats/metadata/0.json");
    let parameters = input.parameters().unwrap();
    assert_eq!(parameters.len(), 2);
    assert_eq!(parameters["table_type"], "ICEBERG");
    assert_eq!(input.table_type(), Some("EXTERNAL_TABLE"));

    let input = renamed(&stored(), "other");
    assert_eq!(input.name(), "other");
    assert_eq!(input.parameters, stored().parameters);
    assert_eq!(input.storage_descriptor, stored().storage_descriptor);
}
