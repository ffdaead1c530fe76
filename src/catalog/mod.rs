//! Catalogs by their configured names, opened when first asked for. The only module that knows back ends: everything
//! above it sees `iceberg::Catalog` and errors that say whether a table is missing or a catalog is down.
//!
//! Definitions may bring catalogs of their own. They live for as long as somebody holds their [`CatalogHandle`].

pub(crate) mod commit;
mod config;
mod defined;
mod failure;
mod glue;
mod rest;
mod sql;
mod sql_commit;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use iceberg::table::Table;
use iceberg::{Catalog, Namespace, NamespaceIdent, TableIdent};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::error::{Error, Result, nearest};
use crate::model::TableName;

pub use config::{CatalogConfig, CatalogType, REDACTED, is_property, redacted_uri};
pub use defined::CatalogHandle;
pub(crate) use failure::{pass_over, table_error};
pub(crate) use sql::sqlite_path;

use commit::TableCommitter;
use defined::Defined;
use sql_commit::Pools;

/// After this, a catalog that was asked to open or to show a table counts as unavailable.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// All configured catalogs; cheap to clone.
#[derive(Clone)]
pub struct Catalogs(Arc<Known>);

struct Known {
    configured: BTreeMap<String, Arc<Entry>>,
    defined: Defined,
    pools: Pools,
}

/// One catalog, opened or not.
struct Entry {
    /// pyiceberg's name of it, which rows of a SQL catalog carry.
    name: String,
    config: CatalogConfig,
    opened: OnceCell<Opened>,
}

/// What a catalog is read through, and what commits to its tables.
#[derive(Clone)]
struct Opened {
    catalog: Arc<dyn Catalog>,
    committer: Arc<dyn TableCommitter>,
}

/// Whether opening may create what is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Refuse,
    Create,
}

impl Entry {
    fn new(name: &str, config: CatalogConfig) -> Self {
        Self {
            name: name.to_owned(),
            config,
            opened: OnceCell::new(),
        }
    }

    async fn open(&self, missing: Missing, pools: &Pools) -> Result<Opened> {
        let (name, config) = (&self.name, &self.config);
        let opened = self.opened.get_or_try_init(|| async {
            match config.kind {
                CatalogType::Sql => in_time(name, sql::open(name, config, missing, pools)).await,
                CatalogType::Rest => rest::open(name, config),
                CatalogType::Glue => in_time(name, glue::open(name, config)).await,
            }
        });
        Ok(opened.await?.clone())
    }
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
        let entries = configs
            .iter()
            .map(|(name, config)| (name.clone(), Arc::new(Entry::new(name, config.clone()))));
        Ok(Self(Arc::new(Known {
            configured: entries.collect(),
            defined: Defined::default(),
            pools: Pools::default(),
        })))
    }

    /// Makes a catalog known that is described by a definition, not by the configuration; `name` is pyiceberg's name of
    /// it. Equal descriptions share one client, which lives as long as one of their handles. Opens nothing.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] if the settings are faulty, [`Error::CatalogUnavailable`] if too many catalogs are known.
    pub fn define(&self, name: &str, config: CatalogConfig) -> Result<CatalogHandle> {
        let faults = config.faults(name);
        if !faults.is_empty() {
            return Err(Error::invalid("catalog", faults.join(", ")));
        }
        self.0.defined.add(name, config)
    }

    /// Names in the configuration, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.configured.keys().map(String::as_str)
    }

    /// The catalog of that name; opened now if it was not. Call it on a runtime that lives as long as the server:
    /// connections belong to it.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for a name that is not configured, [`Error::CatalogUnavailable`] if it cannot be
    /// opened; the next call tries again. A database file that does not exist is not created.
    pub async fn get(&self, name: &str) -> Result<Arc<dyn Catalog>> {
        Ok(self.open(name, Missing::Refuse).await?.catalog)
    }

    /// Like [`Catalogs::get`], but creates a database file and its folder where there is none.
    ///
    /// # Errors
    /// As [`Catalogs::get`].
    pub async fn get_or_create(&self, name: &str) -> Result<Arc<dyn Catalog>> {
        Ok(self.open(name, Missing::Create).await?.catalog)
    }

    /// What commits to tables of the catalog of that name. Opens it, as [`Catalogs::get`] does.
    ///
    /// # Errors
    /// As [`Catalogs::get`].
    pub async fn committer(&self, name: &str) -> Result<Arc<dyn TableCommitter>> {
        Ok(self.open(name, Missing::Refuse).await?.committer)
    }

    /// The table as its catalog knows it at this moment.
    ///
    /// # Errors
    /// [`Error::TableNotFound`], [`Error::CatalogUnavailable`], or [`Error::FileNotFound`] if the catalog knows the
    /// table but its metadata file is gone.
    pub async fn load_table(&self, name: &TableName) -> Result<Table> {
        let opened = self.open(&name.catalog, Missing::Refuse).await?;
        let identifier = identifier(name)?;
        in_time(&name.catalog, async {
            opened.committer.reach().await?;
            let loaded = opened.catalog.load_table(&identifier).await;
            loaded.map_err(|error| table_error(name, error))
        })
        .await
    }

    async fn open(&self, name: &str, missing: Missing) -> Result<Opened> {
        self.entry(name)?.open(missing, &self.0.pools).await
    }

    fn entry(&self, name: &str) -> Result<Arc<Entry>> {
        let configured = self.0.configured.get(name).cloned();
        configured
            .or_else(|| self.0.defined.get(name))
            .ok_or_else(|| self.unknown(name))
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

#[cfg(test)]
impl Catalogs {
    /// One catalog `default`, which no configuration knows how to open.
    pub(crate) fn over(catalog: Arc<dyn Catalog>, committer: Arc<dyn TableCommitter>) -> Self {
        let config = CatalogConfig {
            kind: CatalogType::Sql,
            uri: String::new(),
            warehouse: None,
            properties: BTreeMap::new(),
        };
        let entry = Entry {
            opened: OnceCell::new_with(Some(Opened { catalog, committer })),
            ..Entry::new("default", config)
        };
        Self(Arc::new(Known {
            configured: BTreeMap::from([("default".to_owned(), Arc::new(entry))]),
            defined: Defined::default(),
            pools: Pools::default(),
        }))
    }
}

impl fmt::Debug for Catalogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let configured = self.0.configured.iter();
        f.debug_map()
            .entries(configured.map(|(name, entry)| (name, &entry.config)))
            .finish()
    }
}

