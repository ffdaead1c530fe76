//! A file with every type that pyarrow writes, by pyarrow 26; its columns are named for the type that they had.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, UInt64Array};
use arrow::datatypes::Int64Type;

use super::harness::{Folder, batch, names, shown, with_ids, write};
use crate::error::Error;
use crate::table::parquet::ParquetSource;
use crate::table::read::arrow_field;

/// Column, and the type that `str(pyarrow.parquet.read_schema(file).field(column).type)` gave.
const PRINTED: [(&str, &str); 65] = [
    ("int8", "int8"),
    ("int16", "int16"),
    ("int32", "int32"),
    ("int64", "int64"),
    ("uint8", "uint8"),
    ("uint16", "uint16"),
    ("uint32", "uint32"),
    ("uint64", "uint64"),
    ("halffloat", "halffloat"),
    ("float", "float"),
    ("double", "double"),
    ("bool", "bool"),
    ("string", "string"),
    ("large_string", "large_string"),
    ("string_view", "string_view"),
    (
        "dictionary<values=string, indices=int32, ordered=0>",
        "dictionary<values=string, indices=int32, ordered=0>",
    ),
    ("binary", "binary"),
    ("large_binary", "large_binary"),
    ("fixed_size_binary[2]", "fixed_size_binary[2]"),
    ("date32[day]", "date32[day]"),
    ("date64[ms]", "date32[day]"),
    ("timestamp[s]", "timestamp[ms]"),
    ("timestamp[s, tz=UTC]", "timestamp[ms, tz=UTC]"),
    (
        "timestamp[s, tz=America/New_York]",
        "timestamp[ms, tz=America/New_York]",
    ),
    ("timestamp[s, tz=+02:00]", "timestamp[ms, tz=+02:00]"),
    ("timestamp[ms]", "timestamp[ms]"),
    ("timestamp[ms, tz=UTC]", "timestamp[ms, tz=UTC]"),
    (
        "timestamp[ms, tz=America/New_York]",
        "timestamp[ms, tz=America/New_York]",
    ),
    ("timestamp[ms, tz=+02:00]", "timestamp[ms, tz=+02:00]"),
    ("timestamp[us]", "timestamp[us]"),
    ("timestamp[us, tz=UTC]", "timestamp[us, tz=UTC]"),
    (
        "timestamp[us, tz=America/New_York]",
        "timestamp[us, tz=America/New_York]",
    ),
    ("timestamp[us, tz=+02:00]", "timestamp[us, tz=+02:00]"),
    ("timestamp[ns]", "timestamp[ns]"),
    ("timestamp[ns, tz=UTC]", "timestamp[ns, tz=UTC]"),
    (
        "timestamp[ns, tz=America/New_York]",
        "timestamp[ns, tz=America/New_York]",
    ),
    ("timestamp[ns, tz=+02:00]", "timestamp[ns, tz=+02:00]"),
    ("time32[s]", "time32[ms]"),
    ("time32[ms]", "time32[ms]"),
    ("time64[us]", "time64[us]"),
    ("time64[ns]", "time64[ns]"),
    ("duration[s]", "duration[s]"),
    ("duration[ms]", "duration[ms]"),
    ("duration[us]", "duration[us]"),
    ("duration[ns]", "duration[ns]"),
    ("decimal128(9, 2)", "decimal128(9, 2)"),
    ("decimal256(30, 2)", "decimal256(30, 2)"),
    ("decimal256(50, 2)", "decimal256(50, 2)"),
    ("decimal32(9, 2)", "decimal32(9, 2)"),
    ("decimal64(12, 2)", "decimal64(12, 2)"),
    ("list<item: int64>", "list<element: int64>"),
    ("list<item: string>", "list<element: string>"),
    ("large_list<item: int64>", "large_list<element: int64>"),
    (
        "fixed_size_list<item: float>[2]",
        "fixed_size_list<element: float>[2]",
    ),
    (
        "list<item: list<item: int64>>",
        "list<element: list<element: int64>>",
    ),
    (
        "list<item: struct<a: int64>>",
        "list<element: struct<a: int64>>",
    ),
    ("struct<a: int64, b: string>", "struct<a: int64, b: string>"),
    ("struct<a: int64 not null>", "struct<a: int64 not null>"),
    (
        "map<string, int64>",
        "map<string, int64 ('map<string, int64>')>",
    ),
    (
        "map<string, list<item: int64>>",
        "map<string, list<element: int64> ('map<string, list<item: int64>>')>",
    ),
    ("null", "null"),
    (
        "list<item: timestamp[us, tz=UTC]>",
        "list<element: timestamp[us, tz=UTC]>",
    ),
    (
        "list<item: dictionary<values=string, indices=int32, ordered=0>>",
        "list<element: dictionary<values=string, indices=int32, ordered=0>>",
    ),
    ("fixed_size_binary[16]", "fixed_size_binary[16]"),
    ("extension<arrow.uuid>", "extension<arrow.uuid>"),
];

