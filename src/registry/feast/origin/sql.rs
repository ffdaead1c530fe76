//! A registry in a database, by SQLAlchemy's URL: each object is a row with its serialized message.
//!
//! Feast's time stamps of changes have whole seconds, so they cannot tell whether something changed: all rows of the
//! project are read at each request, by one statement, which sees one state.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{PgPool, SqlitePool};
use tokio::sync::OnceCell;

use super::{Failure, Fetched, LIMIT};
use crate::proto::feast::core;

/// Connections that a registry may use; its reads are shared, so that two suffice.
const CONNECTIONS: u32 = 2;
const ACQUIRE: Duration = Duration::from_secs(10);

/// Name and message column of each table that is read.
const TABLES: [(&str, &str); 7] = [
    ("entities", "entity_proto"),
    ("data_sources", "data_source_proto"),
    ("feature_views", "feature_view_proto"),
    ("stream_feature_views", "feature_view_proto"),
    ("on_demand_feature_views", "feature_view_proto"),
    ("feature_services", "feature_service_proto"),
    ("saved_datasets", "saved_dataset_proto"),
];

/// A database, connected to when first asked for: connections belong to the runtime of the request.
#[derive(Debug)]
pub(super) enum Database {
    Sqlite(PathBuf, OnceCell<SqlitePool>),
    Postgres(Box<PgConnectOptions>, OnceCell<PgPool>),
}

type Row = (i32, Vec<u8>);

impl Database {
    /// The database of this URL; a relative SQLite path starts at `repo`.
    pub(super) fn new(url: &str, repo: &Path) -> Result<Self, String> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or("expected a URL such as `sqlite:///path`")?;
        match scheme.split('+').next().unwrap_or_default() {
            "sqlite" => {
                let path = rest
                    .strip_prefix('/')
                    .map(|path| path.split('?').next().unwrap_or_default())
                    .filter(|path| !path.is_empty() && *path != ":memory:")
                    .ok_or("expected `sqlite:///path` of a file")?;
                Ok(Self::Sqlite(repo.join(path), OnceCell::new()))
            }
            "postgresql" | "postgres" => {
                let options = PgConnectOptions::from_str(&format!("postgresql://{rest}"))
                    .map_err(|_| "expected `postgresql://user:password@host:port/database`")?;
                Ok(Self::Postgres(Box::new(options), OnceCell::new()))
            }
            other => Err(format!(
                "`{other}` databases are not supported; there are sqlite and postgresql"
            )),
        }
    }

    pub(super) async fn fetch(&self, project: &str) -> Result<Fetched, Failure> {
        let rows = match self {
            Self::Sqlite(path, _) if !path.exists() => return Ok(Fetched::Absent),
            Self::Sqlite(path, pool) => {
                let options = SqliteConnectOptions::new().filename(path);
                let pool = pool
                    .get_or_init(async || settings().connect_lazy_with(options))
                    .await;
                let statement = statement();
                let rows = sqlx::query_as::<_, Row>(&statement)
                    .bind(project)
                    .fetch(pool);
                rows.try_fold(Rows::default(), Rows::with).await
            }
            Self::Postgres(options, pool) => {
                let pool = pool
                    .get_or_init(async || settings().connect_lazy_with(options.as_ref().clone()))
                    .await;
                let statement = statement();
                let rows = sqlx::query_as::<_, Row>(&statement)
                    .bind(project)
                    .fetch(pool);
                rows.try_fold(Rows::default(), Rows::with).await
            }
        };
        match rows {
            Ok(rows) => Ok(Fetched::Found {
                message: Box::new(rows.message),
                version: None,
            }),
            Err(error) if is_missing_table(&error) => Ok(Fetched::Absent),
            Err(error) => Err(Failure::Unreachable(error.to_string())),
        }
    }
}

fn settings<D: sqlx::Database>() -> PoolOptions<D> {
    PoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE)
}

/// All rows of a project: the table's number in [`TABLES`] and the message.
fn statement() -> String {
    let selects: Vec<String> = TABLES
        .iter()
        .enumerate()
        .map(|(number, (table, column))| {
            format!("SELECT {number}, {column} FROM {table} WHERE project_id = $1")
        })
        .collect();
    selects.join(" UNION ALL ")
}

#[derive(Default)]
struct Rows {
    message: core::Registry,
    bytes: usize,
}

impl Rows {
    async fn with(mut self, (table, message): Row) -> sqlx::Result<Self> {
        self.bytes = self.bytes.saturating_add(message.len());
        if self.bytes > LIMIT {
            let reason = format!("its objects have more than {LIMIT} bytes");
            return Err(sqlx::Error::Protocol(reason));
        }
        let registry = &mut self.message;
        let objects = match TABLES[table as usize].0 {
            "entities" => &mut registry.entities,
            "data_sources" => &mut registry.data_sources,
            "feature_views" => &mut registry.feature_views,
            "stream_feature_views" => &mut registry.stream_feature_views,
            "on_demand_feature_views" => &mut registry.on_demand_feature_views,
            "feature_services" => &mut registry.feature_services,
            _ => &mut registry.saved_datasets,
        };
        objects.push(Bytes::from(message));
        Ok(self)
    }
}

/// Whether Feast has not yet made its tables: PostgreSQL has a code for that, SQLite words only.
fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().as_deref() == Some("42P01") || error.message().contains("no such table")
    })
}
