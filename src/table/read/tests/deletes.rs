//! Delete files beyond what the random tests draw: composite and null keys, evolved and dropped columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use iceberg::spec::{NestedField, PrimitiveType, Type};

use super::super::ScanSpec;
use super::harness::{Layout, Table, collect, iceberg_schema, plain_schema, whole};

fn field(id: i32, name: &str, kind: PrimitiveType) -> NestedField {
    NestedField::optional(id, name, Type::Primitive(kind))
}

/// Rows (id, name): (1, a), (1, null), (2, a), (null, null), (3, c).
fn table(id_type: PrimitiveType) -> Table {
    let old = iceberg_schema(vec![
        field(1, "id", PrimitiveType::Int),
        field(2, "name", PrimitiveType::String),
    ]);
    let mut table = Table::new(vec![
        field(1, "id", id_type),
        field(2, "name", PrimitiveType::String),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![
            Some(1),
            Some(1),
            Some(2),
            None,
            Some(3),
        ])),
        Arc::new(StringArray::from(vec![
            Some("a"),
            None,
            Some("a"),
            None,
            Some("c"),
        ])),
    ];
    let batch = RecordBatch::try_new(plain_schema(&old), columns).unwrap();
    table.add(
        &old,
        &batch,
        &Layout {
            group_rows: 2,
            page_rows: 1,
            ..Layout::default()
        },
    );
    table
}

async fn remaining_ids(table: &Table) -> Vec<Option<i64>> {
    let scan = table.scan(ScanSpec {
        columns: vec![1],
        ..ScanSpec::default()
    });
    let rows = collect(&scan, whole(&scan)).await.unwrap();
    let deleted = 5 - rows.num_rows() as u64;
    assert_eq!(scan.report().rows_deleted, deleted);
    rows.column(0).as_primitive::<Int64Type>().iter().collect()
}

#[tokio::test]
async fn composite_keys_match_as_a_whole_and_null_equals_null() {
    let mut table = table(PrimitiveType::Long);
    let fields = [
        field(2, "name", PrimitiveType::String),
        field(1, "id", PrimitiveType::Long),
    ];
    let names = StringArray::from(vec![Some("a"), None, None]);
    let ids = Int64Array::from(vec![Some(2), None, Some(3)]);
    table.delete_equal("d.parquet", &fields, vec![Arc::new(names), Arc::new(ids)]);
    assert_eq!(remaining_ids(&table).await, vec![Some(1), Some(1), Some(3)]);
}

#[tokio::test]
async fn a_delete_written_before_a_promotion_still_applies() {
    let mut table = table(PrimitiveType::Long);
    let ids: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    table.delete_equal(
        "d.parquet",
        &[field(1, "id", PrimitiveType::Int)],
        vec![ids],
    );
    assert_eq!(remaining_ids(&table).await, vec![Some(2), None, Some(3)]);
}

#[tokio::test]
async fn a_delete_on_a_dropped_column_still_applies() {
    let mut table = table(PrimitiveType::Long);
    table.schema = iceberg_schema(vec![field(1, "id", PrimitiveType::Long)]);
    let names: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    table.delete_equal(
        "d.parquet",
        &[field(2, "name", PrimitiveType::String)],
        vec![names],
    );
    assert_eq!(remaining_ids(&table).await, vec![Some(1), None, Some(3)]);
}

#[tokio::test]
async fn a_column_younger_than_the_file_is_null_there() {
    let mut table = table(PrimitiveType::Long);
    let mut fields = vec![
        field(1, "id", PrimitiveType::Long),
        field(2, "name", PrimitiveType::String),
    ];
    fields.push(NestedField::optional(
        3,
        "young",
        Type::Primitive(PrimitiveType::Long),
    ));
    table.schema = iceberg_schema(fields.clone());
    let young = |value| vec![Arc::new(Int64Array::from(vec![value])) as ArrayRef];
    table.delete_equal("d.parquet", &fields[2..], young(Some(1)));
    assert_eq!(remaining_ids(&table).await.len(), 5);
    table.delete_equal("e.parquet", &fields[2..], young(None));
    assert_eq!(remaining_ids(&table).await, Vec::<Option<i64>>::new());
}

#[tokio::test]
async fn several_delete_files_add_up() {
    let mut table = table(PrimitiveType::Long);
    table.delete_positions("p.parquet", &[(0, 4), (0, 0), (0, 4)]);
    table.delete_positions("q.parquet", &[(0, 4), (0, 2)]);
    let names: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>]));
    table.delete_equal(
        "d.parquet",
        &[field(2, "name", PrimitiveType::String)],
        vec![names],
    );
    assert_eq!(remaining_ids(&table).await, Vec::<Option<i64>>::new());
}

#[tokio::test]
async fn a_delete_file_is_read_once_for_all_its_data_files() {
    let mut table = table(PrimitiveType::Long);
    let old = iceberg_schema(vec![
        field(1, "id", PrimitiveType::Int),
        field(2, "name", PrimitiveType::String),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![9])),
        Arc::new(StringArray::from(vec!["z"])),
    ];
    let batch = RecordBatch::try_new(plain_schema(&old), columns).unwrap();
    for _ in 0..3 {
        table.add(&old, &batch, &Layout::default());
    }
    table.delete_positions("p.parquet", &[(0, 1), (2, 0)]);
    let scan = table.scan(ScanSpec {
        columns: vec![1],
        ..ScanSpec::default()
    });
    let first = collect(&scan, whole(&scan)).await.unwrap();
    assert_eq!(first.num_rows(), 6);
    let path = table.path("p.parquet");
    std::fs::remove_file(path).unwrap();
    assert_eq!(collect(&scan, whole(&scan)).await.unwrap(), first);
}
