//! Feast's definitions: a feature repository's `feature_store.yaml` says where its registry is, and the registry's
//! messages become a [`Registry`](super::Registry).

use std::path::Path;
use std::sync::Arc;

use super::RegistryReader;
use crate::catalog::{CatalogHandle, Catalogs};
use crate::error::{Error, Result};
use crate::model::FeatureSource;
use crate::source_rules::SourceRules;

/// The registry of the feature repository in `repo`.
///
/// # Errors
/// [`Error::InvalidConfig`] if `feature_store.yaml` is missing or wrong.
pub fn open(repo: &Path, _catalogs: &Catalogs) -> Result<Arc<dyn RegistryReader>> {
    Err(Error::Unsupported {
        what: format!("feature repository {}", repo.display()),
    })
}

/// A data source that a client describes itself, before it is in any registry.
#[derive(Debug)]
pub struct SentSource {
    /// Its name.
    pub name: String,
    /// Its place and columns.
    pub source: FeatureSource,
    /// Keeps its catalog open, where it describes one.
    pub catalog: Option<CatalogHandle>,
}

/// Reads a `feast.core.DataSource` in protobuf's JSON form, as far as `rules` allow a client to name what it names.
///
/// # Errors
/// [`Error::Malformed`]; [`Error::NotAllowed`] naming the setting that would allow it.
pub fn sent_source(_json: &str, _rules: &SourceRules, _catalogs: &Catalogs) -> Result<SentSource> {
    Err(Error::Unsupported {
        what: "data sources".to_owned(),
    })
}
