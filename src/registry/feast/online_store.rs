//! The block `online_store` of `feature_store.yaml`: where the online tables of a served repository are. It is read where
//! it is Murre's own; without one, an embedded catalog in the repository's folder `data` serves.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::feature_store::FeatureStore;
use crate::catalog::{CatalogConfig, CatalogType, sqlite_path};
use crate::config::{OnlineConfig, variable};
use crate::error::{Error, Result};
use crate::model::PartitionStrategy;

/// Folder and file of the embedded catalog, in the repository.
const DATA: &str = "data";
const DATABASE: &str = "online_catalog.db";
const WAREHOUSE: &str = "warehouse";
/// Ends the names of the classes that the block is read for.
const OWN_STORE: &str = "MurreOnlineStore";

/// Where a repository's online tables are.
#[derive(Debug)]
pub struct OnlineStore {
    /// pyiceberg's name of the catalog.
    pub catalog_name: String,
    /// Its settings.
    pub catalog: CatalogConfig,
    /// What the repository says of the tables, laid over the configuration's defaults.
    pub online: OnlineConfig,
}

/// The keys of the block; Feast's and the client's own are not looked at.
#[derive(Debug, Default, Deserialize)]
struct Block {
    catalog_type: Option<CatalogType>,
    catalog_name: Option<String>,
    uri: Option<String>,
    warehouse: Option<String>,
    namespace: Option<String>,
    partition_strategy: Option<PartitionStrategy>,
    partition_count: Option<u32>,
    read_timeout_ms: Option<u64>,
    #[serde(default)]
    storage_options: BTreeMap<String, serde_json::Value>,
}

/// The online store of the feature repository in `repo`. What `config` sets to something else than its default is kept.
///
/// # Errors
/// [`Error::InvalidConfig`] naming the faulty key.
pub fn online_store(repo: &Path, config: &OnlineConfig) -> Result<OnlineStore> {
    let repo = std::path::absolute(repo).map_err(|error| Error::InvalidConfig {
        faults: vec![format!("registry.path: `{}`: {error}", repo.display())],
    })?;
    let store = FeatureStore::read(&repo, variable)?;
    let block = match &store.online_store {
        Some(value) if is_own(value) => serde_json::from_value(value.clone())
            .map_err(|error| store.fault("online_store", &error.to_string()))?,
        _ => Block::default(),
    };
    let read = block.read(&repo, config);
    let faults = read.faults();
    match faults.first() {
        None => Ok(read),
        Some(fault) => Err(store.fault("online_store", fault)),
    }
}

/// Whether the block is for Murre's store. Feast takes a class's name alone for a block, too; that says nothing here.
fn is_own(block: &serde_json::Value) -> bool {
    let class = block.get("type").and_then(serde_json::Value::as_str);
    class.is_some_and(|class| class.ends_with(OWN_STORE))
}

impl Block {
    fn read(self, repo: &Path, config: &OnlineConfig) -> OnlineStore {
        let embedded = format!("sqlite:///{}", repo.join(DATA).join(DATABASE).display());
        let kind = self.catalog_type.unwrap_or(CatalogType::Sql);
        let uri = match (self.uri, kind) {
            (Some(uri), _) => in_repo(repo, uri),
            (None, CatalogType::Glue) => String::new(),
            (None, _) => embedded,
        };
        let warehouse = match kind {
            CatalogType::Glue => self.warehouse,
            CatalogType::Sql => {
                let place = self
                    .warehouse
                    .unwrap_or_else(|| format!("{DATA}/{WAREHOUSE}"));
                Some(match place.contains("://") {
                    true => place,
                    false => repo.join(place).display().to_string(),
                })
            }
            CatalogType::Rest => Some(self.warehouse.unwrap_or_else(|| WAREHOUSE.to_owned())),
        };
        let text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        let properties = self.storage_options.into_iter();
        let default = OnlineConfig::default();
        let over = OnlineConfig {
            namespace: chosen(&config.namespace, &default.namespace, self.namespace),
            partition_strategy: chosen(
                &config.partition_strategy,
                &default.partition_strategy,
                self.partition_strategy,
            ),
            partition_count: chosen(
                &config.partition_count,
                &default.partition_count,
                self.partition_count,
            ),
            read_timeout_ms: chosen(
                &config.read_timeout_ms,
                &default.read_timeout_ms,
                self.read_timeout_ms,
            ),
            ..config.clone()
        };
        OnlineStore {
            catalog_name: self.catalog_name.unwrap_or_else(|| "default".to_owned()),
            catalog: CatalogConfig {
                kind,
                uri,
                warehouse,
                properties: properties.map(|(key, value)| (key, text(value))).collect(),
            },
            online: over,
        }
    }
}

