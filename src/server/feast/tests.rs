//! Commands as the clients of 0.66 and 0.67 write them: both write the same ones.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use rstest::rstest;

use super::command::{
    Described, Destination, Historical, Persist, Pull, Read, Write, WriteBatch, WriteLogs,
};
use super::{Call, Command, request};
use crate::error::{Error, Result};
use crate::model::{
    EntitySource, FeatureSource, FeatureView, SourceLocation, SourceRows, TableName, Ttl,
};
use crate::registry::Registry;

const ID: &str = r#""command_id": "0b8e1c1e-6a8f-4b8e-9d3a-0f5a4c3b2a19""#;
const HISTORICAL: &str = r#""feature_view_names": ["driver_stats", "places"], "feature_refs": ["driver_stats:conv_rate", "origin:t"], "project": "p", "full_feature_names": true, "name_aliases": [null, "origin"]"#;
const PULL: &str = r#""data_source_name": "stats", "join_key_columns": ["driver_id"], "feature_name_columns": ["conv_rate"], "timestamp_field": "event_timestamp", "created_timestamp_column": "created", "start_date": "2024-01-01T00:00:00", "end_date": "2024-02-01T00:00:00.000001+00:00""#;

fn bytes(api: &str, rest: &str) -> bytes::Bytes {
    format!(r#"{{{ID}, "api": "{api}", {rest}}}"#).into()
}

fn decode(api: &str, rest: &str) -> Result<Call> {
    Command::decode(&bytes(api, rest)).map(|command| command.call)
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn historical() -> Historical {
    Historical {
        feature_view_names: owned(&["driver_stats", "places"]),
        name_aliases: vec![None, Some("origin".to_owned())],
        feature_refs: owned(&["driver_stats:conv_rate", "origin:t"]),
        project: "p".to_owned(),
        full_feature_names: true,
        start_date: None,
        end_date: None,
        entity_df_sql: None,
        join_key_maps: None,
    }
}

fn pull() -> Pull {
    Pull {
        data_source_name: "stats".to_owned(),
        join_key_columns: owned(&["driver_id"]),
        feature_name_columns: owned(&["conv_rate"]),
        timestamp_field: "event_timestamp".to_owned(),
        created_timestamp_column: Some("created".to_owned()),
        start_date: Some("2024-01-01T00:00:00".to_owned()),
        end_date: Some("2024-02-01T00:00:00.000001+00:00".to_owned()),
    }
}

#[test]
fn the_reading_commands() {
    let read = |api, rest: &str| match decode(api, rest).unwrap() {
        Call::Read(read) => read,
        Call::Write(write) => panic!("{write:?}"),
    };
    assert_eq!(
        read("get_historical_features", HISTORICAL),
        Read::Historical(historical())
    );
    let dates = r#", "start_date": "2024-01-01T00:00:00", "end_date": null, "entity_df_sql": "SELECT 1", "filter_by_created_timestamp": true"#;
    let expected = Historical {
        start_date: Some("2024-01-01T00:00:00".to_owned()),
        entity_df_sql: Some("SELECT 1".to_owned()),
        ..historical()
    };
    assert_eq!(
        read("get_historical_features", &format!("{HISTORICAL}{dates}")),
        Read::Historical(expected)
    );
    assert_eq!(
        read("pull_latest_from_table_or_query", PULL),
        Read::Pull(SourceRows::Latest, pull())
    );
    assert_eq!(
        read("pull_all_from_table_or_query", PULL),
        Read::Pull(SourceRows::All, pull())
    );
    let described = r#""data_source_proto": "{\n  \"name\": \"s\"\n}""#;
    assert_eq!(
        read(
            "get_table_column_names_and_types_from_data_source",
            described
        ),
        Read::Columns(Described {
            data_source_proto: "{\n  \"name\": \"s\"\n}".to_owned()
        })
    );
}

#[test]
fn the_commands_with_side_effects() {
    let write = |api, rest: &str| match decode(api, rest).unwrap() {
        Call::Write(write) => write,
        Call::Read(read) => panic!("{read:?}"),
    };
    assert_eq!(
        write(
            "offline_write_batch",
            r#""feature_view_names": ["v"], "progress": null, "name_aliases": [null]"#
        ),
        Write::Batch(WriteBatch {
            feature_view_names: owned(&["v"]),
            idempotency_key: None,
        })
    );
    assert_eq!(
        write(
            "write_logged_features",
            r#""feature_service_name": "s", "idempotency_key": "k""#
        ),
        Write::Logs(WriteLogs {
            feature_service_name: "s".to_owned(),
            idempotency_key: Some("k".to_owned()),
        })
    );
    assert_eq!(
        write("validate_data_source", r#""data_source_proto": "{}""#),
        Write::Validate(Described {
            data_source_proto: "{}".to_owned()
        })
    );
    let to = r#""data_source_name": "d", "allow_overwrite": false, "timeout": 30"#;
    let rest = format!(r#"{to}, {HISTORICAL}, "retrieve_func": "get_historical_features""#);
    let expected = Persist {
        read: Read::Historical(historical()),
        to: Destination {
            data_source_name: "d".to_owned(),
            allow_overwrite: false,
            timeout: Some(30.0),
        },
    };
    assert_eq!(write("persist", &rest), Write::Persist(Box::new(expected)));
}

/// The destination's name takes the place of the source's in what the client of either version sends.
#[test]
fn persisting_a_pull_reads_the_source_of_the_same_name() {
    let rest = format!(
        r#""allow_overwrite": true, "timeout": null, {PULL}, "retrieve_func": "pull_all_from_table_or_query""#
    );
    let Call::Write(Write::Persist(persist)) = decode("persist", &rest).unwrap() else {
        panic!("a write")
    };
    assert_eq!(persist.read, Read::Pull(SourceRows::All, pull()));
    assert_eq!(persist.to.data_source_name, "stats");
    assert_eq!(persist.to.timeout, None);
}

#[rstest]
#[case(
    "get_historical_features",
    r#""feature_refs": []"#,
    "get_historical_features: missing field `feature_view_names`"
)]
#[case(
    "get_historical_features",
    r#""feature_view_names": [1]"#,
    "get_historical_features.feature_view_names[0]: invalid type: integer `1`, expected a string"
)]
#[case(
    "pull_all_from_table_or_query",
    r#""data_source_name": "s""#,
    "pull_all_from_table_or_query: missing field `join_key_columns`"
)]
#[case(
    "write_logged_features",
    r#""x": 1"#,
    "write_logged_features: missing field `feature_service_name`"
)]
#[case(
    "persist",
    r#""data_source_name": "s""#,
    "persist: missing field `retrieve_func`"
)]
#[case(
    "persist",
    r#""retrieve_func": "persist""#,
    "command.retrieve_func: `persist` is none of Feast's"
)]
#[case("teardown", r#""x": 1"#, "command.api: `teardown` is none of Feast's")]
fn missing_and_wrong_keys_are_named(#[case] api: &str, #[case] rest: &str, #[case] message: &str) {
    let error = decode(api, rest).unwrap_err().to_string();
    assert!(error.starts_with(message), "{error}");
}

