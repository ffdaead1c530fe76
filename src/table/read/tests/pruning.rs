//! What statistics leave unread, in rows and bytes.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use iceberg::spec::{NestedField, PrimitiveType, Type};
use parquet::file::properties::EnabledStatistics;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::super::ScanSpec;
use super::harness::{Layout, Table, addresses_of, collect, fetched, whole};
use crate::model::{RowAddress, ScanReport, TimeWindow};
use crate::table::layout::{KeyFilter, ScanFilter, SortedKeys};

const ROWS: i64 = 10_000;

/// Ascending keys (int in the file, long in the table) and times (milliseconds in the file), one a second; and a
/// payload that does not compress.
fn table(layout: &Layout) -> Table {
    let primitive = |id, name: &str, kind| NestedField::optional(id, name, Type::Primitive(kind));
    let mut table = Table::new(vec![
        primitive(1, "id", PrimitiveType::Long),
        primitive(2, "at", PrimitiveType::Timestamptz),
        primitive(3, "payload", PrimitiveType::String),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new((0..ROWS as i32).map(Some).collect::<Int32Array>()),
        Arc::new(
            (0..ROWS)
                .map(|row| Some(row * 1000))
                .collect::<TimestampMillisecondArray>()
                .with_timezone("UTC"),
        ),
        Arc::new(
            (0..ROWS)
                .map(|row| Some(String::from_utf8(payload(row).into_vec()).unwrap()))
                .collect::<StringArray>(),
        ),
    ];
    let fields = vec![
        Field::new("id", DataType::Int32, true),
        Field::new(
            "at",
            DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            true,
        ),
        Field::new("payload", DataType::Utf8, true),
    ];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let written = Arc::clone(&table.schema);
    table.add(
        &written,
        &batch,
        &Layout {
            ids: false,
            ..layout.clone()
        },
    );
    table
}

fn layout() -> Layout {
    Layout {
        group_rows: 1000,
        page_rows: 100,
        dictionary: false,
        ..Layout::default()
    }
}

fn window(start_s: i64, end_s: i64) -> ScanFilter {
    let window = TimeWindow {
        start_us: Some(start_s * 1_000_000),
        end_us: Some(end_s * 1_000_000),
    };
    ScanFilter {
        timestamp: Some((2, window)),
        keys: Vec::new(),
    }
}

fn ids(values: &[i64]) -> ScanFilter {
    let keys = vec![KeyFilter {
        field_id: 1,
        values: SortedKeys::Int(values.into()),
    }];
    ScanFilter {
        timestamp: None,
        keys,
    }
}

async fn scanned(table: &Table, filter: ScanFilter) -> (Vec<u64>, ScanReport) {
    let scan = table.scan(ScanSpec {
        columns: vec![1],
        filter,
        with_addresses: true,
    });
    let rows = collect(&scan, whole(&scan)).await.unwrap();
    (
        addresses_of(&rows)
            .iter()
            .map(|address| address.row())
            .collect(),
        scan.report(),
    )
}

#[tokio::test]
async fn a_window_reads_the_pages_that_it_touches() {
    let (rows, report) = scanned(&table(&layout()), window(2150, 2250)).await;
    assert_eq!(rows, (2100..2300).collect::<Vec<u64>>());
    assert_eq!(
        (report.row_groups, report.row_groups_pruned.by_time),
        (10, 9)
    );
    assert_eq!(
        (report.rows_scanned, report.rows_pruned_by_page),
        (200, 800)
    );
}

#[tokio::test]
async fn both_ends_of_a_window_count() {
    let table = table(&layout());
    let (rows, _) = scanned(&table, window(1999, 1999)).await;
    assert_eq!(rows, (1900..2000).collect::<Vec<u64>>());
    let between = TimeWindow {
        start_us: Some(1_999_000_001),
        end_us: Some(1_999_999_999),
    };
    let (rows, report) = scanned(
        &table,
        ScanFilter {
            timestamp: Some((2, between)),
            keys: Vec::new(),
        },
    )
    .await;
    assert_eq!((rows, report.row_groups_pruned.by_time), (vec![], 10));
}

#[tokio::test]
async fn keys_read_their_pages() {
    let (rows, report) = scanned(&table(&layout()), ids(&[-5, 150, 7777, 99_999])).await;
    assert_eq!(rows, (100..200).chain(7700..7800).collect::<Vec<u64>>());
    assert_eq!(
        (report.row_groups_pruned.by_key, report.rows_pruned_by_page),
        (8, 1800)
    );
}

#[tokio::test]
async fn without_page_index_whole_row_groups_are_read() {
    let layout = Layout {
        statistics: EnabledStatistics::Chunk,
        offset_index: false,
        ..layout()
    };
    let (rows, report) = scanned(&table(&layout), window(2150, 2250)).await;
    assert_eq!(rows, (2000..3000).collect::<Vec<u64>>());
    assert_eq!(
        (report.row_groups_pruned.by_time, report.rows_pruned_by_page),
        (9, 0)
    );
}

#[tokio::test]
async fn without_statistics_everything_is_read() {
    let layout = Layout {
        statistics: EnabledStatistics::None,
        ..layout()
    };
    let (rows, report) = scanned(&table(&layout), window(2150, 2250)).await;
    assert_eq!(
        (rows.len() as i64, report.row_groups_pruned.total()),
        (ROWS, 0)
    );
}

/// Bloom filters, and nothing else that tells row groups apart.
fn filtered() -> Layout {
    Layout {
        statistics: EnabledStatistics::None,
        bloom: true,
        ..layout()
    }
}

/// The payload of a row.
fn payload(row: i64) -> Box<[u8]> {
    let hash = (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("{hash:x}").into_bytes().into()
}

#[tokio::test]
async fn few_keys_are_looked_for_in_bloom_filters() {
    let table = table(&filtered());
    let (rows, report) = scanned(&table, ids(&[150, 7777, i64::MAX])).await;
    let groups: Vec<u64> = rows.iter().map(|row| row / 1000).collect();
    assert!(groups.contains(&0) && groups.contains(&7));
    // Filters may err, on this side only.
    assert!(report.row_groups_pruned.by_key >= 5, "{report:?}");
    let text = |row| ScanFilter {
        timestamp: None,
        keys: vec![KeyFilter {
            field_id: 3,
            values: SortedKeys::Bytes([payload(row)].into()),
        }],
    };
    let (rows, report) = scanned(&table, text(4321)).await;
    assert!(rows.contains(&4321));
    assert!(report.row_groups_pruned.by_key >= 7, "{report:?}");
    assert!(scanned(&table, text(ROWS)).await.1.row_groups_pruned.by_key >= 8);
}

#[tokio::test]
async fn many_keys_are_not_looked_for_in_bloom_filters() {
    let absent: Vec<i64> = (ROWS..ROWS + 100).collect();
    let (_, report) = scanned(&table(&filtered()), ids(&absent)).await;
    assert_eq!(report.row_groups_pruned.by_key, 0);
}

#[tokio::test]
async fn a_damaged_bloom_filter_hides_nothing() {
    let table = table(&filtered());
    let path = table.path("data-0.parquet");
    let mut bytes = std::fs::read(&path).unwrap();
    let reader = SerializedFileReader::new(Bytes::from(bytes.clone())).unwrap();
    for group in reader.metadata().row_groups() {
        let chunk = group.column(0);
        let start = usize::try_from(chunk.bloom_filter_offset().unwrap()).unwrap();
        let length = usize::try_from(chunk.bloom_filter_length().unwrap()).unwrap();
        bytes[start..start + length].fill(0);
    }
    std::fs::write(&path, bytes).unwrap();
    let (rows, _) = scanned(&table, ids(&[ROWS])).await;
    assert_eq!(rows.len() as i64, ROWS);
}

#[tokio::test]
async fn bytes_follow_what_is_wanted() {
    let table = table(&layout());
    let size = table.files[0].size_bytes;
    let bytes = |report: ScanReport| report.bytes_read;
    scanned(&table, ScanFilter::default()).await;
    let narrow = bytes(scanned(&table, window(2150, 2250)).await.1);
    let keys_only = bytes(scanned(&table, ScanFilter::default()).await.1);
    assert!(
        narrow < 5_000,
        "two pages of one column took {narrow} bytes"
    );
    assert!(
        keys_only < size / 2,
        "one narrow column took {keys_only} of {size} bytes"
    );
    let scan = table.scan(ScanSpec::default());
    let wanted = vec![RowAddress::new(0, 5005), RowAddress::new(0, 9005)];
    let rows = fetched(&scan, wanted, &[3]).await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    let fetched = bytes(scan.report());
    assert!(
        fetched < 10_000,
        "two rows of one column took {fetched} bytes"
    );
}

#[tokio::test]
async fn a_footer_is_parsed_once() {
    let table = table(&layout());
    let first = scanned(&table, ids(&[-1])).await.1;
    let second = scanned(&table, ids(&[-1])).await.1;
    assert!(first.bytes_read > 0);
    assert_eq!(second.bytes_read, 0);
}
