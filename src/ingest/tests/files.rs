//! Rows into Parquet files.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

fn read(path: impl AsRef<Path>) -> Vec<RecordBatch> {
    let file = File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .unwrap()
        .build()
        .unwrap();
    reader.map(|batch| batch.unwrap()).collect()
}

/// Paths of the files below a folder, in order.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(below(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// The same rows with the schema metadata that pandas leaves.
fn from_pandas(batch: RecordBatch) -> RecordBatch {
    let schema = batch.schema().as_ref().clone();
    let metadata = [("pandas".to_owned(), "{}".to_owned())].into();
    batch
        .with_schema(Arc::new(schema.with_metadata(metadata)))
        .unwrap()
}

#[tokio::test]
async fn a_file_keeps_its_rows_and_types() {
    let fixture = Fixture::new().await;
    let location = fixture.file("stats.parquet");
    let place = source(SourceLocation::Parquet(location.clone()));
    let append = |rows| fixture.ingest.append("stats", &place, rows);
    let first = append(rows_of(vec![from_pandas(stats(&[1, 2]))])).await;
    assert_eq!(first.unwrap(), 2);
    let before = read(&location.uri)[0].schema();
    assert!(before.metadata().is_empty());

    let narrow = batch(vec![
        ("trips", Arc::new(Int32Array::from(vec![9]))),
        ("conv_rate", Arc::new(Float64Array::from(vec![0.25]))),
        ("driver_id", Arc::new(Int32Array::from(vec![3]))),
        (
            "event_timestamp",
            Arc::new(TimestampMicrosecondArray::from(vec![7])),
        ),
    ]);
    assert_eq!(append(rows_of(vec![narrow])).await.unwrap(), 1);
    let rows = read(&location.uri);
    assert_eq!(rows[0].schema(), before);
    assert_eq!(integers(&rows, "driver_id"), [1, 2, 3]);
    assert_eq!(
        integers(&rows, "event_timestamp"),
        [7_000, 1_000_000_007, 2_000_000_014]
    );
    assert_eq!(
        below(fixture.folder.path()).len(),
        3,
        "catalog, metadata, file"
    );
}

#[tokio::test]
async fn a_failed_append_changes_no_byte() {
    let mut fixture = Fixture::new().await;
    let location = fixture.file("stats.parquet");
    let place = source(SourceLocation::Parquet(location.clone()));
    fixture
        .ingest
        .append("stats", &place, rows_of(vec![stats(&[1])]))
        .await
        .unwrap();
    let before = std::fs::read(&location.uri).unwrap();
    let files = below(fixture.folder.path());
    fixture.ingest.chunk_bytes = 32;
    for rows in [
        broken(vec![stats(&[2, 3, 4])]),
        rows_of(vec![stats(&[1]).project(&[0, 1]).unwrap()]),
        rows_of(vec![stats(&[])]),
    ] {
        let written = fixture.ingest.append("stats", &place, rows).await;
        assert!(written.is_err() || written.unwrap() == 0);
        assert_eq!(std::fs::read(&location.uri).unwrap(), before);
    }
    assert_eq!(below(fixture.folder.path()), files);
}

