//! Settings from variables: `MURRE__SECTION__KEY`.

use std::collections::BTreeMap;

use crate::strict_toml::{Document, Fault, Origin};

const PREFIX: &str = "MURRE__";

/// The variables of this process that begin with `MURRE__`.
pub fn environment() -> Vec<(String, String)> {
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    variables
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect()
}

/// Those of the named variables that this process has, for a process that it starts.
pub fn inherited(names: &[&str]) -> Vec<(String, std::ffi::OsString)> {
    let value = |name: &&str| Some(((*name).to_owned(), std::env::var_os(name)?));
    names.iter().filter_map(value).collect()
}

pub(super) fn overlay(
    document: &mut Document,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let sorted: BTreeMap<_, _> = variables.into_iter().collect();
    for (variable, text) in sorted {
        let Some(rest) = variable.strip_prefix(PREFIX) else {
            continue;
        };
        let origin = Origin::Environment(variable.clone());
        match path_of(rest, document) {
            Some(path) => document.set(&path, text, origin),
            None => faults.push(Fault {
                origin,
                key: String::new(),
                message: "expected the form MURRE__SECTION__KEY".to_owned(),
            }),
        }
    }
    faults
}

/// Keys are in lower case, except that a catalog's name is as the file spells it and a catalog's properties follow
/// pyiceberg: `S3__ACCESS_KEY_ID` is `s3.access-key-id`.
fn path_of(rest: &str, document: &Document) -> Option<Vec<String>> {
    let mut path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
    if path.len() < 2 || path.iter().any(String::is_empty) {
        return None;
    }
    if path[0] != "catalogs" {
        return Some(path);
    }
    path[1] = as_spelled(path[1].clone(), &document.keys(&["catalogs"]));
    if path.len() > 3 && path[2] == "properties" {
        let property = path.split_off(3).join(".").replace('_', "-");
        path.push(as_spelled(
            property,
            &document.keys(&["catalogs", &path[1], "properties"]),
        ));
    }
    Some(path)
}

fn as_spelled(name: String, known: &[String]) -> String {
    let plain = |text: &str| text.to_lowercase().replace(['-', '.'], "_");
    known
        .iter()
        .find(|candidate| plain(candidate) == plain(&name))
        .cloned()
        .unwrap_or(name)
}
