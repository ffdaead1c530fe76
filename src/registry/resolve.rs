//! Names in a request become definitions.
//!
//! The view part of a ref is a feature view's name, or an alias that a feature service gives to one. An alias stands for
//! the view and the join key map it was defined with. Services may define the same alias; those that have all requested
//! features are preferred, and if they still disagree the request is refused rather than guessed at.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Registry;
use crate::error::{Error, Result, nearest};
use crate::model::{
    FeatureRef, FeatureSelection, FeatureService, FeatureView, OnDemandFeatureView, Projection,
};

/// A feature view as one request uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedView {
    /// The definition.
    pub view: Arc<FeatureView>,
    /// The alias, or the view's name.
    pub name: String,
    /// The view's join keys, each with the entity dataframe's column for it.
    pub join_keys: Vec<(String, String)>,
    /// Requested features in order, or `None` for all.
    pub features: Option<Vec<String>>,
}

/// An on-demand feature view as one request uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedOnDemand {
    /// The definition.
    pub view: Arc<OnDemandFeatureView>,
    /// The alias, or the view's name.
    pub name: String,
    /// Requested features in order.
    pub features: Vec<String>,
}

/// What a selection names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Feature views to join, with the features that were asked for and those that on-demand views compute from.
    pub views: Vec<ResolvedView>,
    /// On-demand feature views to evaluate on the joined rows.
    pub on_demand: Vec<ResolvedOnDemand>,
}

impl Registry {
    /// The feature views that a selection names, one per name or alias in order of first appearance. Repeated refs count
    /// once.
    ///
    /// Features of a view that does not list its features cannot be checked here: they are whatever its table has.
    ///
    /// # Errors
    /// [`Error::FeatureViewNotFound`], [`Error::FeatureNotFound`], [`Error::FeatureServiceNotFound`], or
    /// [`Error::InvalidRequest`] for an ambiguous alias or an empty selection.
    pub fn resolve(&self, selection: &FeatureSelection) -> Result<Resolved> {
        let views = match selection {
            FeatureSelection::Refs(refs) => self.resolve_refs(refs),
            FeatureSelection::Service(name) => self.resolve_service(name),
            FeatureSelection::Views(_) => Err(Error::Unsupported {
                what: "view selections".to_owned(),
            }),
        }?;
        Ok(Resolved {
            views,
            on_demand: Vec::new(),
        })
    }

    /// The feature view of this name.
    ///
    /// # Errors
    /// [`Error::FeatureViewNotFound`].
    pub fn feature_view(&self, name: &str) -> Result<&Arc<FeatureView>> {
        self.feature_views
            .get(name)
            .ok_or_else(|| self.view_not_found(name))
    }

    /// The feature view of this name with all its features.
    ///
    /// # Errors
    /// [`Error::FeatureViewNotFound`].
    pub fn resolve_view(&self, name: &str) -> Result<ResolvedView> {
        Ok(resolved(self.feature_view(name)?, &Projection::default()))
    }

    fn resolve_refs(&self, refs: &[FeatureRef]) -> Result<Vec<ResolvedView>> {
        if refs.is_empty() {
            return Err(Error::invalid(
                "features",
                "expected at least one `view:feature`, found none",
            ));
        }
        grouped(refs)
            .into_iter()
            .map(|(name, features)| self.resolve_name(name, features))
            .collect()
    }

    fn resolve_name(&self, name: &str, features: Vec<&str>) -> Result<ResolvedView> {
        let resolved = match self.feature_views.get(name) {
            Some(view) => resolved(view, &Projection::default()),
            None => self.resolve_alias(name, &features)?,
        };
        for feature in &features {
            check_feature(&resolved.view, feature)?;
        }
        Ok(ResolvedView {
            features: Some(features.into_iter().map(str::to_owned).collect()),
            ..resolved
        })
    }

    fn resolve_alias(&self, alias: &str, features: &[&str]) -> Result<ResolvedView> {
        let all: Vec<Use<'_>> = self.uses_of_alias(alias).collect();
        let covers = |usage: &&Use<'_>| features.iter().all(|feature| usage.has_feature(feature));
        let covering: Vec<&Use<'_>> = all.iter().filter(covers).collect();
        let candidates = if covering.is_empty() {
            all.iter().collect()
        } else {
            covering
        };
        let Some(first) = candidates.first() else {
            return Err(self.view_not_found(alias));
        };
        match candidates.iter().find(|other| !other.agrees_with(first)) {
            Some(other) => Err(ambiguous(alias, first, other)),
            None => Ok(resolved(first.view, first.projection)),
        }
    }

