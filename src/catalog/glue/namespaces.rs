//! Databases of Glue as namespaces. A database's location and description are properties of the namespace, by pyiceberg's names.

use std::collections::HashMap;

use aws_sdk_glue::types::{Database, DatabaseInput};

use super::client::Glue;
use super::error::{Failure, unthrottled};

const LOCATION: &str = "location";
const DESCRIPTION: &str = "Description";

type Properties = HashMap<String, String>;

/// What a namespace shows of a database.
pub(super) fn properties(database: Database) -> Properties {
    let mut all = database.parameters.unwrap_or_default();
    let own = [
        (LOCATION, database.location_uri),
        (DESCRIPTION, database.description),
    ];
    for (key, value) in own {
        if let Some(value) = value {
            all.insert(key.to_owned(), value);
        }
    }
    all
}

/// `stored` keeps what is no property of a namespace.
fn input(name: &str, mut properties: Properties, stored: Option<Database>) -> DatabaseInput {
    let input = DatabaseInput::builder()
        .name(name)
        .set_location_uri(properties.remove(LOCATION))
        .set_description(properties.remove(DESCRIPTION))
        .set_parameters(Some(properties));
    let input = match stored {
        Some(stored) => input
            .set_create_table_default_permissions(stored.create_table_default_permissions)
            .set_target_database(stored.target_database)
            .set_federated_database(stored.federated_database),
        None => input,
    };
    input.build().expect("a database with a name is complete")
}

impl Glue {
    pub(super) async fn database(&self, name: &str) -> Result<Database, Failure> {
        let request = self
            .reads
            .get_database()
            .set_catalog_id(self.id.clone())
            .name(name);
        let answer = unthrottled("GetDatabase", || request.clone().send()).await?;
        answer.database.ok_or(Failure::NotFound)
    }

    pub(super) async fn databases(&self) -> Result<Vec<String>, Failure> {
        let request = self.reads.get_databases().set_catalog_id(self.id.clone());
        let pages = request.into_paginator().send().try_collect().await;
        let pages = pages.map_err(|error| Failure::of("GetDatabases", &error))?;
        let all = pages.into_iter().flat_map(|page| page.database_list);
        Ok(all.map(|database| database.name).collect())
    }

    pub(super) async fn create_database(
        &self,
        name: &str,
        properties: Properties,
    ) -> Result<(), Failure> {
        let request = self
            .changes
            .create_database()
            .set_catalog_id(self.id.clone())
            .database_input(input(name, properties, None));
        let created = unthrottled("CreateDatabase", || request.clone().send()).await;
        created.map(drop)
    }

    pub(super) async fn update_database(
        &self,
        name: &str,
        properties: Properties,
    ) -> Result<(), Failure> {
        let stored = self.database(name).await?;
        let request = self
            .changes
            .update_database()
            .set_catalog_id(self.id.clone())
            .name(name)
            .database_input(input(name, properties, Some(stored)));
        let updated = unthrottled("UpdateDatabase", || request.clone().send()).await;
        updated.map(drop)
    }

    /// Glue would delete the tables in it, too.
    pub(super) async fn delete_database(&self, name: &str) -> Result<(), Failure> {
        if !self.tables(name).await?.is_empty() {
            return Err(Failure::Refused(format!("namespace `{name}` is not empty")));
        }
        let request = self
            .changes
            .delete_database()
            .set_catalog_id(self.id.clone())
            .name(name);
        let deleted = unthrottled("DeleteDatabase", || request.clone().send()).await;
        deleted.map(drop)
    }
}
