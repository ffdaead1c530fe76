//! Files that are missing or broken, addresses that do not exist, readers that go away.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use futures::StreamExt;
use iceberg::spec::{NestedField, PrimitiveType, Type};

use super::super::{Keep, ScanSpec};
use super::harness::{Layout, Table, fetched, plain_schema, whole};
use crate::clock;
use crate::error::Error;
use crate::model::RowAddress;

const ROWS: i64 = 20_000;

fn table() -> Table {
    let mut table = Table::new(vec![NestedField::optional(
        1,
        "id",
        Type::Primitive(PrimitiveType::Long),
    )]);
    let ids: ArrayRef = Arc::new(
        (0..ROWS)
            .map(|id| Some(id.wrapping_mul(0x9E37_79B9)))
            .collect::<Int64Array>(),
    );
    let schema = Arc::clone(&table.schema);
    let batch = RecordBatch::try_new(plain_schema(&schema), vec![ids]).unwrap();
    table.add(
        &schema,
        &batch,
        &Layout {
            group_rows: 1000,
            page_rows: 100,
            dictionary: false,
            ..Layout::default()
        },
    );
    table
}

async fn read_error(table: &Table) -> Error {
    let read = table.rows().await.unwrap_err();
    let fetch = fetched(&table.scan_all(), vec![RowAddress::new(0, 15_500)], &[1])
        .await
        .unwrap_err();
    assert_eq!(read.kind(), fetch.kind());
    read
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let table = table();
    std::fs::remove_file(table.path("data-0.parquet")).unwrap();
    let error = read_error(&table).await;
    let path = table.path("data-0.parquet").to_str().unwrap().to_owned();
    assert_eq!(
        error.to_string(),
        format!("file `{path}` of table `n.t` is missing")
    );
}

#[tokio::test]
async fn broken_files_are_errors_that_name_them() {
    let table = table();
    let path = table.path("data-0.parquet");
    let whole = std::fs::read(&path).unwrap();
    let tail = |footer: u32| {
        let mut bytes = whole.clone();
        let end = bytes.len();
        bytes[end - 8..end - 4].copy_from_slice(&footer.to_le_bytes());
        bytes
    };
    let mut scrambled = whole.clone();
    scrambled[100..150_000].fill(0x5a);
    let broken = [
        Vec::new(),
        b"PAR1".to_vec(),
        whole[..whole.len() / 2].to_vec(),
        tail(u32::MAX),
        tail(3),
        tail(0),
        scrambled,
    ];
    for bytes in broken {
        std::fs::write(&path, &bytes).unwrap();
        let table = Table {
            cache: Arc::new(super::super::FileCache::footers_only(0)),
            ..table_at(&table)
        };
        let error = read_error(&table).await;
        assert!(
            matches!(&error, Error::Parquet { path: named, .. } if *named == path.to_str().unwrap()),
            "{error}"
        );
    }
}

fn table_at(table: &Table) -> Table {
    let mut copy = Table::new(vec![NestedField::optional(
        1,
        "id",
        Type::Primitive(PrimitiveType::Long),
    )]);
    copy.files.clone_from(&table.files);
    copy
}

#[tokio::test]
async fn an_address_beyond_the_data_is_refused() {
    let table = table();
    let scan = table.scan_all();
    for address in [RowAddress::new(0, ROWS as u64), RowAddress::new(7, 0)] {
        let error = fetched(&scan, vec![RowAddress::new(0, 5), address], &[1])
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Internal { .. }), "{error}");
    }
    assert!(fetched(&scan, Vec::new(), &[1]).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_unknown_column_is_refused() {
    let table = table();
    assert!(
        fetched(&table.scan_all(), vec![RowAddress::new(0, 5)], &[77])
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_stops_when_the_reader_goes_away() {
    let table = table();
    let scan = table.scan(ScanSpec {
        columns: vec![1],
        with_addresses: true,
        ..ScanSpec::default()
    });
    let mut stream = scan.read(whole(&scan), 10);
    stream.next().await.unwrap().unwrap();
    drop(stream);
    let all = (0..ROWS as u64)
        .map(|row| RowAddress::new(0, row))
        .collect();
    let mut stream = scan.fetch(all, &[1], Keep::No);
    stream.next().await.unwrap().unwrap();
    drop(stream);
    clock::sleep(Duration::from_millis(100)).await;
    let settled = scan.report();
    clock::sleep(Duration::from_millis(200)).await;
    assert_eq!(scan.report(), settled);
    assert_eq!(settled.rows_scanned, 10);
    assert!(
        settled.rows_fetched < 16_000,
        "{} rows were fetched for one batch",
        settled.rows_fetched
    );
}
