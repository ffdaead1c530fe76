//! Files read as they are, for being written again.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int8Array, LargeStringArray, RecordBatch};
use futures::TryStreamExt;

use super::harness::{Folder, batch};
use crate::error::{Error, Result};
use crate::table::parquet::ParquetSource;

async fn raw(source: &ParquetSource) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for file in source.files() {
        batches.extend(source.read_raw(file).try_collect::<Vec<_>>().await?);
    }
    Ok(batches)
}

fn columns(value: i8) -> [(&'static str, ArrayRef); 2] {
    [
        ("small", Arc::new(Int8Array::from(vec![value]))),
        ("large", Arc::new(LargeStringArray::from(vec!["x"]))),
    ]
}

#[tokio::test]
async fn rows_come_in_the_types_of_their_writer() {
    let folder = Folder::new();
    folder.write("1.parquet", &columns(1));
    folder.write("2.parquet", &columns(2));
    let source = ParquetSource::open(&folder.location("")).await.unwrap();
    assert_eq!(source.schema(), &batch(&columns(1)).schema());
    assert_eq!(
        raw(&source).await.unwrap(),
        [batch(&columns(1)), batch(&columns(2))]
    );
}

#[tokio::test]
async fn a_file_that_changed_since_is_refused() {
    let folder = Folder::new();
    folder.write("1.parquet", &columns(1));
    let source = ParquetSource::open(&folder.location("1.parquet"))
        .await
        .unwrap();
    folder.write("1.parquet", &columns(2));
    assert!(matches!(raw(&source).await, Err(Error::FileChanged { .. })));
}
