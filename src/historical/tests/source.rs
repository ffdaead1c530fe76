//! All rows and newest rows of a source.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, TimeUnit};
use chrono::Duration;
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use rstest::rstest;

use super::fixture::{Answer, COLUMNS, Fixture, Row, at_us, row, run};
use crate::error::{Error, Result};
use crate::model::{SourceRequest, SourceRows};
use crate::table::layout::PartitionBy;

fn request(rows: SourceRows, join_keys: &[&str]) -> SourceRequest {
    SourceRequest {
        source: "stats_source".to_owned(),
        rows,
        join_keys: join_keys.iter().map(|key| (*key).to_owned()).collect(),
        features: vec!["value".to_owned()],
        timestamp_field: "event_timestamp".to_owned(),
        created_timestamp_column: Some("created".to_owned()),
        start: None,
        end: None,
    }
}

async fn answer(fixture: &Fixture, request: &SourceRequest) -> Result<Answer> {
    run(&fixture.historical().plan_source(request).await?).await
}

/// The obvious answer: look at each row.
fn expected(rows: &[Row], request: &SourceRequest) -> Answer {
    let in_range = rows.iter().filter(|row| is_in_range(row, request)).cloned();
    let mut rows: Vec<Row> = match request.rows {
        SourceRows::All => in_range.collect(),
        SourceRows::Latest => newest(in_range, request),
    };
    rows.sort();
    let columns = columns(request);
    let mut answer: Vec<_> = rows
        .iter()
        .map(|row| columns.iter().map(|name| cell(row, name)).collect())
        .collect();
    answer.sort();
    (columns, answer)
}

fn columns(request: &SourceRequest) -> Vec<String> {
    let mut columns: Vec<String> = match request.features.is_empty() {
        true => COLUMNS.map(str::to_owned).to_vec(),
        false => [request.join_keys.clone(), request.features.clone()].concat(),
    };
    columns.push("event_timestamp".to_owned());
    columns.extend(request.created_timestamp_column.clone());
    let mut once = Vec::new();
    for column in columns {
        if !once.contains(&column) {
            once.push(column);
        }
    }
    if request.join_keys.is_empty() {
        once.push("__dummy_id".to_owned());
    }
    once
}

fn is_in_range(row: &Row, request: &SourceRequest) -> bool {
    let Some(time) = row.2.map(at_us) else {
        return request.start.is_none() && request.end.is_none();
    };
    request.start.is_none_or(|start| time >= start) && request.end.is_none_or(|end| time <= end)
}

fn newest(rows: impl Iterator<Item = Row>, request: &SourceRequest) -> Vec<Row> {
    let mut newest: BTreeMap<Vec<Option<String>>, Row> = BTreeMap::new();
    for row in rows.filter(|row| row.2.is_some()) {
        let key: Vec<_> = request
            .join_keys
            .iter()
            .map(|key| cell(&row, key))
            .collect();
        if key.contains(&None) {
            continue;
        }
        let has_created = request.created_timestamp_column.is_some();
        let rank = |row: &Row| (row.2, row.3.filter(|_| has_created), row.clone());
        let best = newest.entry(key).or_insert_with(|| row.clone());
        if rank(&row) > rank(best) {
            *best = row;
        }
    }
    newest.into_values().collect()
}

