//! The definitions file: what it says, what is refused, and how changes arrive.

use std::fs;

use insta::assert_snapshot;
use tempfile::TempDir;

use super::*;
use crate::error::ErrorKind;
use crate::model::{FeatureRef, FeatureSelection, SourceLocation, TableName};
use crate::registry::ResolvedView;

/// The example of the documentation.
const EXAMPLE: &str = r#"
project = "demo"
[[entity]]
name = "driver"
join_keys = [{ name = "driver_id", type = "int64" }]
[[feature_view]]
name = "driver_stats"
entities = ["driver"]
table = "demo.driver_stats"
catalog = "default"
timestamp_field = "event_timestamp"
created_timestamp_column = "created"
ttl = "7d"
features = ["conv_rate", "acc_rate"]
field_mapping = { id = "driver_id" }
[[feature_view]]
name = "weather"
entities = []
table = "a.b.weather"
timestamp_field = "ts"
[[feature_service]]
name = "drivers_v1"
features = [
    { view = "driver_stats", alias = "origin", features = ["conv_rate"], join_key_map = { driver_id = "origin_id" } },
    { view = "weather" },
]
"#;

fn parsed(text: &str) -> Result<Registry, String> {
    parse(
        text,
        Path::new("dir/features.toml"),
        &["default".to_owned()],
    )
}

fn refs(refs: &[&str]) -> FeatureSelection {
    FeatureSelection::Refs(
        refs.iter()
            .map(|text| text.parse::<FeatureRef>().unwrap())
            .collect(),
    )
}

fn pairs(view: &ResolvedView) -> Vec<(&str, &str)> {
    view.join_keys
        .iter()
        .map(|(key, column)| (key.as_str(), column.as_str()))
        .collect()
}

#[test]
fn the_example_is_understood() {
    let registry = parsed(EXAMPLE).unwrap();
    assert_eq!(registry.project(), "demo");
    let view = registry.feature_view("driver_stats").unwrap();
    let table = TableName {
        catalog: "default".to_owned(),
        namespace: vec!["demo".to_owned()],
        name: "driver_stats".to_owned(),
    };
    assert_eq!(view.source.location, SourceLocation::Iceberg(table));
    assert_eq!(view.join_keys, ["driver_id"]);
    assert_eq!(
        view.ttl.limit(),
        Some(std::time::Duration::from_secs(7 * 86_400))
    );
    assert_eq!(view.source.mapped_name("id"), "driver_id");
    assert_eq!(
        view.source.created_timestamp_column.as_deref(),
        Some("created")
    );
    let weather = registry.feature_view("weather").unwrap();
    assert_eq!(weather.join_keys, [""; 0]);
    assert_eq!(weather.ttl.limit(), None);
    assert_eq!(weather.features, None);
    assert_eq!(registry.feature_services().count(), 1);
    assert_eq!(
        registry.entities().next().unwrap().join_keys[0].data_type,
        Some(arrow::datatypes::DataType::Int64)
    );
}

#[test]
fn refs_resolve_once_in_order_of_first_appearance() {
    let registry = parsed(EXAMPLE).unwrap();
    let views = registry
        .resolve(&refs(&[
            "weather:rain",
            "driver_stats:acc_rate",
            "weather:sun",
            "weather:rain",
            "driver_stats:conv_rate",
        ]))
        .unwrap()
        .views;
    let shown: Vec<_> = views
        .iter()
        .map(|view| (view.name.as_str(), view.features.clone().unwrap()))
        .collect();
    assert_eq!(
        shown[0],
        ("weather", vec!["rain".to_owned(), "sun".to_owned()])
    );
    assert_eq!(
        shown[1],
        (
            "driver_stats",
            vec!["acc_rate".to_owned(), "conv_rate".to_owned()]
        )
    );
    assert_eq!(pairs(&views[1]), [("driver_id", "driver_id")]);
}

