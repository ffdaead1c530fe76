//! Glue as the Iceberg library sees catalogs.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::{TableMetadata, TableMetadataBuilder};
use iceberg::table::Table;
use iceberg::{
    Catalog, Error, ErrorKind, MetadataLocation, Namespace, NamespaceIdent, Result, Runtime,
    TableCommit, TableCreation, TableIdent,
};

use super::client::{Glue, about, database};
use super::committer::GlueCommitter;
use super::error::{Failure, Subject, into_iceberg, refused, unavailable};
use super::in_warehouse;
use super::namespaces::properties;
use super::table_input::{created, metadata_location, renamed};
use crate::catalog::commit::{Outcome, TableCommitter, delete_quietly};
use crate::catalog::folder;

#[derive(Debug)]
pub(super) struct GlueCatalog(pub(super) Arc<Glue>);

fn about_namespace(name: &str) -> impl FnOnce(Failure) -> Error {
    move |failure| failure.about(Subject::Namespace(name))
}

fn found<T>(looked_up: Result<T>) -> Result<bool> {
    use ErrorKind::{NamespaceNotFound, TableNotFound};
    match looked_up {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), TableNotFound | NamespaceNotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Catalog for GlueCatalog {
    async fn list_namespaces(
        &self,
        parent: Option<&NamespaceIdent>,
    ) -> Result<Vec<NamespaceIdent>> {
        if let Some(parent) = parent {
            return self.get_namespace(parent).await.map(|_| Vec::new());
        }
        let names = self.0.databases().await.map_err(about_namespace("*"))?;
        Ok(names.into_iter().map(NamespaceIdent::new).collect())
    }

    async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<Namespace> {
        let name = database(namespace)?;
        let created = self.0.create_database(name, properties.clone()).await;
        created.map_err(about_namespace(name))?;
        Ok(Namespace::with_properties(namespace.clone(), properties))
    }

    async fn get_namespace(&self, namespace: &NamespaceIdent) -> Result<Namespace> {
        let name = database(namespace)?;
        let database = self.0.database(name).await.map_err(about_namespace(name))?;
        Ok(Namespace::with_properties(
            namespace.clone(),
            properties(database),
        ))
    }

    async fn namespace_exists(&self, namespace: &NamespaceIdent) -> Result<bool> {
        found(self.get_namespace(namespace).await)
    }

    async fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<()> {
        let name = database(namespace)?;
        let updated = self.0.update_database(name, properties).await;
        updated.map_err(about_namespace(name))
    }

    async fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        let name = database(namespace)?;
        let dropped = self.0.delete_database(name).await;
        dropped.map_err(about_namespace(name))
    }

    async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        let name = database(namespace)?;
        let names = self.0.iceberg_tables(name).await;
        let names = names.map_err(about_namespace(name))?.into_iter();
        Ok(names
            .map(|name| TableIdent::new(namespace.clone(), name))
            .collect())
    }

    async fn create_table(
        &self,
        namespace: &NamespaceIdent,
        creation: TableCreation,
    ) -> Result<Table> {
        let identifier = TableIdent::new(namespace.clone(), creation.name.clone());
        if self.table_exists(&identifier).await? {
            return Err(about(&identifier)(Failure::Exists));
        }
        let location = match &creation.location {
            Some(location) => location.trim_end_matches('/').to_owned(),
            None => self.default_location(&identifier).await?,
        };
        let creation = TableCreation {
            location: Some(location.clone()),
            ..creation
        };
        let metadata = TableMetadataBuilder::from_table_creation(creation)?
            .build()?
            .metadata;
        let file = MetadataLocation::new_with_metadata(location, &metadata);
        metadata.write_to(&self.0.io, &file).await?;
        let file = file.to_string();
        let stored = self.enter(&identifier, &metadata, &file).await;
        if stored.as_ref().is_err_and(|failure| !failure.is_unknown()) {
            delete_quietly(&self.0.io, std::slice::from_ref(&file)).await;
        }
        stored.map_err(in_database_of(&identifier))?;
        self.read(identifier, metadata, file)
    }

    async fn load_table(&self, table: &TableIdent) -> Result<Table> {
        let entry = self.0.table(table).await?;
        let file = metadata_location(&entry)?;
        let metadata = TableMetadata::read_from(&self.0.io, file).await?;
        self.read(table.clone(), metadata, file.to_owned())
    }

    async fn drop_table(&self, table: &TableIdent) -> Result<()> {
        let name = database(table.namespace())?;
        let dropped = self.0.delete(name, table.name()).await;
        dropped.map_err(about(table))
    }

    async fn purge_table(&self, table: &TableIdent) -> Result<()> {
        let loaded = self.load_table(table).await?;
        self.drop_table(table).await?;
        iceberg::drop_table_data(&loaded).await
    }

    async fn table_exists(&self, table: &TableIdent) -> Result<bool> {
        found(self.0.table(table).await)
    }

    /// Glue cannot rename: the table has both names for a moment.
    async fn rename_table(&self, src: &TableIdent, dest: &TableIdent) -> Result<()> {
        let (from, to) = (database(src.namespace())?, database(dest.namespace())?);
        let entry = self.0.table(src).await?;
        metadata_location(&entry)?;
        let input = renamed(&entry, dest.name());
        let entered = self.0.create(to, input).await;
        entered.map_err(in_database_of(dest))?;
        match self.0.delete(from, src.name()).await {
            Ok(()) | Err(Failure::NotFound) => Ok(()),
            Err(failure) => {
                if !failure.is_unknown() && self.0.delete(to, dest.name()).await.is_err() {
                    tracing::warn!(from = %src, to = %dest, "a table that could not be renamed has both names");
                }
                Err(about(src)(failure))
            }
        }
    }

    async fn register_table(&self, table: &TableIdent, metadata_location: String) -> Result<Table> {
        database(table.namespace())?;
        let metadata = TableMetadata::read_from(&self.0.io, &metadata_location).await?;
        let entered = self.enter(table, &metadata, &metadata_location).await;
        entered.map_err(in_database_of(table))?;
        self.read(table.clone(), metadata, metadata_location)
    }

    async fn update_table(&self, mut commit: TableCommit) -> Result<Table> {
        let base = self.load_table(commit.identifier()).await?;
        let (requirements, updates) = (commit.take_requirements(), commit.take_updates());
        let committer = GlueCommitter(Arc::clone(&self.0));
        let outcome = committer.commit(&base, requirements, updates).await;
        match outcome.map_err(into_iceberg)? {
            Outcome::Committed(table) => Ok(*table),
            Outcome::Conflict { .. } => Err(about(base.identifier())(Failure::Conflict)),
            Outcome::Unknown { cause, .. } => Err(unavailable(cause)),
        }
    }
}