/// Parquet has no seconds, and where the writer's unit differs the parquet crate forgets the writer's zone.
const LOST_ZONES: [&str; 2] = [
    "timestamp[s, tz=America/New_York]",
    "timestamp[s, tz=+02:00]",
];

fn fixture() -> Folder {
    let folder = Folder::new();
    std::fs::write(
        folder.path("types.parquet"),
        include_bytes!("types.parquet"),
    )
    .unwrap();
    folder
}

#[tokio::test]
async fn types_are_printed_as_pyarrow_prints_them() {
    let folder = fixture();
    let source = ParquetSource::open(&folder.location("types.parquet"))
        .await
        .unwrap();
    let printed = source.column_types();
    let printed = printed
        .iter()
        .map(|(name, printed)| (name.as_str(), printed.as_str()));
    let wrong: Vec<_> = printed
        .zip(PRINTED)
        .filter(|(found, expected)| found != expected && !LOST_ZONES.contains(&expected.0))
        .collect();
    assert_eq!(wrong, []);
    assert_eq!(source.column_types().len(), PRINTED.len());
}

#[tokio::test]
async fn names_of_list_elements_are_those_of_the_file() {
    let folder = Folder::new();
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)])]);
    folder.write("a.parquet", &[("l", Arc::new(list))]);
    let source = ParquetSource::open(&folder.location("a.parquet"))
        .await
        .unwrap();
    let expected = ("l".to_owned(), "list<item: int64>".to_owned());
    assert_eq!(source.column_types(), vec![expected]);
}

/// Columns, the Arrow type that they are read as, and their values.
const READ: [(&str, &str, [&str; 3]); 30] = [
    ("int8", "Int32", ["1", "", "-3"]),
    ("uint16", "Int32", ["1", "", "65535"]),
    ("uint32", "Int64", ["1", "", "4294967295"]),
    ("uint64", "Int64", ["1", "", "9223372036854775807"]),
    ("halffloat", "Float32", ["1.5", "", "2.0"]),
    ("double", "Float64", ["1.5", "", "2.0"]),
    ("bool", "Boolean", ["true", "", "false"]),
    ("large_string", "Utf8", ["a", "", "c"]),
    ("string_view", "Utf8", ["a", "", "c"]),
    (
        "dictionary<values=string, indices=int32, ordered=0>",
        "Utf8",
        ["a", "", "a"],
    ),
    ("large_binary", "Binary", ["61", "", "63"]),
    (
        "fixed_size_binary[2]",
        "FixedSizeBinary(2)",
        ["6162", "", "6364"],
    ),
    ("date32[day]", "Date32", ["1970-01-02", "", "1970-01-04"]),
    ("date64[ms]", "Date32", ["1970-01-02", "", "1970-01-04"]),
    (
        "timestamp[s]",
        "Timestamp(µs)",
        ["1970-01-01T00:00:01", "", "1970-01-01T00:00:03"],
    ),
    (
        "timestamp[ms, tz=America/New_York]",
        "Timestamp(µs, \"UTC\")",
        ["1970-01-01T00:00:00.001Z", "", "1970-01-01T00:00:00.003Z"],
    ),
    (
        "timestamp[us]",
        "Timestamp(µs)",
        [
            "1970-01-01T00:00:00.000001",
            "",
            "1970-01-01T00:00:00.000003",
        ],
    ),
    (
        "timestamp[ns]",
        "Timestamp(ns)",
        [
            "1970-01-01T00:00:00.000000001",
            "",
            "1970-01-01T00:00:00.000000003",
        ],
    ),
    (
        "timestamp[ns, tz=+02:00]",
        "Timestamp(ns, \"UTC\")",
        [
            "1970-01-01T00:00:00.000000001Z",
            "",
            "1970-01-01T00:00:00.000000003Z",
        ],
    ),
    ("time32[s]", "Time64(µs)", ["00:00:01", "", "00:00:03"]),
    (
        "time64[us]",
        "Time64(µs)",
        ["00:00:00.000001", "", "00:00:00.000003"],
    ),
    ("duration[ms]", "Int64", ["1", "", "3"]),
    (
        "decimal256(30, 2)",
        "Decimal128(30, 2)",
        ["1.25", "", "-3.00"],
    ),
    ("decimal32(9, 2)", "Decimal128(9, 2)", ["1.25", "", "-3.00"]),
    (
        "large_list<item: int64>",
        "List(Int64, field: 'element')",
        ["[1]", "", "[2]"],
    ),
    (
        "list<item: list<item: int64>>",
        "List(List(Int64, field: 'element'), field: 'element')",
        ["[[1]]", "", "[[2, ]]"],
    ),
    (
        "struct<a: int64, b: string>",
        "Struct(\"a\": Int64, \"b\": Utf8)",
        ["{a: 1, b: x}", "", "{a: 2, b: }"],
    ),
    (
        "map<string, list<item: int64>>",
        "Map(\"entries\": non-null Struct(\"key\": non-null Utf8, \"value\": List(Int64, field: 'element')), unsorted)",
        ["{k: [1]}", "", "{}"],
    ),
    ("null", "Utf8", ["", "", ""]),
    (
        "fixed_size_list<item: float>[2]",
        "List(Float32, field: 'element')",
        ["[1.0, 2.0]", "", "[3.0, 4.0]"],
    ),
];

