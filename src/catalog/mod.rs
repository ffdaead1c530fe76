//! Catalogs by name.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One configured catalog.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct CatalogConfig {
    /// What kind of catalog it is.
    #[serde(rename = "type")]
    pub kind: CatalogType,
    /// Where it is, in pyiceberg's form.
    pub uri: String,
    /// Where new tables go.
    #[serde(default)]
    pub warehouse: Option<String>,
    /// Storage options, by pyiceberg's names; may hold secrets.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

impl CatalogConfig {
    /// What is wrong with this section, one line a fault, each starting with the faulty key under `key`.
    pub fn faults(&self, key: &str) -> Vec<String> {
        let wrong = !self.uri.starts_with("sqlite:///");
        wrong
            .then(|| format!("{key}.uri: expected `sqlite:///path`"))
            .into_iter()
            .collect()
    }
}

/// Kinds of catalogs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CatalogType {
    /// Tables in an SQL database.
    Sql,
}

impl fmt::Debug for CatalogConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogConfig")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
