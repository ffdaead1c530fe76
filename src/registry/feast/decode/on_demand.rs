//! Feast's on-demand feature views: what they compute from what. Their code stays as the registry holds it.

use arrow::datatypes::{DataType, Field};
use bytes::Bytes;

use super::{Decoder, messages, types};
use crate::model::{FeatureRef, OnDemandFeatureView};
use crate::proto::feast::core;
use crate::proto::feast::core::on_demand_source::Source;

impl Decoder {
    pub(super) fn on_demand(&self, objects: &[Bytes]) -> Result<Vec<OnDemandFeatureView>, String> {
        let views = messages::<core::OnDemandFeatureView>("on-demand feature view", objects)?;
        let specs = views.into_iter().map(|view| view.spec).zip(objects);
        let own = specs
            .filter_map(|(spec, object)| Some((spec?, object)))
            .filter(|(spec, _)| self.owns(&spec.project));
        Ok(own.map(|(spec, object)| view(spec, object)).collect())
    }
}

fn view(spec: core::OnDemandFeatureViewSpec, object: &Bytes) -> OnDemandFeatureView {
    OnDemandFeatureView {
        name: spec.name,
        features: spec.features.iter().map(feature).collect(),
        inputs: spec.sources.into_values().flat_map(inputs).collect(),
        definition: object.clone(),
    }
}

/// A feature of a type that this server does not know is text.
fn feature(spec: &core::FeatureSpecV2) -> Field {
    let data_type = types::of_field(spec).unwrap_or(DataType::Utf8);
    Field::new(&spec.name, data_type, true)
}

fn inputs(source: core::OnDemandSource) -> Vec<FeatureRef> {
    let (view, features) = match source.source {
        Some(Source::FeatureViewProjection(projection)) => {
            (projection.feature_view_name, projection.feature_columns)
        }
        Some(Source::FeatureView(view)) => {
            let spec = view.spec.unwrap_or_default();
            (spec.name, spec.features)
        }
        None => return Vec::new(),
    };
    let input = |feature: core::FeatureSpecV2| FeatureRef {
        view: view.clone(),
        feature: feature.name,
    };
    features.into_iter().map(input).collect()
}
