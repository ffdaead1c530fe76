//! Feature definitions: read from where they are kept, immutable once read, and resolved for requests.

mod resolve;
mod toml;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::config::{RegistryConfig, RegistryType};
use crate::error::Result;
use crate::model::{Entity, FeatureService, FeatureView};

pub use resolve::ResolvedView;
pub use toml::TomlRegistry;

/// A place that definitions are read from.
#[async_trait]
pub trait RegistryReader: Debug + Send + Sync {
    /// The definitions as they are now. Where the place holds broken definitions, the last good ones.
    ///
    /// # Errors
    /// [`Error::InvalidDefinitions`](crate::error::Error::InvalidDefinitions) if none could be read so far.
    async fn current(&self) -> Result<Arc<Registry>>;
}

/// The registry that is configured. `catalogs` are the names of all configured catalogs.
pub fn open(
    config: &RegistryConfig,
    catalogs: impl IntoIterator<Item = String>,
) -> Arc<dyn RegistryReader> {
    match config.kind {
        RegistryType::Toml => Arc::new(TomlRegistry::new(config.path.clone(), catalogs)),
    }
}

/// Reads the registry that is configured once and strictly: what [`RegistryReader::current`] would keep silent about is
/// an error.
///
/// # Errors
/// [`Error::InvalidDefinitions`](crate::error::Error::InvalidDefinitions) with all faults.
pub async fn check(
    config: &RegistryConfig,
    catalogs: impl IntoIterator<Item = String>,
) -> Result<Arc<Registry>> {
    match config.kind {
        RegistryType::Toml => {
            TomlRegistry::new(config.path.clone(), catalogs)
                .check()
                .await
        }
    }
}

/// The definitions of one project. Names are unique per kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    project: String,
    entities: BTreeMap<String, Arc<Entity>>,
    feature_views: BTreeMap<String, Arc<FeatureView>>,
    feature_services: BTreeMap<String, Arc<FeatureService>>,
}

impl Registry {
    /// A registry of these definitions; of several with one name the last counts.
    pub fn new(
        project: impl Into<String>,
        entities: impl IntoIterator<Item = Entity>,
        feature_views: impl IntoIterator<Item = FeatureView>,
        feature_services: impl IntoIterator<Item = FeatureService>,
    ) -> Self {
        Self {
            project: project.into(),
            entities: entities
                .into_iter()
                .map(|entity| (entity.name.clone(), Arc::new(entity)))
                .collect(),
            feature_views: feature_views
                .into_iter()
                .map(|view| (view.name.clone(), Arc::new(view)))
                .collect(),
            feature_services: feature_services
                .into_iter()
                .map(|service| (service.name.clone(), Arc::new(service)))
                .collect(),
        }
    }

    /// The project's name.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// All entities by name.
    pub fn entities(&self) -> impl Iterator<Item = &Arc<Entity>> {
        self.entities.values()
    }

    /// All feature views by name.
    pub fn feature_views(&self) -> impl Iterator<Item = &Arc<FeatureView>> {
        self.feature_views.values()
    }

    /// All feature services by name.
    pub fn feature_services(&self) -> impl Iterator<Item = &Arc<FeatureService>> {
        self.feature_services.values()
    }
}
