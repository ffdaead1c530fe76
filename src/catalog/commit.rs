//! Commits that the Iceberg library has no transaction for. The library lets nobody else call `Catalog::update_table`
//! with updates of their own, so that this talks to the catalog's back end itself.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use iceberg::io::FileIO;
use iceberg::spec::TableMetadata;
use iceberg::table::Table;
use iceberg::{MetadataLocation, Runtime, TableRequirement, TableUpdate};
use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;

use super::{CatalogType, Catalogs, identifier};
use crate::error::{Error, Result};
use crate::model::TableName;

/// Connections to one database that commits are made over.
const CONNECTIONS: u32 = 4;
/// After this, a database that gives no connection counts as unavailable.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What became of a commit.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The table has the new state, which is this.
    Committed(Box<Table>),
    /// Somebody else changed the table first; nothing happened.
    Conflict,
    /// The connection broke: it may have happened, now or later.
    Unknown(String),
}

/// Changes a table if it is still as it was read.
#[async_trait]
pub trait TableCommitter: Send + Sync {
    /// Applies `updates` to `base` if `requirements` hold, and makes the result the table's state if that is still
    /// `base`.
    ///
    /// # Errors
    /// Where certainly nothing was committed: invalid updates, storage failures, a catalog that cannot be reached.
    async fn commit(
        &self,
        base: &Table,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Outcome>;

    /// Drops a table from the catalog if it is still as it was read; whether it did.
    ///
    /// # Errors
    /// [`Error::CatalogUnavailable`].
    async fn drop_unchanged(&self, base: &Table) -> Result<bool>;
}

impl Catalogs {
    /// What commits to tables of the catalog of `name` by itself.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for back ends that have none.
    pub fn committer(&self, name: &TableName) -> Result<Arc<dyn TableCommitter>> {
        let (catalog, config) = self.settings(&name.catalog)?;
        let sql = config.filter(|config| config.kind == CatalogType::Sql);
        let url = sql.as_ref().and_then(super::sql::existing_database);
        let url = url.ok_or_else(|| Error::Unsupported {
            what: format!(
                "changing table `{name}` of catalog `{}`, which is not of type `sql`, in this way",
                name.catalog
            ),
        })?;
        Ok(Arc::new(SqlCommitter {
            catalog,
            pool: self
                .0
                .pools
                .of(&url)
                .map_err(|error| Error::CatalogUnavailable {
                    catalog: name.catalog.clone(),
                    message: error.to_string(),
                })?,
            namespace: identifier(name)?.namespace.join("."),
            table: name.name.clone(),
        }))
    }
}

/// Open connections by the database's URL, which may hold a password.
#[derive(Default)]
pub(super) struct Pools(Mutex<HashMap<String, AnyPool>>);

impl Pools {
    fn of(&self, url: &str) -> Result<AnyPool, sqlx::Error> {
        let mut pools = self.0.lock().expect("no holder panics");
        if let Some(pool) = pools.get(url) {
            return Ok(pool.clone());
        }
        sqlx::any::install_default_drivers();
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(CONNECT_LIMIT)
            .connect_lazy(url)?;
        pools.insert(url.to_owned(), pool.clone());
        Ok(pool)
    }
}

/// By compare and swap of the metadata location, as the SQL catalogs of both libraries do.
struct SqlCommitter {
    /// pyiceberg's name of it.
    catalog: String,
    pool: AnyPool,
    namespace: String,
    table: String,
}

/// Numbered placeholders are understood by SQLite and PostgreSQL alike.
const SWAP: &str = "UPDATE iceberg_tables SET metadata_location = $1, previous_metadata_location = $2 \
     WHERE catalog_name = $3 AND table_namespace = $4 AND table_name = $5 AND metadata_location = $2";

const DROP: &str = "DELETE FROM iceberg_tables \
     WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 AND metadata_location = $4";

#[async_trait]
impl TableCommitter for SqlCommitter {
    async fn commit(
        &self,
        base: &Table,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Outcome> {
        if requirements
            .iter()
            .any(|requirement| requirement.check(Some(base.metadata())).is_err())
        {
            return Ok(Outcome::Conflict);
        }
        let old = base
            .metadata_location_result()
            .map_err(Error::iceberg("commit"))?;
        let metadata = staged(base, updates)?;
        let new = next_location(old, &metadata)?;
        metadata
            .write_to(base.file_io(), &new)
            .await
            .map_err(Error::iceberg("write table metadata"))?;
        let new = new.to_string();
        let committed = with_metadata(base, metadata, Some(&new))?;
        let outcome = self.swap(old, &new, committed).await;
        if matches!(outcome, Ok(Outcome::Conflict) | Err(_)) {
            delete_quietly(base.file_io(), std::slice::from_ref(&new)).await;
        }
        outcome
    }

    async fn drop_unchanged(&self, base: &Table) -> Result<bool> {
        let location = base
            .metadata_location_result()
            .map_err(Error::iceberg("drop table"))?;
        let dropped = sqlx::query(DROP)
            .bind(&self.catalog)
            .bind(&self.namespace)
            .bind(&self.table)
            .bind(location)
            .execute(&self.pool)
            .await;
        let dropped = dropped.map_err(|error| self.unavailable(&error))?;
        Ok(dropped.rows_affected() == 1)
    }
}

impl SqlCommitter {
    async fn swap(&self, old: &str, new: &str, committed: Table) -> Result<Outcome> {
        let connection = self.pool.acquire().await;
        let mut connection = connection.map_err(|error| self.unavailable(&error))?;
        let swapped = sqlx::query(SWAP)
            .bind(new)
            .bind(old)
            .bind(&self.catalog)
            .bind(&self.namespace)
            .bind(&self.table)
            .execute(&mut *connection)
            .await;
        match swapped {
            Ok(done) if done.rows_affected() == 1 => Ok(Outcome::Committed(Box::new(committed))),
            Ok(_) => Ok(Outcome::Conflict),
            // The database answered that it did not do it.
            Err(error @ sqlx::Error::Database(_)) => Err(self.unavailable(&error)),
            Err(error) => Ok(Outcome::Unknown(error.to_string())),
        }
    }

