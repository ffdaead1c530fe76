//! On-demand feature views and selections by name and alias; the TOML reader's tests cover refs and services.

use arrow::datatypes::{DataType, Field};
use bytes::Bytes;

use super::*;
use crate::error::ErrorKind;
use crate::model::{FeatureService, FeatureSource, ParquetLocation, SourceLocation, Ttl};

fn view(name: &str, features: &[&str]) -> FeatureView {
    FeatureView {
        name: name.to_owned(),
        join_keys: vec!["id".to_owned()],
        source: FeatureSource {
            location: SourceLocation::Parquet(ParquetLocation {
                uri: format!("/{name}"),
                s3_endpoint: None,
            }),
            timestamp_field: "ts".to_owned(),
            created_timestamp_column: None,
            field_mapping: BTreeMap::new(),
        },
        ttl: Ttl::default(),
        features: Some(strings(features)),
    }
}

fn on_demand() -> OnDemandFeatureView {
    let feature = |name: &str| Field::new(name, DataType::Float64, true);
    let input = |text: &str| text.parse().unwrap();
    OnDemandFeatureView {
        name: "sums".to_owned(),
        features: vec![feature("total"), feature("mean")],
        inputs: vec![
            input("trips:fare"),
            input("trips:tip"),
            input("drivers:age"),
        ],
        definition: Bytes::new(),
    }
}

fn projection(view: &str, alias: Option<&str>, features: &[&str], column: &str) -> Projection {
    Projection {
        view: view.to_owned(),
        alias: alias.map(str::to_owned),
        features: (!features.is_empty()).then(|| strings(features)),
        join_key_map: BTreeMap::from([("id".to_owned(), column.to_owned())]),
    }
}

