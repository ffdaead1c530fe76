//! Files that were written under older schemas, by engines that record no ids, or without their partition columns.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray, StructArray, TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Decimal128Type, Field, Float64Type, Int32Type, Int64Type, Schema,
    TimestampMicrosecondType,
};
use iceberg::spec::{
    ListType, Literal, MappedField, NameMapping, NestedField, PartitionSpec, PrimitiveType, Struct,
    StructType, Transform, Type,
};

use super::harness::{Layout, Table, iceberg_schema, plain_schema};
use crate::error::Error;

fn field(id: i32, name: &str, kind: PrimitiveType) -> NestedField {
    NestedField::optional(id, name, Type::Primitive(kind))
}

fn strukt(id: i32, name: &str, fields: Vec<NestedField>) -> NestedField {
    let fields = fields.into_iter().map(Arc::new).collect();
    NestedField::optional(id, name, Type::Struct(StructType::new(fields)))
}

fn decimal(precision: u32) -> PrimitiveType {
    PrimitiveType::Decimal {
        precision,
        scale: 2,
    }
}

fn batch(schema: &iceberg::spec::Schema, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(plain_schema(schema), columns).unwrap()
}

#[tokio::test]
async fn promoted_renamed_dropped_and_added_columns() {
    let old = iceberg_schema(vec![
        field(1, "a", PrimitiveType::Int),
        field(2, "b", PrimitiveType::Float),
        field(3, "c", decimal(9)),
        field(4, "gone", PrimitiveType::String),
        field(5, "before", PrimitiveType::String),
    ]);
    let mut table = Table::new(vec![
        field(5, "after", PrimitiveType::String),
        field(3, "c", decimal(30)),
        field(1, "a", PrimitiveType::Long),
        field(2, "b", PrimitiveType::Double),
        field(6, "added", PrimitiveType::Date),
        field(7, "defaulted", PrimitiveType::Long).with_initial_default(Literal::long(42)),
        NestedField::required(8, "gone", Type::Primitive(PrimitiveType::String))
            .with_initial_default(Literal::string("again")),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![Some(-7), None])),
        Arc::new(Float32Array::from(vec![Some(0.5), None])),
        Arc::new(
            Decimal128Array::from(vec![Some(12345), None])
                .with_precision_and_scale(9, 2)
                .unwrap(),
        ),
        Arc::new(StringArray::from(vec!["x", "y"])),
        Arc::new(StringArray::from(vec!["p", "q"])),
    ];
    table.add(&old, &batch(&old, columns), &Layout::default());

    let rows = table.rows().await.unwrap();
    assert_eq!(rows.schema(), plain_schema(&table.schema));
    assert_eq!(
        rows.column(0).as_string::<i32>(),
        &StringArray::from(vec!["p", "q"])
    );
    let c = rows.column(1).as_primitive::<Decimal128Type>();
    assert_eq!((c.precision(), c.value(0), c.is_null(1)), (30, 12345, true));
    assert_eq!(
        rows.column(2).as_primitive::<Int64Type>(),
        &Int64Array::from(vec![Some(-7), None])
    );
    assert_eq!(rows.column(3).as_primitive::<Float64Type>().value(0), 0.5);
    assert_eq!(rows.column(4).null_count(), 2);
    assert_eq!(
        rows.column(5).as_primitive::<Int64Type>().values().to_vec(),
        vec![42, 42]
    );
    assert_eq!(rows.column(6).as_string::<i32>().value(1), "again");
}

