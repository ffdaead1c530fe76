//! TOML that is read strictly and reports every fault at once.
//!
//! serde stops at the first error and forgets where a value came from. People who fix a file want all faults, each with
//! its line, and the configuration is laid together from a file, the environment and flags. So the text becomes a tree
//! whose nodes know their origin; the tree is deserialized again without what was faulty until nothing new is found.

mod de;
mod fault;
mod parse;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;

pub(crate) use fault::{Fault, Origin};

/// What a document says.
#[derive(Debug)]
pub(crate) struct Reading<T> {
    /// The value, in which whatever was faulty counts as absent; `None` if something required was.
    pub(crate) value: Option<T>,
    /// Whether nothing but unknown keys was left out of the value.
    pub(crate) complete: bool,
    /// Every fault.
    pub(crate) faults: Vec<Fault>,
}

/// A tree of values, each with its origin.
#[derive(Clone)]
pub(crate) struct Document(Node);

/// Shows no values: some are secrets.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").finish_non_exhaustive()
    }
}

#[derive(Clone, Default)]
struct Node {
    kind: Kind,
    origin: Origin,
    /// Set once a fault was reported for this node, which from then on counts as absent.
    faulty: Cell<bool>,
}

#[derive(Clone)]
enum Kind {
    Table(BTreeMap<String, Node>),
    Array(Vec<Node>),
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Date,
}

impl Default for Kind {
    fn default() -> Self {
        Self::Table(BTreeMap::new())
    }
}

impl Node {
    fn new(kind: Kind, origin: Origin) -> Self {
        Self {
            kind,
            origin,
            faulty: Cell::new(false),
        }
    }

    fn child(&self, segment: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Table(entries) => entries.get(segment),
            Kind::Array(items) => items.get(segment.parse::<usize>().ok()?),
            _ => None,
        }
    }
}

impl Node {
    /// Puts the plain values in here that get a `name` into `found`; what remains of this node, if anything does.
    fn gathered(
        self,
        key: &str,
        name: &impl Fn(&str) -> Option<String>,
        found: &mut BTreeMap<String, Self>,
    ) -> Option<Self> {
        let text = match self.kind {
            Kind::Table(entries) => {
                let left: BTreeMap<_, _> = entries
                    .into_iter()
                    .filter_map(|(inner, node)| {
                        let left = node.gathered(&format!("{key}.{inner}"), name, found)?;
                        Some((inner, left))
                    })
                    .collect();
                return (!left.is_empty()).then(|| Self::new(Kind::Table(left), self.origin));
            }
            Kind::Text(ref text) => text.clone(),
            Kind::Integer(number) => number.to_string(),
            Kind::Boolean(value) => value.to_string(),
            Kind::Array(_) | Kind::Float(_) | Kind::Date => return Some(self),
        };
        match name(key) {
            Some(name) => {
                found.insert(name, Self::new(Kind::Text(text), self.origin));
                None
            }
            None => Some(self),
        }
    }

    fn replace_texts(
        &mut self,
        path: &mut Vec<String>,
        replace: &impl Fn(&str) -> Result<String, String>,
        faults: &mut Vec<Fault>,
    ) {
        match &mut self.kind {
            Kind::Table(entries) => {
                for (key, node) in entries {
                    path.push(quoted_key(key));
                    node.replace_texts(path, replace, faults);
                    path.pop();
                }
            }
            Kind::Text(text) if matches!(self.origin, Origin::File(..)) => match replace(text) {
                Ok(replaced) => *text = replaced,
                Err(message) => faults.push(Fault {
                    origin: self.origin.clone(),
                    key: path.join("."),
                    message,
                }),
            },
            _ => {}
        }
    }
}

impl Document {
    /// A document without any value.
    pub(crate) fn empty() -> Self {
        Self(Node::default())
    }

    /// Parses `text`; `file` names it in faults.
    ///
    /// # Errors
    /// Every syntax error.
    pub(crate) fn parse(text: &str, file: &str) -> Result<Self, Vec<Fault>> {
        parse::document(text, file).map(Self)
    }

    /// Sets one text value, as the environment and flags do; it may stand for a number or a boolean.
    pub(crate) fn set(&mut self, path: &[String], text: impl Into<String>, origin: Origin) {
        let mut node = &mut self.0;
        for segment in path {
            if !matches!(node.kind, Kind::Table(_)) {
                node.kind = Kind::default();
            }
            let Kind::Table(entries) = &mut node.kind else {
                return;
            };
            node = entries
                .entry(segment.clone())
                .or_insert_with(|| Node::new(Kind::default(), origin.clone()));
        }
        *node = Node::new(Kind::Text(text.into()), origin);
    }

    /// Whether there is a value or section at `path`.
    pub(crate) fn has(&self, path: &[&str]) -> bool {
        self.node(path).is_some()
    }

    /// Where the value at `path` was set, or else the innermost section around it.
    pub(crate) fn origin(&self, path: &[&str]) -> Origin {
        let within = (1..=path.len()).map_while(|depth| self.node(&path[..depth]));
        within
            .last()
            .map(|node| node.origin.clone())
            .unwrap_or_default()
    }

    /// The keys of the section at `path`.
    pub(crate) fn keys(&self, path: &[&str]) -> Vec<String> {
        match self.node(path).map(|node| &node.kind) {
            Some(Kind::Table(entries)) => entries.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// The text at `path`, if there is one.
    pub(crate) fn text(&self, path: &[&str]) -> Option<&str> {
        match &self.node(path)?.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Moves plain values below the section at `path` into its section `into`, as text: those whose keys, joined by dots,
    /// `name` has a new key for.
    pub(crate) fn gather(
        &mut self,
        path: &[&str],
        into: &str,
        name: impl Fn(&str) -> Option<String>,
    ) {
        let Some(section) = self.node_mut(path) else {
            return;
        };
        let Kind::Table(entries) = &mut section.kind else {
            return;
        };
        let mut gathered = BTreeMap::new();
        for (key, node) in std::mem::take(entries) {
            if let Some(node) = node.gathered(&key, &name, &mut gathered) {
                entries.insert(key, node);
            }
        }
        if gathered.is_empty() {
            return;
        }
        let origin = section.origin.clone();
        let target = entries
            .entry(into.to_owned())
            .or_insert_with(|| Node::new(Kind::default(), origin));
        if let Kind::Table(known) = &mut target.kind {
            known.extend(gathered);
        }
    }

    /// Replaces each text below `path` that a file says by what `replace` makes of it, and collects where that fails.
    pub(crate) fn replace_texts(
        &mut self,
        path: &[&str],
        replace: impl Fn(&str) -> Result<String, String>,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut keys: Vec<String> = path.iter().map(|key| quoted_key(key)).collect();
        if let Some(node) = self.node_mut(path) {
            node.replace_texts(&mut keys, &replace, &mut faults);
        }
        faults
    }

    fn node_mut(&mut self, path: &[&str]) -> Option<&mut Node> {
        path.iter()
            .try_fold(&mut self.0, |node, segment| match &mut node.kind {
                Kind::Table(entries) => entries.get_mut(*segment),
                _ => None,
            })
    }

    fn node(&self, path: &[&str]) -> Option<&Node> {
        path.iter()
            .try_fold(&self.0, |node, segment| node.child(segment))
    }

    /// Deserializes the document.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Reading<T> {
        de::read(&self.0)
    }
}

/// A key as it stands in a TOML path: in quotes where it needs them.
pub(crate) fn quoted_key(key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare {
        key.to_owned()
    } else {
        format!("{key:?}")
    }
}

#[cfg(test)]
mod tests;
