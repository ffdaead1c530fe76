//! Requests about tables, each with one meaning per failure.

use std::fmt;
use std::time::Duration;

use aws_sdk_glue::Client;
use aws_sdk_glue::types::{Table, TableInput};
use iceberg::io::FileIO;
use iceberg::{NamespaceIdent, TableIdent};

use super::error::{Failure, Subject, refused, unthrottled};
use super::table_input::is_iceberg;

pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(3);
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(18);

/// One catalog.
pub(super) struct Glue {
    /// In the configuration.
    pub(super) name: String,
    pub(super) reads: Client,
    /// Sends nothing twice by itself.
    pub(super) changes: Client,
    /// Amazon's account that the catalog belongs to, if it is another one than the keys'.
    pub(super) id: Option<String>,
    pub(super) warehouse: Option<String>,
    pub(super) skip_archive: bool,
    pub(super) io: FileIO,
}

impl fmt::Debug for Glue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Glue").field(&self.name).finish()
    }
}

/// The database that a namespace is.
pub(super) fn database(namespace: &NamespaceIdent) -> iceberg::Result<&str> {
    match &**namespace {
        [name] => Ok(name),
        levels => Err(refused(format!(
            "namespace `{}` has {} levels; AWS Glue has databases, so one level",
            levels.join("."),
            levels.len()
        ))),
    }
}

/// A failure of a request about this table.
pub(super) fn about(table: &TableIdent) -> impl FnOnce(Failure) -> iceberg::Error {
    move |failure| failure.about(Subject::Table(&table.to_string()))
}

impl Glue {
    pub(super) async fn table(&self, table: &TableIdent) -> iceberg::Result<Table> {
        let request = self
            .reads
            .get_table()
            .set_catalog_id(self.id.clone())
            .database_name(database(table.namespace())?)
            .name(table.name());
        let answer = unthrottled("GetTable", || request.clone().send()).await;
        let answer = answer.map_err(about(table))?;
        let missing = || about(table)(Failure::NotFound);
        answer.table.ok_or_else(missing)
    }

    /// Tables of every kind.
    pub(super) async fn tables(&self, database: &str) -> Result<Vec<Table>, Failure> {
        let request = self
            .reads
            .get_tables()
            .set_catalog_id(self.id.clone())
            .database_name(database);
        let pages = request.into_paginator().send().try_collect().await;
        let pages = pages.map_err(|error| Failure::of("GetTables", &error))?;
        let tables = pages.into_iter().filter_map(|page| page.table_list);
        Ok(tables.flatten().collect())
    }

    pub(super) async fn iceberg_tables(&self, database: &str) -> Result<Vec<String>, Failure> {
        let tables = self.tables(database).await?;
        let ours = tables.into_iter().filter(is_iceberg);
        Ok(ours.map(|table| table.name).collect())
    }

    pub(super) async fn create(&self, database: &str, input: TableInput) -> Result<(), Failure> {
        let request = self
            .changes
            .create_table()
            .set_catalog_id(self.id.clone())
            .database_name(database)
            .table_input(input);
        let created = unthrottled("CreateTable", || request.clone().send()).await;
        created.map(drop)
    }

    /// Stores `input` if the table is still of this version.
    pub(super) async fn update(
        &self,
        database: &str,
        version: &str,
        input: TableInput,
    ) -> Result<(), Failure> {
        let request = self
            .changes
            .update_table()
            .set_catalog_id(self.id.clone())
            .database_name(database)
            .table_input(input)
            .skip_archive(self.skip_archive)
            .version_id(version);
        let updated = unthrottled("UpdateTable", || request.clone().send()).await;
        updated.map(drop)
    }

    pub(super) async fn delete(&self, database: &str, table: &str) -> Result<(), Failure> {
        let request = self
            .changes
            .delete_table()
            .set_catalog_id(self.id.clone())
            .database_name(database)
            .name(table);
        let deleted = unthrottled("DeleteTable", || request.clone().send()).await;
        deleted.map(drop)
    }
}
