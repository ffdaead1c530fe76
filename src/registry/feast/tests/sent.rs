//! Data sources as clients send them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rstest::rstest;

use super::super::sent_source;
use super::{RELEASES, catalogs, fixture};
use crate::config::SourcesConfig;
use crate::error::Error;
use crate::model::{ParquetLocation, SourceLocation};
use crate::source_rules::SourceRules;

fn rules() -> SourceRules {
    SourceRules::new(SourcesConfig::default(), true, Some(PathBuf::from("/repo")))
}

fn sent(release: &str, name: &str) -> super::super::SentSource {
    let text = std::fs::read_to_string(fixture(&format!("sent-{release}.json"))).unwrap();
    let all: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    sent_source(&all[name], &rules(), &catalogs()).unwrap()
}

#[test]
fn a_file_source_has_its_place_and_columns() {
    for release in RELEASES {
        let found = sent(release, "stats_source");
        assert_eq!(found.name, "stats_source");
        let expected = SourceLocation::Parquet(ParquetLocation {
            uri: "/repo/data/stats.parquet".to_owned(),
            s3_endpoint: None,
        });
        assert_eq!(found.source.location, expected);
        assert_eq!(
            found.source.created_timestamp_column.as_deref(),
            Some("created")
        );
        assert_eq!(found.source.mapped_name("trips"), "daily_trips");
        assert_eq!(sent(release, "push_source").source, found.source);
    }
}

#[rstest]
#[case("bigquery_source", "BigQuerySource")]
#[case("delta_source", "FileSource in Delta format")]
fn a_source_of_another_kind_is_said_in_its_words(#[case] name: &str, #[case] words: &str) {
    for release in RELEASES {
        let expected = SourceLocation::Unsupported(words.to_owned());
        assert_eq!(sent(release, name).source.location, expected);
    }
}

#[rstest]
#[case("{")]
#[case(r#"{"name": 5}"#)]
#[case(r#"{"customOptions": {"configuration": "%"}}"#)]
fn what_is_no_data_source_is_malformed(#[case] json: &str) {
    let error = sent_source(json, &rules(), &catalogs()).unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

#[test]
fn keys_and_kinds_of_newer_releases_are_harmless() {
    let json = r#"{"name": "n", "type": "BATCH_MOON", "moonOptions": {"crater": 1}}"#;
    let found = sent_source(json, &rules(), &catalogs()).unwrap();
    assert!(matches!(
        found.source.location,
        SourceLocation::Unsupported(_)
    ));
}
