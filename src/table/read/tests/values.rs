//! Every type of Iceberg V2 comes back as it went in, in the type that `arrow_field` promises.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array, Int64Array, ListArray, MapArray,
    RecordBatch, StringArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, TimestampMicrosecondType};
use iceberg::io::FileIO;
use iceberg::spec::{ListType, MapType, NestedField, PrimitiveType, StructType, Type};
use parquet::basic::{Repetition, Type as PhysicalType};
use parquet::data_type::{Int96, Int96Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type as ParquetType;

use super::harness::{
    Layout, Table, addresses_of, collect, entry, fetched, plain_schema, rows_of, whole,
};
use crate::model::RowAddress;

const ROWS: usize = 57;

fn n() -> impl Iterator<Item = Option<i64>> {
    (0..ROWS as i64).map(|i| (i % 5 != 3).then_some(i - 20))
}

fn int() -> impl Iterator<Item = Option<i32>> {
    n().map(|value| value.map(|value| value as i32))
}

fn bytes(length: usize) -> impl Iterator<Item = Option<Vec<u8>>> {
    n().map(move |value| value.map(|value| vec![value as u8; length]))
}

fn fixed(length: i32) -> ArrayRef {
    let values = bytes(length as usize);
    Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, length).unwrap())
}

fn decimal(precision: u8, scale: i8) -> (PrimitiveType, ArrayRef) {
    let values: Decimal128Array = n().map(|value| value.map(i128::from)).collect();
    let values = values.with_precision_and_scale(precision, scale).unwrap();
    let (precision, scale) = (precision.into(), scale.try_into().unwrap());
    (
        PrimitiveType::Decimal { precision, scale },
        Arc::new(values),
    )
}

fn primitives() -> Vec<(PrimitiveType, ArrayRef)> {
    let flags: BooleanArray = n().map(|v| v.map(|v| v % 2 == 0)).collect();
    let floats: Float32Array = n().map(|v| v.map(|v| v as f32 / 3.0)).collect();
    let doubles: Float64Array = n().map(|v| v.map(|v| v as f64 / 3.0)).collect();
    let dates: Date32Array = int().collect();
    let times: Time64MicrosecondArray = n().map(|v| v.map(|v| v + 20)).collect();
    let timestamps: TimestampMicrosecondArray = n().collect();
    let instants = timestamps.clone().with_timezone("UTC");
    let texts: StringArray = n().map(|v| v.map(|v| format!("s{v}"))).collect();
    let binaries: BinaryArray = bytes(3).collect();
    vec![
        (PrimitiveType::Boolean, Arc::new(flags)),
        (PrimitiveType::Int, Arc::new(int().collect::<Int32Array>())),
        (PrimitiveType::Long, Arc::new(n().collect::<Int64Array>())),
        (PrimitiveType::Float, Arc::new(floats)),
        (PrimitiveType::Double, Arc::new(doubles)),
        decimal(9, 2),
        decimal(18, 4),
        decimal(38, 10),
        (PrimitiveType::Date, Arc::new(dates)),
        (PrimitiveType::Time, Arc::new(times)),
        (PrimitiveType::Timestamp, Arc::new(timestamps)),
        (PrimitiveType::Timestamptz, Arc::new(instants)),
        (PrimitiveType::String, Arc::new(texts)),
        (PrimitiveType::Uuid, fixed(16)),
        (PrimitiveType::Fixed(3), fixed(3)),
        (PrimitiveType::Binary, Arc::new(binaries)),
    ]
}

type Build = fn(&DataType) -> ArrayRef;

fn nested(first_id: i32) -> Vec<(NestedField, Build)> {
    let long = || Type::Primitive(PrimitiveType::Long);
    let element = Arc::new(NestedField::list_element(first_id + 10, long(), false));
    let list = NestedField::optional(first_id, "list", Type::List(ListType::new(element)));
    let inner = StructType::new(vec![
        Arc::new(NestedField::optional(first_id + 11, "x", long())),
        Arc::new(NestedField::required(
            first_id + 12,
            "y",
            Type::Primitive(PrimitiveType::String),
        )),
    ]);
    let record = NestedField::optional(first_id + 1, "struct", Type::Struct(inner));
    let map = MapType::optional(
        first_id + 13,
        Type::Primitive(PrimitiveType::String),
        first_id + 14,
        long(),
    );
    let map = NestedField::optional(first_id + 2, "map", Type::Map(map));
    vec![(list, list_array), (record, struct_array), (map, map_array)]
}