#[tokio::test]
async fn a_required_column_without_default_must_be_there() {
    let old = iceberg_schema(vec![field(1, "a", PrimitiveType::Int)]);
    let mut table = Table::new(vec![NestedField::required(
        2,
        "b",
        Type::Primitive(PrimitiveType::Int),
    )]);
    table.add(
        &old,
        &batch(&old, vec![Arc::new(Int32Array::from(vec![1]))]),
        &Layout::default(),
    );
    let error = table.rows().await.unwrap_err();
    assert!(
        error.to_string().contains("lacks required column `b`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_type_that_is_no_promotion_is_refused_by_name() {
    let old = iceberg_schema(vec![field(1, "a", PrimitiveType::String)]);
    let mut table = Table::new(vec![field(1, "a", PrimitiveType::Long)]);
    table.add(
        &old,
        &batch(&old, vec![Arc::new(StringArray::from(vec!["1"]))]),
        &Layout::default(),
    );
    let error = table.rows().await.unwrap_err();
    assert!(
        matches!(&error, Error::SchemaMismatch { column, .. } if column == "a"),
        "{error}"
    );
}

#[tokio::test]
async fn structs_lose_gain_and_reorder_fields() {
    let int = PrimitiveType::Int;
    let old_fields = vec![
        field(11, "x", int.clone()),
        field(12, "y", int.clone()),
        field(13, "z", int.clone()),
    ];
    let old = iceberg_schema(vec![strukt(1, "s", old_fields)]);
    let mut table = Table::new(vec![strukt(
        1,
        "s",
        vec![
            field(13, "third", PrimitiveType::Long),
            field(14, "new", PrimitiveType::String),
            field(11, "x", int),
        ],
    )]);
    let columns: Vec<ArrayRef> = [1, 10, 100]
        .map(|k| Arc::new(Int32Array::from(vec![k, k + 1, k + 2])) as _)
        .to_vec();
    let DataType::Struct(fields) = plain_schema(&old).field(0).data_type().clone() else {
        panic!()
    };
    let nulls = NullBuffer::from(vec![true, false, true]);
    let column = Arc::new(StructArray::new(fields, columns, Some(nulls)));
    table.add(&old, &batch(&old, vec![column]), &Layout::default());

    let rows = table.rows().await.unwrap();
    let s = rows.column(0).as_struct();
    assert_eq!((s.is_null(0), s.is_null(1)), (false, true));
    let third = s.column(0).as_primitive::<Int64Type>();
    assert_eq!((third.value(0), third.value(2)), (100, 102));
    assert_eq!(s.column(1).null_count(), 3);
    assert_eq!(s.column(2).as_primitive::<Int32Type>().value(2), 3);
}

#[tokio::test]
async fn a_struct_whose_fields_are_all_new_keeps_its_nulls() {
    let old = iceberg_schema(vec![strukt(
        1,
        "s",
        vec![field(11, "x", PrimitiveType::Int)],
    )]);
    let mut table = Table::new(vec![strukt(
        1,
        "s",
        vec![field(12, "y", PrimitiveType::Int)],
    )]);
    let DataType::Struct(fields) = plain_schema(&old).field(0).data_type().clone() else {
        panic!()
    };
    let x: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let column = StructArray::new(fields, vec![x], Some(NullBuffer::from(vec![false, true])));
    table.add(
        &old,
        &batch(&old, vec![Arc::new(column)]),
        &Layout::default(),
    );
    let rows = table.rows().await.unwrap();
    let s = rows.column(0).as_struct();
    assert_eq!(
        (s.is_null(0), s.is_null(1), s.column(0).null_count()),
        (true, false, 2)
    );
}

#[tokio::test]
async fn elements_of_lists_evolve() {
    let list = |fields: Vec<NestedField>| {
        let element = StructType::new(fields.into_iter().map(Arc::new).collect());
        let element = NestedField::list_element(2, Type::Struct(element), false);
        NestedField::optional(1, "l", Type::List(ListType::new(Arc::new(element))))
    };
    let int = PrimitiveType::Int;
    let old = iceberg_schema(vec![list(vec![
        field(3, "x", int.clone()),
        field(4, "y", int),
    ])]);
    let mut table = Table::new(vec![list(vec![
        field(5, "z", PrimitiveType::Double),
        field(4, "why", PrimitiveType::Long),
    ])]);
    let plain = plain_schema(&old);
    let DataType::List(element) = plain.field(0).data_type() else {
        panic!()
    };
    let DataType::Struct(fields) = element.data_type() else {
        panic!()
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![1, 2, 3])),
        Arc::new(Int32Array::from(vec![7, 8, 9])),
    ];
    let values = StructArray::new(fields.clone(), columns, None);
    let offsets = OffsetBuffer::from_lengths([2, 0, 1]);
    let column = ListArray::new(Arc::clone(element), offsets, Arc::new(values), None);
    table.add(
        &old,
        &batch(&old, vec![Arc::new(column)]),
        &Layout::default(),
    );
    let rows = table.rows().await.unwrap();
    let last = rows.column(0).as_list::<i32>().value(2);
    let last = last.as_struct();
    assert_eq!(
        last.column(1).as_primitive::<Int64Type>().values().to_vec(),
        vec![9]
    );
    assert_eq!(last.column(0).null_count(), 1);
}