fn cell(row: &Row, column: &str) -> Option<String> {
    match column {
        "driver_id" => row.0.map(|driver| driver.to_string()),
        "city" => row.1.clone(),
        "event_timestamp" => row.2.map(|time| time.to_string()),
        "created" => row.3.map(|time| time.to_string()),
        "value" => row.4.map(|value| value.to_string()),
        _ => Some(String::new()),
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let city = weighted(0.9, "[ab]{0,1}");
    let row = (
        weighted(0.9, 0..4_i64),
        city,
        weighted(0.9, -3..4_i64),
        weighted(0.8, 0..3_i64),
        weighted(0.8, 0..3_i64),
    );
    vec(row, 0..30)
}

/// Requests whose ends lie on, just before or just after the rows' times.
fn requests() -> impl Strategy<Value = SourceRequest> {
    let end = || weighted(0.7, (-4..5_i64, -1..2_i64));
    let kind = prop_oneof![Just(SourceRows::All), Just(SourceRows::Latest)];
    (kind, 0..4_usize, any::<bool>(), 0..4_usize, end(), end()).prop_map(
        |(rows, keys, has_created, features, start, end)| {
            let keys: &[&str] = match keys {
                0 => &[],
                1 => &["driver_id"],
                2 => &["city", "driver_id"],
                _ => &["driver_id", "driver_id"],
            };
            let features: &[&str] = match features {
                0 => &[],
                1 => &["value"],
                2 => &["value", "value", "driver_id"],
                _ => &["city", "created", "event_timestamp"],
            };
            let instant = |(us, ns)| at_us(us) + Duration::nanoseconds(ns);
            SourceRequest {
                features: features.iter().map(|name| (*name).to_owned()).collect(),
                created_timestamp_column: has_created.then(|| "created".to_owned()),
                start: start.map(instant),
                end: end.map(instant),
                ..request(rows, keys)
            }
        },
    )
}

fn layouts() -> impl Strategy<Value = Vec<PartitionBy>> {
    let bucket = PartitionBy::Bucket {
        column: "driver_id".to_owned(),
        buckets: 3,
    };
    prop_oneof![Just(Vec::new()), Just(vec![bucket])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_answer_is_that_of_looking_at_each_row(
        commits in vec(rows(), 1..4),
        requests in vec(requests(), 6),
        layout in layouts(),
        batch_size in prop_oneof![Just(1), Just(3), Just(8192)],
        threads in 1..4_usize,
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let mut fixture = Fixture::new(&commits, layout).await;
            fixture.engine.batch_size = batch_size;
            fixture.engine.threads = threads;
            for request in requests {
                let found = answer(&fixture, &request).await.unwrap();
                prop_assert_eq!(found, expected(&commits.concat(), &request), "{:?}", request);
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn columns_keep_the_types_of_the_source() {
    let fixture = Fixture::new(&[vec![row(1, 1, 1)]], Vec::new()).await;
    for rows in [SourceRows::All, SourceRows::Latest] {
        let plan = fixture.historical().plan_source(&request(rows, &[])).await;
        let schema = plan.unwrap().schema();
        let types: Vec<&DataType> = schema.fields().iter().map(|f| f.data_type()).collect();
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let naive = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert_eq!(types, [&DataType::Int64, &utc, &naive, &DataType::Utf8]);
    }
}

#[tokio::test]
async fn scans_leave_out_files_beyond_the_range() {
    let commits = [
        vec![row(1, 10, 1)],
        vec![row(1, 20, 2)],
        vec![row(1, 30, 3)],
    ];
    let fixture = Fixture::new(&commits, Vec::new()).await;
    for rows in [SourceRows::All, SourceRows::Latest] {
        let mut request = request(rows, &["driver_id"]);
        (request.start, request.end) = (Some(at_us(15)), Some(at_us(25)));
        let plan = fixture.historical().plan_source(&request).await.unwrap();
        let (_, rows) = run(&plan).await.unwrap();
        assert_eq!(rows[0][1].as_deref(), Some("2"));
        let report = &plan.reports()[0];
        assert_eq!(report.view, "stats_source");
        assert_eq!(
            (report.scan.files, report.scan.files_pruned.by_time),
            (3, 2)
        );
    }
}

/// A fixture of Feast's suite names the timestamp by its mapped name, and maps columns that do not exist.
#[rstest]
#[case::own_name("event_timestamp")]
#[case::mapped_name("ts")]
#[tokio::test]
async fn a_timestamp_is_found_by_either_name_and_returned_by_its_own(#[case] name: &str) {
    let fixture = Fixture::new(&[vec![row(1, 1, 1)]], Vec::new()).await;
    let mut request = request(SourceRows::Latest, &["driver_id"]);
    request.timestamp_field = name.to_owned();
    request.created_timestamp_column = Some("absent".to_owned());
    let (columns, rows) = answer(&fixture, &request).await.unwrap();
    assert_eq!(
        columns,
        ["driver_id", "value", "event_timestamp", "created"]
    );
    assert_eq!(rows.len(), 1);
}

#[rstest]
#[case::join_key(|request: &mut SourceRequest| request.join_keys = vec!["driver".to_owned()], "driver")]
#[case::feature(|request: &mut SourceRequest| request.features = vec!["valu".to_owned()], "valu")]
#[case::timestamp(|request: &mut SourceRequest| request.timestamp_field = "time".to_owned(), "time")]
#[case::created(|request: &mut SourceRequest| request.created_timestamp_column = Some("made".to_owned()), "made")]
#[tokio::test]
async fn a_missing_column_is_named(#[case] change: fn(&mut SourceRequest), #[case] missing: &str) {
    let fixture = Fixture::new(&[], Vec::new()).await;
    let mut request = request(SourceRows::Latest, &["driver_id"]);
    change(&mut request);
    match answer(&fixture, &request).await {
        Err(Error::TableColumnNotFound { column, .. }) => assert_eq!(column, missing),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_timestamp_must_be_one() {
    let fixture = Fixture::new(&[], Vec::new()).await;
    let mut request = request(SourceRows::All, &[]);
    request.timestamp_field = "value".to_owned();
    let error = answer(&fixture, &request).await.unwrap_err();
    assert!(matches!(error, Error::SchemaMismatch { .. }), "{error}");
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_named() {
    let fixture = Fixture::new(&[], Vec::new()).await;
    let mut request = request(SourceRows::All, &[]);
    request.source = "queue".to_owned();
    match answer(&fixture, &request).await {
        Err(Error::UnsupportedSource {
            source_name,
            source_kind,
        }) => assert_eq!(
            (source_name.as_str(), source_kind.as_str()),
            ("queue", "KafkaSource")
        ),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_unknown_source_is_not_found() {
    let fixture = Fixture::new(&[], Vec::new()).await;
    let mut request = request(SourceRows::All, &[]);
    request.source = "stats_sauce".to_owned();
    let error = answer(&fixture, &request).await.unwrap_err();
    assert!(error.to_string().contains("`stats_source`"), "{error}");
}

#[tokio::test]
async fn a_table_without_rows_answers_none() {
    let fixture = Fixture::new(&[], Vec::new()).await;
    for rows in [SourceRows::All, SourceRows::Latest] {
        for keys in [&[][..], &["driver_id"]] {
            let (_, rows) = answer(&fixture, &request(rows, keys)).await.unwrap();
            assert!(rows.is_empty());
        }
    }
}
