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
        let mut properties = self.properties();
        properties.remove("type");
        let uri = properties.remove("uri").or_else(|| self.endpoint.clone());
        let warehouse = properties
            .remove("warehouse")
            .or_else(|| self.warehouse.clone());
        Some(CatalogConfig {
            kind,
            uri: uri.unwrap_or_default(),
            warehouse: warehouse.filter(|warehouse| !warehouse.is_empty()),
            properties,
        })
    }

    fn properties(&self) -> BTreeMap<String, String> {
        let given = self.catalog_properties.clone().unwrap_or_default();
        let mut properties: BTreeMap<String, String> = given
            .into_iter()
            .map(|(key, value)| (key, text(value)))
            .collect();
        if self.catalog_type() == "rest" && self.vends_credentials() {
            let vended = || "vended-credentials".to_owned();
            properties
                .entry(DELEGATION.to_owned())
                .or_insert_with(vended);
        }
        properties
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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn options(json: Value) -> Options {
        Options::parse(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_described_catalog_is_what_pyiceberg_would_load() {
        let config = options(json!({
            "catalog_type": "sql", "catalog_name": "lake", "endpoint": "sqlite:////lake/c.db", "warehouse": "file:///lake",
            "namespace": "a.b", "table": "t", "token_env_var": null, "credential_vending": true,
            "catalog_properties": {"s3.region": "r", "flag": true, "type": "hive"}
        }))
        .config()
        .unwrap();
        assert_eq!(
            (config.kind, config.uri.as_str()),
            (CatalogType::Sql, "sqlite:////lake/c.db")
        );
        assert_eq!(config.warehouse.as_deref(), Some("file:///lake"));
        let expected = [("flag", "true"), ("s3.region", "r")];
        assert!(
            config
                .properties
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .eq(expected)
        );
    }

    #[test]
    fn properties_come_before_the_options_of_the_same_meaning() {
        let config = options(json!({
            "catalog_type": "sql", "endpoint": "sqlite:///one.db", "warehouse": "one", "namespace": "n", "table": "t",
            "catalog_properties": {"uri": "sqlite:///two.db", "warehouse": "two"}
        }))
        .config()
        .unwrap();
        assert_eq!(
            (config.uri.as_str(), config.warehouse.as_deref()),
            ("sqlite:///two.db", Some("two"))
        );
        assert!(config.properties.is_empty());
    }

    #[rstest]
    #[case(json!(null), Some("vended-credentials"))]
    #[case(json!(true), Some("vended-credentials"))]
    #[case(json!(false), None)]
    #[case(json!("False"), None)]
    fn rest_catalogs_are_asked_to_vend_credentials(
        #[case] vends: Value,
        #[case] expected: Option<&str>,
    ) {
        let options = options(json!({
            "endpoint": "http://c", "warehouse": "w", "namespace": "n", "table": "t", "credential_vending": vends
        }));
        assert_eq!(
            options.properties().get(DELEGATION).map(String::as_str),
            expected
        );
    }

    #[test]
    fn a_catalog_of_glue_needs_no_address() {
        let config = options(json!({
            "catalog_type": "glue", "namespace": "n", "table": "t", "warehouse": "s3://lake",
            "catalog_properties": {"glue.region": "eu-west-1"}
        }));
        let config = config.config().unwrap();
        assert_eq!((config.kind, config.uri.as_str()), (CatalogType::Glue, ""));
        assert_eq!(config.faults("catalog"), [""; 0]);
    }

    #[rstest]
    #[case("hive")]
    #[case("dynamodb")]
    fn other_catalog_types_are_not_described(#[case] kind: &str) {
        let options = options(json!({"catalog_type": kind, "namespace": "n", "table": "t"}));
        assert!(options.config().is_none());
    }

    #[test]
    fn a_configured_catalog_is_named() {
        let options = options(json!({"catalog": "lake", "namespace": "a.b", "table": "t"}));
        assert_eq!(options.default_name(), "lake.a.b.t");
        let expected = TableName {
            catalog: "lake".to_owned(),
            namespace: vec!["a".to_owned(), "b".to_owned()],
            name: "t".to_owned(),
        };
        assert_eq!(options.table_in("lake"), SourceLocation::Iceberg(expected));
    }

    #[rstest]
    #[case(r#"{"name": "pg", "query": "", "table": "t"}"#)]
    #[case(r#"{"namespace": "n", "table": "t"}"#)]
    #[case("pickle")]
    fn options_of_other_plug_ins_are_not_ours(#[case] json: &str) {
        assert!(Options::parse(json.as_bytes()).is_err());
    }
}
