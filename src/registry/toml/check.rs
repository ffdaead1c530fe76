//! The definitions file becomes a registry, and every name in it is checked against the others.

mod entity;
mod service;
mod view;

use std::collections::BTreeSet;

use super::raw::Definitions;
use crate::error::{did_you_mean, nearest};
use crate::registry::Registry;
use crate::strict_toml::{Document, Fault};

/// The registry, to be used only if there are no faults.
pub(super) fn registry(
    raw: Definitions,
    document: &Document,
    catalogs: &[String],
) -> (Registry, Vec<Fault>) {
    let mut site = Site {
        document,
        item: Vec::new(),
        faults: Vec::new(),
    };
    site.name(&["project"], &raw.project);
    let mut entities = Vec::new();
    for (index, raw) in raw.entity.into_iter().enumerate() {
        entities.push(entity::entity(raw, site.enter("entity", index)));
    }
    site.unique("entity", entities.iter().map(|entity| &entity.name));
    let mut views = Vec::new();
    for (index, raw) in raw.feature_view.into_iter().enumerate() {
        views.push(view::feature_view(
            raw,
            &entities,
            catalogs,
            site.enter("feature_view", index),
        ));
    }
    site.unique("feature_view", views.iter().map(|view| &view.name));
    let mut services = Vec::new();
    for (index, raw) in raw.feature_service.into_iter().enumerate() {
        services.push(service::feature_service(
            raw,
            &views,
            site.enter("feature_service", index),
        ));
    }
    site.unique(
        "feature_service",
        services.iter().map(|service| &service.name),
    );
    (
        Registry::new(raw.project, entities, views, services),
        site.faults,
    )
}

/// The item of the file that is being checked.
struct Site<'a> {
    document: &'a Document,
    item: Vec<String>,
    faults: Vec<Fault>,
}

impl Site<'_> {
    fn enter(&mut self, section: &str, index: usize) -> &mut Self {
        self.item = vec![section.to_owned(), index.to_string()];
        self
    }

    /// Notes a fault of the value at `path` in the item.
    fn refuse(&mut self, path: &[&str], message: impl Into<String>) {
        let path: Vec<&str> = self
            .item
            .iter()
            .map(String::as_str)
            .chain(path.iter().copied())
            .collect();
        let fault = Fault {
            origin: self.document.origin(&path),
            key: shown(&path),
            message: message.into(),
        };
        self.faults.push(fault);
    }

    /// Names must not be empty, and a colon would end the view's part of a feature ref.
    fn name(&mut self, path: &[&str], name: &str) {
        if name.is_empty() {
            self.refuse(path, "must not be empty");
        } else if name.contains(':') {
            self.refuse(path, format!("`{name}` must not contain a colon"));
        }
    }

    fn unique<'n>(&mut self, section: &str, names: impl Iterator<Item = &'n String>) {
        let mut seen = BTreeSet::new();
        for (index, name) in names.enumerate() {
            if !seen.insert(name) {
                self.enter(section, index)
                    .refuse(&["name"], format!("`{name}` is defined more than once"));
            }
        }
        self.item.clear();
    }

    /// Refuses repetitions in a list, and a list that is there but empty.
    fn list(&mut self, key: &str, items: &[String], empty: &str) {
        if items.is_empty() {
            self.refuse(&[key], empty);
        }
        for (index, item) in items.iter().enumerate() {
            if items[..index].contains(item) {
                self.refuse(
                    &[key, &index.to_string()],
                    format!("`{item}` is listed more than once"),
                );
            }
        }
    }
}

fn shown(path: &[&str]) -> String {
    let mut key = String::new();
    for segment in path {
        match segment.parse::<usize>() {
            Ok(index) => key.push_str(&format!("[{index}]")),
            Err(_) if key.is_empty() => key.push_str(segment),
            Err(_) => key.push_str(&format!(".{segment}")),
        }
    }
    key
}

fn unknown<'k>(what: &str, name: &str, known: impl IntoIterator<Item = &'k String>) -> String {
    let known: BTreeSet<&str> = known.into_iter().map(String::as_str).collect();
    format!(
        "unknown {what} `{name}`{}",
        did_you_mean(&nearest(name, known))
    )
}
