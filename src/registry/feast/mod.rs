//! Feast's definitions: a feature repository's `feature_store.yaml` says where its registry is, and the registry's
//! messages become a [`Registry`](super::Registry).

mod decode;
mod feature_store;
mod online_store;
mod origin;
mod reader;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use super::RegistryReader;
use crate::catalog::{CatalogHandle, Catalogs};
use crate::config::variable;
use crate::error::{Error, Result};
use crate::model::{FeatureSource, SourceLocation};
use crate::proto::feast::core;
use crate::source_rules::SourceRules;

use decode::{Decoder, Sources};
use feature_store::FeatureStore;
pub use online_store::{OnlineStore, online_store};
use origin::Origin;
use reader::FeastRegistry;

/// The registry of the feature repository in `repo`. Reads `feature_store.yaml` only: the registry need not exist yet.
///
/// # Errors
/// [`Error::InvalidConfig`] if `feature_store.yaml` is missing or wrong.
pub fn open(repo: &Path, catalogs: &Catalogs) -> Result<Arc<dyn RegistryReader>> {
    let repo = std::path::absolute(repo).map_err(|error| Error::InvalidConfig {
        faults: vec![format!("registry.path: `{}`: {error}", repo.display())],
    })?;
    let store = FeatureStore::read(&repo, variable)?;
    let origin = Origin::new(&store.registry, &repo)
        .map_err(|message| store.fault("registry.path", &message))?;
    tracing::info!(
        project = store.project,
        registry = origin.name(),
        "feature repository opened"
    );
    let decoder = Decoder::new(store.project, repo, catalogs.clone(), variable);
    Ok(Arc::new(FeastRegistry::new(origin, decoder)))
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
/// Relative paths start at the feature repository, or at the working directory where there is none.
///
/// # Errors
/// [`Error::Malformed`]; [`Error::NotAllowed`] naming the setting that would allow it.
pub fn sent_source(json: &str, rules: &SourceRules, catalogs: &Catalogs) -> Result<SentSource> {
    let message: core::DataSource =
        serde_json::from_str(json).map_err(|error| Error::Malformed {
            what: "data source",
            message: error.to_string(),
        })?;
    let repo = rules.repo().unwrap_or(Path::new("."));
    let repo = std::path::absolute(repo).unwrap_or_else(|_| repo.to_owned());
    let decoder = Decoder::new(message.project.clone(), repo, catalogs.clone(), variable);
    let mut sources = Sources::sent(&decoder, rules);
    let source = sources.feature_source(&message)?;
    if let SourceLocation::Parquet(files) = &source.location {
        rules.check_sent_file(files)?;
    }
    Ok(SentSource {
        name: message.name,
        source,
        catalog: sources.into_catalogs().next(),
    })
}