/// What is missing where a table is to be entered is its database.
fn in_database_of(table: &TableIdent) -> impl FnOnce(Failure) -> Error {
    move |failure| match failure {
        Failure::NotFound => about_namespace(&table.namespace().join("."))(failure),
        failure => about(table)(failure),
    }
}

impl GlueCatalog {
    async fn enter(
        &self,
        table: &TableIdent,
        metadata: &TableMetadata,
        file: &str,
    ) -> std::result::Result<(), Failure> {
        let name = table.namespace().join(".");
        self.0
            .create(&name, created(table.name(), metadata, file))
            .await
    }

    async fn default_location(&self, table: &TableIdent) -> Result<String> {
        let database = database(table.namespace())?;
        let namespace = self.get_namespace(table.namespace()).await?;
        let warehouse = self.0.warehouse.as_deref();
        let common = warehouse.map(|warehouse| in_warehouse(warehouse, database));
        let folder = folder(&namespace, common).ok_or_else(|| {
            refused(format!(
                "there is no place for table `{table}`: database `{database}` has no location and catalog `{}` no warehouse",
                self.0.name
            ))
        })?;
        Ok(format!("{folder}/{}", table.name()))
    }

    fn read(&self, table: TableIdent, metadata: TableMetadata, file: String) -> Result<Table> {
        Table::builder()
            .file_io(self.0.io.clone())
            .identifier(table)
            .metadata_location(file)
            .metadata(metadata)
            .runtime(Runtime::try_current()?)
            .build()
    }
}
