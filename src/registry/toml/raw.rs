//! The definitions file as written.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::model::Ttl;

#[derive(Debug, Deserialize)]
pub(super) struct Definitions {
    pub(super) project: String,
    #[serde(default)]
    pub(super) entity: Vec<RawEntity>,
    #[serde(default)]
    pub(super) feature_view: Vec<RawView>,
    #[serde(default)]
    pub(super) feature_service: Vec<RawService>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawEntity {
    pub(super) name: String,
    pub(super) join_keys: Vec<RawJoinKey>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawJoinKey {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) type_name: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawView {
    pub(super) name: String,
    pub(super) entities: Vec<String>,
    pub(super) table: String,
    pub(super) catalog: Option<String>,
    pub(super) timestamp_field: String,
    pub(super) created_timestamp_column: Option<String>,
    #[serde(default, deserialize_with = "ttl")]
    pub(super) ttl: Ttl,
    pub(super) features: Option<Vec<String>>,
    #[serde(default)]
    pub(super) field_mapping: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawService {
    pub(super) name: String,
    pub(super) features: Vec<RawProjection>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawProjection {
    pub(super) view: String,
    pub(super) alias: Option<String>,
    pub(super) features: Option<Vec<String>>,
    #[serde(default)]
    pub(super) join_key_map: BTreeMap<String, String>,
}

/// Text such as `7d`; `0` in any form is unbounded.
fn ttl<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ttl, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(i64),
        Text(String),
    }
    let expected = |found: &str| {
        D::Error::custom(format!(
            "expected a duration such as \"7d\", or 0, found {found}"
        ))
    };
    let duration =
        match Written::deserialize(deserializer).map_err(|_| expected("something else"))? {
            Written::Number(0) => Duration::ZERO,
            Written::Number(number) => return Err(expected(&format!("{number} without a unit"))),
            Written::Text(text) if text == "0" => Duration::ZERO,
            Written::Text(text) => humantime::parse_duration(&text)
                .map_err(|error| expected(&format!("\"{text}\": {error}")))?,
        };
    match i64::try_from(duration.as_micros()) {
        Ok(_) => Ok(Ttl::new(duration)),
        Err(_) => Err(expected("one of more than 290 thousand years")),
    }
}
