//! Refs to selections of views.
//!
//! A ref is `name:feature`, where the name is a feature view's alias, or its name where it has none, or an on-demand
//! feature view's. A version after the name (`view@v2:feature`) is dropped: commands name feature views without their
//! versions and the registry that is served holds the current ones, so those are what upstream's server joins too. Two
//! versions of one view in one request cannot both be meant that way and are refused.

use std::collections::BTreeMap;

use super::command::Historical;
use crate::error::{Error, Result, nearest};
use crate::model::{FeatureRef, FeatureSelection, ViewSelection};
use crate::registry::Registry;

/// What the refs of a command select, views in order of first appearance.
///
/// # Errors
/// [`Error::FeatureViewNotFound`] for a name that the command does not list and that is no on-demand feature view.
pub(super) fn selection(command: &Historical, registry: &Registry) -> Result<FeatureSelection> {
    if command.feature_view_names.len() != command.name_aliases.len() {
        let message = "expected as many as `feature_view_names`";
        return Err(Error::invalid("command.name_aliases", message));
    }
    let mut views: Vec<ViewSelection> = Vec::new();
    let mut versions = BTreeMap::new();
    for text in &command.feature_refs {
        let (
            FeatureRef {
                view: name,
                feature,
            },
            version,
        ) = parse(text)?;
        if *versions.entry(name.clone()).or_insert(version) != version {
            let message = format!("several versions of feature view `{name}` in one request");
            return Err(Error::invalid("command.feature_refs", message));
        }
        let (view, alias) = named(command, registry, &name)?;
        match views
            .iter_mut()
            .find(|known| (&known.view, &known.alias) == (&view, &alias))
        {
            Some(known) if known.features.contains(&feature) => {}
            Some(known) => known.features.push(feature),
            None => views.push(ViewSelection {
                view,
                alias,
                features: vec![feature],
            }),
        }
    }
    match views.is_empty() {
        true => Err(Error::invalid(
            "command.feature_refs",
            "expected at least one",
        )),
        false => Ok(FeatureSelection::Views(views)),
    }
}

/// View and alias behind a name: a listed alias, else a listed view without one, else any listed view (upstream ignores
/// an alias that no feature service gives), else an on-demand feature view.
fn named(
    command: &Historical,
    registry: &Registry,
    name: &str,
) -> Result<(String, Option<String>)> {
    let listed = || command.feature_view_names.iter().zip(&command.name_aliases);
    let aliased = listed().find(|(_, alias)| alias.as_deref() == Some(name));
    let plain = listed().find(|(view, alias)| *view == name && alias.is_none());
    if let Some((view, alias)) = aliased.or(plain) {
        return Ok((view.clone(), alias.clone()));
    }
    let is_on_demand = registry.on_demand_views().any(|view| view.name == name);
    if is_on_demand || listed().any(|(view, _)| view == name) {
        return Ok((name.to_owned(), None));
    }
    let known = command.feature_view_names.iter().map(String::as_str);
    Err(Error::FeatureViewNotFound {
        view: name.to_owned(),
        nearest: nearest(name, known),
    })
}

fn parse(text: &str) -> Result<(FeatureRef, Option<u32>)> {
    let wrong = |_| {
        let message = format!("expected `view:feature`, found `{text}`");
        Error::invalid("command.feature_refs", message)
    };
    let mut parsed: FeatureRef = text.parse().map_err(wrong)?;
    let (name, version) = versioned(&parsed.view);
    parsed.view = name.to_owned();
    Ok((parsed, version))
}

/// Splits `view@v2`, by Feast's rules: anything but a version after the `@` belongs to the name.
fn versioned(name: &str) -> (&str, Option<u32>) {
    let Some((view, version)) = name.split_once('@') else {
        return (name, None);
    };
    if version.is_empty() || version.eq_ignore_ascii_case("latest") {
        return (view, None);
    }
    let digits = version.strip_prefix(['v', 'V']);
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(number) => (view, Some(number)),
        None => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::model::OnDemandFeatureView;

    fn command(views: &[(&str, Option<&str>)], refs: &[&str]) -> Historical {
        Historical {
            feature_view_names: views.iter().map(|(view, _)| (*view).to_owned()).collect(),
            name_aliases: views
                .iter()
                .map(|(_, alias)| alias.map(str::to_owned))
                .collect(),
            feature_refs: refs.iter().map(|text| (*text).to_owned()).collect(),
            project: "p".to_owned(),
            full_feature_names: false,
            start_date: None,
            end_date: None,
            entity_df_sql: None,
        }
    }

    fn registry() -> Registry {
        let on_demand = OnDemandFeatureView {
            name: "sums".to_owned(),
            features: Vec::new(),
            inputs: Vec::new(),
            definition: bytes::Bytes::new(),
        };
        Registry::new("p", [], [], []).with_on_demand_views([on_demand])
    }

    fn selected(command: &Historical) -> Vec<(String, Option<String>, String)> {
        match selection(command, &registry()).unwrap() {
            FeatureSelection::Views(views) => views
                .into_iter()
                .map(|view| (view.view, view.alias, view.features.join(",")))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    fn view(name: &str, alias: Option<&str>, features: &str) -> (String, Option<String>, String) {
        (
            name.to_owned(),
            alias.map(str::to_owned),
            features.to_owned(),
        )
    }

    #[test]
    fn refs_are_grouped_by_view_and_alias() {
        let listed = [
            ("place", Some("from")),
            ("place", Some("to")),
            ("driver", None),
        ];
        let refs = [
            "from:t",
            "driver:a",
            "to:t",
            "from:h",
            "driver:a",
            "sums:s",
            "driver@v3:b",
        ];
        assert_eq!(
            selected(&command(
                &listed,
                &["from:t", "driver:a", "to:t", "from:h", "driver:a", "sums:s"]
            )),
            [
                view("place", Some("from"), "t,h"),
                view("driver", None, "a"),
                view("place", Some("to"), "t"),
                view("sums", None, "s"),
            ]
        );
        let error = selection(&command(&listed, &refs), &registry()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("several versions of feature view `driver`")
        );
    }

    #[test]
    fn versions_are_dropped() {
        let refs = ["driver@v2:a", "driver@V2:b"];
        assert_eq!(
            selected(&command(&[("driver", None)], &refs)),
            [view("driver", None, "a,b")]
        );
        let latest = ["driver@latest:a", "driver@:b", "driver:c"];
        assert_eq!(
            selected(&command(&[("driver", None)], &latest)),
            [view("driver", None, "a,b,c")]
        );
        let odd = ["driver@home:a"];
        assert_eq!(
            selected(&command(&[("driver@home", None)], &odd)),
            [view("driver@home", None, "a")]
        );
    }

    #[test]
    fn an_alias_that_the_ref_does_not_use_is_ignored() {
        let listed = [("driver", Some("d"))];
        assert_eq!(
            selected(&command(&listed, &["driver:a"])),
            [view("driver", None, "a")]
        );
    }

    #[rstest]
    #[case(&["drivr:a"], "feature view `drivr` not found; did you mean `driver`?")]
    #[case(&["driver"], "command.feature_refs: expected `view:feature`, found `driver`")]
    #[case(&[], "command.feature_refs: expected at least one")]
    fn other_refs_are_refused(#[case] refs: &[&str], #[case] message: &str) {
        let error = selection(&command(&[("driver", None)], refs), &registry()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}
