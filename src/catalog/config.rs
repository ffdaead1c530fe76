//! One catalog's settings, and how they are shown without their secrets.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{glue, rest, sql};

/// Back ends that a catalog can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CatalogType {
    /// pyiceberg's SQL catalog, on SQLite or PostgreSQL.
    Sql,
    /// Iceberg's REST protocol.
    Rest,
    /// AWS Glue.
    Glue,
}

/// Beginnings of the names of properties that belong to one part of a catalog.
const PROPERTY_GROUPS: [&str; 12] = [
    "adls.", "auth.", "client.", "gcs.", "glue.", "header.", "http.", "oauth2.", "pool.", "rest.",
    "s3.", "ssl.",
];

/// Other properties. The last few are for pyiceberg alone; a section that was copied from it is as good here.
const PROPERTIES: [&str; 15] = [
    "audience",
    "credential",
    "namespace-separator",
    "oauth2-server-uri",
    "prefix",
    "resource",
    "scope",
    "snapshot-loading-mode",
    "token",
    "echo",
    "init_catalog_tables",
    "io-impl",
    "pool_pre_ping",
    "py-catalog-impl",
    "py-io-impl",
];

/// Whether `key` may be a property of a catalog: of those that pyiceberg knows, or of a group of them.
pub fn is_property(key: &str) -> bool {
    PROPERTIES.contains(&key)
        || PROPERTY_GROUPS
            .iter()
            .any(|group| key.len() > group.len() && key.starts_with(group))
}

/// One `[catalogs.NAME]` section; `NAME` is pyiceberg's catalog name.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogConfig {
    /// Back end.
    #[serde(rename = "type")]
    pub kind: CatalogType,
    /// Where it is, in pyiceberg's form: `sqlite:///relative.db`, `sqlite:////absolute.db`, `postgresql://user@host/database`
    /// (may hold a password), or the address of a REST catalog. Glue's own follows from the region.
    #[serde(default)]
    pub uri: String,
    /// Where new tables go: a path, a `file:///` or an `s3://` location; or what a REST catalog calls its warehouse. Reading
    /// existing tables of a SQL catalog or of Glue needs none.
    #[serde(default)]
    pub warehouse: Option<String>,
    /// Everything else by pyiceberg's names: `token`, `credential`, `header.…`, `s3.…`. May hold keys. In a file, they stand
    /// beside the other keys too.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

impl CatalogConfig {
    /// The web address that requests to this catalog go to: its `uri`, or what stands for it where it has none.
    pub fn address(&self) -> Cow<'_, str> {
        match self.kind {
            CatalogType::Sql | CatalogType::Rest => Cow::Borrowed(&self.uri),
            CatalogType::Glue => Cow::Owned(glue::address(self)),
        }
    }

    /// What is wrong with this section, one line a fault, each starting with the faulty key under `key`.
    pub fn faults(&self, key: &str) -> Vec<String> {
        match self.kind {
            CatalogType::Sql => sql::faults(self),
            CatalogType::Rest => rest::faults(self),
            CatalogType::Glue => glue::faults(self),
        }
        .into_iter()
        .map(|(field, message)| format!("{key}.{field}: {message}"))
        .collect()
    }
}

/// Shows no credentials: the uri without its password and query, properties by key only.
impl fmt::Debug for CatalogConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: BTreeMap<&str, &str> = self
            .properties
            .keys()
            .map(|key| (key.as_str(), REDACTED))
            .collect();
        f.debug_struct("CatalogConfig")
            .field("kind", &self.kind)
            .field("uri", &redacted_uri(&self.uri))
            .field("warehouse", &self.warehouse)
            .field("properties", &properties)
            .finish()
    }
}

/// Stands where a secret was.
pub const REDACTED: &str = "[redacted]";

/// `scheme://user:password@host` without the password; whatever follows `?` may hold one too.
pub fn redacted_uri(uri: &str) -> String {
    let (uri, query) = uri
        .split_once('?')
        .map_or((uri, ""), |(uri, _)| (uri, "?[redacted]"));
    let Some((scheme, rest)) = uri.split_once("://") else {
        return format!("{uri}{query}");
    };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    match authority
        .rsplit_once('@')
        .map(|(user, host)| (user.split(':').next().unwrap_or_default(), host))
    {
        Some((user, host)) => format!("{scheme}://{user}:{REDACTED}@{host}{path}{query}"),
        None => format!("{scheme}://{authority}{path}{query}"),
    }
}