    fn unavailable(&self, error: &sqlx::Error) -> Error {
        Error::CatalogUnavailable {
            catalog: self.catalog.clone(),
            message: error.to_string(),
        }
    }
}

/// Deletes files that nothing refers to, as far as it goes.
pub(crate) async fn delete_quietly(io: &FileIO, paths: &[String]) {
    for path in paths {
        if let Err(error) = io.delete(path).await {
            tracing::warn!(path, %error, "a file that no table refers to stays");
        }
    }
}

/// The metadata of `base` after `updates`.
///
/// # Errors
/// If the updates contradict each other or the table.
pub(crate) fn staged(base: &Table, updates: Vec<TableUpdate>) -> Result<TableMetadata> {
    let location = base.metadata_location().map(ToOwned::to_owned);
    let mut builder = base.metadata().clone().into_builder(location);
    for update in updates {
        builder = update
            .apply(builder)
            .map_err(Error::iceberg("change table"))?;
    }
    let built = builder.build().map_err(Error::iceberg("change table"))?;
    Ok(built.metadata)
}

/// `base` with other metadata, stored at `location` if it is.
pub(crate) fn with_metadata(
    base: &Table,
    metadata: TableMetadata,
    location: Option<&str>,
) -> Result<Table> {
    let table = Table::builder()
        .file_io(base.file_io().clone())
        .identifier(base.identifier().clone())
        .metadata(Arc::new(metadata))
        .runtime(Runtime::try_current().map_err(Error::iceberg("stage table"))?);
    let table = match location {
        Some(location) => table.metadata_location(location),
        None => table,
    };
    table.build().map_err(Error::iceberg("stage table"))
}

fn next_location(old: &str, metadata: &TableMetadata) -> Result<MetadataLocation> {
    let old = MetadataLocation::from_str(old).map_err(Error::iceberg("commit"))?;
    Ok(old.with_next_version().with_new_metadata(metadata))
}
