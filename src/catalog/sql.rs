//! pyiceberg's SQL catalog, shared with pyiceberg itself and with other processes.
//!
//! Either side may create the database and its two tables first: opening creates missing tables in an existing
//! database, like pyiceberg does, but a missing database file only where the caller asked for that (a misspelt path
//! must not become an empty catalog). SQLite is opened with a busy timeout of five seconds (the driver's default), so
//! that short locks of other processes are waited for. PostgreSQL becomes a second variant of [`Database`].

use std::collections::HashMap;
use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use iceberg::{Catalog, CatalogBuilder};
use iceberg_catalog_sql::{SqlBindStyle, SqlCatalogBuilder};

use super::{CatalogConfig, Missing, storage};
use crate::error::{Error, Result};

/// Properties that the driver would take before ours, or parse without checking.
const RESERVED: [&str; 6] = [
    "uri",
    "warehouse",
    "sql_bind_style",
    "pool.max-connections",
    "pool.idle-timeout",
    "pool.test-before-acquire",
];

enum Database {
    Sqlite(PathBuf),
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
) -> Result<Arc<dyn Catalog>> {
    let unavailable = |message: String| Error::CatalogUnavailable {
        catalog: name.to_owned(),
        message,
    };
    let Database::Sqlite(path) = Database::parse(&config.uri).map_err(unavailable)?;
    prepare(&path, missing).map_err(unavailable)?;
    let catalog = SqlCatalogBuilder::default()
        .uri(driver_uri(&path, missing))
        .warehouse_location(location(config).map_err(unavailable)?.unwrap_or_default())
        .sql_bind_style(SqlBindStyle::QMark)
        .with_storage_factory(storage())
        .load(name, storage_properties(config))
        .await
        .map_err(|error| {
            let cause = outage(&error).unwrap_or_else(|| error.to_string());
            unavailable(format!("database `{}`: {cause}", path.display()))
        })?;
    Ok(Arc::new(catalog))
}

/// The driver's URL of a database that should exist; `None` for faulty settings.
pub(super) fn existing_database(config: &CatalogConfig) -> Option<String> {
    let Database::Sqlite(path) = Database::parse(&config.uri).ok()?;
    Some(driver_uri(&path, Missing::Refuse))
}

/// The database driver's words, if it is what failed.
pub(super) fn outage(error: &iceberg::Error) -> Option<String> {
    error
        .source()?
        .downcast_ref::<sqlx::Error>()
        .map(ToString::to_string)
}

impl Database {
    /// SQLAlchemy's rule: what follows `sqlite:///` is the path, so three slashes are relative and four absolute.
    fn parse(uri: &str) -> Result<Self, String> {
        let (scheme, rest) = uri.split_once("://").ok_or("expected `sqlite:///path`")?;
        match scheme.split('+').next() {
            Some("sqlite") => {}
            _ => {
                return Err(format!(
                    "`{scheme}` databases are not supported; expected `sqlite:///path`"
                ));
            }
        }
        let path = rest
            .strip_prefix('/')
            .ok_or("expected `sqlite:///path`, with three or four slashes")?;
        match path.split('?').next().unwrap_or_default() {
            "" | ":memory:" => {
                Err("expected a file; a database in memory cannot be shared".to_owned())
            }
            path => absolute(path).map(Self::Sqlite),
        }
    }
}

/// Location prefix for new tables: the warehouse as written, except that relative paths become `file://` locations
/// that mean the same in every process.
fn location(config: &CatalogConfig) -> Result<Option<String>, String> {
    let Some(warehouse) = config.warehouse.as_deref() else {
        return Ok(None);
    };
    let warehouse = warehouse.trim_end_matches('/');
    match warehouse.split_once("://") {
        Some(("file", path)) if path.starts_with('/') => Ok(Some(warehouse.to_owned())),
        Some(("file", _)) => Err("expected `file:///path`, with three slashes".to_owned()),
        Some((scheme, _)) => Err(format!("`{scheme}` storage is not supported")),
        None if warehouse.is_empty() => Err("expected a path or a `file:///` location".to_owned()),
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
fn driver_uri(path: &Path, missing: Missing) -> String {
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

fn storage_properties(config: &CatalogConfig) -> HashMap<String, String> {
    let properties = config
        .properties
        .iter()
        .filter(|(key, _)| !RESERVED.contains(&key.as_str()));
    properties
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