#[test]
fn an_alias_brings_its_join_key_map_and_is_a_view_of_its_own() {
    let registry = parsed(EXAMPLE).unwrap();
    let views = registry
        .resolve(&refs(&["origin:conv_rate", "driver_stats:conv_rate"]))
        .unwrap()
        .views;
    assert_eq!(
        (views[0].name.as_str(), pairs(&views[0])),
        ("origin", vec![("driver_id", "origin_id")])
    );
    assert_eq!(
        (views[1].name.as_str(), pairs(&views[1])),
        ("driver_stats", vec![("driver_id", "driver_id")])
    );
    assert!(Arc::ptr_eq(&views[0].view, &views[1].view));
}

#[test]
fn a_service_resolves_to_its_projections() {
    let views = parsed(EXAMPLE)
        .unwrap()
        .resolve(&FeatureSelection::Service("drivers_v1".to_owned()))
        .unwrap()
        .views;
    assert_eq!(views[0].name, "origin");
    assert_eq!(views[0].features, Some(vec!["conv_rate".to_owned()]));
    assert_eq!(pairs(&views[0]), [("driver_id", "origin_id")]);
    assert_eq!(
        (views[1].name.as_str(), views[1].features.as_ref()),
        ("weather", None)
    );
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    let registry = parsed(EXAMPLE).unwrap();
    let refused = |selection| {
        let error = registry.resolve(&selection).unwrap_err();
        (error.kind(), error.to_string())
    };
    let not_found = |text: &str| (ErrorKind::NotFound, text.to_owned());
    assert_eq!(
        refused(refs(&["driver_stat:x"])),
        not_found("feature view `driver_stat` not found; did you mean `driver_stats`?")
    );
    assert_eq!(
        refused(refs(&["origins:x"])),
        not_found("feature view `origins` not found; did you mean `origin`?")
    );
    assert_eq!(
        refused(refs(&["origin:conv"])),
        not_found(
            "feature `conv` not found in feature view `driver_stats`; did you mean `conv_rate`?"
        )
    );
    assert_eq!(
        refused(FeatureSelection::Service("drivers".to_owned())),
        not_found("feature service `drivers` not found; did you mean `drivers_v1`?")
    );
    assert_eq!(
        refused(FeatureSelection::Refs(Vec::new())).0,
        ErrorKind::InvalidRequest
    );
}

/// Two services call `driver_stats` by the alias `who`, with these features and maps.
fn with_two_services(first: &str, second: &str) -> Registry {
    let service = |name: &str, rest: &str| {
        format!(
            "[[feature_service]]\nname = \"{name}\"\nfeatures = [{{ view = \"driver_stats\", alias = \"who\", {rest} }}]\n"
        )
    };
    parsed(&format!(
        "{EXAMPLE}{}{}",
        service("s1", first),
        service("s2", second)
    ))
    .unwrap()
}

#[test]
fn services_that_agree_on_an_alias_are_no_ambiguity() {
    let map = "join_key_map = { driver_id = 'a' }";
    let registry = with_two_services(&format!("features = ['conv_rate'], {map}"), map);
    let views = registry
        .resolve(&refs(&["who:conv_rate", "who:acc_rate"]))
        .unwrap()
        .views;
    assert_eq!(pairs(&views[0]), [("driver_id", "a")]);
}

#[test]
fn a_service_that_has_all_features_is_preferred() {
    let registry = with_two_services(
        "features = ['conv_rate'], join_key_map = { driver_id = 'a' }",
        "features = ['acc_rate'], join_key_map = { driver_id = 'b' }",
    );
    let column = |selection| {
        registry
            .resolve(&refs(selection))
            .map(|resolved| resolved.views[0].join_keys[0].1.clone())
    };
    assert_eq!(column(&["who:conv_rate"]).unwrap(), "a");
    assert_eq!(column(&["who:acc_rate"]).unwrap(), "b");
    assert_snapshot!(column(&["who:acc_rate", "who:conv_rate"]).unwrap_err(), @r"features: alias `who` is ambiguous: feature services define it as `driver_stats` joined on {driver_id = a} in `s1` and as `driver_stats` joined on {driver_id = b} in `s2`; request a feature service, or rename one alias");
}