impl Catalogs {
    /// A place for a new table that no table had before, so that a table's files can go without touching those of a later
    /// one of the same name; `None` where the catalog decides itself.
    ///
    /// # Errors
    /// [`Error::CatalogUnavailable`].
    pub(crate) async fn new_location(&self, name: &TableName) -> Result<Option<String>> {
        let config = &self.entry(&name.catalog)?.config;
        let namespace = identifier(name)?.namespace;
        let common = match config.kind {
            CatalogType::Sql => sql::folder(config, &namespace.join("/")),
            CatalogType::Glue => glue::folder(config, &namespace.join("/")),
            CatalogType::Rest => return Ok(None),
        };
        let catalog = self.get(&name.catalog).await?;
        let found = catalog.get_namespace(&namespace).await;
        let found = found.map_err(|error| table_error(name, error))?;
        let id = Uuid::new_v4().simple();
        Ok(folder(&found, common).map(|folder| format!("{folder}/{}-{id}", name.name)))
    }
}

/// Where a namespace says that its tables belong, else the `common` place.
fn folder(namespace: &Namespace, common: Option<String>) -> Option<String> {
    let own = namespace.properties().get("location");
    let own = own.map(|own| own.trim_end_matches('/').to_owned());
    own.or(common)
}

/// The catalog's identifier of a table.
pub(crate) fn identifier(name: &TableName) -> Result<TableIdent> {
    let namespace = NamespaceIdent::from_vec(name.namespace.clone())
        .map_err(|_| Error::invalid("table", format!("`{name}` has no namespace")))?;
    Ok(TableIdent::new(namespace, name.name.clone()))
}

async fn in_time<T: Send>(
    catalog: &str,
    work: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    let answered = tokio::time::timeout(ANSWER_LIMIT, work).await;
    answered.unwrap_or_else(|_| {
        Err(Error::CatalogUnavailable {
            catalog: catalog.to_owned(),
            message: format!("no answer within {} s", ANSWER_LIMIT.as_secs()),
        })
    })
}
