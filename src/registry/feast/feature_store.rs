//! `feature_store.yaml`: the project's name, where its registry is, and the online store. Whatever else Feast keeps there
//! is Feast's.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};

const FILE: &str = "feature_store.yaml";

/// What is read of a feature repository's settings.
#[derive(Debug)]
pub(super) struct FeatureStore {
    file: PathBuf,
    pub(super) project: String,
    pub(super) registry: Place,
    pub(super) online_store: Option<serde_json::Value>,
}

/// Feast's `RegistryConfig`, of all registry types.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(super) struct Place {
    #[serde(default)]
    pub(super) registry_type: Kind,
    #[serde(default)]
    pub(super) path: String,
    /// An SQL registry's replica.
    pub(super) read_path: Option<String>,
    /// An S3 registry's endpoint.
    pub(super) s3_endpoint_override: Option<String>,
    /// A registry server's root certificate, a PEM file.
    #[serde(default)]
    pub(super) cert: String,
    #[serde(default)]
    pub(super) is_tls: bool,
    #[serde(default)]
    pub(super) client_cert: String,
    #[serde(default)]
    pub(super) client_key: String,
    /// The name that a registry server's certificate has.
    #[serde(default)]
    pub(super) authority: String,
}

/// Kinds of registries that this server reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    #[default]
    File,
    Sql,
    Remote,
}

#[derive(Deserialize)]
struct Raw {
    project: Option<String>,
    registry: Option<RawRegistry>,
    online_store: Option<serde_json::Value>,
    entity_key_serialization_version: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawRegistry {
    Path(String),
    Place(serde_json::Value),
}

impl FeatureStore {
    /// Reads the repository's settings; `variable` is the environment that they may refer to.
    pub(super) fn read(repo: &Path, variable: fn(&str) -> Option<String>) -> Result<Self> {
        let file = repo.join(FILE);
        let text = std::fs::read_to_string(&file).map_err(|error| Error::InvalidConfig {
            faults: vec![format!(
                "registry.path: cannot read `{}`: {error}",
                file.display()
            )],
        })?;
        Self::parse(file, &expand(&text, variable))
    }

    fn parse(file: PathBuf, text: &str) -> Result<Self> {
        let fault = |key: &str, message: &str| fault(&file, key, message);
        let raw: Raw = serde_saphyr::from_str(text)
            .map_err(|error| fault("", &error.without_snippet().to_string()))?;
        let project = raw.project.ok_or_else(|| fault("project", "is missing"))?;
        let registry = match raw
            .registry
            .ok_or_else(|| fault("registry", "is missing"))?
        {
            RawRegistry::Path(path) => Place {
                path,
                ..Place::default()
            },
            RawRegistry::Place(place) => serde_json::from_value(place)
                .map_err(|error| fault("registry", &error.to_string()))?,
        };
        if registry.path.is_empty() {
            return Err(fault("registry.path", "is missing"));
        }
        if raw
            .entity_key_serialization_version
            .is_some_and(|version| version > 3)
        {
            return Err(fault(
                "entity_key_serialization_version",
                "this server knows versions up to 3",
            ));
        }
        Ok(Self {
            file,
            project,
            registry,
            online_store: raw.online_store,
        })
    }

    /// What is wrong with `key`.
    pub(super) fn fault(&self, key: &str, message: &str) -> Error {
        fault(&self.file, key, message)
    }
}

fn fault(file: &Path, key: &str, message: &str) -> Error {
    let key = if key.is_empty() {
        String::new()
    } else {
        format!("{key}: ")
    };
    Error::InvalidConfig {
        faults: vec![format!("{}: {key}{message}", file.display())],
    }
}

/// Python's `os.path.expandvars`: `$NAME` and `${NAME}`; what is not set stays as written.
fn expand(text: &str, variable: fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, tail) = variable_name(after);
        match name.and_then(variable) {
            Some(value) => {
                expanded.push_str(&value);
                rest = tail;
            }
            None => {
                expanded.push('$');
                rest = after;
            }
        }
    }
    expanded + rest
}

/// The variable that `text` begins with, and what follows it.
fn variable_name(text: &str) -> (Option<&str>, &str) {
    if let Some((name, tail)) = text.strip_prefix('{').and_then(|text| text.split_once('}')) {
        return (Some(name), tail);
    }
    let end = text
        .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .unwrap_or(text.len());
    let (name, tail) = text.split_at(end);
    ((!name.is_empty()).then_some(name), tail)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn variable(name: &str) -> Option<String> {
        (name == "WHO").then(|| "ann".to_owned())
    }

    fn parsed(text: &str) -> Result<FeatureStore, String> {
        FeatureStore::parse(PathBuf::from("/r/feature_store.yaml"), text)
            .map_err(|error| error.to_string())
    }

    #[rstest]
    #[case("a $WHO b", "a ann b")]
    #[case("${WHO}$WHO", "annann")]
    #[case("$WHOM ${NO} $ $$WHO 5$", "$WHOM ${NO} $ $ann 5$")]
    #[case("${WHO", "${WHO")]
    fn variables_expand_as_in_python(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(expand(text, variable), expected);
    }

    #[test]
    fn a_path_is_a_file_registry_and_other_keys_are_ignored() {
        let text = "project: p\nprovider: local\nregistry: data/registry.db\nonline_store:\n  type: sqlite\n\
                    entity_key_serialization_version: 3\n";
        let store = parsed(text).unwrap();
        assert_eq!(store.project, "p");
        assert_eq!(store.registry.registry_type, Kind::File);
        assert_eq!(store.registry.path, "data/registry.db");
    }

    #[test]
    fn a_map_may_name_another_type() {
        let text = "project: p\nregistry:\n  registry_type: sql\n  path: sqlite:///x.db\n  cache_ttl_seconds: 60\n  \
                    sqlalchemy_config_kwargs:\n    echo: false\n    pool_pre_ping: true\n";
        let place = parsed(text).unwrap().registry;
        assert_eq!(
            (place.registry_type, place.path.as_str()),
            (Kind::Sql, "sqlite:///x.db")
        );
    }

    #[rstest]
    #[case("registry: x.db", "project: is missing")]
    #[case("project: p", "registry: is missing")]
    #[case(
        "project: p\nregistry: {registry_type: file}",
        "registry.path: is missing"
    )]
    #[case(
        "project: p\nregistry: {registry_type: snowflake.registry, path: x}",
        "unknown variant `snowflake.registry`"
    )]
    #[case(
        "project: p\nregistry: x\nentity_key_serialization_version: 4",
        "entity_key_serialization_version: "
    )]
    #[case("project: [", "/r/feature_store.yaml: ")]
    fn faults_name_their_key(#[case] text: &str, #[case] expected: &str) {
        let message = parsed(text).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}
