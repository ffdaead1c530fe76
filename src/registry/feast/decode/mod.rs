//! Feast's messages become definitions. Only those of the served project count.
//!
//! An object that is not the message it should be makes the whole registry broken; a source that this server cannot
//! read does not: it is kept as [`SourceLocation::Unsupported`](crate::model::SourceLocation), and said when asked for.

mod iceberg;
mod on_demand;
mod service;
mod source;
mod types;
mod view;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use prost::Message;

use crate::catalog::Catalogs;
use crate::model::{DUMMY_KEY, Entity, FeatureSource, JoinKey};
use crate::proto::feast::core;
use crate::registry::Registry;

pub(super) use source::Sources;

/// What the meaning of a registry depends on.
#[derive(Clone, Debug)]
pub(super) struct Decoder {
    project: String,
    /// Where relative paths start.
    repo: PathBuf,
    catalogs: Catalogs,
    /// The environment that tokens come from.
    variable: fn(&str) -> Option<String>,
}

impl Decoder {
    pub(super) fn new(
        project: String,
        repo: PathBuf,
        catalogs: Catalogs,
        variable: fn(&str) -> Option<String>,
    ) -> Self {
        Self {
            project,
            repo,
            catalogs,
            variable,
        }
    }

    pub(super) fn project(&self) -> &str {
        &self.project
    }

    /// Whether an object that says it is of `project` is of the served one. Databases and registry servers keep that
    /// beside the object, and are asked for one project's only; then the object may leave it out.
    fn owns(&self, project: &str) -> bool {
        project.is_empty() || project == self.project
    }

    /// The definitions of a project that has none.
    pub(super) fn empty(&self) -> Registry {
        Registry::new(&self.project, [], [], [])
    }

    /// The definitions of the project, or which object is broken.
    pub(super) fn registry(&self, message: &core::Registry) -> Result<Registry, String> {
        let mut sources = Sources::trusted(self);
        let entities = self.entities(&message.entities)?;
        let views = self.views(message, &entities, &mut sources)?;
        let services = self.services(&message.feature_services, &mut sources)?;
        let on_demand = self.on_demand(&message.on_demand_feature_views)?;
        let named = self.data_sources(message, &services, &views, &mut sources)?;
        let services = services.into_iter().map(|(service, _)| service);
        let views = views.into_iter().map(|(view, _)| view);
        let registry = Registry::new(&self.project, entities.into_values(), views, services)
            .with_on_demand_views(on_demand)
            .with_data_sources(named, sources.into_catalogs());
        Ok(registry)
    }

    /// By name.
    fn entities(&self, objects: &[Bytes]) -> Result<BTreeMap<String, Entity>, String> {
        let specs = messages::<core::Entity>("entity", objects)?;
        let specs = specs.into_iter().filter_map(|entity| entity.spec);
        let own = specs.filter(|spec| self.owns(&spec.project));
        Ok(own
            .map(entity)
            .map(|entity| (entity.name.clone(), entity))
            .collect())
    }

    /// Everything that a client can name as a data source, later ones in force: where logs and saved datasets go, sources
    /// of views, and sources in their own right.
    fn data_sources(
        &self,
        message: &core::Registry,
        services: &[service::Logged],
        views: &[view::Sourced],
        sources: &mut Sources<'_>,
    ) -> Result<BTreeMap<String, FeatureSource>, String> {
        let logs = services.iter().filter_map(|(_, log)| log.clone());
        let mut named: BTreeMap<String, FeatureSource> = logs.collect();
        named.extend(self.saved_datasets(&message.saved_datasets, sources)?);
        named.extend(
            views
                .iter()
                .map(|(view, name)| (name.clone(), view.source.clone())),
        );
        let own = messages::<core::DataSource>("data source", &message.data_sources)?
            .into_iter()
            .filter(|source| self.owns(&source.project));
        for source in own {
            let place = sources.trusted_source(&source);
            named.insert(source.name, place);
        }
        Ok(named)
    }
}

/// Feast's entity-less views have this entity, whose key is [`DUMMY_KEY`].
const DUMMY_ENTITY: &str = "__dummy";

fn entity(spec: core::EntitySpecV2) -> Entity {
    let data_type = types::of_value(spec.value_type());
    let key = if spec.join_key.is_empty() {
        spec.name.clone()
    } else {
        spec.join_key
    };
    let keys = (key != DUMMY_KEY).then_some(JoinKey {
        name: key,
        data_type,
    });
    Entity {
        name: spec.name,
        join_keys: keys.into_iter().collect(),
    }
}

/// The objects of one kind.
fn messages<M: Message + Default>(kind: &str, objects: &[Bytes]) -> Result<Vec<M>, String> {
    let decoded = objects.iter().enumerate().map(|(number, object)| {
        M::decode(object.clone()).map_err(|error| format!("{kind} number {number}: {error}"))
    });
    decoded.collect()
}
