//! Requests without an entity dataframe.

use super::fixture::{Fixture, at_us, row, run};
use crate::model::{
    EntitySource, FeatureRef, FeatureSelection, HistoricalRequest, Principal, TimeRange,
};

fn request(views: &[&str], range: TimeRange) -> HistoricalRequest {
    let feature = |view: &&str| FeatureRef {
        view: (*view).to_owned(),
        feature: "value".to_owned(),
    };
    HistoricalRequest {
        project: None,
        features: FeatureSelection::Refs(views.iter().map(feature).collect()),
        full_feature_names: true,
        entity: EntitySource::Range(range),
        ordered: true,
        pins: None,
    }
}

async fn texts(fixture: &Fixture, views: &[&str], start: i64, end: i64) -> Vec<String> {
    let range = TimeRange {
        start: at_us(start),
        end: at_us(end),
    };
    let historical = fixture.historical();
    let request = request(views, range);
    let plan = historical
        .plan(&Principal::anonymous(), &request, None)
        .await;
    let (columns, rows) = run(&plan.unwrap()).await.unwrap();
    let line = |row: &Vec<Option<String>>| {
        let cells = row.iter().map(|cell| cell.as_deref().unwrap_or("-"));
        cells.collect::<Vec<_>>().join(" ")
    };
    let rows = rows.iter().map(line);
    [columns.join(" ")].into_iter().chain(rows).collect()
}

#[tokio::test]
async fn views_of_one_key_and_views_of_none_share_the_moments_of_the_range() {
    let keyless = (None, None, Some(24), None, Some(9));
    let commits = [
        vec![row(1, 10, 1), row(1, 20, 2), row(2, 20, 3), keyless],
        vec![row(1, 20, 2), row(1, 30, 4), row(2, 31, 5)],
    ];
    let fixture = Fixture::new(&commits, Vec::new()).await;
    let views = ["driver_stats", "driver_recent", "weather"];
    assert_eq!(
        texts(&fixture, &views, 20, 30).await,
        [
            "driver_id event_timestamp driver_stats__value driver_recent__value weather__value",
            "1 20 2 2 3",
            "1 30 4 4 4",
            "2 20 3 3 3",
        ],
        "both ends count, repeated moments once, rows without a key make none"
    );
}

#[tokio::test]
async fn views_without_keys_alone_answer_their_own_moments() {
    let commits = [vec![row(1, 10, 1), row(2, 20, 3), row(3, 40, 4)]];
    let fixture = Fixture::new(&commits, Vec::new()).await;
    assert_eq!(
        texts(&fixture, &["weather"], 0, 30).await,
        ["event_timestamp weather__value", "10 1", "20 3"]
    );
}

#[tokio::test]
async fn views_of_different_keys_each_give_the_moments_of_their_own() {
    let cityless = (Some(3), None, Some(25), None, Some(7));
    let commits = [vec![row(1, 10, 1), row(2, 20, 3), cityless]];
    let fixture = Fixture::new(&commits, Vec::new()).await;
    assert_eq!(
        texts(&fixture, &["driver_stats", "city_stats"], 15, 30).await,
        [
            "driver_id city event_timestamp driver_stats__value city_stats__value",
            "- here 20 - 3",
            "2 - 20 3 -",
            "3 - 25 7 -",
        ]
    );
}