    fn uses_of_alias(&self, alias: &str) -> impl Iterator<Item = Use<'_>> {
        let projections = self.feature_services.values().flat_map(|service| {
            service
                .projections
                .iter()
                .map(move |projection| (service, projection))
        });
        projections
            .filter(move |(_, projection)| projection.alias.as_deref() == Some(alias))
            .filter_map(|(service, projection)| {
                let view = self.feature_views.get(&projection.view)?;
                Some(Use {
                    service,
                    projection,
                    view,
                })
            })
    }

    fn resolve_service(&self, name: &str) -> Result<Vec<ResolvedView>> {
        let Some(service) = self.feature_services.get(name) else {
            let nearest = nearest(name, self.feature_services.keys().map(String::as_str));
            return Err(Error::FeatureServiceNotFound {
                service: name.to_owned(),
                nearest,
            });
        };
        let resolve = |projection| {
            let projection: &Projection = projection;
            let view = self.feature_view(&projection.view)?;
            for feature in projection.features.iter().flatten() {
                check_feature(view, feature)?;
            }
            Ok(resolved(view, projection))
        };
        service.projections.iter().map(resolve).collect()
    }

    fn view_not_found(&self, name: &str) -> Error {
        let projections = self
            .feature_services
            .values()
            .flat_map(|service| &service.projections);
        let aliases = projections.filter_map(|projection| projection.alias.as_deref());
        let known: std::collections::BTreeSet<&str> = self
            .feature_views
            .keys()
            .map(String::as_str)
            .chain(aliases)
            .collect();
        Error::FeatureViewNotFound {
            view: name.to_owned(),
            nearest: nearest(name, known),
        }
    }
}

/// One place where a feature service gives an alias.
struct Use<'a> {
    service: &'a FeatureService,
    projection: &'a Projection,
    view: &'a Arc<FeatureView>,
}

impl Use<'_> {
    fn has_feature(&self, feature: &str) -> bool {
        let chosen = self
            .projection
            .features
            .as_ref()
            .or(self.view.features.as_ref());
        chosen.is_none_or(|chosen| chosen.iter().any(|known| known == feature))
    }

    fn agrees_with(&self, other: &Self) -> bool {
        self.view.name == other.view.name && self.join_keys() == other.join_keys()
    }

    fn join_keys(&self) -> Vec<(String, String)> {
        mapped_keys(self.view, &self.projection.join_key_map)
    }
}

fn grouped(refs: &[FeatureRef]) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for FeatureRef { view, feature } in refs {
        match groups.iter_mut().find(|(name, _)| name == view) {
            Some((_, features)) if features.contains(&feature.as_str()) => {}
            Some((_, features)) => features.push(feature),
            None => groups.push((view, vec![feature])),
        }
    }
    groups
}

fn resolved(view: &Arc<FeatureView>, projection: &Projection) -> ResolvedView {
    ResolvedView {
        view: Arc::clone(view),
        name: projection
            .alias
            .clone()
            .unwrap_or_else(|| view.name.clone()),
        join_keys: mapped_keys(view, &projection.join_key_map),
        features: projection.features.clone(),
    }
}

fn mapped_keys(view: &FeatureView, map: &BTreeMap<String, String>) -> Vec<(String, String)> {
    view.join_keys
        .iter()
        .map(|key| (key.clone(), map.get(key).unwrap_or(key).clone()))
        .collect()
}

fn check_feature(view: &FeatureView, feature: &str) -> Result<()> {
    match &view.features {
        Some(known) if !known.iter().any(|name| name == feature) => Err(Error::FeatureNotFound {
            view: view.name.clone(),
            feature: feature.to_owned(),
            nearest: nearest(feature, known.iter().map(String::as_str)),
        }),
        _ => Ok(()),
    }
}

fn ambiguous(alias: &str, one: &Use<'_>, other: &Use<'_>) -> Error {
    let meaning = |usage: &Use<'_>| {
        let keys: Vec<String> = usage
            .join_keys()
            .iter()
            .map(|(key, column)| format!("{key} = {column}"))
            .collect();
        format!(
            "`{}` joined on {{{}}} in `{}`",
            usage.view.name,
            keys.join(", "),
            usage.service.name
        )
    };
    Error::invalid(
        "features",
        format!(
            "alias `{alias}` is ambiguous: feature services define it as {} and as {}; request a feature service, or \
             rename one alias",
            meaning(one),
            meaning(other)
        ),
    )
}