fn validity() -> NullBuffer {
    (0..ROWS).map(|row| row % 7 != 4).collect()
}

fn offsets() -> OffsetBuffer<i32> {
    OffsetBuffer::from_lengths((0..ROWS).map(|row| if row % 7 == 4 { 0 } else { row % 4 }))
}

fn list_array(data_type: &DataType) -> ArrayRef {
    let DataType::List(element) = data_type else {
        panic!("{data_type}")
    };
    let last = *offsets().last().unwrap() as i64;
    let values: Int64Array = (0..last)
        .map(|value| (value % 3 != 0).then_some(value))
        .collect();
    Arc::new(ListArray::new(
        Arc::clone(element),
        offsets(),
        Arc::new(values),
        Some(validity()),
    ))
}

fn struct_array(data_type: &DataType) -> ArrayRef {
    let DataType::Struct(fields) = data_type else {
        panic!("{data_type}")
    };
    let x: Int64Array = (0..ROWS as i64)
        .map(|value| (value % 3 != 0 && value % 7 != 4).then_some(value))
        .collect();
    let y: StringArray = (0..ROWS)
        .map(|row| (row % 7 != 4).then(|| format!("y{row}")))
        .collect();
    let nullable_y = Field::new("y", DataType::Utf8, true);
    let loose = StructArray::new(
        vec![fields[0].as_ref().clone(), nullable_y].into(),
        vec![Arc::new(x), Arc::new(y)],
        Some(validity()),
    );
    let (_, columns, nulls) = loose.into_parts();
    Arc::new(StructArray::new(fields.clone(), columns, nulls))
}

fn map_array(data_type: &DataType) -> ArrayRef {
    let DataType::Map(entries, _) = data_type else {
        panic!("{data_type}")
    };
    let DataType::Struct(fields) = entries.data_type() else {
        panic!("{entries}")
    };
    let last = *offsets().last().unwrap() as i64;
    let keys: StringArray = (0..last).map(|key| Some(format!("k{key}"))).collect();
    let values: Int64Array = (0..last)
        .map(|value| (value % 2 != 0).then_some(value))
        .collect();
    let pairs = StructArray::new(fields.clone(), vec![Arc::new(keys), Arc::new(values)], None);
    Arc::new(MapArray::new(
        Arc::clone(entries),
        offsets(),
        pairs,
        Some(validity()),
        false,
    ))
}

fn everything() -> (Table, RecordBatch) {
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (id, (primitive, column)) in (1..).zip(primitives()) {
        fields.push(NestedField::optional(
            id,
            format!("c{id}"),
            Type::Primitive(primitive),
        ));
        columns.push(column);
    }
    let nested = nested(100);
    fields.extend(nested.iter().map(|(field, _)| field.clone()));
    let table = Table::new(fields);
    let schema = plain_schema(&table.schema);
    for (field, build) in &nested {
        columns.push(build(
            schema.field_with_name(&field.name).unwrap().data_type(),
        ));
    }
    let batch = RecordBatch::try_new(schema, columns).unwrap();
    (table, batch)
}

#[tokio::test]
async fn every_type_survives_reading_and_fetching() {
    let (mut table, batch) = everything();
    let schema = Arc::clone(&table.schema);
    table.add(
        &schema,
        &batch,
        &Layout {
            group_rows: 20,
            page_rows: 4,
            ..Layout::default()
        },
    );
    table.add(
        &schema,
        &batch,
        &Layout {
            group_rows: 64,
            dictionary: false,
            ..Layout::default()
        },
    );
    let scan = table.scan_all();
    let read = collect(&scan, whole(&scan)).await.unwrap();
    let values: Vec<usize> = (0..batch.num_columns()).collect();
    let expected = arrow::compute::concat_batches(&batch.schema(), [&batch, &batch]).unwrap();
    assert_eq!(read.project(&values).unwrap(), expected);

    let picked: Vec<u64> = vec![0, 3, 4, 5, 19, 20, 40, 57, 58, 100, 113];
    let addresses = addresses_of(&read);
    let wanted = picked.iter().map(|row| addresses[*row as usize]).collect();
    let rows = fetched(&scan, wanted, &table.ids()).await.unwrap();
    let rows = arrow::compute::concat_batches(&batch.schema(), &rows).unwrap();
    assert_eq!(rows, rows_of(&expected, picked.into_iter()));
}

