//! Folders: which files count, columns that only some files have, and columns that are in the folders' names.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, NullArray, StringArray,
    StructArray, TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field};

use super::harness::{Folder, names, shown};
use crate::error::{Error, ErrorKind};
use crate::table::parquet::ParquetSource;
use crate::table::{KeyFilter, ScanFilter, SortedKeys};

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

#[tokio::test]
async fn files_below_a_folder_count_unless_hidden_or_of_another_kind() {
    let folder = Folder::new();
    for (name, value) in [
        ("f/a.parquet", 1),
        ("f/x/y/b.PQ", 2),
        ("f2/c.parquet", 9),
        ("f/_tmp/d.parquet", 9),
        ("f/.e.parquet", 9),
    ] {
        folder.write(name, &[("v", ints(&[value]))]);
    }
    std::fs::write(folder.path("f/_SUCCESS"), "").unwrap();
    std::fs::write(folder.path("f/notes.txt"), "text").unwrap();
    assert_eq!(shown(&folder.rows("f").await.unwrap(), "v"), ["1", "2"]);
    assert_eq!(shown(&folder.rows("f/x/y/b.PQ").await.unwrap(), "v"), ["2"]);
}

#[tokio::test]
async fn uris_may_be_written_in_several_ways() {
    let folder = Folder::new();
    folder.write("a b%.parquet", &[("v", ints(&[1]))]);
    let mut location = folder.location("");
    location.uri = format!("file://{}/", location.uri.trim_end_matches('/'));
    let table = folder.files.pin(&location, None).await.unwrap();
    assert_eq!(table.name().name, location.uri);
    assert_eq!(
        shown(
            &folder.read(table, ScanFilter::default()).await.unwrap(),
            "v"
        ),
        ["1"]
    );
}

#[tokio::test]
async fn a_place_without_files_is_not_found() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("empty")).unwrap();
    for name in ["empty", "nothing.parquet", "no/folder"] {
        let error = folder.pin(name).await.unwrap_err();
        assert!(
            matches!(&error, Error::NoParquetFiles { uri } if uri.ends_with(name)),
            "{error}"
        );
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn columns_are_united_by_name() {
    let folder = Folder::new();
    folder.write(
        "1.parquet",
        &[
            ("a", ints(&[1])),
            ("b", Arc::new(StringArray::from(vec!["x"]))),
        ],
    );
    folder.write(
        "2.parquet",
        &[
            ("c", Arc::new(Float64Array::from(vec![0.5]))),
            ("a", ints(&[2])),
        ],
    );
    let rows = folder.rows("").await.unwrap();
    assert_eq!(names(&rows), ["a", "b", "c"]);
    assert_eq!(shown(&rows, "a"), ["1", "2"]);
    assert_eq!(shown(&rows, "b"), ["x", ""]);
    assert_eq!(shown(&rows, "c"), ["", "0.5"]);
}

#[tokio::test]
async fn types_that_differ_are_widened() {
    let folder = Folder::new();
    let nanos = TimestampNanosecondArray::from(vec![1500]);
    folder.write(
        "1.parquet",
        &[
            ("i", Arc::new(Int32Array::from(vec![1]))),
            ("f", Arc::new(Float32Array::from(vec![0.5]))),
            (
                "t",
                Arc::new(TimestampMicrosecondArray::from(vec![1]).with_timezone("UTC")),
            ),
            ("n", Arc::new(NullArray::new(1))),
            (
                "s",
                Arc::new(StructArray::from(vec![(field("x"), ints(&[1]))])),
            ),
            ("l", Arc::new(NullArray::new(1))),
        ],
    );
    folder.write(
        "2.parquet",
        &[
            ("i", ints(&[1 << 40])),
            ("f", Arc::new(Float64Array::from(vec![0.1]))),
            ("t", Arc::new(nanos)),
            ("n", ints(&[7])),
            (
                "s",
                Arc::new(StructArray::from(vec![
                    (field("y"), ints(&[2])),
                    (field("x"), ints(&[3])),
                ])),
            ),
            (
                "l",
                Arc::new(StructArray::from(vec![(field("y"), ints(&[2]))])),
            ),
        ],
    );
    let rows = folder.rows("").await.unwrap();
    assert_eq!(shown(&rows, "i"), ["1", "1099511627776"]);
    assert_eq!(shown(&rows, "f"), ["0.5", "0.1"]);
    assert_eq!(
        shown(&rows, "t"),
        [
            "1970-01-01T00:00:00.000001Z",
            "1970-01-01T00:00:00.000001500Z"
        ]
    );
    assert_eq!(shown(&rows, "n"), ["", "7"]);
    assert_eq!(shown(&rows, "s"), ["{x: 1, y: }", "{x: 3, y: 2}"]);
    assert_eq!(shown(&rows, "l"), ["", "{y: 2}"]);
}

fn field(name: &str) -> Arc<Field> {
    Arc::new(Field::new(name, DataType::Int64, true))
}

#[tokio::test]
async fn types_with_nothing_in_common_are_refused() {
    let folder = Folder::new();
    folder.write("1.parquet", &[("a", ints(&[1]))]);
    folder.write(
        "2.parquet",
        &[("a", Arc::new(StringArray::from(vec!["x"])))],
    );
    let error = folder.pin("").await.unwrap_err().to_string();
    assert!(
        error.contains("`a`: expected Int64, found Utf8") && error.contains("2.parquet"),
        "{error}"
    );
}

#[tokio::test]
async fn folder_names_are_columns() {
    let folder = Folder::new();
    for (name, value) in [
        ("n=1/city=a%20b/0.parquet", 1),
        ("n=2/city=__HIVE_DEFAULT_PARTITION__/0.parquet", 2),
        ("n=3/0.parquet", 3),
    ] {
        folder.write(name, &[("v", ints(&[value]))]);
    }
    let table = folder.pin("").await.unwrap();
    let rows = folder
        .read(table.clone(), ScanFilter::default())
        .await
        .unwrap();
    assert_eq!(names(&rows), ["v", "n", "city"]);
    assert_eq!(
        rows.schema().field_with_name("n").unwrap().data_type(),
        &DataType::Int32
    );
    assert_eq!(shown(&rows, "n"), ["1", "2", "3"]);
    assert_eq!(shown(&rows, "city"), ["a b", "", ""]);
    let printed = ParquetSource::open(&folder.location(""))
        .await
        .unwrap()
        .column_types();
    let printed: Vec<&str> = printed
        .iter()
        .map(|(_, printed)| printed.as_str())
        .collect();
    assert_eq!(printed, ["int64", "int32", "string"]);

    let key = KeyFilter {
        field_id: 2,
        values: SortedKeys::Int([3].into()),
    };
    let filter = ScanFilter {
        keys: vec![key],
        ..ScanFilter::default()
    };
    assert_eq!(
        shown(&folder.read(table, filter).await.unwrap(), "v"),
        ["3"]
    );
}

#[tokio::test]
async fn a_column_of_the_files_wins_over_a_folder_of_its_name() {
    let folder = Folder::new();
    folder.write("v=7/0.parquet", &[("v", ints(&[1]))]);
    let rows = folder.rows("").await.unwrap();
    assert_eq!(
        (names(&rows), shown(&rows, "v")),
        (vec!["v".to_owned()], vec!["1".to_owned()])
    );
}
