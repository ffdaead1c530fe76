//! Catalogs by their configured names, opened when first asked for. The only module that knows back ends: everything
//! above it sees `iceberg::Catalog` and errors that say whether a table is missing or a catalog is down.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use iceberg::io::{LocalFsStorageFactory, StorageFactory};
use iceberg::table::Table;
use iceberg::{Catalog, ErrorKind, NamespaceIdent, TableIdent};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::error::{Error, Result, nearest};
use crate::model::TableName;

pub(crate) mod commit;
mod sql;
#[cfg(test)]
mod tests;

/// Back ends that a catalog can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CatalogType {
    /// pyiceberg's SQL catalog, on SQLite.
    Sql,
}

/// One `[catalogs.NAME]` section; `NAME` is pyiceberg's catalog name.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogConfig {
    /// Back end.
    #[serde(rename = "type")]
    pub kind: CatalogType,
    /// Where it is, in pyiceberg's form: `sqlite:///relative.db`, `sqlite:////absolute.db`. May hold a password.
    pub uri: String,
    /// Where new tables go: a path or a `file:///` location. Reading existing tables needs none.
    #[serde(default)]
    pub warehouse: Option<String>,
    /// Storage options by pyiceberg's names. May hold keys.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

impl CatalogConfig {
    /// What is wrong with this section, one line a fault, each starting with the faulty key under `key`.
    pub fn faults(&self, key: &str) -> Vec<String> {
        match self.kind {
            CatalogType::Sql => sql::faults(self),
        }
        .into_iter()
        .map(|(field, message)| format!("{key}.{field}: {message}"))
        .collect()
    }
}

/// Shows no credentials: the uri without its password and query, properties by key only.
impl fmt::Debug for CatalogConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: BTreeMap<&str, &str> = self
            .properties
            .keys()
            .map(|key| (key.as_str(), REDACTED))
            .collect();
        f.debug_struct("CatalogConfig")
            .field("kind", &self.kind)
            .field("uri", &redacted_uri(&self.uri))
            .field("warehouse", &self.warehouse)
            .field("properties", &properties)
            .finish()
    }
}

/// Stands where a secret was.
pub const REDACTED: &str = "[redacted]";

/// `scheme://user:password@host` without the password; whatever follows `?` may hold one too.
pub fn redacted_uri(uri: &str) -> String {
    let (uri, query) = uri
        .split_once('?')
        .map_or((uri, ""), |(uri, _)| (uri, "?[redacted]"));
    let Some((scheme, rest)) = uri.split_once("://") else {
        return format!("{uri}{query}");
    };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    match authority
        .rsplit_once('@')
        .map(|(user, host)| (user.split(':').next().unwrap_or_default(), host))
    {
        Some((user, host)) => format!("{scheme}://{user}:{REDACTED}@{host}{path}{query}"),
        None => format!("{scheme}://{authority}{path}{query}"),
    }
}

/// Keeps a catalog that a definition describes itself known to [`Catalogs`] for as long as it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogHandle {
    /// Its name for [`TableName::catalog`]: the definition's own name for it and a digest of its settings.
    pub name: String,
}

/// All configured catalogs; cheap to clone.
#[derive(Clone)]
pub struct Catalogs(Arc<BTreeMap<String, Entry>>);

struct Entry {
    /// Absent for catalogs that were handed in open.
    config: Option<CatalogConfig>,
    opened: OnceCell<Arc<dyn Catalog>>,
}

/// Whether opening may create what is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Refuse,
    Create,
}

impl Catalogs {
    /// Checks the configuration of all catalogs. Nothing is opened before it is asked for, so that a catalog that is
    /// down stops neither the server nor the views of other catalogs.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with all faults.
    pub fn connect(configs: &BTreeMap<String, CatalogConfig>) -> Result<Self> {
        let faults: Vec<String> = configs
            .iter()
            .flat_map(|(name, config)| config.faults(&format!("catalogs.{name}")))
            .collect();
        if !faults.is_empty() {
            return Err(Error::InvalidConfig { faults });
        }
        let entry = |config: &CatalogConfig| Entry {
            config: Some(config.clone()),
            opened: OnceCell::new(),
        };
        Ok(Self(Arc::new(
            configs
                .iter()
                .map(|(name, config)| (name.clone(), entry(config)))
                .collect(),
        )))
    }