/// The configuration's value where somebody set one, else the repository's.
fn chosen<T: PartialEq + Clone>(configured: &T, default: &T, block: Option<T>) -> T {
    match block {
        Some(value) if configured == default => value,
        _ => configured.clone(),
    }
}

/// A relative SQLite file is in the repository, as the registry's own is.
fn in_repo(repo: &Path, uri: String) -> String {
    let relative = uri
        .strip_prefix("sqlite:///")
        .filter(|path| !path.starts_with('/') && sqlite_path(&uri).is_some());
    match relative {
        Some(path) => format!("sqlite:///{}", repo.join(path).display()),
        None => uri,
    }
}

impl OnlineStore {
    fn faults(&self) -> Vec<String> {
        let mut faults = self.catalog.faults("catalog");
        let online = self.online.faults();
        faults.extend(online.map(|(key, message)| format!("{key}: {message}")));
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str, config: &OnlineConfig) -> Result<OnlineStore> {
        let repo = tempfile::tempdir().unwrap();
        let text = format!("project: shop\nregistry: data/registry.db\n{yaml}");
        std::fs::write(repo.path().join("feature_store.yaml"), text).unwrap();
        online_store(repo.path(), config).map(|mut store| {
            let repo = repo.path().display().to_string();
            store.catalog.uri = store.catalog.uri.replace(&repo, "/repo");
            store.catalog.warehouse = store.catalog.warehouse.map(|it| it.replace(&repo, "/repo"));
            store
        })
    }

    #[test]
    fn without_a_block_an_embedded_catalog_serves() {
        for yaml in [
            "",
            "online_store: redis\n",
            "online_store: feast_murre.MurreOnlineStore\n",
            "online_store:\n  type: sqlite\n  path: data/online.db\n",
            "online_store:\n  type: other\n  warehouse: 7\n  read_timeout_ms: long\n",
        ] {
            let store = read(yaml, &OnlineConfig::default()).unwrap();
            assert_eq!(store.catalog_name, "default");
            assert_eq!(store.catalog.uri, "sqlite:////repo/data/online_catalog.db");
            assert_eq!(
                store.catalog.warehouse.as_deref(),
                Some("/repo/data/warehouse")
            );
            assert_eq!(store.online, OnlineConfig::default());
        }
    }

    #[test]
    fn the_block_configures_all_of_it() {
        let yaml = "online_store:\n  type: feast_murre.MurreOnlineStore\n  host: h\n  port: 1\n  catalog_type: sql\n  \
                    catalog_name: c\n  uri: postgresql://u:p@h/d\n  warehouse: s3://b/w\n  namespace: a.b\n  \
                    partition_strategy: hybrid\n  partition_count: 16\n  read_timeout_ms: 250\n  storage_options:\n    \
                    s3.region: eu\n    s3.path-style-access: true\n";
        let store = read(yaml, &OnlineConfig::default()).unwrap();
        assert_eq!(store.catalog_name, "c");
        assert_eq!(store.catalog.uri, "postgresql://u:p@h/d");
        assert_eq!(store.catalog.warehouse.as_deref(), Some("s3://b/w"));
        assert_eq!(store.catalog.properties["s3.path-style-access"], "true");
        let expected = OnlineConfig {
            namespace: "a.b".to_owned(),
            partition_strategy: PartitionStrategy::Hybrid,
            partition_count: 16,
            read_timeout_ms: 250,
            ..OnlineConfig::default()
        };
        assert_eq!(store.online, expected);
    }

    #[test]
    fn relative_files_are_in_the_repository_and_the_servers_own_settings_win() {
        let yaml = "online_store:\n  type: feast_murre.MurreOnlineStore\n  uri: sqlite:///o.db\n  warehouse: w\n  \
                    partition_count: 16\n";
        let config = OnlineConfig {
            partition_count: 8,
            ..OnlineConfig::default()
        };
        let store = read(yaml, &config).unwrap();
        assert_eq!(store.catalog.uri, "sqlite:////repo/o.db");
        assert_eq!(store.catalog.warehouse.as_deref(), Some("/repo/w"));
        assert_eq!(store.online.partition_count, 8);
    }

    #[test]
    fn faults_name_the_key() {
        let own = "online_store:\n  type: feast_murre.MurreOnlineStore\n";
        for (line, expected) in [
            ("  partition_strategy: daily\n", "unknown variant `daily`"),
            ("  partition_count: 0\n", "partition_count"),
            ("  read_timeout_ms: 0\n", "read_timeout_ms"),
            ("  uri: mysql://x\n", "uri"),
        ] {
            let error = read(&format!("{own}{line}"), &OnlineConfig::default())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("online_store") && error.contains(expected),
                "{error}"
            );
        }
    }
}
