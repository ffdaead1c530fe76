//! pyiceberg's SQL catalog, shared with pyiceberg itself and with other processes.
//!
//! Either side may create the database and its two tables first: opening creates missing tables in an existing
//! database, like pyiceberg does, but a missing database file only where the caller asked for that (a misspelt path
//! must not become an empty catalog). SQLite is opened with a busy timeout of five seconds (the driver's default), so
//! that short locks of other processes are waited for. A PostgreSQL database must exist.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use iceberg::CatalogBuilder;
use iceberg_catalog_sql::{SqlBindStyle, SqlCatalogBuilder};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::sql_commit::{Pools, SqlCommitter};
use super::{CatalogConfig, Missing, Opened, redacted_uri};
use crate::error::{Error, Result};
use crate::storage;

/// Properties that the driver would take before ours, or parse without checking.
const RESERVED: [&str; 6] = [
    "uri",
    "warehouse",
    "sql_bind_style",
    "pool.max-connections",
    "pool.idle-timeout",
    "pool.test-before-acquire",
];

/// Connections of one catalog; metadata is read in short transactions.
const CONNECTIONS: &str = "8";

/// Query parameters of SQLAlchemy's URLs that the driver knows; it would log the others with their values.
const POSTGRES_PARAMETERS: [&str; 11] = [
    "application_name",
    "dbname",
    "host",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// Where the catalog's two tables are.
enum Database {
    Sqlite(PathBuf),
    /// The driver's URL; may hold a password.
    Postgres(String),
}

/// Faults of a section as (key, message).
pub(super) fn faults(config: &CatalogConfig) -> Vec<(&'static str, String)> {
    let uri = Database::parse(&config.uri)
        .err()
        .map(|message| ("uri", message));
    let warehouse = location(config).err().map(|message| ("warehouse", message));
    uri.into_iter().chain(warehouse).collect()
}

pub(super) async fn open(
    name: &str,
    config: &CatalogConfig,
    missing: Missing,
    pools: &Pools,
) -> Result<Opened> {
    let unavailable = |message: String| Error::CatalogUnavailable {
        catalog: name.to_owned(),
        message,
    };
    let database = Database::parse(&config.uri).map_err(unavailable)?;
    database.prepare(missing).map_err(unavailable)?;
    database.reach().await.map_err(|error| {
        let cause = format!("database `{}`: {error}", database.shown());
        unavailable(cause)
    })?;
    let catalog = SqlCatalogBuilder::default()
        .uri(database.driver_uri(missing))
        .warehouse_location(location(config).map_err(unavailable)?.unwrap_or_default())
        .sql_bind_style(database.bind_style())
        .with_storage_factory(storage::factory())
        .load(name, properties(config))
        .await
        .map_err(|error| {
            let cause = outage(&error).unwrap_or_else(|| error.to_string());
            unavailable(format!("database `{}`: {cause}", database.shown()))
        })?;
    let pool = pools.of(&database.driver_uri(Missing::Refuse));
    let committer = SqlCommitter {
        catalog: name.to_owned(),
        pool: pool.map_err(|error| unavailable(error.to_string()))?,
    };
    Ok(Opened {
        catalog: Arc::new(catalog),
        committer: Arc::new(committer),
    })
}

/// The database driver's words, if it is what failed.
pub(super) fn outage(error: &iceberg::Error) -> Option<String> {
    error
        .source()?
        .downcast_ref::<sqlx::Error>()
        .map(ToString::to_string)
}

impl Database {
    fn parse(uri: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected `sqlite:///path` or `postgresql://user@host/database`";
        let (scheme, rest) = uri.split_once("://").ok_or(EXPECTED)?;
        match scheme.split('+').next() {
            Some("sqlite") => sqlite_file(rest).map(Self::Sqlite),
            Some("postgresql" | "postgres") => postgres_url(rest).map(Self::Postgres),
            _ => Err(format!(
                "`{scheme}` databases are not supported; {EXPECTED}"
            )),
        }
    }

    fn prepare(&self, missing: Missing) -> Result<(), String> {
        match self {
            Self::Sqlite(path) => prepare(path, missing),
            Self::Postgres(_) => Ok(()),
        }
    }

    /// One connection by itself: the catalog's pool would go on trying a server that is down until the caller gives up.
    async fn reach(&self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(url) => PgConnection::connect(url).await?.close().await,
        }
    }

    fn driver_uri(&self, missing: Missing) -> String {
        match self {
            Self::Sqlite(path) => sqlite_url(path, missing),
            Self::Postgres(url) => url.clone(),
        }
    }

    fn bind_style(&self) -> SqlBindStyle {
        match self {
            Self::Sqlite(_) => SqlBindStyle::QMark,
            Self::Postgres(_) => SqlBindStyle::DollarNumeric,
        }
    }

    /// Without secrets.
    fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(url) => redacted_uri(url),
        }
    }
}

