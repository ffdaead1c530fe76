//! Unordered results over bucketed tables: the same rows as in order, part by part.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use chrono::DateTime;
use rstest::rstest;

use super::fixture::{Fixture, Row, run};
use crate::error::{ErrorKind, Result};
use crate::historical::{EntityFrame, HistoricalPlan};
use crate::model::{
    EntitySource, FeatureRef, FeatureSelection, FlightPart, HistoricalRequest, Pins, Principal,
};
use crate::table::layout::PartitionBy;

const DRIVERS: i64 = 40;

fn bucket(column: &str, buckets: u32) -> PartitionBy {
    PartitionBy::Bucket {
        column: column.to_owned(),
        buckets,
    }
}

fn city(driver: i64) -> String {
    format!("city {}", driver % 11)
}

/// Two commits; the newer values win.
async fn fixture(partition_by: Vec<PartitionBy>) -> Fixture {
    let row = |driver: i64, at, value| -> Row {
        (
            Some(driver),
            Some(city(driver)),
            Some(at),
            None,
            Some(value),
        )
    };
    let older = (0..DRIVERS).map(|driver| row(driver, 10, driver));
    let newer = (0..DRIVERS).map(|driver| row(driver, 20, 1_000 + driver));
    Fixture::new(&[older.collect(), newer.collect()], partition_by).await
}

/// Keys with and without features, repeated ones, and nulls, in two batches.
fn frame() -> EntityFrame {
    let drivers = (0..120).map(|row| (row % 7 != 0).then_some(row % 60));
    let drivers: Vec<Option<i64>> = drivers.collect();
    let cities = drivers.iter().map(|driver| driver.map(city));
    let times = (0..120).map(|row| 15 + row % 10);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 4] = [
        ("driver_id", Arc::new(Int64Array::from(drivers.clone()))),
        ("city", Arc::new(cities.collect::<StringArray>())),
        ("event_timestamp", Arc::new(times)),
        ("row", Arc::new(Int64Array::from_iter_values(0..120))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    EntityFrame::new(
        batch.schema(),
        vec![batch.slice(0, 50), batch.slice(50, 70)],
    )
}

fn request(views: &[&str], ordered: bool, part: FlightPart) -> HistoricalRequest {
    let feature = |view: &&str| FeatureRef {
        view: (*view).to_owned(),
        feature: "value".to_owned(),
    };
    let pins = Pins {
        tables: Default::default(),
        part,
        ordered,
        issued_at: DateTime::UNIX_EPOCH,
    };
    HistoricalRequest {
        project: None,
        features: FeatureSelection::Refs(views.iter().map(feature).collect()),
        full_feature_names: true,
        entity: EntitySource::Attached,
        ordered,
        pins: Some(pins),
    }
}

async fn plan(fixture: &Fixture, request: &HistoricalRequest) -> Result<HistoricalPlan> {
    let historical = fixture.historical();
    let principal = Principal::anonymous();
    historical.plan(&principal, request, Some(frame())).await
}

#[rstest]
#[case::one_view(&["driver_stats"], vec![bucket("driver_id", 4)], 4)]
#[case::texts(&["city_stats"], vec![bucket("city", 3)], 3)]
#[case::neighbours_together_and_no_empty_part(&["driver_stats"], vec![bucket("driver_id", 100)], 15)]
#[case::two_views_of_one_key(&["driver_stats", "driver_recent"], vec![bucket("driver_id", 4)], 4)]
#[case::days_too(&["driver_stats"], vec![PartitionBy::Day { column: "event_timestamp".to_owned() }, bucket("driver_id", 4)], 4)]
#[case::two_keys(&["driver_stats", "city_stats"], vec![bucket("driver_id", 4), bucket("city", 4)], 1)]
#[case::one_view_without_keys(&["driver_stats", "weather"], vec![bucket("driver_id", 4)], 1)]
#[case::bucketed_by_no_key(&["city_stats"], vec![bucket("driver_id", 4)], 1)]
#[case::one_bucket(&["driver_stats"], vec![bucket("driver_id", 1)], 1)]
#[case::not_bucketed(&["driver_stats"], vec![], 1)]
#[tokio::test]
async fn the_parts_together_are_the_ordered_answer(
    #[case] views: &[&str],
    #[case] partition_by: Vec<PartitionBy>,
    #[case] expected_parts: usize,
) {
    let fixture = fixture(partition_by).await;
    let ordered = plan(&fixture, &request(views, true, FlightPart::whole()))
        .await
        .unwrap();
    assert!(ordered.ordered() && ordered.parts() == [FlightPart::whole()]);
    let expected = run(&ordered).await.unwrap();

    let whole = plan(&fixture, &request(views, false, FlightPart::whole()))
        .await
        .unwrap();
    assert_eq!(whole.parts().len(), expected_parts);
    assert!(!whole.ordered() && whole.rows() == Some(120));
    assert_eq!(
        (whole.schema(), whole.tables()),
        (ordered.schema(), ordered.tables())
    );
    assert_eq!(run(&whole).await.unwrap(), expected);

    let mut rows = Vec::new();
    for part in whole.parts() {
        let plan = plan(&fixture, &request(views, false, part)).await.unwrap();
        rows.extend(run(&plan).await.unwrap().1);
    }
    rows.sort();
    assert_eq!(rows, expected.1);
}

#[tokio::test]
async fn each_part_reads_its_own_files() {
    let fixture = fixture(vec![bucket("driver_id", 4)]).await;
    let request = request(&["driver_stats"], false, FlightPart::whole());
    let plan = plan(&fixture, &request).await.unwrap();
    run(&plan).await.unwrap();
    let reports = plan.reports();
    let scans: Vec<_> = reports.iter().map(|report| report.scan).collect();
    assert_eq!(scans.len(), 4);
    for scan in scans {
        assert_eq!(
            (scan.files, scan.files_read),
            (8, 2),
            "one file of each commit"
        );
        assert_eq!(scan.files_pruned.by_partition, 6);
    }
}

#[tokio::test]
async fn explain_tells_of_each_part() {
    let fixture = fixture(vec![bucket("driver_id", 2)]).await;
    let request = request(&["driver_stats"], false, FlightPart::whole());
    let text = plan(&fixture, &request)
        .await
        .unwrap()
        .explain()
        .await
        .unwrap();
    for line in [
        "part 1 of 2 by bucket[2] of `driver_id`: ",
        "part 2 of 2 by bucket[2] of `driver_id`: ",
        "files: 4 total, 2 pruned (time 0, partition 2, key 0), 2 read",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[rstest]
#[case(false)]
#[case(true)]
#[tokio::test]
async fn a_part_that_is_none_any_more_is_refused(#[case] ordered: bool) {
    let fixture = fixture(vec![bucket("driver_id", 4)]).await;
    let part = FlightPart {
        number: 0,
        count: 2,
        divided_by: "bucket[2] of `driver_id`".to_owned(),
    };
    let request = request(&["driver_stats"], ordered, part);
    let error = plan(&fixture, &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(
        error.to_string().contains("call GetFlightInfo again"),
        "{error}"
    );
}
