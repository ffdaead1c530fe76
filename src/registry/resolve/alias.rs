//! What an alias stands for, by all feature services that define it.
//!
//! Services may define the same alias; those that have all requested features are preferred, and if they still disagree
//! the request is refused rather than guessed at.

use super::named::Definition;
use crate::error::{Error, Result};
use crate::model::{FeatureService, Projection};
use crate::registry::Registry;

/// One place where a feature service gives an alias.
struct Use<'a> {
    service: &'a FeatureService,
    projection: &'a Projection,
    definition: Definition<'a>,
}

impl Registry {
    /// What `alias` stands for, among projections of `view` if that is known; `None` if no service defines it.
    pub(super) fn find_alias(
        &self,
        alias: &str,
        view: Option<&str>,
        features: &[String],
    ) -> Result<Option<(Definition<'_>, &Projection)>> {
        let all: Vec<Use<'_>> = self.uses_of_alias(alias, view).collect();
        let covering: Vec<&Use<'_>> = all.iter().filter(|one| one.covers(features)).collect();
        let candidates = match covering.is_empty() {
            true => all.iter().collect(),
            false => covering,
        };
        let Some(first) = candidates.first() else {
            return Ok(None);
        };
        match candidates.iter().find(|other| !other.agrees_with(first)) {
            Some(other) => Err(ambiguous(alias, first, other)),
            None => Ok(Some((first.definition, first.projection))),
        }
    }

    fn uses_of_alias(&self, alias: &str, view: Option<&str>) -> impl Iterator<Item = Use<'_>> {
        let projections = self.feature_services.values().flat_map(|service| {
            let service: &FeatureService = service;
            service
                .projections
                .iter()
                .map(move |projection| (service, projection))
        });
        projections
            .filter(move |(_, projection)| projection.alias.as_deref() == Some(alias))
            .filter(move |(_, projection)| view.is_none_or(|view| projection.view == view))
            .filter_map(|(service, projection)| {
                Some(Use {
                    service,
                    projection,
                    definition: self.definition(&projection.view)?,
                })
            })
    }
}

impl Use<'_> {
    fn covers(&self, features: &[String]) -> bool {
        features.iter().all(|feature| self.has_feature(feature))
    }

    fn has_feature(&self, feature: &str) -> bool {
        match (&self.projection.features, self.definition.features()) {
            (Some(chosen), _) => chosen.iter().any(|known| known == feature),
            (None, Some(all)) => all.contains(&feature),
            (None, None) => true,
        }
    }

    fn agrees_with(&self, other: &Self) -> bool {
        self.definition.name() == other.definition.name() && self.join_keys() == other.join_keys()
    }

    fn join_keys(&self) -> Vec<(String, String)> {
        self.definition.join_keys(&self.projection.join_key_map)
    }

    fn meaning(&self) -> String {
        let keys: Vec<String> = self
            .join_keys()
            .iter()
            .map(|(key, column)| format!("{key} = {column}"))
            .collect();
        format!(
            "`{}` joined on {{{}}} in `{}`",
            self.definition.name(),
            keys.join(", "),
            self.service.name
        )
    }
}

fn ambiguous(alias: &str, one: &Use<'_>, other: &Use<'_>) -> Error {
    Error::invalid(
        "features",
        format!(
            "alias `{alias}` is ambiguous: feature services define it as {} and as {}; request a feature service, or \
             rename one alias",
            one.meaning(),
            other.meaning()
        ),
    )
}
