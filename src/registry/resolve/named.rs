//! The two kinds of views, so that refs, services and selections treat them alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ResolvedOnDemand, ResolvedView};
use crate::error::{Error, Result, nearest};
use crate::model::{FeatureView, OnDemandFeatureView, Projection};

/// A definition that a request can name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Definition<'a> {
    View(&'a Arc<FeatureView>),
    OnDemand(&'a Arc<OnDemandFeatureView>),
}

/// A definition as one request uses it.
#[derive(Debug)]
pub(super) enum Named {
    View(ResolvedView),
    OnDemand(ResolvedOnDemand),
}

impl Definition<'_> {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::View(view) => &view.name,
            Self::OnDemand(view) => &view.name,
        }
    }

    /// All features, where the definition lists them.
    pub(super) fn features(&self) -> Option<Vec<&str>> {
        match self {
            Self::View(view) => {
                let features = view.features.as_ref()?;
                Some(features.iter().map(String::as_str).collect())
            }
            Self::OnDemand(view) => Some(view.features.iter().map(|f| f.name().as_str()).collect()),
        }
    }

    /// Join keys with the entity dataframe's columns; on-demand views have none.
    pub(super) fn join_keys(&self, map: &BTreeMap<String, String>) -> Vec<(String, String)> {
        match self {
            Self::View(view) => mapped_keys(view, map),
            Self::OnDemand(_) => Vec::new(),
        }
    }

    /// What a projection of a feature service selects.
    pub(super) fn project(&self, projection: &Projection) -> Result<Named> {
        for feature in projection.features.iter().flatten() {
            self.check_feature(feature)?;
        }
        Ok(match self {
            Self::View(view) => Named::View(resolved(view, projection)),
            Self::OnDemand(view) => Named::OnDemand(ResolvedOnDemand {
                view: Arc::clone(view),
                name: name_to_use(&view.name, projection),
                features: match &projection.features {
                    Some(features) => features.clone(),
                    None => view.features.iter().map(|f| f.name().clone()).collect(),
                },
            }),
        })
    }

    /// `features` under the alias and the join key map of a projection.
    pub(super) fn select(&self, projection: &Projection, features: &[String]) -> Result<Named> {
        self.project(&Projection {
            features: Some(features.to_vec()),
            ..projection.clone()
        })
    }

    pub(super) fn check_feature(&self, feature: &str) -> Result<()> {
        match self.features() {
            Some(known) if !known.contains(&feature) => Err(Error::FeatureNotFound {
                view: self.name().to_owned(),
                feature: feature.to_owned(),
                nearest: nearest(feature, known),
            }),
            _ => Ok(()),
        }
    }
}

pub(super) fn resolved(view: &Arc<FeatureView>, projection: &Projection) -> ResolvedView {
    ResolvedView {
        view: Arc::clone(view),
        name: name_to_use(&view.name, projection),
        join_keys: mapped_keys(view, &projection.join_key_map),
        features: projection.features.clone(),
    }
}

fn name_to_use(name: &str, projection: &Projection) -> String {
    projection.alias.as_deref().unwrap_or(name).to_owned()
}

fn mapped_keys(view: &FeatureView, map: &BTreeMap<String, String>) -> Vec<(String, String)> {
    view.join_keys
        .iter()
        .map(|key| (key.clone(), map.get(key).unwrap_or(key).clone()))
        .collect()
}
