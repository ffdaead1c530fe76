//! What is refused, by name, with nothing written.

use super::*;

fn nullable(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn text(value: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

fn rows(columns: Vec<(&'static str, ArrayRef)>) -> RecordBatch {
    batch(columns)
}

#[rstest]
#[case::no_key(
    rows(vec![("event_timestamp", times(1))]),
    "column `driver_id`: expected a join key of type INT64, found no column"
)]
#[case::null_key(
    rows(vec![("driver_id", nullable(vec![None])), ("event_timestamp", times(1))]),
    "column `driver_id`: expected a value in every row, found nulls or values that are no such key"
)]
#[case::key_of_another_kind(
    rows(vec![("driver_id", text("x")), ("event_timestamp", times(1))]),
    "column `driver_id`: expected Int64, a join key of type INT64, found Utf8"
)]
#[case::no_time(
    rows(vec![("driver_id", ids([1]))]),
    "column `event_timestamp`: expected a timestamp, found no column"
)]
#[case::null_time(
    rows(vec![
        ("driver_id", ids([1])),
        ("event_timestamp", Arc::new(TimestampMicrosecondArray::from(vec![None]))),
    ]),
    "column `event_timestamp`: expected a value in every row, found nulls"
)]
#[case::time_of_another_kind(
    rows(vec![("driver_id", ids([1])), ("event_timestamp", ids([1]))]),
    "column `event_timestamp`: expected Timestamp(µs, \"+00:00\"), found Int64"
)]
#[case::own_column(
    rows(vec![("driver_id", ids([1])), ("event_timestamp", times(1)), ("write_sequence", ids([1]))]),
    "column `write_sequence`: expected no column of this name, which the online table fills itself, found Int64"
)]
#[tokio::test]
async fn bad_rows_are_refused_by_column(#[case] sent: RecordBatch, #[case] expected: &str) {
    let lab = Lab::new().await;
    let error = lab.write(online("stats"), sent).await.unwrap_err();
    assert_eq!(error.to_string(), expected);
    assert_eq!(lab.base.data_files(), 0);
}

#[tokio::test]
async fn a_broken_stream_leaves_nothing() {
    let lab = Lab::new().await;
    let broken = broken(vec![drivers(0..5)]);
    assert!(
        lab.ingest
            .write_view(online("stats"), broken)
            .await
            .is_err()
    );
    assert_eq!(lab.base.data_files(), 0);
    assert!(lab.table().await.metadata().current_snapshot().is_none());
}

#[tokio::test]
async fn a_view_that_nothing_is_known_of_is_refused() {
    let lab = Lab::new().await;
    let error = lab.write(online("stat"), drivers(0..1)).await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("`stat`") && error.contains("`stats`"),
        "{error}"
    );
}
