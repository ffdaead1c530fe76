//! Tables of definitions and tables that are named; `compact` tests the choice of online tables.

use std::collections::BTreeMap;

use super::*;
use crate::config::OnlineConfig;
use crate::maintenance::lab::Lab;
use crate::model::{FeatureSource, FeatureView, ParquetLocation, Ttl};

fn view(name: &str, location: SourceLocation) -> FeatureView {
    FeatureView {
        name: name.to_owned(),
        join_keys: Vec::new(),
        source: FeatureSource {
            location,
            timestamp_field: "event_timestamp".to_owned(),
            created_timestamp_column: None,
            field_mapping: BTreeMap::new(),
        },
        ttl: Ttl::default(),
        features: None,
    }
}

fn iceberg(table: &str) -> SourceLocation {
    SourceLocation::Iceberg(named(table))
}

fn named(table: &str) -> TableName {
    TableName::parse("default", table).unwrap()
}

fn definitions() -> Registry {
    let files = ParquetLocation {
        uri: "/lake".to_owned(),
        s3_endpoint: None,
    };
    let views = [
        view("history", iceberg("t.history")),
        view("same", iceberg("t.history")),
        view("empty", iceberg("t.empty")),
        view("files", SourceLocation::Parquet(files)),
    ];
    Registry::new("shop", [], views, [])
}

async fn chosen(lab: &Lab, meant: Selection) -> Result<Vec<String>> {
    let layout = OnlineLayout::new(&OnlineConfig::default());
    let definitions = definitions();
    let chosen = lab.maintenance.select(&layout, Some(&definitions), &meant);
    let chosen = chosen.await?;
    Ok(chosen.iter().map(ToString::to_string).collect())
}

fn of_views(views: &[&str]) -> Selection {
    Selection {
        feature_views: views.iter().map(ToString::to_string).collect(),
        ..Selection::default()
    }
}

#[tokio::test]
async fn batch_sources_are_chosen_once_if_they_exist() {
    let lab = Lab::new(Vec::new(), &[]).await;
    let found = async |meant| chosen(&lab, meant).await.unwrap();
    assert_eq!(found(Selection::default()).await, ["t.history"]);
    assert_eq!(found(of_views(&["history", "same"])).await, ["t.history"]);
    assert_eq!(found(of_views(&["empty"])).await, [""; 0]);
    let of_project = |project: &str| Selection {
        project: Some(project.to_owned()),
        ..Selection::default()
    };
    assert_eq!(found(of_project("shop")).await, ["t.history"]);
    assert_eq!(found(of_project("other")).await, [""; 0]);
}

#[tokio::test]
async fn named_tables_are_chosen_whatever_they_are() {
    let lab = Lab::new(Vec::new(), &[]).await;
    let mut meant = Selection {
        tables: vec![named("x.y")],
        ..Selection::default()
    };
    assert_eq!(chosen(&lab, meant.clone()).await.unwrap(), ["x.y"]);
    meant.feature_views.push("same".to_owned());
    assert_eq!(chosen(&lab, meant).await.unwrap(), ["t.history", "x.y"]);
}

#[tokio::test]
async fn views_without_a_table_are_refused() {
    let lab = Lab::new(Vec::new(), &[]).await;
    let refused = async |view| {
        chosen(&lab, of_views(&[view]))
            .await
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused("histori").await,
        "feature view `histori` not found; did you mean `history`?"
    );
    assert_eq!(
        refused("files").await,
        "maintenance of feature view `files`, which has no online table and no Iceberg table as batch source, is not \
         supported"
    );
    let version = refused("history@v2").await;
    assert!(
        version.starts_with("feature view `history@v2` not found"),
        "{version}"
    );
}
