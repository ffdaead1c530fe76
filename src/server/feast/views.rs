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
    check_parallel(command)?;
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
        let view = named(command, registry, &name)?;
        let at = views
            .iter()
            .position(|known| (&known.view, &known.alias) == (&view.view, &view.alias));
        let features = match at {
            Some(at) => &mut views[at].features,
            None => {
                views.push(view);
                &mut views.last_mut().expect("pushed just now").features
            }
        };
        if !features.contains(&feature) {
            features.push(feature);
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

fn check_parallel(command: &Historical) -> Result<()> {
    let views = command.feature_view_names.len();
    let maps = command.join_key_maps.as_ref().map_or(views, Vec::len);
    for (key, found) in [
        ("name_aliases", command.name_aliases.len()),
        ("join_key_maps", maps),
    ] {
        if found != views {
            let message = format!("expected {views} as in `feature_view_names`, found {found}");
            return Err(Error::invalid(format!("command.{key}"), message));
        }
    }
    Ok(())
}

/// The view behind a name: that of a listed alias, else a listed view without one, else any listed view (upstream ignores
/// an alias that no feature service gives), else an on-demand feature view.
fn named(command: &Historical, registry: &Registry, name: &str) -> Result<ViewSelection> {
    let aliased = position(command, |_, alias| alias == Some(name));
    let plain = || position(command, |view, alias| view == name && alias.is_none());
    if let Some(i) = aliased.or_else(plain) {
        return Ok(listed(command, i, command.name_aliases[i].clone()));
    }
    if let Some(i) = position(command, |view, _| view == name) {
        return Ok(listed(command, i, None));
    }
    if registry.on_demand_views().any(|view| view.name == name) {
        return Ok(ViewSelection {
            view: name.to_owned(),
            alias: None,
            features: Vec::new(),
            join_key_map: None,
        });
    }
    let known = command.feature_view_names.iter().map(String::as_str);
    Err(Error::FeatureViewNotFound {
        view: name.to_owned(),
        nearest: nearest(name, known),
    })
}

/// Where the command lists a view and alias that are meant.
fn position(command: &Historical, is_meant: impl Fn(&str, Option<&str>) -> bool) -> Option<usize> {
    let views = command.feature_view_names.iter();
    views
        .zip(&command.name_aliases)
        .position(|(view, alias)| is_meant(view, alias.as_deref()))
}

fn listed(command: &Historical, i: usize, alias: Option<String>) -> ViewSelection {
    let maps = command.join_key_maps.as_ref();
    ViewSelection {
        view: command.feature_view_names[i].clone(),
        alias,
        features: Vec::new(),
        join_key_map: maps.map(|maps| maps[i].clone()),
    }
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
            join_key_maps: None,
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

    #[test]
    fn a_client_may_send_the_join_key_maps() {
        let map = |column: &str| BTreeMap::from([("id".to_owned(), column.to_owned())]);
        let mut command = command(
            &[("place", Some("from")), ("place", None)],
            &["place:t", "from:t"],
        );
        command.join_key_maps = Some(vec![map("from_id"), map("to_id")]);
        let FeatureSelection::Views(views) = selection(&command, &registry()).unwrap() else {
            panic!("views")
        };
        let maps: Vec<_> = views
            .into_iter()
            .map(|view| view.join_key_map.unwrap())
            .collect();
        assert_eq!(maps, [map("to_id"), map("from_id")]);
        command.join_key_maps = Some(Vec::new());
        let error = selection(&command, &registry()).unwrap_err().to_string();
        assert_eq!(
            error,
            "command.join_key_maps: expected 2 as in `feature_view_names`, found 0"
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
