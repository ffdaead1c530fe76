//! The options of Feast's `IcebergSource`, and of ours: which table, in which catalog. They mean what they mean to
//! pyiceberg's `load_catalog`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Decoder;
use crate::catalog::{CatalogConfig, CatalogHandle, CatalogType};
use crate::error::{Error, Result};
use crate::model::{SourceLocation, TableName};
use crate::source_rules::SourceRules;

/// A source's JSON. Feast's subclasses have more keys.
#[derive(Debug, Deserialize)]
pub(in crate::registry::feast) struct Options {
    /// A catalog of this server's configuration, instead of a description.
    catalog: Option<String>,
    catalog_type: Option<String>,
    catalog_name: Option<String>,
    endpoint: Option<String>,
    warehouse: Option<String>,
    namespace: String,
    table: String,
    token_env_var: Option<String>,
    credential_vending: Option<Value>,
    catalog_properties: Option<BTreeMap<String, Value>>,
}

const DELEGATION: &str = "header.X-Iceberg-Access-Delegation";

impl Options {
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let options: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if options.catalog.is_none()
            && options.catalog_type.is_none()
            && options.warehouse.is_none()
        {
            return Err("`catalog`, `catalog_type` or `warehouse` is missing".to_owned());
        }
        Ok(options)
    }

    /// The name that Feast gives to a source that has none.
    pub(super) fn default_name(&self) -> String {
        let place = self.catalog.as_deref().or(self.warehouse.as_deref());
        format!(
            "{}.{}.{}",
            place.unwrap_or_default(),
            self.namespace,
            self.table
        )
    }

    /// The table's place, and its catalog where the options describe one. `rules` limit what a client may describe.
    pub(super) fn open(
        &self,
        decoder: &Decoder,
        rules: Option<&SourceRules>,
    ) -> Result<(SourceLocation, Option<CatalogHandle>)> {
        if let Some(catalog) = &self.catalog {
            return Ok((self.table_in(catalog), None));
        }
        let Some(mut config) = self.config() else {
            let kind = self.catalog_type();
            let words = format!("IcebergSource in a catalog of type `{kind}`");
            return Ok((SourceLocation::Unsupported(words), None));
        };
        if let Some(rules) = rules {
            rules.check_sent_catalog(&config, self.token_variable())?;
        }
        if let Some(token) = self.token_variable().and_then(decoder.variable) {
            config.properties.entry("token".to_owned()).or_insert(token);
        }
        let name = self.catalog_name.as_deref().unwrap_or("feast_iceberg");
        match decoder.catalogs.define(name, config) {
            Ok(handle) => Ok((self.table_in(&handle.name), Some(handle))),
            Err(Error::InvalidRequest { message, .. }) => {
                let words = format!("IcebergSource with faulty options ({message})");
                Ok((SourceLocation::Unsupported(words), None))
            }
            Err(error) => Err(error),
        }
    }

    fn table_in(&self, catalog: &str) -> SourceLocation {
        SourceLocation::Iceberg(TableName {
            catalog: catalog.to_owned(),
            namespace: self.namespace.split('.').map(str::to_owned).collect(),
            name: self.table.clone(),
        })
    }

    fn catalog_type(&self) -> &str {
        self.catalog_type.as_deref().unwrap_or("rest")
    }

    fn token_variable(&self) -> Option<&str> {
        self.token_env_var
            .as_deref()
            .filter(|name| !name.is_empty())
    }

    /// The catalog as a section of this server's configuration would describe it, without the token; nothing for types
    /// that this server does not have.
    fn config(&self) -> Option<CatalogConfig> {
        let kind = CatalogType::deserialize(Value::from(self.catalog_type())).ok()?;
        let given = self.catalog_properties.clone().unwrap_or_default();
        let mut properties: BTreeMap<String, String> = given
            .into_iter()
            .map(|(key, value)| (key, text(value)))
            .collect();
        properties.remove("type");
        let uri = properties.remove("uri").or_else(|| self.endpoint.clone());
        let warehouse = properties
            .remove("warehouse")
            .or_else(|| self.warehouse.clone());
        if self.catalog_type() == "rest" && self.vends_credentials() {
            let vended = || "vended-credentials".to_owned();
            properties
                .entry(DELEGATION.to_owned())
                .or_insert_with(vended);
        }
        Some(CatalogConfig {
            kind,
            uri: uri.unwrap_or_default(),
            warehouse: warehouse.filter(|warehouse| !warehouse.is_empty()),
            properties,
        })
    }

    fn vends_credentials(&self) -> bool {
        match &self.credential_vending {
            Some(Value::Bool(vends)) => *vends,
            Some(Value::String(vends)) => !vends.eq_ignore_ascii_case("false"),
            _ => true,
        }
    }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
