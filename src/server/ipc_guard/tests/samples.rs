//! Streams of every type that clients send, small enough to mutate thousands of times.

use std::sync::Arc;

use arrow::array::types::{Int8Type, Int32Type, UInt16Type};
use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, DictionaryArray,
    FixedSizeBinaryArray, FixedSizeListArray, Float64Array, GenericListViewArray, Int32Array,
    Int64Array, LargeBinaryArray, LargeListArray, LargeStringArray, ListArray, MapArray, NullArray,
    RecordBatch, RecordBatchOptions, StringArray, StringViewArray, StructArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};

const ROWS: usize = 24;

/// A schema and batches of it.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

impl Sample {
    fn new(name: &'static str, columns: Vec<(&str, ArrayRef)>) -> Self {
        let fields: Vec<_> = columns
            .iter()
            .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
            .collect();
        let schema = Arc::new(Schema::new_with_metadata(
            fields,
            [("pandas".to_owned(), "{}".to_owned())].into(),
        ));
        let batch = RecordBatch::try_new(
            Arc::clone(&schema),
            columns.into_iter().map(|(_, array)| array).collect(),
        )
        .unwrap();
        let batches = vec![batch.clone(), batch.slice(0, 0), batch.slice(3, 9)];
        Self {
            name,
            schema,
            batches,
        }
    }

    pub(crate) fn non_empty(&self) -> Vec<RecordBatch> {
        self.batches
            .iter()
            .filter(|batch| batch.num_rows() > 0)
            .cloned()
            .collect()
    }
}

pub(crate) fn all() -> Vec<Sample> {
    vec![
        primitives(),
        calendar(),
        text(),
        views(),
        nested(),
        lists(),
        dictionaries(),
        deltas(),
        no_columns(),
    ]
}

fn valid(i: usize) -> bool {
    i % 5 != 2
}

fn integers() -> ArrayRef {
    Arc::new(
        (0..ROWS)
            .map(|i| valid(i).then_some(i as i64))
            .collect::<Int64Array>(),
    )
}

fn words() -> Vec<Option<String>> {
    (0..ROWS)
        .map(|i| valid(i).then(|| "rüssel ".repeat(i % 6)))
        .collect()
}

fn of(data_type: DataType) -> ArrayRef {
    cast(&integers(), &data_type).unwrap()
}

pub(crate) fn primitives() -> Sample {
    let types = [
        ("int8", DataType::Int8),
        ("int16", DataType::Int16),
        ("int32", DataType::Int32),
        ("int64", DataType::Int64),
        ("uint8", DataType::UInt8),
        ("uint16", DataType::UInt16),
        ("uint32", DataType::UInt32),
        ("uint64", DataType::UInt64),
        ("float16", DataType::Float16),
        ("float32", DataType::Float32),
        ("float64", DataType::Float64),
        ("decimal32", DataType::Decimal32(9, 2)),
        ("decimal64", DataType::Decimal64(18, 3)),
        ("decimal128", DataType::Decimal128(38, 10)),
        ("decimal256", DataType::Decimal256(76, 10)),
    ];
    let mut columns: Vec<_> = types
        .map(|(name, data_type)| (name, of(data_type)))
        .to_vec();
    let booleans: BooleanArray = (0..ROWS).map(|i| valid(i).then_some(i % 2 == 0)).collect();
    columns.push(("bool", Arc::new(booleans)));
    columns.push(("null", Arc::new(NullArray::new(ROWS))));
    columns.push((
        "no_nulls",
        Arc::new(Int32Array::from_iter_values(0..ROWS as i32)),
    ));
    Sample::new("primitives", columns)
}

fn calendar() -> Sample {
    let units = [
        TimeUnit::Second,
        TimeUnit::Millisecond,
        TimeUnit::Microsecond,
        TimeUnit::Nanosecond,
    ];
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("date32", of(DataType::Date32)),
        ("date64", of(DataType::Date64)),
        (
            "time32",
            cast(
                &of(DataType::Int32),
                &DataType::Time32(TimeUnit::Millisecond),
            )
            .unwrap(),
        ),
        ("time64", of(DataType::Time64(TimeUnit::Nanosecond))),
        (
            "months",
            new_null_array(&DataType::Interval(IntervalUnit::YearMonth), ROWS),
        ),
        (
            "month_day_nano",
            new_null_array(&DataType::Interval(IntervalUnit::MonthDayNano), ROWS),
        ),
    ];
    for (name, unit) in ["s", "ms", "us", "ns"].into_iter().zip(units) {
        columns.push((name, of(DataType::Timestamp(unit, None))));
    }
    columns.push((
        "utc",
        of(DataType::Timestamp(
            TimeUnit::Microsecond,
            Some("UTC".into()),
        )),
    ));
    columns.push(("duration", of(DataType::Duration(TimeUnit::Millisecond))));
    Sample::new("calendar", columns)
}

fn text() -> Sample {
    let words = words();
    let bytes: Vec<Option<&[u8]>> = words
        .iter()
        .map(|word| word.as_deref().map(str::as_bytes))
        .collect();
    let uuids = (0..ROWS).map(|i| valid(i).then_some([i as u8; 16]));
    let uuids = FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids, 16).unwrap();
    Sample::new(
        "text",
        vec![
            (
                "utf8",
                Arc::new(StringArray::from(words.clone())) as ArrayRef,
            ),
            (
                "large_utf8",
                Arc::new(LargeStringArray::from(words.clone())),
            ),
            ("binary", Arc::new(BinaryArray::from(bytes.clone()))),
            (
                "large_binary",
                Arc::new(LargeBinaryArray::from(bytes.clone())),
            ),
            ("uuid", Arc::new(uuids)),
        ],
    )
}