    /// Catalogs that somebody else opened.
    pub fn from_opened(catalogs: impl IntoIterator<Item = (String, Arc<dyn Catalog>)>) -> Self {
        let entry = |catalog| Entry {
            config: None,
            opened: OnceCell::new_with(Some(catalog)),
        };
        Self(Arc::new(
            catalogs
                .into_iter()
                .map(|(name, catalog)| (name, entry(catalog)))
                .collect(),
        ))
    }

    /// Makes a catalog known that is described by a definition, not by the configuration. Equal descriptions share one
    /// client. Opens nothing.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] if the settings are faulty.
    pub fn define(&self, name: &str, config: CatalogConfig) -> Result<CatalogHandle> {
        let faults = config.faults(name);
        Err(Error::invalid("catalog", faults.join(", ")))
    }

    /// Names in the configuration, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The catalog of that name; opened now if it was not. Call it on a runtime that lives as long as the server:
    /// connections belong to it.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for a name that is not configured, [`Error::CatalogUnavailable`] if it cannot be
    /// opened; the next call tries again. A database file that does not exist is not created.
    pub async fn get(&self, name: &str) -> Result<Arc<dyn Catalog>> {
        self.open(name, Missing::Refuse).await
    }

    /// Like [`Catalogs::get`], but creates a database file and its folder where there is none.
    ///
    /// # Errors
    /// As [`Catalogs::get`].
    pub async fn get_or_create(&self, name: &str) -> Result<Arc<dyn Catalog>> {
        self.open(name, Missing::Create).await
    }

    /// The table as its catalog knows it at this moment.
    ///
    /// # Errors
    /// [`Error::TableNotFound`], [`Error::CatalogUnavailable`], or [`Error::FileNotFound`] if the catalog knows the
    /// table but its metadata file is gone.
    pub async fn load_table(&self, name: &TableName) -> Result<Table> {
        let catalog = self.get(&name.catalog).await?;
        catalog
            .load_table(&identifier(name)?)
            .await
            .map_err(|error| table_error(name, error))
    }

    async fn open(&self, name: &str, missing: Missing) -> Result<Arc<dyn Catalog>> {
        let entry = self.0.get(name).ok_or_else(|| self.unknown(name))?;
        let opened = entry.opened.get_or_try_init(|| async {
            let config = entry
                .config
                .as_ref()
                .expect("a catalog without configuration was handed in open");
            match config.kind {
                CatalogType::Sql => sql::open(name, config, missing).await,
            }
        });
        Ok(Arc::clone(opened.await?))
    }

    fn unknown(&self, name: &str) -> Error {
        let hint = match nearest(name, self.names()).first() {
            Some(near) => format!("; did you mean `{near}`?"),
            None => String::new(),
        };
        let known: Vec<&str> = self.names().collect();
        Error::invalid(
            "catalog",
            format!(
                "`{name}` is not configured; catalogs are [{}]{hint}",
                known.join(", ")
            ),
        )
    }
}

impl fmt::Debug for Catalogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(name, entry)| (name, &entry.config)))
            .finish()
    }
}

/// The catalog's identifier of a table.
pub(crate) fn identifier(name: &TableName) -> Result<TableIdent> {
    let namespace = NamespaceIdent::from_vec(name.namespace.clone())
        .map_err(|_| Error::invalid("table", format!("`{name}` has no namespace")))?;
    Ok(TableIdent::new(namespace, name.name.clone()))
}

/// Tells a missing table, a catalog that is down and a missing metadata file apart.
pub(crate) fn table_error(name: &TableName, error: iceberg::Error) -> Error {
    match error.kind() {
        ErrorKind::TableNotFound | ErrorKind::NamespaceNotFound => Error::TableNotFound {
            table: name.to_string(),
            catalog: name.catalog.clone(),
        },
        _ => match (sql::outage(&error), missing_file(error.message())) {
            (Some(message), _) => Error::CatalogUnavailable {
                catalog: name.catalog.clone(),
                message,
            },
            (None, Some(path)) => Error::FileNotFound {
                table: name.to_string(),
                path: path.to_owned(),
            },
            (None, None) => Error::iceberg(format!("load table `{name}`"))(error),
        },
    }
}

/// The path in the local storage's words for a file that is not there; it keeps no typed cause.
fn missing_file(message: &str) -> Option<&str> {
    let (path, cause) = message
        .strip_prefix("Failed to read file ")?
        .rsplit_once(": ")?;
    cause.contains("os error 2").then_some(path)
}

/// Where warehouses and tables can be; object stores come with their catalogs.
fn storage() -> Arc<dyn StorageFactory> {
    Arc::new(LocalFsStorageFactory)
}