/// The database file that a URL in SQLAlchemy's form names, if it names one.
pub(crate) fn sqlite_path(uri: &str) -> Option<PathBuf> {
    match Database::parse(uri) {
        Ok(Database::Sqlite(path)) => Some(path),
        _ => None,
    }
}

/// SQLAlchemy's rule: what follows `sqlite:///` is the path, so three slashes are relative and four absolute.
fn sqlite_file(rest: &str) -> Result<PathBuf, String> {
    let path = rest
        .strip_prefix('/')
        .ok_or("expected `sqlite:///path`, with three or four slashes")?;
    match path.split('?').next().unwrap_or_default() {
        "" | ":memory:" => Err("expected a file; a database in memory cannot be shared".to_owned()),
        path => absolute(path),
    }
}

/// What SQLAlchemy's drivers have in common with ours.
fn postgres_url(rest: &str) -> Result<String, String> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let known: Vec<&str> = query
        .split('&')
        .filter(|parameter| {
            let name = parameter.split('=').next().unwrap_or_default();
            POSTGRES_PARAMETERS.contains(&name)
        })
        .collect();
    let mark = if known.is_empty() { "" } else { "?" };
    let url = format!("postgresql://{place}{mark}{}", known.join("&"));
    match url.parse::<PgConnectOptions>() {
        Ok(_) => Ok(url),
        Err(error) => Err(format!(
            "expected `postgresql://user@host/database`: {error}"
        )),
    }
}

/// Where tables of a namespace go that has no location of its own.
pub(super) fn folder(config: &CatalogConfig, namespace: &str) -> Option<String> {
    let warehouse = location(config).ok().flatten()?;
    Some(format!("{warehouse}/{namespace}"))
}

/// Location prefix for new tables: the warehouse as written, except that relative paths become `file://` locations
/// that mean the same in every process.
pub(super) fn location(config: &CatalogConfig) -> Result<Option<String>, String> {
    let Some(warehouse) = config.warehouse.as_deref() else {
        return Ok(None);
    };
    let warehouse = warehouse.trim_end_matches('/');
    match warehouse.split_once("://") {
        Some(("file", path)) if path.starts_with('/') => Ok(Some(warehouse.to_owned())),
        Some(("file", _)) => Err("expected `file:///path`, with three slashes".to_owned()),
        Some((scheme, _)) if !storage::supported_scheme(scheme) => {
            Err(format!("`{scheme}` storage is not supported"))
        }
        Some(_) => storage::Location::parse(warehouse).map(|_| Some(warehouse.to_owned())),
        None if warehouse.is_empty() => {
            Err("expected a path, a `file:///` or an `s3://` location".to_owned())
        }
        None if warehouse.starts_with('/') => Ok(Some(warehouse.to_owned())),
        None => Ok(Some(format!("file://{}", absolute(warehouse)?.display()))),
    }
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("`{path}`: {error}"))
}

fn prepare(path: &Path, missing: Missing) -> Result<(), String> {
    match missing {
        _ if path.exists() => Ok(()),
        Missing::Refuse => Err(format!("database `{}` does not exist", path.display())),
        Missing::Create => path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .map_err(|error| format!("cannot create the folder of `{}`: {error}", path.display())),
    }
}

/// The driver's URL, where three slashes are absolute.
fn sqlite_url(path: &Path, missing: Missing) -> String {
    let escaped = path
        .to_string_lossy()
        .replace('%', "%25")
        .replace('?', "%3F")
        .replace('#', "%23");
    let mode = match missing {
        Missing::Refuse => "rw",
        Missing::Create => "rwc",
    };
    format!("sqlite://{escaped}?mode={mode}")
}

fn properties(config: &CatalogConfig) -> HashMap<String, String> {
    let properties = config
        .properties
        .iter()
        .filter(|(key, _)| !RESERVED.contains(&key.as_str()));
    let limit = ("pool.max-connections".to_owned(), CONNECTIONS.to_owned());
    properties
        .map(|(key, value)| (key.clone(), value.clone()))
        .chain([limit])
        .collect()
}
