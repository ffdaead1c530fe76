//! What the server says in its `config` answer, laid under and over our own properties.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::catalog::CatalogConfig;

/// Ways to sign in that this client has not, by the property that asks for them.
const UNSUPPORTED: [(&str, &str); 3] = [
    (
        "rest.sigv4-enabled",
        "requests signed with AWS keys (SigV4)",
    ),
    (
        "auth.type",
        "other authentication than `token` and `credential`",
    ),
    (
        "s3.remote-signing-enabled",
        "signing of S3 requests by the catalog",
    ),
];

/// What was asked for that this client cannot do, as (key, message).
pub(super) fn unsupported(properties: &BTreeMap<String, String>) -> Vec<(&'static str, String)> {
    let asked = UNSUPPORTED.into_iter().filter(|(key, _)| {
        let value = properties.get(*key);
        value.is_some_and(|value| !matches!(value.as_str(), "false" | "noop" | "oauth2"))
    });
    asked
        .map(|(key, what)| (key, format!("{what} is not supported")))
        .collect()
}

/// The server's answer to `GET /v1/config`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ServerConfig {
    #[serde(default)]
    defaults: HashMap<String, String>,
    #[serde(default)]
    overrides: HashMap<String, String>,
    #[serde(default)]
    endpoints: Vec<String>,
}

/// Settings in force for one catalog.
#[derive(Debug)]
pub(super) struct Settings {
    /// The server's address, without a slash at its end.
    pub(super) uri: String,
    /// What stands between `v1` and the rest of each path.
    pub(super) prefix: String,
    /// Between the levels of a namespace in paths.
    pub(super) separator: String,
    /// Whether a table's credentials can be asked for without its metadata.
    pub(super) lends_alone: bool,
    /// All properties.
    pub(super) properties: BTreeMap<String, String>,
}

impl Settings {
    /// The server's defaults, ours over them, the server's overrides over all.
    pub(super) fn new(config: &CatalogConfig, server: ServerConfig) -> Self {
        let mut properties: BTreeMap<String, String> = server.defaults.into_iter().collect();
        properties.extend(config.properties.clone());
        properties.extend(server.overrides);
        let of = |key: &str| properties.get(key).cloned();
        let lends = |endpoint: &String| endpoint.ends_with("/tables/{table}/credentials");
        Self {
            uri: of("uri").map_or_else(|| base(config), |uri| uri.trim_end_matches('/').to_owned()),
            prefix: of("prefix").unwrap_or_default(),
            separator: of("namespace-separator")
                .map_or_else(|| "\u{1f}".to_owned(), |it| decoded(&it)),
            lends_alone: server.endpoints.iter().any(lends),
            properties,
        }
    }
}

/// The configured address.
pub(super) fn base(config: &CatalogConfig) -> String {
    config.uri.trim_end_matches('/').to_owned()
}

/// One character may be written as `%1F`.
fn decoded(separator: &str) -> String {
    let code = separator
        .strip_prefix('%')
        .map(|code| u8::from_str_radix(code, 16));
    match code {
        Some(Ok(byte)) => char::from(byte).to_string(),
        _ => separator.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn overrides_win_and_defaults_give_way() {
        let config = CatalogConfig {
            kind: crate::catalog::CatalogType::Rest,
            uri: "http://host/api/".to_owned(),
            warehouse: None,
            properties: text(&[("a", "ours"), ("b", "ours")]).into_iter().collect(),
        };
        let server = ServerConfig {
            defaults: text(&[("a", "default"), ("c", "default"), ("prefix", "p/q")]),
            overrides: text(&[("b", "override"), ("namespace-separator", "%2E")]),
            endpoints: vec![
                "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}/credentials".to_owned(),
            ],
        };
        let settings = Settings::new(&config, server);
        let of = |key: &str| settings.properties[key].as_str();
        assert_eq!([of("a"), of("b"), of("c")], ["ours", "override", "default"]);
        assert_eq!(
            [&settings.uri, &settings.prefix, &settings.separator],
            ["http://host/api", "p/q", "."]
        );
        assert!(settings.lends_alone);
    }
}
