//! Names in a request become definitions.
//!
//! The view part of a ref is the name of a feature view or of an on-demand one, or an alias that a feature service gives
//! to one. An alias stands for the view and the join key map it was defined with. On-demand feature views bring the
//! features that they compute from.

mod alias;
mod named;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Registry;
use crate::error::{Error, Result, nearest};
use crate::model::{
    FeatureRef, FeatureSelection, FeatureView, OnDemandFeatureView, Projection, ViewSelection,
};
use named::{Definition, Named, resolved};

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
    /// The views that a selection names, one per name or alias in order of first appearance. Repeated refs count once.
    ///
    /// Features of a view that does not list its features cannot be checked here: they are whatever its table has.
    ///
    /// # Errors
    /// [`Error::FeatureViewNotFound`], [`Error::FeatureNotFound`], [`Error::FeatureServiceNotFound`], or
    /// [`Error::InvalidRequest`] for an ambiguous alias or an empty selection.
    pub fn resolve(&self, selection: &FeatureSelection) -> Result<Resolved> {
        let named = match selection {
            FeatureSelection::Refs(refs) => self.resolve_refs(refs),
            FeatureSelection::Service(name) => self.resolve_service(name),
            FeatureSelection::Views(views) => self.resolve_views(views),
        }?;
        self.with_inputs(named)
    }

    /// Whether a view, an on-demand view or an alias has this name.
    pub fn knows(&self, name: &str) -> bool {
        let projections = self
            .feature_services
            .values()
            .flat_map(|service| &service.projections);
        let mut aliases = projections.filter_map(|projection| projection.alias.as_deref());
        self.definition(name).is_some() || aliases.any(|alias| alias == name)
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

    fn resolve_refs(&self, refs: &[FeatureRef]) -> Result<Vec<Named>> {
        check_not_empty(refs)?;
        FeatureRef::grouped(refs)
            .into_iter()
            .map(|(name, features)| self.resolve_name(name, &features))
            .collect()
    }

    fn resolve_name(&self, name: &str, features: &[String]) -> Result<Named> {
        match self.definition(name) {
            Some(definition) => definition.select(&Projection::default(), features),
            None => {
                let (definition, projection) = self
                    .find_alias(name, None, features)?
                    .ok_or_else(|| self.view_not_found(name))?;
                definition.select(projection, features)
            }
        }
    }

    fn resolve_service(&self, name: &str) -> Result<Vec<Named>> {
        let Some(service) = self.feature_services.get(name) else {
            let nearest = nearest(name, self.feature_services.keys().map(String::as_str));
            return Err(Error::FeatureServiceNotFound {
                service: name.to_owned(),
                nearest,
            });
        };
        let resolve = |projection: &Projection| {
            let definition = self.definition(&projection.view);
            let definition = definition.ok_or_else(|| self.view_not_found(&projection.view))?;
            definition.project(projection)
        };
        service.projections.iter().map(resolve).collect()
    }

    fn resolve_views(&self, views: &[ViewSelection]) -> Result<Vec<Named>> {
        check_not_empty(views)?;
        views
            .iter()
            .map(|view| self.resolve_selection(view))
            .collect()
    }

    /// Feast's clients send aliases of feature views beside the views' names, but those of on-demand views instead.
    fn resolve_selection(&self, selection: &ViewSelection) -> Result<Named> {
        let Some(definition) = self.definition(&selection.view) else {
            return self.resolve_name(&selection.view, &selection.features);
        };
        let projection = self.projection_of(selection)?;
        definition.select(&projection, &selection.features)
    }

    /// The alias and the map of a selection: its own map, or that of the services that know the view by the alias.
    fn projection_of(&self, selection: &ViewSelection) -> Result<Projection> {
        let (view, features) = (&selection.view, &selection.features);
        let join_key_map = match (&selection.join_key_map, &selection.alias) {
            (Some(map), _) => map.clone(),
            (None, Some(alias)) => self
                .find_alias(alias, Some(view), features)?
                .map_or_else(BTreeMap::new, |(_, known)| known.join_key_map.clone()),
            (None, None) => BTreeMap::new(),
        };
        Ok(Projection {
            view: view.clone(),
            alias: selection.alias.clone(),
            features: None,
            join_key_map,
        })
    }

    fn definition(&self, name: &str) -> Option<Definition<'_>> {
        let view = self.feature_views.get(name).map(Definition::View);
        view.or_else(|| self.on_demand_views.get(name).map(Definition::OnDemand))
    }

    fn with_inputs(&self, named: Vec<Named>) -> Result<Resolved> {
        let mut resolved = Resolved::default();
        for one in named {
            match one {
                Named::View(view) => resolved.views.push(view),
                Named::OnDemand(view) => resolved.on_demand.push(view),
            }
        }
        for on_demand in &resolved.on_demand {
            for input in &on_demand.view.inputs {
                self.add_input(&mut resolved.views, input)?;
            }
        }
        Ok(resolved)
    }

    /// Inputs go by the view's own name, whatever aliases the view is requested by.
    fn add_input(&self, views: &mut Vec<ResolvedView>, input: &FeatureRef) -> Result<()> {
        let view = self.feature_view(&input.view)?;
        Definition::View(view).check_feature(&input.feature)?;
        match views.iter_mut().find(|known| known.name == input.view) {
            Some(ResolvedView { features: None, .. }) => {}
            Some(known) => {
                let features = known.features.get_or_insert_default();
                if !features.contains(&input.feature) {
                    features.push(input.feature.clone());
                }
            }
            None => views.push(ResolvedView {
                features: Some(vec![input.feature.clone()]),
                ..resolved(view, &Projection::default())
            }),
        }
        Ok(())
    }

    fn view_not_found(&self, name: &str) -> Error {
        let projections = self
            .feature_services
            .values()
            .flat_map(|service| &service.projections);
        let aliases = projections.filter_map(|projection| projection.alias.as_deref());
        let views = self.feature_views.keys().chain(self.on_demand_views.keys());
        let known: BTreeSet<&str> = views.map(String::as_str).chain(aliases).collect();
        Error::FeatureViewNotFound {
            view: name.to_owned(),
            nearest: nearest(name, known),
        }
    }
}

fn check_not_empty<T>(features: &[T]) -> Result<()> {
    match features {
        [] => Err(Error::invalid(
            "features",
            "expected at least one `view:feature`, found none",
        )),
        _ => Ok(()),
    }
}
