//! Views over one table that differ in their features only: one join, and the answer that each gives alone.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};

use super::fixture::{Fixture, Row, run};
use crate::historical::{EntityFrame, HistoricalPlan};
use crate::model::{EntitySource, FeatureRef, FeatureSelection, HistoricalRequest, Principal};

async fn fixture() -> Fixture {
    let row = |number: i64| -> Row {
        let city = format!("city {}", number % 3);
        (
            Some(number % 5),
            Some(city),
            Some(number),
            None,
            Some(100 + number),
        )
    };
    Fixture::new(&[(0..20).map(row).collect()], Vec::new()).await
}

fn frame() -> EntityFrame {
    let drivers = Int64Array::from_iter_values((0..12).map(|row| row % 6));
    let cities = StringArray::from_iter_values((0..12).map(|row| format!("city {}", row % 4)));
    let times = TimestampMicrosecondArray::from_iter_values((0..12).map(|row| row * 3));
    let columns: [(&str, ArrayRef); 3] = [
        ("driver_id", Arc::new(drivers)),
        ("city", Arc::new(cities)),
        ("event_timestamp", Arc::new(times.with_timezone("UTC"))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    EntityFrame::new(batch.schema(), vec![batch])
}

async fn plan(fixture: &Fixture, views: &[&str]) -> HistoricalPlan {
    let feature = |view: &&str| FeatureRef {
        view: (*view).to_owned(),
        feature: "value".to_owned(),
    };
    let request = HistoricalRequest {
        project: None,
        features: FeatureSelection::Refs(views.iter().map(feature).collect()),
        full_feature_names: true,
        entity: EntitySource::Attached,
        ordered: true,
        pins: None,
    };
    let historical = fixture.historical();
    let principal = Principal::anonymous();
    let plan = historical.plan(&principal, &request, Some(frame())).await;
    plan.unwrap()
}

/// Rows as keys and time, and then the features of `views`, each asked for alone.
async fn one_by_one(fixture: &Fixture, views: &[&str]) -> Vec<Vec<Option<String>>> {
    let mut rows: Vec<Vec<Option<String>>> = Vec::new();
    for view in views {
        let (_, alone) = run(&plan(fixture, &[view]).await).await.unwrap();
        match rows.is_empty() {
            true => rows = alone,
            false => rows
                .iter_mut()
                .zip(alone)
                .for_each(|(row, more)| row.extend(more.into_iter().skip(3))),
        }
    }
    rows
}

#[tokio::test]
async fn views_that_find_the_same_rows_are_joined_once() {
    let fixture = fixture().await;
    let views = ["driver_stats", "city_stats", "stats", "driver_recent"];
    let together = plan(&fixture, &views).await;
    let (names, rows) = run(&together).await.unwrap();
    let features: Vec<&str> = names.iter().skip(3).map(String::as_str).collect();
    assert_eq!(
        features,
        [
            "driver_stats__value",
            "city_stats__value",
            "stats__value",
            "driver_recent__value"
        ]
    );
    assert_eq!(rows, one_by_one(&fixture, &views).await);

    let reports = together.reports();
    let reported: Vec<&str> = reports.iter().map(|report| report.view.as_str()).collect();
    assert_eq!(reported, views);
    assert_eq!(reports[0].rows_matched, reports[2].rows_matched);
    assert_eq!(reports[0].scan.rows_scanned, 20, "one scan for two views");
    let text = together.explain().await.unwrap();
    assert!(
        text.contains("FeatureScanExec: driver_stats+stats,"),
        "{text}"
    );
    assert_eq!(text.matches("FeatureScanExec").count(), 3, "{text}");
}