/// Columns `a`, `nested {x}`, `c` without ids.
fn without_ids(table: &mut Table) {
    let written = iceberg_schema(vec![
        field(1, "a", PrimitiveType::Int),
        strukt(2, "nested", vec![field(4, "x", PrimitiveType::Int)]),
        field(3, "c", PrimitiveType::String),
    ]);
    let DataType::Struct(fields) = plain_schema(&written).field(1).data_type().clone() else {
        panic!()
    };
    let x: ArrayRef = Arc::new(Int32Array::from(vec![5, 6]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![1, 2])),
        Arc::new(StructArray::new(fields, vec![x], None)),
        Arc::new(StringArray::from(vec!["p", "q"])),
    ];
    table.add(
        &written,
        &batch(&written, columns),
        &Layout {
            ids: false,
            ..Layout::default()
        },
    );
}

#[tokio::test]
async fn a_name_mapping_finds_columns_without_ids() {
    let mut table = Table::new(vec![
        field(30, "see", PrimitiveType::String),
        field(31, "unmapped", PrimitiveType::Int),
        strukt(20, "nested", vec![field(21, "ex", PrimitiveType::Long)]),
        field(10, "a", PrimitiveType::Long),
    ]);
    let mapped = |id, names: &[&str], below| {
        MappedField::new(
            Some(id),
            names.iter().map(|name| (*name).to_owned()).collect(),
            below,
        )
    };
    table.mapping = Some(NameMapping::new(vec![
        mapped(10, &["old_a", "a"], vec![]),
        mapped(20, &["nested"], vec![mapped(21, &["x"], vec![])]),
        mapped(30, &["c"], vec![]),
    ]));
    without_ids(&mut table);
    let rows = table.rows().await.unwrap();
    assert_eq!(rows.column(0).as_string::<i32>().value(1), "q");
    assert_eq!(rows.column(1).null_count(), 2);
    let ex = rows
        .column(2)
        .as_struct()
        .column(0)
        .as_primitive::<Int64Type>();
    assert_eq!(ex.values().to_vec(), vec![5, 6]);
    assert_eq!(
        rows.column(3).as_primitive::<Int64Type>().values().to_vec(),
        vec![1, 2]
    );
}

#[tokio::test]
async fn without_a_mapping_the_position_is_the_id() {
    let mut table = Table::new(vec![
        field(3, "renamed", PrimitiveType::String),
        strukt(2, "nested", vec![field(9, "x", PrimitiveType::Int)]),
    ]);
    without_ids(&mut table);
    let rows = table.rows().await.unwrap();
    assert_eq!(rows.column(0).as_string::<i32>().value(0), "p");
    assert_eq!(
        rows.column(1)
            .as_struct()
            .column(0)
            .as_primitive::<Int32Type>()
            .values()
            .to_vec(),
        vec![5, 6]
    );
}

#[tokio::test]
async fn an_absent_identity_partition_column_is_its_partition_value() {
    let old = iceberg_schema(vec![field(1, "a", PrimitiveType::Int)]);
    let mut table = Table::new(vec![
        field(1, "a", PrimitiveType::Int),
        field(2, "region", PrimitiveType::String),
    ]);
    let columns = || vec![Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef];
    table.add(&old, &batch(&old, columns()), &Layout::default());
    let spec = PartitionSpec::builder(Arc::clone(&table.schema))
        .add_partition_field("region", "region", Transform::Identity)
        .unwrap()
        .build()
        .unwrap();
    table.edit(0, |entry| {
        entry.partition_spec = Arc::new(spec);
        entry.partition = Struct::from_iter([Some(Literal::string("north"))]);
    });
    let rows = table.rows().await.unwrap();
    assert_eq!(
        rows.column(1).as_string::<i32>(),
        &StringArray::from(vec!["north", "north"])
    );
}

#[tokio::test]
async fn other_units_of_time_become_microseconds_towards_the_past() {
    let tz = PrimitiveType::Timestamptz;
    let mut table = Table::new(vec![
        field(1, "ms", tz.clone()),
        field(2, "ns", PrimitiveType::Timestamp),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from(vec![-1, 2]).with_timezone("UTC")),
        Arc::new(TimestampNanosecondArray::from(vec![-1, 1999])),
    ];
    let fields: Vec<Field> = [("ms", &columns[0]), ("ns", &columns[1])]
        .map(|(name, column)| Field::new(name, column.data_type().clone(), true))
        .to_vec();
    let raw = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let written = Arc::clone(&table.schema);
    table.add(
        &written,
        &raw,
        &Layout {
            ids: false,
            ..Layout::default()
        },
    );
    let rows = table.rows().await.unwrap();
    let micros = |column: usize| {
        rows.column(column)
            .as_primitive::<TimestampMicrosecondType>()
            .values()
            .to_vec()
    };
    assert_eq!(micros(0), vec![-1000, 2000]);
    assert_eq!(micros(1), vec![-1, 1]);
}