#[test]
fn a_command_id_must_be_hard_to_guess() {
    let command = |id: &str| {
        let rest = r#""api": "validate_data_source", "data_source_proto": """#;
        Command::decode(&format!(r#"{{"command_id": "{id}", {rest}}}"#).into())
    };
    assert!(command("0123456789abcdef").is_ok());
    let error = command("0123456789abcde").unwrap_err().to_string();
    assert!(
        error.starts_with("command.command_id: expected at least 16"),
        "{error}"
    );
    let none = Command::decode(&br#"{"api": "persist"}"#.as_slice().into()).unwrap_err();
    assert_eq!(none.to_string(), "command: missing field `command_id`");
}

fn view(name: &str, ttl_hours: u64, location: SourceLocation) -> FeatureView {
    FeatureView {
        name: name.to_owned(),
        join_keys: Vec::new(),
        source: FeatureSource {
            location,
            timestamp_field: "ts".to_owned(),
            created_timestamp_column: None,
            field_mapping: BTreeMap::new(),
        },
        ttl: Ttl::new(Duration::from_secs(3600 * ttl_hours)),
        features: None,
    }
}

fn source_registry() -> Registry {
    let table = SourceLocation::Iceberg(TableName::parse("c", "n.t").unwrap());
    let kafka = SourceLocation::Unsupported("BigQuerySource".to_owned());
    let view_of = |location| view("v", 0, location).source;
    Registry::new("p", [], [], []).with_data_sources(
        [
            ("stats".to_owned(), view_of(table)),
            ("warehouse".to_owned(), view_of(kafka)),
        ],
        [],
    )
}

#[test]
fn pulls_become_source_requests() {
    let request = request::source(SourceRows::All, &pull(), &source_registry()).unwrap();
    assert_eq!(request.source, "stats");
    assert_eq!(request.created_timestamp_column.as_deref(), Some("created"));
    assert_eq!(
        request.start.unwrap().to_rfc3339(),
        "2024-01-01T00:00:00+00:00"
    );
    assert_eq!(
        request.end.unwrap().to_rfc3339(),
        "2024-02-01T00:00:00.000001+00:00"
    );
    let unbounded = Pull {
        created_timestamp_column: Some(String::new()),
        start_date: None,
        end_date: None,
        ..pull()
    };
    let request = request::source(SourceRows::All, &unbounded, &source_registry()).unwrap();
    assert_eq!(
        (request.start, request.end, request.created_timestamp_column),
        (None, None, None)
    );
}

#[test]
fn sources_that_cannot_be_read_are_named() {
    let of = |name: &str| {
        let command = Pull {
            data_source_name: name.to_owned(),
            ..pull()
        };
        request::source(SourceRows::Latest, &command, &source_registry()).unwrap_err()
    };
    let error = of("warehouse").to_string();
    assert!(
        error.starts_with("data source `warehouse` is a BigQuerySource"),
        "{error}"
    );
    assert!(matches!(of("stat"), Error::DataSourceNotFound { .. }));
}

#[test]
fn another_project_is_not_found() {
    let registry = Registry::new("other", [], [], []);
    let error = request::historical(&historical(), &registry, None, now());
    assert!(
        matches!(error, Err(Error::ProjectNotFound { .. })),
        "{error:?}"
    );
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

proptest! {
    #[test]
    fn arbitrary_json_never_panics(
        api in "get_historical_features|pull_all_from_table_or_query|persist|offline_write_batch|.{0,12}",
        keys in proptest::collection::vec(("[a-z_]{1,24}|feature_refs|name_aliases|timeout|start_date|retrieve_func", json()), 0..8),
    ) {
        let mut command: serde_json::Map<_, _> = keys.into_iter().collect();
        command.insert("api".to_owned(), api.into());
        command.insert("command_id".to_owned(), "0123456789abcdef".into());
        let bytes = bytes::Bytes::from(serde_json::to_vec(&command).unwrap());
        let _ = Command::decode(&bytes);
    }

    #[test]
    fn arbitrary_refs_and_dates_never_panic(
        refs in proptest::collection::vec(".{0,10}[@:]{0,2}v?[0-9]{0,12}:.{0,4}", 0..6),
        date in ".{0,30}|[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.+Z-]{0,20}",
    ) {
        let command = Historical { feature_refs: refs, end_date: Some(date), ..historical() };
        let registry = Registry::new("p", [], [], []);
        let _ = request::historical(&command, &registry, None, now());
        let pull = Pull { start_date: command.end_date, ..pull() };
        let _ = request::source(SourceRows::All, &pull, &source_registry());
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A range needs the views' definitions for its default; see `request::range`.
#[rstest]
#[case(
    None,
    None,
    2,
    "2023-11-12T22:13:20+00:00",
    "2023-11-14T22:13:20+00:00"
)]
#[case(
    None,
    Some("2023-01-31T00:00:00"),
    0,
    "2023-01-01T00:00:00+00:00",
    "2023-01-31T00:00:00+00:00"
)]
#[case(
    Some("2023-01-01"),
    None,
    2,
    "2023-01-01T00:00:00+00:00",
    "2023-11-14T22:13:20+00:00"
)]
fn a_range_has_feasts_defaults(
    #[case] start: Option<&str>,
    #[case] end: Option<&str>,
    #[case] ttl_days: u64,
    #[case] from: &str,
    #[case] to: &str,
) {
    let table = || SourceLocation::Iceberg(TableName::parse("c", "n.t").unwrap());
    let views = [
        view("long", 24 * ttl_days, table()),
        view("short", ttl_days, table()),
    ];
    let registry = Registry::new("p", [], views, []);
    let command = Historical {
        feature_view_names: owned(&["short", "long"]),
        name_aliases: vec![None, None],
        feature_refs: owned(&["short:a", "long:b"]),
        start_date: start.map(str::to_owned),
        end_date: end
            .map(str::to_owned)
            .or_else(|| start.is_none().then(|| "2023-11-14T22:13:20".to_owned())),
        ..historical()
    };
    let request = request::historical(&command, &registry, None, now()).unwrap();
    let EntitySource::Range(range) = request.entity else {
        panic!("{request:?}")
    };
    assert_eq!(
        (range.start.to_rfc3339(), range.end.to_rfc3339()),
        (from.to_owned(), to.to_owned())
    );
}
