//! Settings from variables: `MURRE__SECTION__KEY`.

use std::collections::BTreeMap;

use super::catalogs::is_own;
use crate::strict_toml::{Document, Fault, Origin};

const PREFIX: &str = "MURRE__";

/// The variables of this process.
pub fn environment() -> Vec<(String, String)> {
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    variables.collect()
}

/// Those of the named variables that this process has, for a process that it starts.
pub fn inherited(names: &[&str]) -> Vec<(String, std::ffi::OsString)> {
    let value = |name: &&str| Some(((*name).to_owned(), std::env::var_os(name)?));
    names.iter().filter_map(value).collect()
}

/// The value of any variable of this process: definitions may refer to some by name.
pub fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

pub(super) fn overlay(document: &mut Document, variables: &BTreeMap<String, String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (variable, text) in variables {
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
    let below = path.get(2).is_some_and(|key| key == "properties");
    let start = if below { 3 } else { 2 };
    if path.len() > start && !(path.len() == 3 && is_own(&path[2])) {
        let property = path.split_off(start).join(".").replace('_', "-");
        let known = document.keys(&["catalogs", &path[1], "properties"]);
        let property = as_spelled(property, &known);
        if !below && known.contains(&property) {
            path.push("properties".to_owned());
        }
        path.push(property);
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
