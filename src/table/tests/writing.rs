//! What is written: layout, bounds, refusals, concurrent appends.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};

use super::*;
use crate::model::TimeWindow;
use crate::table::layout::{KeyFilter, ScanFilter, SortedKeys, prune};

const DAY_US: i64 = 86_400_000_000;

#[tokio::test]
async fn concurrent_appends_all_arrive() {
    let fixture = Fixture::with_table(vec![]).await;
    let files: Vec<_> = {
        let table = fixture.table().await;
        futures::future::join_all((0..6).map(|i| {
            let table = table.clone();
            async move { write(&table, &[batch(&[(i, i)])]).await.unwrap() }
        }))
        .await
    };
    let appends = files
        .into_iter()
        .map(|files| append(fixture.tables.catalogs(), &fixture.name, files));
    let snapshots: std::collections::BTreeSet<_> = futures::future::join_all(appends)
        .await
        .into_iter()
        .map(|snapshot| snapshot.unwrap())
        .collect();
    assert_eq!(snapshots.len(), 6);
    assert_eq!(fixture.pin().await.files().record_count(), 6);
}

#[tokio::test]
async fn buckets_and_days_prune_real_files() {
    let bucket = PartitionBy::Bucket {
        column: "driver_id".to_owned(),
        buckets: 8,
    };
    let day = PartitionBy::Day {
        column: "event_timestamp".to_owned(),
    };
    let fixture = Fixture::with_table(vec![bucket, day]).await;
    let all: Vec<(i64, i64)> = (0..40)
        .flat_map(|driver| (0..5).map(move |day| (driver, day * DAY_US + driver)))
        .collect();
    fixture.add(batch(&all)).await;
    let pinned = fixture.pin().await;
    let files = pinned.files();
    assert_eq!(files.files.len(), 8 * 5);
    assert_eq!(rows(&fixture.table().await).await, all);

    let window = TimeWindow {
        start_us: Some(2 * DAY_US),
        end_us: Some(4 * DAY_US - 1),
    };
    let keys = vec![KeyFilter {
        field_id: 1,
        values: SortedKeys::try_new(&Int64Array::from(vec![17])).unwrap(),
    }];
    let (by_time, pruned) = prune(
        files,
        &ScanFilter {
            timestamp: Some((2, window)),
            keys: vec![],
        },
    );
    assert_eq!((by_time.len(), pruned.by_time), (16, 24));
    let (by_key, pruned) = prune(
        files,
        &ScanFilter {
            timestamp: None,
            keys: keys.clone(),
        },
    );
    assert_eq!((by_key.len(), pruned.by_partition), (5, 35));
    let (both, _) = prune(
        files,
        &ScanFilter {
            timestamp: Some((2, window)),
            keys,
        },
    );
    assert_eq!(both.len(), 2);
}

#[tokio::test]
async fn files_are_sorted_and_say_so() {
    let fixture = Fixture::with_table(vec![]).await;
    let mixed: Vec<(i64, i64)> = (0..1000)
        .map(|i| ((i * 7919) % 50, (i * 104_729) % 997))
        .collect();
    fixture.add(batch(&mixed)).await;
    let table = fixture.table().await;
    let pinned = fixture.pin().await;
    let file = &pinned.files().files[0];
    let bytes = table
        .file_io()
        .new_input(&file.path)
        .unwrap()
        .read()
        .await
        .unwrap();
    assert_eq!(bytes.len() as u64, file.size_bytes);
    let reader =
        ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let stored: Vec<(i64, i64)> = reader
        .with_batch_size(4096)
        .build()
        .unwrap()
        .flat_map(|batch| pairs(&batch.unwrap()))
        .collect();
    assert!(stored.is_sorted());
    assert_eq!(stored.len(), 1000);
    let manifests = table
        .manifest_list_reader(table.metadata().current_snapshot().unwrap())
        .load()
        .await
        .unwrap();
    let manifest = manifests.entries()[0]
        .load_manifest(table.file_io())
        .await
        .unwrap();
    assert_eq!(manifest.entries()[0].data_file().sort_order_id(), Some(1));
}

/// The library computes bounds from exact statistics only, so a truncated one in one of several row groups would give
/// bounds that exclude its rows.
#[tokio::test]
async fn long_strings_do_not_narrow_the_bounds() {
    let fixture = Fixture::with_table(vec![]).await;
    let long = "z".repeat(100);
    let rows: Vec<(i64, i64)> = (0..200_000).map(|i| (i, i)).collect();
    let short = batch(&rows);
    let cities = StringArray::from_iter_values(
        (0..200_000).map(|i| if i == 199_999 { long.as_str() } else { "a" }),
    );
    let mut columns = short.columns().to_vec();
    columns[3] = Arc::new(cities);
    fixture
        .add(RecordBatch::try_new(short.schema(), columns).unwrap())
        .await;
    let pinned = fixture.pin().await;
    let keys = SortedKeys::try_new(&StringArray::from(vec![long])).unwrap();
    let (kept, _) = prune(
        pinned.files(),
        &ScanFilter {
            timestamp: None,
            keys: vec![KeyFilter {
                field_id: 4,
                values: keys,
            }],
        },
    );
    assert_eq!(kept.len(), 1);
}

#[tokio::test]
async fn batches_that_do_not_fit_are_refused_by_column() {
    let fixture = Fixture::with_table(vec![]).await;
    let table = fixture.table().await;
    let good = batch(&[(1, 1)]);
    let without = good.project(&[0, 1, 2]).unwrap();
    let error = write(&table, &[without]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "column `city`: expected Utf8, found no column"
    );
    let renamed = ArrowSchema::new(vec![Field::new("driver_id", DataType::Utf8, false)]);
    let wrong = RecordBatch::try_new(
        Arc::new(renamed),
        vec![Arc::new(StringArray::from(vec!["1"]))],
    )
    .unwrap();
    let error = write(&table, &[wrong]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "column `driver_id`: expected Int64, found Utf8"
    );
    assert!(write(&table, &[]).await.unwrap().is_empty());
    assert!(write(&table, &[good.slice(0, 0)]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_table_is_created_once_and_on_known_columns() {
    let fixture = Fixture::with_table(vec![]).await;
    let new = |column: &str| NewTable {
        schema: schema(),
        partition_by: vec![PartitionBy::Day {
            column: column.to_owned(),
        }],
        sort_by: vec![],
    };
    let error = create_table(
        fixture.tables.catalogs(),
        &fixture.name,
        new("event_timestamp"),
    )
    .await
    .unwrap_err();
    assert!(
        matches!(&error, Error::AlreadyExists { what } if what == "table `demo.stats`"),
        "{error}"
    );
    let other = TableName::parse("default", "demo.other").unwrap();
    let error = create_table(fixture.tables.catalogs(), &other, new("when"))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "column: the schema has no column `when`");
}