/// Reads all columns but the one whose digits are too many for Arrow's usual decimals.
#[tokio::test]
async fn every_type_is_read() {
    let folder = fixture();
    let table = folder.pin("types.parquet").await.unwrap();
    let too_many = |name: &str| name == "decimal256(50, 2)";
    let fields = table.schema().as_struct().fields();
    for field in fields {
        assert_eq!(
            arrow_field(field).is_err(),
            too_many(&field.name),
            "{}",
            field.name
        );
    }
    let ids = fields.iter().filter(|field| !too_many(&field.name));
    let ids: Vec<i32> = ids.map(|field| field.id).collect();
    let rows = folder.read_columns(table, &ids).await.unwrap();
    for (column, data_type, values) in READ {
        let array = rows.column_by_name(column).unwrap();
        assert_eq!(array.data_type().to_string(), data_type, "{column}");
        assert_eq!(shown(&rows, column), values, "{column}");
    }
}

#[tokio::test]
async fn an_unsigned_integer_that_does_not_fit_is_an_error() {
    let folder = Folder::new();
    folder.write(
        "a.parquet",
        &[("u", Arc::new(UInt64Array::from(vec![u64::MAX])))],
    );
    let error = folder.rows("a.parquet").await.unwrap_err().to_string();
    assert!(error.contains("18446744073709551615"), "{error}");
}

/// Field ids of other tables, the same id twice, ids that are swapped: only names count.
#[tokio::test]
async fn field_ids_in_files_do_not_matter() {
    let folder = Folder::new();
    let ints = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
    let first = batch(&[("a", ints(&[1])), ("b", ints(&[2]))]);
    let second = batch(&[("b", ints(&[4])), ("a", ints(&[3]))]);
    write(
        &folder.path("1.parquet"),
        &with_ids(&first, &[2, 1]),
        Default::default(),
    );
    write(
        &folder.path("2.parquet"),
        &with_ids(&second, &[1, 1]),
        Default::default(),
    );
    let rows = folder.rows("").await.unwrap();
    assert_eq!(names(&rows), ["a", "b"]);
    assert_eq!(
        (shown(&rows, "a"), shown(&rows, "b")),
        (vec!["1".into(), "3".into()], vec!["2".into(), "4".into()])
    );
}

#[tokio::test]
async fn a_file_that_is_not_parquet_is_named() {
    let folder = Folder::new();
    for (name, bytes) in [
        ("empty.parquet", &b""[..]),
        ("text.parquet", b"not a Parquet file at all"),
    ] {
        std::fs::write(folder.path(name), bytes).unwrap();
        let error = folder.rows(name).await.unwrap_err();
        assert!(
            matches!(error.root(), Error::Parquet { path, .. } if path.ends_with(name)),
            "{error}"
        );
        let described = ParquetSource::open(&folder.location(name))
            .await
            .unwrap_err();
        assert!(described.to_string().contains(name), "{described}");
    }
}

#[tokio::test]
async fn columns_of_one_name_are_refused() {
    let folder = Folder::new();
    let ints = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let twice = batch(&[("a", Arc::clone(&ints)), ("a", ints)]);
    write(&folder.path("a.parquet"), &twice, Default::default());
    let error = folder.rows("a.parquet").await.unwrap_err();
    assert!(
        matches!(error.root(), Error::Unsupported { what } if what.contains("a.parquet")),
        "{error}"
    );
}
