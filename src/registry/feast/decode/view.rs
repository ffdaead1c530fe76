//! Feast's feature views, plain and stream ones: for reading history both are a batch source with keys and features.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::{DUMMY_ENTITY, Decoder, Sources, messages, source};
use crate::model::{DUMMY_KEY, Entity, FeatureView, SourceLocation, Ttl};
use crate::proto::feast::core;

/// A view, and the name of its source.
pub(super) type Sourced = (FeatureView, String);

/// What both kinds of views say.
struct Spec {
    name: String,
    entities: Vec<String>,
    entity_columns: Vec<core::FeatureSpecV2>,
    features: Vec<core::FeatureSpecV2>,
    ttl: Option<pbjson_types::Duration>,
    source: Option<core::DataSource>,
}

impl Decoder {
    /// All views of the project, stream views first: of two with one name the plain one, which Feast asks for first, is
    /// the last and counts.
    pub(super) fn views(
        &self,
        message: &core::Registry,
        entities: &BTreeMap<String, Entity>,
        sources: &mut Sources<'_>,
    ) -> Result<Vec<Sourced>, String> {
        let mut specs = self.stream_views(&message.stream_feature_views)?;
        specs.extend(self.plain_views(&message.feature_views)?);
        Ok(specs
            .into_iter()
            .map(|spec| spec.view(entities, sources))
            .collect())
    }

    fn plain_views(&self, objects: &[Bytes]) -> Result<Vec<Spec>, String> {
        let views = messages::<core::FeatureView>("feature view", objects)?;
        let specs = views.into_iter().filter_map(|view| view.spec);
        let own = specs.filter(|spec| self.owns(&spec.project));
        Ok(own
            .map(|spec| Spec {
                name: spec.name,
                entities: spec.entities,
                entity_columns: spec.entity_columns,
                features: spec.features,
                ttl: spec.ttl,
                source: spec.batch_source.or(spec.stream_source),
            })
            .collect())
    }

    fn stream_views(&self, objects: &[Bytes]) -> Result<Vec<Spec>, String> {
        let views = messages::<core::StreamFeatureView>("stream feature view", objects)?;
        let specs = views.into_iter().filter_map(|view| view.spec);
        let own = specs.filter(|spec| self.owns(&spec.project));
        Ok(own
            .map(|spec| Spec {
                name: spec.name,
                entities: spec.entities,
                entity_columns: spec.entity_columns,
                features: spec.features,
                ttl: spec.ttl,
                source: spec.batch_source.or(spec.stream_source),
            })
            .collect())
    }
}

impl Spec {
    fn view(self, entities: &BTreeMap<String, Entity>, sources: &mut Sources<'_>) -> Sourced {
        let name = self
            .source
            .as_ref()
            .map_or_else(|| self.name.clone(), source::name);
        let place = match &self.source {
            Some(source) => sources.trusted_source(source),
            None => source::nameless(SourceLocation::Unsupported(
                "feature view without a batch source".to_owned(),
            )),
        };
        let view = FeatureView {
            join_keys: self.join_keys(entities),
            source: place,
            ttl: Ttl::new(self.ttl.as_ref().map_or(Duration::ZERO, duration)),
            features: listed(self.features),
            name: self.name,
        };
        (view, name)
    }

    /// The view's key columns; where an old registry lists none, those of its entities.
    fn join_keys(&self, entities: &BTreeMap<String, Entity>) -> Vec<String> {
        if self.entity_columns.is_empty() {
            let own = self
                .entities
                .iter()
                .filter(|entity| *entity != DUMMY_ENTITY);
            let known = own.filter_map(|entity| entities.get(entity));
            let keys = known.flat_map(|entity| &entity.join_keys);
            return keys.map(|key| key.name.clone()).collect();
        }
        let keys = names(self.entity_columns.clone()).into_iter();
        keys.filter(|key| key != DUMMY_KEY).collect()
    }
}

/// The columns' names; where Feast lists none, it means all.
pub(super) fn listed(columns: Vec<core::FeatureSpecV2>) -> Option<Vec<String>> {
    (!columns.is_empty()).then(|| names(columns))
}

fn names(columns: Vec<core::FeatureSpecV2>) -> Vec<String> {
    columns.into_iter().map(|column| column.name).collect()
}

/// A duration of Feast's, which is never meant to be negative.
fn duration(duration: &pbjson_types::Duration) -> Duration {
    let seconds = u64::try_from(duration.seconds).unwrap_or_default();
    Duration::new(seconds, u32::try_from(duration.nanos).unwrap_or_default())
}