fn views() -> Sample {
    let words = words();
    let bytes: BinaryViewArray = words
        .iter()
        .map(|word| word.as_deref().map(str::as_bytes))
        .collect();
    let short: StringViewArray = (0..ROWS).map(|i| valid(i).then_some("tiny")).collect();
    Sample::new(
        "views",
        vec![
            (
                "utf8_view",
                Arc::new(
                    words
                        .iter()
                        .map(Option::as_deref)
                        .collect::<StringViewArray>(),
                ) as ArrayRef,
            ),
            ("binary_view", Arc::new(bytes)),
            ("no_data_buffer", Arc::new(short)),
        ],
    )
}

fn item(data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", data_type, true))
}

fn validity() -> Option<NullBuffer> {
    Some((0..ROWS / 2).map(valid).collect())
}

fn pairs() -> OffsetBuffer<i32> {
    OffsetBuffer::from_lengths(std::iter::repeat_n(2, ROWS / 2))
}

fn nested() -> Sample {
    let strings: ArrayRef = Arc::new(StringArray::from(words()));
    let fields = Fields::from(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Utf8, true),
    ]);
    let structs = StructArray::new(
        fields,
        vec![integers(), Arc::clone(&strings)],
        Some((0..ROWS).map(valid).collect()),
    );
    let wide = OffsetBuffer::from_lengths(std::iter::repeat_n(2, ROWS / 2));
    let of_structs = LargeListArray::new(
        item(structs.data_type().clone()),
        wide,
        Arc::new(structs.clone()),
        validity(),
    );
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..ROWS).map(|i| format!("key {i}")),
    ));
    let entry = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Int64, true),
    ]);
    let entries = StructArray::new(entry.clone(), vec![keys, integers()], None);
    let map_field = Arc::new(Field::new("entries", DataType::Struct(entry), false));
    let map = MapArray::new(map_field, pairs(), entries, validity(), false);
    let half = structs.slice(0, ROWS / 2);
    Sample::new(
        "nested",
        vec![
            ("struct", Arc::new(half) as ArrayRef),
            ("list_of_struct", Arc::new(of_structs)),
            ("map", Arc::new(map)),
            (
                "empty_struct",
                Arc::new(StructArray::new_empty_fields(ROWS / 2, validity())),
            ),
        ],
    )
}

fn lists() -> Sample {
    let strings: ArrayRef = Arc::new(StringArray::from(words()));
    let list = ListArray::new(item(DataType::Utf8), pairs(), strings, validity());
    let fixed = FixedSizeListArray::new(item(DataType::Int64), 2, integers(), validity());
    let floats: ArrayRef = Arc::new(Float64Array::from_iter_values((0..ROWS).map(|i| i as f64)));
    let offsets: ScalarBuffer<i32> = (0..ROWS as i32 / 2).rev().collect();
    let sizes: ScalarBuffer<i32> = std::iter::repeat_n(3, ROWS / 2).collect();
    let view = GenericListViewArray::<i32>::new(
        item(DataType::Float64),
        offsets,
        sizes,
        floats,
        validity(),
    );
    let codes =
        DictionaryArray::<Int32Type>::from_iter((0..ROWS).map(|i| ["x", "yy", "zzz"][i % 3]));
    let of_codes = ListArray::new(
        item(codes.data_type().clone()),
        pairs(),
        Arc::new(codes),
        validity(),
    );
    Sample::new(
        "lists",
        vec![
            ("list", Arc::new(list) as ArrayRef),
            ("fixed", Arc::new(fixed)),
            ("view", Arc::new(view)),
            ("list_of_dictionary", Arc::new(of_codes)),
        ],
    )
}

fn dictionaries() -> Sample {
    let categories = (0..ROWS).map(|i| valid(i).then(|| ["red", "green", "blue"][i % 3]));
    let numbers = Arc::new(Int64Array::from(vec![10, 20, 30]));
    let keys = (0..ROWS)
        .map(|i| valid(i).then_some(i as u16 % 3))
        .collect();
    Sample::new(
        "dictionaries",
        vec![
            (
                "category",
                Arc::new(categories.clone().collect::<DictionaryArray<Int8Type>>()) as ArrayRef,
            ),
            (
                "again",
                Arc::new(categories.collect::<DictionaryArray<Int32Type>>()),
            ),
            (
                "numbers",
                Arc::new(DictionaryArray::<UInt16Type>::new(keys, numbers)),
            ),
        ],
    )
}

/// Each batch brings its own dictionary: first one that goes on where the last ended, then quite another one.
fn deltas() -> Sample {
    let batch = |values: &[&str]| -> ArrayRef {
        let keys = Int32Array::from_iter_values((0..values.len() as i32).rev());
        Arc::new(DictionaryArray::new(
            keys,
            Arc::new(StringArray::from(values.to_vec())),
        ))
    };
    let columns = [
        batch(&["a", "b"]),
        batch(&["a", "b", "c", "d"]),
        batch(&["other", "words"]),
    ];
    let schema = Arc::new(Schema::new(vec![Field::new(
        "code",
        columns[0].data_type().clone(),
        true,
    )]));
    let batches =
        columns.map(|column| RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap());
    Sample {
        name: "deltas",
        schema,
        batches: batches.to_vec(),
    }
}

fn no_columns() -> Sample {
    let schema = Arc::new(Schema::empty());
    let options = RecordBatchOptions::new().with_row_count(Some(ROWS));
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), vec![], &options).unwrap();
    Sample {
        name: "no_columns",
        schema,
        batches: vec![batch],
    }
}
