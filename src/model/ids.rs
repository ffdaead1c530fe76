//! Names that must not be mixed up.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// A requested feature, written `view:feature`; `view` may be an alias.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeatureRef {
    /// Name or alias of the feature view.
    pub view: String,
    /// Name of the feature in it.
    pub feature: String,
}

impl FeatureRef {
    /// Features by view, in order of first appearance, each once.
    pub fn grouped(refs: &[Self]) -> Vec<(&str, Vec<String>)> {
        let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
        for Self { view, feature } in refs {
            match groups.iter_mut().find(|(name, _)| name == view) {
                Some((_, features)) if features.contains(feature) => {}
                Some((_, features)) => features.push(feature.clone()),
                None => groups.push((view, vec![feature.clone()])),
            }
        }
        groups
    }
}

impl FromStr for FeatureRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once(':') {
            Some((view, feature)) if !view.is_empty() && !feature.is_empty() => Ok(Self {
                view: view.to_owned(),
                feature: feature.to_owned(),
            }),
            _ => Err(Error::invalid(
                "features",
                format!("expected `view:feature`, found `{text}`"),
            )),
        }
    }
}

impl fmt::Display for FeatureRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.view, self.feature)
    }
}

/// A table in one of the configured catalogs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// Catalog's name in the configuration.
    pub catalog: String,
    /// Namespace levels, outermost first.
    pub namespace: Vec<String>,
    /// Table's own name.
    pub name: String,
}

impl TableName {
    /// Parses `namespace.table`, where the namespace may have several levels.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] if there is no namespace or a level is empty.
    pub fn parse(catalog: impl Into<String>, qualified: &str) -> Result<Self, Error> {
        let mut levels: Vec<String> = qualified.split('.').map(str::to_owned).collect();
        let name = levels.pop().unwrap_or_default();
        if levels.is_empty() || name.is_empty() || levels.iter().any(String::is_empty) {
            return Err(Error::invalid(
                "table",
                format!("expected `namespace.table`, found `{qualified}`"),
            ));
        }
        Ok(Self {
            catalog: catalog.into(),
            namespace: levels,
            name,
        })
    }
}

/// Shows `namespace.table`, without the catalog.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for level in &self.namespace {
            write!(f, "{level}.")?;
        }
        f.write_str(&self.name)
    }
}

/// An Iceberg snapshot's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotId(pub i64);

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The server-made, unguessable name of an uploaded entity dataframe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UploadId(pub String);

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Principal(pub String);

impl Principal {
    /// Everybody, as long as the server has no authentication.
    pub fn anonymous() -> Self {
        Self("anonymous".to_owned())
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
