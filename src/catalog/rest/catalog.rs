//! A REST server as the Iceberg library sees catalogs.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::table::Table;
use iceberg::{
    Catalog, Error, Namespace, NamespaceIdent, Result, TableCommit, TableCreation, TableIdent,
};
use iceberg_catalog_rest::{
    CommitTableRequest, CreateNamespaceRequest, CreateTableRequest, ListNamespaceResponse,
    ListTablesResponse, LoadTableResult, NamespaceResponse, RegisterTableRequest,
    RenameTableRequest, UpdateNamespacePropertiesRequest,
};
use reqwest::{Method, StatusCode, Url};

use super::error::Failure;
use super::session::Session;
use super::settings::Settings;
use super::{lender, pages};

#[derive(Debug)]
pub(super) struct RestCatalog(pub(super) Arc<Session>);

type Answered<T> = std::result::Result<T, Failure>;

impl RestCatalog {
    async fn address(
        &self,
        of: impl FnOnce(&Settings) -> std::result::Result<Url, String>,
    ) -> Answered<Url> {
        of(self.0.settings().await?).map_err(Failure::Unreachable)
    }

    async fn load(&self, table: &TableIdent) -> Answered<LoadTableResult> {
        let url = self.address(|settings| settings.table(table)).await?;
        self.0.get(url).await
    }

    async fn create(
        &self,
        namespace: &NamespaceIdent,
        creation: TableCreation,
    ) -> Answered<LoadTableResult> {
        let url = self
            .address(|settings| settings.of_namespace(namespace, "tables"))
            .await?;
        let request = CreateTableRequest {
            name: creation.name,
            location: creation.location,
            schema: creation.schema,
            partition_spec: creation.partition_spec,
            write_order: creation.sort_order,
            stage_create: Some(false),
            properties: creation.properties,
        };
        self.0.post(url, &request).await
    }

    async fn register(
        &self,
        table: &TableIdent,
        metadata_location: String,
    ) -> Answered<LoadTableResult> {
        let namespace = table.namespace();
        let url = self
            .address(|settings| settings.of_namespace(namespace, "register"))
            .await?;
        let request = RegisterTableRequest {
            name: table.name().to_owned(),
            metadata_location,
            overwrite: None,
        };
        self.0.post(url, &request).await
    }

    async fn drop_with(&self, table: &TableIdent, purge: bool) -> Answered<()> {
        let mut url = self.address(|settings| settings.table(table)).await?;
        let purge = if purge { "true" } else { "false" };
        url.query_pairs_mut().append_pair("purgeRequested", purge);
        self.0.do_only(Method::DELETE, url).await
    }

    async fn namespace(&self, namespace: &NamespaceIdent) -> Answered<Namespace> {
        let url = self
            .address(|settings| settings.namespace(namespace))
            .await?;
        let found: NamespaceResponse = self.0.get(url).await?;
        Ok(found.into())
    }

    async fn set_properties(
        &self,
        namespace: &NamespaceIdent,
        all: HashMap<String, String>,
    ) -> Answered<()> {
        let known = self.namespace(namespace).await?;
        let gone = known
            .properties()
            .keys()
            .filter(|key| !all.contains_key(*key));
        let request = UpdateNamespacePropertiesRequest {
            removals: Some(gone.cloned().collect()),
            updates: all,
        };
        let url = self
            .address(|settings| settings.of_namespace(namespace, "properties"))
            .await?;
        self.0.post_only(url, &request).await.map(drop)
    }

    async fn namespaces_below(
        &self,
        parent: Option<&NamespaceIdent>,
    ) -> Answered<Vec<NamespaceIdent>> {
        let settings = self.0.settings().await?;
        let mut url = settings.namespaces().map_err(Failure::Unreachable)?;
        if let Some(parent) = parent {
            url.query_pairs_mut()
                .append_pair("parent", &settings.joined(parent));
        }
        pages::all::<ListNamespaceResponse>(&self.0, &url).await
    }

    async fn tables_of(&self, namespace: &NamespaceIdent) -> Answered<Vec<TableIdent>> {
        let url = self
            .address(|settings| settings.of_namespace(namespace, "tables"))
            .await?;
        pages::all::<ListTablesResponse>(&self.0, &url).await
    }
}