#[test]
fn ttl_zero_in_any_form_is_unbounded() {
    for ttl in ["0", "\"0\"", "\"0s\"", "\"0d\""] {
        let registry = parsed(&EXAMPLE.replace("\"7d\"", ttl)).unwrap();
        assert_eq!(
            registry.feature_view("driver_stats").unwrap().ttl.limit(),
            None,
            "{ttl}"
        );
    }
}

#[test]
fn every_fault_is_named_with_its_line() {
    let text = r#"project = ""
[[entity]]
name = "driver"
join_keys = [{ name = "driver_id", type = "int65" }, { name = "driver_id" }]
[[entity]]
name = "driver"
join_keys = []
[[entity]]
name = "courier"
join_keys = [{ name = "driver_id" }]
[[feature_view]]
name = "stats"
entities = ["driver", "drivr", "courier"]
table = "stats"
catalog = "defualt"
timestamp_field = ""
features = ["driver_id", "rate", "rate"]
field_mapping = { a = "rate", b = "rate" }
color = "blue"
[[feature_view]]
name = "stats"
entities = []
table = "a..b"
timestamp_field = "ts"
features = []
[[feature_view]]
name = "a:b"
entities = []
table = "a.b"
timestamp_field = "ts"
[[feature_service]]
name = "s"
features = [
    { view = "stat" },
    { view = "stats", features = ["rat"], alias = "stats" },
    { view = "stats", features = [], join_key_map = { driver = "x", driver_id = "" } },
]
[[feature_service]]
name = "t"
features = []
"#;
    assert_snapshot!(parsed(text).unwrap_err(), @r"
    27 faults:
      project: must not be empty (features.toml:1)
      entity[0].join_keys[0].type: unknown type `int65`; did you mean `int64`, `int`, `int16`? (features.toml:4)
      entity[0].join_keys[1]: `driver_id` is listed more than once (features.toml:4)
      entity[1].name: `driver` is defined more than once (features.toml:6)
      entity[1].join_keys: must name at least one column; a view without keys has no entity (features.toml:7)
      feature_view[0].entities[0]: join key `driver_id` is another entity's too (features.toml:13)
      feature_view[0].entities[1]: unknown entity `drivr`; did you mean `driver`? (features.toml:13)
      feature_view[0].entities[2]: join key `driver_id` is another entity's too (features.toml:13)
      feature_view[0].table: expected `namespace.table`, found `stats` (features.toml:14)
      feature_view[0].catalog: unknown catalog `defualt`; did you mean `default`? (features.toml:15)
      feature_view[0].timestamp_field: must not be empty (features.toml:16)
      feature_view[0].features[0]: `driver_id` is a join key (features.toml:17)
      feature_view[0].features[2]: `rate` is listed more than once (features.toml:17)
      feature_view[0].field_mapping.b: columns `a` and `b` would both be named `rate` (features.toml:18)
      feature_view[0].color: unknown key (features.toml:19)
      feature_view[1].name: `stats` is defined more than once (features.toml:21)
      feature_view[1].table: expected `namespace.table`, found `a..b` (features.toml:23)
      feature_view[1].features: must not be empty; without it every other column is a feature (features.toml:25)
      feature_view[2].name: `a:b` must not contain a colon (features.toml:27)
      feature_service[0].features[0].view: unknown feature view `stat`; did you mean `stats`? (features.toml:34)
      feature_service[0].features[1].alias: `stats` is the name of a feature view (features.toml:35)
      feature_service[0].features[1].features[0]: unknown feature of `stats`: `rat`; did you mean `rate`? (features.toml:35)
      feature_service[0].features[2]: `stats` appears more than once in this feature service; give one an alias (features.toml:36)
      feature_service[0].features[2].features: must not be empty; without it all features are meant (features.toml:36)
      feature_service[0].features[2].join_key_map.driver: unknown join key of `stats`: `driver`; did you mean `driver_id`? (features.toml:36)
      feature_service[0].features[2].join_key_map.driver_id: must not be empty (features.toml:36)
      feature_service[1].features: must name at least one feature view (features.toml:40)
    ");
}

#[test]
fn faults_of_form_are_all_named_too() {
    let text = r#"
[[entity]]
name = 1
[[feature_view]]
name = "v"
table = "a.b"
timestamp_field = "ts"
ttl = "a week"
[[feature_view]]
name = "w"
entities = "driver"
table = "a.b"
timestamp_field = "ts"
ttl = 7
"#;
    assert_snapshot!(parsed(text).unwrap_err(), @r#"
    6 faults:
      `project` is missing (features.toml:1)
      entity[0].name: expected a string, found an integer (features.toml:3)
      feature_view[0]: `entities` is missing (features.toml:4)
      feature_view[0].ttl: expected a duration such as "7d", or 0, found "a week": expected number at 0 (features.toml:8)
      feature_view[1].entities: expected a list, found a string (features.toml:11)
      feature_view[1].ttl: expected a duration such as "7d", or 0, found 7 without a unit (features.toml:14)
    "#);
    assert_snapshot!(parsed("project = 'p'\nfeature_view = [\n").unwrap_err(), @r"unclosed array, expected `]` (features.toml:2)");
}

#[test]
fn the_catalog_must_be_named_where_there_are_several() {
    let text = EXAMPLE.replace("catalog = \"default\"", "");
    let catalogs = ["lake".to_owned(), "attic".to_owned()];
    assert_snapshot!(parse(&text, Path::new("f.toml"), &catalogs).unwrap_err(), @r"
    2 faults:
      feature_view[0]: `catalog` is missing: several are configured (`lake`, `attic`) (f.toml:6)
      feature_view[1]: `catalog` is missing: several are configured (`lake`, `attic`) (f.toml:16)
    ");
    let only = parse(&text, Path::new("f.toml"), &catalogs[..1]).unwrap();
    let location = &only.feature_view("driver_stats").unwrap().source.location;
    assert_eq!(location.table_name().catalog, "lake");
}

fn file(text: &str) -> (TempDir, TomlRegistry) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("features.toml");
    fs::write(&path, text).unwrap();
    let registry = TomlRegistry::new(path, ["default".to_owned()]);
    (dir, registry)
}

#[tokio::test]
async fn a_change_is_seen_at_the_next_request_and_nothing_is_parsed_without_one() {
    let (_dir, registry) = file(EXAMPLE);
    let first = registry.current().await.unwrap();
    assert!(Arc::ptr_eq(&first, &registry.current().await.unwrap()));
    fs::write(&registry.path, EXAMPLE.replace("\"demo\"", "\"omed\"")).unwrap();
    assert_eq!(registry.current().await.unwrap().project(), "omed");
}

#[tokio::test]
async fn a_broken_or_absent_file_keeps_the_last_good_definitions() {
    let (_dir, registry) = file(EXAMPLE);
    let good = registry.current().await.unwrap();
    fs::write(&registry.path, "project = ").unwrap();
    assert!(Arc::ptr_eq(&good, &registry.current().await.unwrap()));
    assert!(
        registry
            .check()
            .await
            .unwrap_err()
            .to_string()
            .contains("(features.toml:1)")
    );
    fs::remove_file(&registry.path).unwrap();
    assert!(Arc::ptr_eq(&good, &registry.current().await.unwrap()));
    fs::write(&registry.path, EXAMPLE.replace("\"demo\"", "\"mended\"")).unwrap();
    assert_eq!(registry.check().await.unwrap().project(), "mended");
}

#[tokio::test]
async fn without_any_good_definitions_requests_fail_until_there_are() {
    let (_dir, registry) = file(EXAMPLE);
    fs::remove_file(&registry.path).unwrap();
    let error = registry.current().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(
        text.contains(&registry.path.display().to_string()) && text.contains("No such file"),
        "{text}"
    );
    fs::write(&registry.path, EXAMPLE).unwrap();
    assert_eq!(registry.current().await.unwrap().project(), "demo");
}
