//! Feature definitions: read from where they are kept, immutable once read, and resolved for requests.

pub mod feast;
mod resolve;
mod toml;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::catalog::{CatalogHandle, Catalogs};
use crate::config::{Config, OnlineConfig, RegistryConfig, RegistryType};
use crate::error::{Error, Result, nearest};
use crate::model::{Entity, FeatureService, FeatureSource, FeatureView, OnDemandFeatureView};

pub use resolve::{Resolved, ResolvedOnDemand, ResolvedView};
pub use toml::TomlRegistry;

/// A place that definitions are read from.
#[async_trait]
pub trait RegistryReader: Debug + Send + Sync {
    /// The definitions as they are now. Where the place holds broken definitions, the last good ones.
    ///
    /// # Errors
    /// [`Error::InvalidDefinitions`] if none could be read so far.
    async fn current(&self) -> Result<Arc<Registry>>;
}

/// The registry that is configured.
///
/// # Errors
/// [`Error::InvalidConfig`] for a feature repository that cannot be read.
pub fn open(config: &RegistryConfig, catalogs: &Catalogs) -> Result<Arc<dyn RegistryReader>> {
    let names = catalogs.names().map(str::to_owned);
    Ok(match config.kind {
        RegistryType::Toml => Arc::new(TomlRegistry::new(config.path.clone(), names)),
        RegistryType::Feast => feast::open(&config.path, catalogs)?,
    })
}

/// Reads the registry that is configured once and strictly: what [`RegistryReader::current`] would keep silent about is
/// an error.
///
/// # Errors
/// [`Error::InvalidDefinitions`] with all faults.
pub async fn check(config: &RegistryConfig, catalogs: &Catalogs) -> Result<Arc<Registry>> {
    let names = catalogs.names().map(str::to_owned);
    match config.kind {
        RegistryType::Toml => TomlRegistry::new(config.path.clone(), names).check().await,
        RegistryType::Feast => feast::open(&config.path, catalogs)?.current().await,
    }
}

/// Where online tables are: what the configuration names, or else what a served feature repository says. The handle keeps
/// a catalog of the repository's own open.
///
/// # Errors
/// [`Error::InvalidConfig`] for a repository's block that is wrong.
pub fn online_place(
    config: &Config,
    catalogs: &Catalogs,
) -> Result<(OnlineConfig, Option<CatalogHandle>)> {
    let named = !config.online.catalog.is_empty();
    if named || config.registry.kind != RegistryType::Feast {
        return Ok((config.online.clone(), None));
    }
    let store = feast::online_store(&config.registry.path, &config.online)?;
    let handle = catalogs.define(&store.catalog_name, store.catalog)?;
    let online = OnlineConfig {
        catalog: handle.name.clone(),
        ..store.online
    };
    Ok((online, Some(handle)))
}

/// The definitions of one project. Names are unique per kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    project: String,
    entities: BTreeMap<String, Arc<Entity>>,
    feature_views: BTreeMap<String, Arc<FeatureView>>,
    feature_services: BTreeMap<String, Arc<FeatureService>>,
    on_demand_views: BTreeMap<String, Arc<OnDemandFeatureView>>,
    data_sources: BTreeMap<String, Arc<FeatureSource>>,
    /// Keeps the catalogs open that the definitions describe themselves.
    catalogs: Vec<CatalogHandle>,
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
            ..Self::default()
        }
    }

    /// The same with these on-demand feature views.
    pub fn with_on_demand_views(
        mut self,
        views: impl IntoIterator<Item = OnDemandFeatureView>,
    ) -> Self {
        self.on_demand_views = views
            .into_iter()
            .map(|view| (view.name.clone(), Arc::new(view)))
            .collect();
        self
    }

    /// The same with these data sources, by name, and the catalogs that they are in.
    pub fn with_data_sources(
        mut self,
        sources: impl IntoIterator<Item = (String, FeatureSource)>,
        catalogs: impl IntoIterator<Item = CatalogHandle>,
    ) -> Self {
        self.data_sources = sources
            .into_iter()
            .map(|(name, source)| (name, Arc::new(source)))
            .collect();
        self.catalogs = catalogs.into_iter().collect();
        self
    }

    /// The data source of this name; a feature view's own source also goes by the view's name.
    ///
    /// # Errors
    /// [`Error::DataSourceNotFound`] with the nearest names.
    pub fn data_source(&self, name: &str) -> Result<Arc<FeatureSource>> {
        let of_view = || {
            self.feature_views
                .get(name)
                .map(|view| Arc::new(view.source.clone()))
        };
        let found = self.data_sources.get(name).cloned().or_else(of_view);
        found.ok_or_else(|| Error::DataSourceNotFound {
            source_name: name.to_owned(),
            nearest: nearest(
                name,
                self.data_sources
                    .keys()
                    .chain(self.feature_views.keys())
                    .map(String::as_str),
            ),
        })
    }

    /// Refuses a project that is not this one; clients that name none mean this one.
    ///
    /// # Errors
    /// [`Error::ProjectNotFound`].
    pub fn check_project(&self, project: Option<&str>) -> Result<()> {
        match project {
            Some(project) if project != self.project => Err(Error::ProjectNotFound {
                project: project.to_owned(),
                served: self.project.clone(),
            }),
            _ => Ok(()),
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

    /// All data sources by name.
    pub fn data_sources(&self) -> impl Iterator<Item = (&str, &Arc<FeatureSource>)> {
        self.data_sources
            .iter()
            .map(|(name, source)| (name.as_str(), source))
    }

    /// All on-demand feature views by name.
    pub fn on_demand_views(&self) -> impl Iterator<Item = &Arc<OnDemandFeatureView>> {
        self.on_demand_views.values()
    }

    /// All feature services by name.
    pub fn feature_services(&self) -> impl Iterator<Item = &Arc<FeatureService>> {
        self.feature_services.values()
    }
}
