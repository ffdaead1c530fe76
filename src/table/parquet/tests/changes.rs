//! Files that are written to between requests and during one.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use futures::TryStreamExt;

use super::harness::{Folder, columns_of, shown};
use crate::error::{Error, ErrorKind};
use crate::table::ScanFilter;

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

#[tokio::test]
async fn a_file_that_was_rewritten_is_read_anew() {
    let folder = Folder::new();
    folder.write("a.parquet", &[("v", ints(&[1, 2]))]);
    assert_eq!(
        shown(&folder.rows("a.parquet").await.unwrap(), "v"),
        ["1", "2"]
    );
    folder.write(
        "a.parquet",
        &[("v", ints(&[1, 2, 3])), ("w", ints(&[0, 0, 4]))],
    );
    let rows = folder.rows("a.parquet").await.unwrap();
    assert_eq!(shown(&rows, "v"), ["1", "2", "3"]);
    assert_eq!(shown(&rows, "w"), ["0", "0", "4"]);
}

/// Footers of the same length hide a change from whoever looks at sizes only.
#[tokio::test]
async fn a_file_replaced_by_one_of_the_same_size_is_read_anew() {
    let folder = Folder::new();
    for value in [1, 2, 3] {
        folder.write("new", &[("v", ints(&[value]))]);
        std::fs::rename(folder.path("new"), folder.path("a.parquet")).unwrap();
        let rows = folder.rows("a.parquet").await.unwrap();
        assert_eq!(shown(&rows, "v"), [value.to_string()]);
    }
}

#[tokio::test]
async fn a_pin_holds_only_while_nothing_changes() {
    let folder = Folder::new();
    folder.write("f/a.parquet", &[("v", ints(&[1]))]);
    let location = folder.location("f");
    let pin = folder.pin("f").await.unwrap().pin();
    let again = folder.files.pin(&location, Some(pin)).await.unwrap();
    assert_eq!(again.pin(), pin);
    folder.write("f/b.parquet", &[("v", ints(&[2]))]);
    let error = folder.files.pin(&location, Some(pin)).await.unwrap_err();
    assert!(matches!(error, Error::SnapshotNotFound { .. }), "{error}");
    assert_ne!(folder.pin("f").await.unwrap().pin(), pin);
}

#[tokio::test]
async fn a_file_that_changes_during_a_request_fails_it() {
    let folder = Folder::new();
    folder.write("a.parquet", &[("v", ints(&[1, 2]))]);
    let table = folder.pin("a.parquet").await.unwrap();
    let columns = columns_of(&table);
    let scan = folder.scan(table, &columns, ScanFilter::default()).unwrap();
    folder.write("a.parquet", &[("v", ints(&[9, 9, 9]))]);
    let units = scan.partitions(1).remove(0);
    let read: Result<Vec<_>, _> = scan.read(units, 10).try_collect().await;
    let error = read.unwrap_err();
    assert!(
        matches!(&error, Error::FileChanged { path } if path.ends_with("a.parquet")),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_file_that_is_removed_during_a_request_is_missing() {
    let folder = Folder::new();
    folder.write("a.parquet", &[("v", ints(&[1, 2]))]);
    let table = folder.pin("a.parquet").await.unwrap();
    std::fs::remove_file(folder.path("a.parquet")).unwrap();
    let error = folder.read(table, ScanFilter::default()).await.unwrap_err();
    assert!(
        matches!(error.root(), Error::FileNotFound { .. }),
        "{error}"
    );
}