#[tokio::test]
async fn concurrent_appends_to_one_file_lose_nothing() {
    let fixture = Fixture::new().await;
    let place = source(SourceLocation::Parquet(fixture.file("stats.parquet")));
    let appends = (0..8).map(|driver| {
        fixture
            .ingest
            .append("stats", &place, rows_of(vec![stats(&[driver])]))
    });
    for written in futures::future::join_all(appends).await {
        assert_eq!(written.unwrap(), 1);
    }
    let rows = read(fixture.file("stats.parquet").uri);
    assert_eq!(integers(&rows, "driver_id"), (0..8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_folder_gets_one_more_file() {
    let fixture = Fixture::new().await;
    let location = fixture.file("stats");
    let place = source(SourceLocation::Parquet(location.clone()));
    for driver in [1, 2, 3] {
        let rows = rows_of(vec![stats(&[driver])]);
        fixture.ingest.append("stats", &place, rows).await.unwrap();
    }
    let files = below(Path::new(&location.uri));
    assert_eq!(files.len(), 3);
    let rows: Vec<_> = files.iter().flat_map(read).collect();
    assert_eq!(integers(&rows, "driver_id"), [1, 2, 3]);
    let pinned = fixture.tables.pin_source(&place.location, None).await;
    assert_eq!(pinned.unwrap().files().record_count(), 3);
}

#[tokio::test]
async fn seconds_become_milliseconds_that_are_read_back_as_times() {
    let fixture = Fixture::new().await;
    let location = fixture.file("seconds.parquet");
    let seconds = TimestampSecondArray::from(vec![Some(7), None]).with_timezone("UTC");
    let rows = rows_of(vec![batch(vec![("seen", Arc::new(seconds))])]);
    let place = SourceLocation::Parquet(location.clone());
    fixture.ingest.save(&place, false, rows).await.unwrap();
    let expected = TimestampMillisecondArray::from(vec![Some(7000), None]).with_timezone("UTC");
    assert_eq!(read(&location.uri)[0].column(0).as_ref(), &expected);
}

fn logs(days: Vec<Option<&str>>) -> RecordBatch {
    let ids = Int64Array::from_iter_values(0..days.len() as i64);
    batch(vec![
        ("id", Arc::new(ids)),
        ("day", Arc::new(StringArray::from(days))),
    ])
}

#[tokio::test]
async fn logs_go_to_folders_named_for_their_values() {
    let mut fixture = Fixture::new().await;
    let location = fixture.file("logs");
    let destination = LogDestination {
        location: SourceLocation::Parquet(location.clone()),
        partition_by: vec!["day".to_owned()],
    };
    let days = logs(vec![Some("a b:c/%"), None, Some("1"), Some("a b:c/%")]);
    let log = |rows| fixture.ingest.log(&destination, rows);
    assert_eq!(log(rows_of(vec![days])).await.unwrap(), 4);
    let folder = |path: &PathBuf| {
        let folder = path.parent().unwrap().file_name().unwrap();
        folder.to_str().unwrap().to_owned()
    };
    let files = below(Path::new(&location.uri));
    let folders: Vec<_> = files.iter().map(folder).collect();
    assert_eq!(
        folders,
        [
            "day=1",
            "day=__HIVE_DEFAULT_PARTITION__",
            "day=a%20b%3Ac%2F%25"
        ]
    );
    assert_eq!(integers(&read(&files[2]), "id"), [0, 3]);
    assert_eq!(read(&files[0])[0].num_columns(), 1);

    // A source of these files takes rows with the column that its folders are named for.
    let place = source(destination.location.clone());
    let rows = rows_of(vec![logs(vec![Some("1")])]);
    fixture.ingest.append("logs", &place, rows).await.unwrap();
    assert_eq!(below(Path::new(&location.uri)).len(), 4);

    fixture.ingest.chunk_bytes = 8;
    let more = broken(vec![logs(vec![Some("2"), Some("3")])]);
    fixture.ingest.log(&destination, more).await.unwrap_err();
    assert_eq!(below(Path::new(&location.uri)).len(), 4);
}

#[tokio::test]
async fn a_saved_file_is_replaced_only_if_allowed() {
    let fixture = Fixture::new().await;
    for name in ["saved.parquet", "saved"] {
        let location = fixture.file(name);
        let place = SourceLocation::Parquet(location.clone());
        let save = |overwrite, rows| fixture.ingest.save(&place, overwrite, rows);
        let all = || -> Vec<RecordBatch> {
            let path = Path::new(&location.uri);
            match path.is_dir() {
                true => below(path).iter().flat_map(read).collect(),
                false => read(path),
            }
        };
        save(false, rows_of(vec![stats(&[1])])).await.unwrap();
        let error = save(false, rows_of(vec![stats(&[2])])).await.unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
        save(true, broken(vec![stats(&[3])])).await.unwrap_err();
        assert_eq!(integers(&all(), "driver_id"), [1]);
        let other = logs(vec![Some("x")]);
        save(true, rows_of(vec![other.clone()])).await.unwrap();
        assert_eq!(all(), [other]);
    }
}
