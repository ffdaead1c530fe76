//! Files and row groups that cannot matter are left out, and nothing else is.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, new_null_array,
};
use arrow::datatypes::DataType;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use rstest::rstest;

use super::harness::{Folder, batch, columns_of, shown, write};
use crate::model::{ScanReport, TimeWindow};
use crate::table::{KeyFilter, ScanFilter, SortedKeys};

const SECOND: i64 = 1_000_000;

fn window(start: i64, end: i64) -> ScanFilter {
    let window = TimeWindow {
        start_us: Some(start * SECOND),
        end_us: Some(end * SECOND),
    };
    ScanFilter {
        timestamp: Some((1, window)),
        ..ScanFilter::default()
    }
}

/// Event times in a unit, of the seconds `0..10` and `100..110`, each in a file.
fn files(unit: fn(Vec<i64>) -> ArrayRef) -> Folder {
    let folder = Folder::new();
    for start in [0, 100] {
        let seconds: Vec<i64> = (start..start + 10).collect();
        let keys: StringArray = seconds
            .iter()
            .map(|second| Some(format!("k{second:03}")))
            .collect();
        let columns = [("t", unit(seconds)), ("k", Arc::new(keys))];
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(5));
        write(
            &folder.path(&format!("{start:03}.parquet")),
            &batch(&columns),
            properties.build(),
        );
    }
    folder
}

fn millis(seconds: Vec<i64>) -> ArrayRef {
    let values = seconds
        .into_iter()
        .map(|second| second * 1000)
        .collect::<Vec<_>>();
    Arc::new(TimestampMillisecondArray::from(values))
}

fn micros(seconds: Vec<i64>) -> ArrayRef {
    let values = seconds
        .into_iter()
        .map(|second| second * SECOND)
        .collect::<Vec<_>>();
    Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
}

fn nanos(seconds: Vec<i64>) -> ArrayRef {
    let values = seconds
        .into_iter()
        .map(|second| second * 1000 * SECOND)
        .collect::<Vec<_>>();
    Arc::new(TimestampNanosecondArray::from(values))
}

async fn report(folder: &Folder, filter: ScanFilter) -> ScanReport {
    let table = folder.pin("").await.unwrap();
    let columns = columns_of(&table);
    let scan = folder.scan(table, &columns, filter).unwrap();
    for units in scan.partitions(1) {
        let batches = futures::TryStreamExt::try_collect::<Vec<_>>(scan.read(units, 100));
        batches.await.unwrap();
    }
    scan.report()
}

#[rstest]
#[case(millis)]
#[case(micros)]
#[case(nanos)]
#[tokio::test]
async fn files_and_row_groups_out_of_the_window_are_left_out(
    #[case] unit: fn(Vec<i64>) -> ArrayRef,
) {
    let folder = files(unit);
    let report = report(&folder, window(102, 104)).await;
    assert_eq!(
        (
            report.files_pruned.by_time,
            report.row_groups_pruned.by_time
        ),
        (1, 1)
    );
    let table = folder.pin("").await.unwrap();
    let rows = folder.read(table, window(102, 104)).await.unwrap();
    let keys = shown(&rows, "k");
    assert!(
        ["k102", "k103", "k104"]
            .iter()
            .all(|key| keys.contains(&(*key).to_owned()))
    );
}

#[tokio::test]
async fn files_without_a_wanted_key_are_left_out() {
    let folder = files(micros);
    let key = |text: &str| ScanFilter {
        keys: vec![KeyFilter {
            field_id: 2,
            values: SortedKeys::Bytes([text.as_bytes().into()].into()),
        }],
        ..ScanFilter::default()
    };
    assert_eq!(report(&folder, key("k105")).await.files_pruned.by_key, 1);
    assert_eq!(report(&folder, key("zzz")).await.files_pruned.by_key, 2);
}

/// No statistics, only nulls, no rows: such files say nothing, and the first must not be left out.
#[tokio::test]
async fn files_that_do_not_say_are_kept() {
    let folder = Folder::new();
    let columns = [
        ("t", micros(vec![1])),
        ("i", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
    ];
    let silent = WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None);
    write(&folder.path("1.parquet"), &batch(&columns), silent.build());
    folder.write(
        "2.parquet",
        &[
            ("t", new_null_array(micros(vec![]).data_type(), 2)),
            ("i", new_null_array(&DataType::Int64, 2)),
        ],
    );
    folder.write(
        "3.parquet",
        &[
            ("t", micros(vec![])),
            ("i", new_null_array(&DataType::Int64, 0)),
        ],
    );
    let table = folder.pin("").await.unwrap();
    assert_eq!(table.files().record_count(), 3);
    let rows = folder.read(table, window(1, 1)).await.unwrap();
    assert_eq!(shown(&rows, "i"), ["1"]);
}

/// A file whose timestamps are coarser than the source's gives no bounds in another unit.
#[tokio::test]
async fn files_of_different_units_are_pruned_rightly() {
    let folder = Folder::new();
    folder.write("1.parquet", &[("t", nanos(vec![5]))]);
    folder.write("2.parquet", &[("t", millis(vec![6]))]);
    let table = folder.pin("").await.unwrap();
    let rows = folder.read(table, window(6, 6)).await.unwrap();
    assert_eq!(shown(&rows, "t"), ["1970-01-01T00:00:06"]);
}
