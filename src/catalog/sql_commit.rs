//! Commits to pyiceberg's SQL catalog: compare and swap of the metadata location, as both libraries do it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use iceberg::table::Table;
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;

use super::commit::{
    Outcome, TableCommitter, delete_quietly, next_location, staged, with_metadata,
};
use crate::error::{Error, Result};

/// Connections to one database that commits are made over.
const CONNECTIONS: u32 = 4;
/// After this, a database that gives no connection counts as unavailable.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Open connections by the database's URL, which may hold a password.
#[derive(Default)]
pub(super) struct Pools(Mutex<HashMap<String, AnyPool>>);

impl Pools {
    pub(super) fn of(&self, url: &str) -> Result<AnyPool, sqlx::Error> {
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
pub(super) struct SqlCommitter {
    /// pyiceberg's name of it.
    pub(super) catalog: String,
    pub(super) pool: AnyPool,
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
            return Ok(Outcome::CONFLICT);
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
        let outcome = self.swap(base.identifier(), old, &new, committed).await;
        if outcome.is_err() {
            delete_quietly(base.file_io(), std::slice::from_ref(&new)).await;
        }
        outcome
    }

    /// SQLite has no server that could be away.
    async fn reach(&self) -> Result<()> {
        if self.pool.connect_options().database_url.scheme() == "sqlite" {
            return Ok(());
        }
        let connection = self.pool.acquire().await;
        connection
            .map(drop)
            .map_err(|error| self.unavailable(&error))
    }

    async fn drop_unchanged(&self, base: &Table) -> Result<bool> {
        let location = base
            .metadata_location_result()
            .map_err(Error::iceberg("drop table"))?;
        let dropped = sqlx::query(DROP)
            .bind(&self.catalog)
            .bind(stored(base.identifier().namespace()))
            .bind(base.identifier().name())
            .bind(location)
            .execute(&self.pool)
            .await;
        let dropped = dropped.map_err(|error| self.unavailable(&error))?;
        Ok(dropped.rows_affected() == 1)
    }
}

impl SqlCommitter {
    async fn swap(
        &self,
        table: &TableIdent,
        old: &str,
        new: &str,
        committed: Table,
    ) -> Result<Outcome> {
        let connection = self.pool.acquire().await;
        let mut connection = connection.map_err(|error| self.unavailable(&error))?;
        let wrote = Some(new.to_owned());
        let swapped = sqlx::query(SWAP)
            .bind(new)
            .bind(old)
            .bind(&self.catalog)
            .bind(stored(table.namespace()))
            .bind(table.name())
            .execute(&mut *connection)
            .await;
        match swapped {
            Ok(done) if done.rows_affected() == 1 => Ok(Outcome::Committed(Box::new(committed))),
            Ok(_) => Ok(Outcome::Conflict { wrote }),
            Err(sqlx::Error::Database(error)) if is_refusal(error.code().as_deref()) => {
                Err(self.unavailable(&sqlx::Error::Database(error)))
            }
            Err(error) => Ok(Outcome::Unknown {
                cause: error.to_string(),
                wrote,
            }),
        }
    }

    fn unavailable(&self, error: &sqlx::Error) -> Error {
        let message = match error {
            sqlx::Error::PoolTimedOut => {
                format!("no connection within {} s", CONNECT_LIMIT.as_secs())
            }
            error => error.to_string(),
        };
        Error::CatalogUnavailable {
            catalog: self.catalog.clone(),
            message,
        }
    }
}

/// A namespace as rows of the catalog have it.
fn stored(namespace: &NamespaceIdent) -> String {
    namespace.join(".")
}

/// Whether a database that fails with this code certainly did nothing. Others, such as those of a connection that was ended,
/// also come from poolers in between, when they have lost the answer.
fn is_refusal(code: Option<&str>) -> bool {
    /// Unsupported, bad data, constraints, read-only, permissions, deadlocks, syntax, no room.
    const POSTGRES_CLASSES: [&str; 8] = ["0A", "22", "23", "25", "28", "40", "42", "53"];
    /// Busy, locked, read-only, full, constraints.
    const SQLITE: [u32; 5] = [5, 6, 8, 13, 19];
    let Some(code) = code else { return false };
    match code.split_at_checked(2) {
        Some((class, rest)) if rest.len() == 3 => POSTGRES_CLASSES.contains(&class),
        _ => code
            .parse::<u32>()
            .is_ok_and(|code| SQLITE.contains(&(code & 0xff))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_no_refusal() {
        let refused = ["42501", "40001", "25006", "5", "517", "13"];
        let unclear = ["08P01", "08006", "57P01", "XX000", "10", "1"];
        assert!(refused.iter().all(|code| is_refusal(Some(code))));
        assert!(!unclear.iter().any(|code| is_refusal(Some(code))));
        assert!(!is_refusal(None));
    }
}