/// Whether there is something, where a failure may be that there is not.
fn found<T>(looked_up: Answered<T>) -> Answered<bool> {
    match looked_up {
        Ok(_) => Ok(true),
        Err(failure) if failure.status() == Some(StatusCode::NOT_FOUND) => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn about(table: &TableIdent) -> impl FnOnce(Failure) -> Error {
    |failure| failure.about_table(table)
}

fn about_namespace(namespace: &NamespaceIdent) -> impl FnOnce(Failure) -> Error {
    |failure| failure.about_namespace(&namespace.join("."))
}

#[async_trait]
impl Catalog for RestCatalog {
    async fn list_namespaces(
        &self,
        parent: Option<&NamespaceIdent>,
    ) -> Result<Vec<NamespaceIdent>> {
        let name = parent.map_or_else(|| "*".to_owned(), |parent| parent.join("."));
        let listed = self.namespaces_below(parent).await;
        listed.map_err(|failure| failure.about_namespace(&name))
    }

    async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<Namespace> {
        let url = self
            .address(Settings::namespaces)
            .await
            .map_err(about_namespace(namespace))?;
        let request = CreateNamespaceRequest {
            namespace: namespace.clone(),
            properties,
        };
        let created: NamespaceResponse = self
            .0
            .post(url, &request)
            .await
            .map_err(about_namespace(namespace))?;
        Ok(created.into())
    }

    async fn get_namespace(&self, namespace: &NamespaceIdent) -> Result<Namespace> {
        self.namespace(namespace)
            .await
            .map_err(about_namespace(namespace))
    }

    async fn namespace_exists(&self, namespace: &NamespaceIdent) -> Result<bool> {
        found(self.namespace(namespace).await).map_err(about_namespace(namespace))
    }

    async fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<()> {
        self.set_properties(namespace, properties)
            .await
            .map_err(about_namespace(namespace))
    }

    async fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        let url = self
            .address(|settings| settings.namespace(namespace))
            .await
            .map_err(about_namespace(namespace))?;
        self.0
            .do_only(Method::DELETE, url)
            .await
            .map_err(about_namespace(namespace))
    }

    async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        self.tables_of(namespace)
            .await
            .map_err(about_namespace(namespace))
    }

    async fn create_table(
        &self,
        namespace: &NamespaceIdent,
        creation: TableCreation,
    ) -> Result<Table> {
        let table = TableIdent::new(namespace.clone(), creation.name.clone());
        let created = self.create(namespace, creation).await;
        let created = created.map_err(|failure| failure.about_new_table(&table))?;
        lender::table(&self.0, table, created).await
    }

    async fn load_table(&self, table: &TableIdent) -> Result<Table> {
        let loaded = self.load(table).await.map_err(about(table))?;
        lender::table(&self.0, table.clone(), loaded).await
    }

    async fn drop_table(&self, table: &TableIdent) -> Result<()> {
        self.drop_with(table, false).await.map_err(about(table))
    }

    async fn purge_table(&self, table: &TableIdent) -> Result<()> {
        self.drop_with(table, true).await.map_err(about(table))
    }

    async fn table_exists(&self, table: &TableIdent) -> Result<bool> {
        found(self.load(table).await).map_err(about(table))
    }

    async fn rename_table(&self, src: &TableIdent, dest: &TableIdent) -> Result<()> {
        let url = self.address(Settings::renaming).await.map_err(about(src))?;
        let request = RenameTableRequest {
            source: src.clone(),
            destination: dest.clone(),
        };
        let renamed = self.0.post_only(url, &request).await;
        renamed.map(drop).map_err(|failure| match failure.status() {
            Some(StatusCode::CONFLICT) => failure.about_new_table(dest),
            _ => failure.about_table(src),
        })
    }

    async fn register_table(&self, table: &TableIdent, metadata_location: String) -> Result<Table> {
        let registered = self.register(table, metadata_location).await;
        let registered = registered.map_err(|failure| failure.about_new_table(table))?;
        lender::table(&self.0, table.clone(), registered).await
    }

    async fn update_table(&self, mut commit: TableCommit) -> Result<Table> {
        let table = commit.identifier().clone();
        let url = self
            .address(|settings| settings.table(&table))
            .await
            .map_err(about(&table))?;
        let request = CommitTableRequest {
            identifier: Some(table.clone()),
            requirements: commit.take_requirements(),
            updates: commit.take_updates(),
        };
        let done = self.0.post_only(url, &request).await;
        done.map_err(about(&table))?;
        self.load_table(&table).await
    }
}