fn registry(services: Vec<Vec<Projection>>) -> Registry {
    let service = |(i, projections): (usize, Vec<Projection>)| FeatureService {
        name: format!("s{i}"),
        projections,
        logging: None,
    };
    let views = [
        view("trips", &["fare", "tip"]),
        view("drivers", &["age", "city"]),
    ];
    let services = services.into_iter().enumerate().map(service);
    Registry::new("p", [], views, services).with_on_demand_views([on_demand()])
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn refs(texts: &[&str]) -> FeatureSelection {
    FeatureSelection::Refs(texts.iter().map(|text| text.parse().unwrap()).collect())
}

fn selection(view: &str, alias: Option<&str>, features: &[&str]) -> ViewSelection {
    ViewSelection {
        view: view.to_owned(),
        alias: alias.map(str::to_owned),
        features: strings(features),
        join_key_map: None,
    }
}

/// Views as `name(feature,...)`.
fn shown(resolved: &Resolved) -> Vec<String> {
    let views = resolved.views.iter().map(|view| {
        let features = view.features.as_ref().map(|f| f.join(","));
        format!("{}({})", view.name, features.unwrap_or_default())
    });
    let on_demand = resolved
        .on_demand
        .iter()
        .map(|view| format!("{}[{}]", view.name, view.features.join(",")));
    views.chain(on_demand).collect()
}

#[test]
fn an_on_demand_view_brings_its_inputs() {
    let resolved = registry(vec![]).resolve(&refs(&["sums:mean"])).unwrap();
    assert_eq!(
        shown(&resolved),
        ["trips(fare,tip)", "drivers(age)", "sums[mean]"]
    );
}

#[test]
fn inputs_that_are_requested_anyway_come_once() {
    let request = refs(&["drivers:city", "sums:total", "trips:tip", "sums:total"]);
    let resolved = registry(vec![]).resolve(&request).unwrap();
    assert_eq!(
        shown(&resolved),
        ["drivers(city,age)", "trips(tip,fare)", "sums[total]"]
    );
}

#[test]
fn an_alias_of_an_input_view_does_not_stand_for_it() {
    let registry = registry(vec![vec![projection(
        "trips",
        Some("back"),
        &[],
        "back_id",
    )]]);
    let resolved = registry
        .resolve(&refs(&["back:fare", "sums:total"]))
        .unwrap();
    assert_eq!(
        shown(&resolved),
        [
            "back(fare)",
            "trips(fare,tip)",
            "drivers(age)",
            "sums[total]"
        ]
    );
}

#[test]
fn a_service_with_an_on_demand_view_resolves_to_both_kinds() {
    let registry = registry(vec![vec![
        projection("trips", None, &[], "id"),
        projection("sums", Some("s"), &[], "id"),
    ]]);
    let request = FeatureSelection::Service("s0".to_owned());
    let resolved = registry.resolve(&request).unwrap();
    assert_eq!(
        shown(&resolved),
        ["trips()", "drivers(age)", "s[total,mean]"]
    );
    let resolved = registry.resolve(&refs(&["s:mean"])).unwrap();
    assert_eq!(resolved.on_demand[0].name, "s");
}

#[test]
fn unknown_outputs_are_refused() {
    let error = registry(vec![])
        .resolve(&refs(&["sums:totals"]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "feature `totals` not found in feature view `sums`; did you mean `total`?"
    );
    let selections = FeatureSelection::Views(vec![selection("trips", None, &["sum"])]);
    let error = registry(vec![]).resolve(&selections).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

fn column(registry: &Registry, selection: ViewSelection) -> Result<String> {
    let resolved = registry.resolve(&FeatureSelection::Views(vec![selection]))?;
    Ok(resolved.views[0].join_keys[0].1.clone())
}

#[test]
fn a_selection_takes_the_map_of_its_view_and_alias() {
    let registry = registry(vec![
        vec![projection("trips", Some("who"), &[], "trip_column")],
        vec![projection("drivers", Some("who"), &[], "driver_column")],
    ]);
    let trips = selection("trips", Some("who"), &["fare"]);
    assert_eq!(column(&registry, trips).unwrap(), "trip_column");
    let drivers = selection("drivers", Some("who"), &["age"]);
    assert_eq!(column(&registry, drivers).unwrap(), "driver_column");
}

#[test]
fn projections_with_all_requested_features_are_preferred() {
    let registry = registry(vec![
        vec![projection("trips", Some("who"), &["fare"], "a")],
        vec![projection("trips", Some("who"), &["tip"], "b")],
    ]);
    let who = |features: &[&str]| column(&registry, selection("trips", Some("who"), features));
    assert_eq!(who(&["fare"]).unwrap(), "a");
    assert_eq!(who(&["tip"]).unwrap(), "b");
    let error = who(&["tip", "fare"]).unwrap_err().to_string();
    assert!(error.contains("alias `who` is ambiguous"), "{error}");
}

#[test]
fn a_map_in_the_selection_needs_no_service() {
    let registry = registry(vec![vec![projection("trips", Some("who"), &[], "a")]]);
    let map = BTreeMap::from([("id".to_owned(), "own".to_owned())]);
    let own = ViewSelection {
        join_key_map: Some(map),
        ..selection("trips", Some("who"), &["fare"])
    };
    assert_eq!(column(&registry, own).unwrap(), "own");
    let none = ViewSelection {
        join_key_map: Some(BTreeMap::new()),
        ..selection("trips", Some("who"), &["fare"])
    };
    assert_eq!(column(&registry, none).unwrap(), "id");
}

#[test]
fn an_alias_that_no_service_knows_is_only_a_name() {
    let request = FeatureSelection::Views(vec![selection("trips", Some("mine"), &["fare"])]);
    let resolved = registry(vec![]).resolve(&request).unwrap();
    assert_eq!(resolved.views[0].name, "mine");
    assert_eq!(resolved.views[0].join_keys[0].1, "id");
}

#[test]
fn selections_name_on_demand_views_by_name_or_alias() {
    let registry = registry(vec![vec![projection("sums", Some("s"), &[], "id")]]);
    for (view, name) in [("sums", "sums"), ("s", "s")] {
        let request = FeatureSelection::Views(vec![selection(view, None, &["total"])]);
        let resolved = registry.resolve(&request).unwrap();
        assert_eq!(resolved.on_demand[0].name, name);
        assert_eq!(resolved.views.len(), 2);
    }
}

#[test]
fn selections_of_nothing_and_of_the_unknown_are_refused() {
    let empty = registry(vec![]).resolve(&FeatureSelection::Views(vec![]));
    assert_eq!(empty.unwrap_err().kind(), ErrorKind::InvalidRequest);
    let unknown = FeatureSelection::Views(vec![selection("trip", None, &["fare"])]);
    let error = registry(vec![]).resolve(&unknown).unwrap_err().to_string();
    assert_eq!(
        error,
        "feature view `trip` not found; did you mean `trips`?"
    );
}