#[tokio::test]
async fn any_store_will_do() {
    let (mut table, batch) = everything();
    let schema = Arc::clone(&table.schema);
    table.add(&schema, &batch, &Layout::default());
    let local = table.rows().await.unwrap();
    let bytes = std::fs::read(table.path("data-0.parquet")).unwrap();
    table.file_io = FileIO::new_with_memory();
    let output = table.file_io.new_output("memory:///data-0.parquet");
    output.unwrap().write(bytes.into()).await.unwrap();
    table.edit(0, |entry| {
        entry.path = "memory:///data-0.parquet".to_owned()
    });
    assert_eq!(table.rows().await.unwrap(), local);
}

#[tokio::test]
async fn nesting_may_be_deep() {
    let leaf = |id, name: &str| {
        Arc::new(NestedField::optional(
            id,
            name,
            Type::Primitive(PrimitiveType::Long),
        ))
    };
    let numbers = Arc::new(NestedField::list_element(
        5,
        Type::Primitive(PrimitiveType::Long),
        true,
    ));
    let list = NestedField::optional(4, "numbers", Type::List(ListType::new(numbers)));
    let value = StructType::new(vec![leaf(3, "x"), Arc::new(list)]);
    let map = MapType::optional(
        6,
        Type::Primitive(PrimitiveType::String),
        7,
        Type::Struct(value),
    );
    let maps = Arc::new(NestedField::list_element(2, Type::Map(map), false));
    let field = NestedField::optional(1, "deep", Type::List(ListType::new(maps)));
    let mut table = Table::new(vec![field]);
    let schema = plain_schema(&table.schema);
    let rows = [
        r#"{"deep": [{"a": {"x": 1, "numbers": [1, 2]}, "b": null}, null, {}]}"#,
        r#"{"deep": null}"#,
        r#"{"deep": []}"#,
        r#"{"deep": [{"c": {"x": null, "numbers": []}}, {"d": {"x": 4, "numbers": null}}]}"#,
    ];
    let json = rows.repeat(9).join("\n");
    let mut reader = arrow_json::ReaderBuilder::new(schema)
        .build(json.as_bytes())
        .unwrap();
    let batch = reader.next().unwrap().unwrap();
    let written = Arc::clone(&table.schema);
    let layout = Layout {
        group_rows: 11,
        page_rows: 2,
        ..Layout::default()
    };
    table.add(&written, &batch, &layout);
    assert_eq!(table.rows().await.unwrap(), batch);
    let wanted = [0, 3, 12, 13, 35];
    let addresses = wanted.map(|row| RowAddress::new(0, row)).to_vec();
    let rows = fetched(&table.scan_all(), addresses, &[1]).await.unwrap();
    let rows = arrow::compute::concat_batches(&batch.schema(), &rows).unwrap();
    assert_eq!(rows, rows_of(&batch, wanted.into_iter()));
}

/// As Spark and Impala once wrote timestamps; year 0001 is beyond what nanoseconds could hold.
#[tokio::test]
async fn int96_timestamps_become_microseconds() {
    let days = [2_440_588_u32, 1_721_426, 2_440_587];
    let nanos = [1_500_u64, 0, 86_399_999_999_000];
    let mut table = Table::new(vec![NestedField::optional(
        1,
        "at",
        Type::Primitive(PrimitiveType::Timestamptz),
    )]);
    let path = table.path("int96.parquet");
    let column = ParquetType::primitive_type_builder("at", PhysicalType::INT96)
        .with_repetition(Repetition::OPTIONAL)
        .with_id(Some(1))
        .build();
    let root = ParquetType::group_type_builder("schema")
        .with_fields(vec![Arc::new(column.unwrap())])
        .build()
        .unwrap();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, Arc::new(root), Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut chunk = group.next_column().unwrap().unwrap();
    let values: Vec<Int96> = days
        .iter()
        .zip(nanos)
        .map(|(day, nanos)| int96(*day, nanos))
        .collect();
    chunk
        .typed::<Int96Type>()
        .write_batch(&values, Some(&[1, 1, 1]), None)
        .unwrap();
    chunk.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    table.push(entry(&path, 3));

    let rows = table.rows().await.unwrap();
    let at = rows.column(0).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(at.timezone(), Some("UTC"));
    assert_eq!(at.values().to_vec(), vec![1, -62_135_596_800_000_000, -1]);
}

fn int96(day: u32, nanos: u64) -> Int96 {
    let mut value = Int96::new();
    value.set_data((nanos & 0xffff_ffff) as u32, (nanos >> 32) as u32, day);
    value
}
