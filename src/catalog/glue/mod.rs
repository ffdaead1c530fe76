//! AWS Glue as a catalog, over Amazon's SDK: the Iceberg library's own client can neither create nor change a table that has a
//! `timestamptz`, and drops what other tools keep with one (see `docs/adr/0012-glue-is-our-own-client.md`).
//!
//! A namespace is a database of Glue, so it has one level. A table is an entry that names its metadata file; a commit swaps
//! that name if the entry is still of the version that was read.

mod catalog;
mod client;
mod committer;
mod error;
mod namespaces;
mod schema;
mod table_input;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_glue::Client;
use aws_sdk_glue::config::Builder;

use super::{CatalogConfig, Opened, redacted_uri, sql};
use crate::aws;
use crate::error::{Error, Result};
use crate::storage;

use catalog::GlueCatalog;
use client::{ANSWER_LIMIT, CONNECT_LIMIT, Glue};
use committer::GlueCommitter;

pub(super) use error::{outage, refusal};

/// Name of the service in pyiceberg's properties.
const SERVICE: &str = "glue";
const ENDPOINT: &str = "glue.endpoint";
const CATALOG_ID: &str = "glue.id";
const SKIP_ARCHIVE: &str = "glue.skip-archive";

/// Faults of a section as (key, message).
pub(super) fn faults(config: &CatalogConfig) -> Vec<(&'static str, String)> {
    let place = match config.properties.contains_key(ENDPOINT) {
        true => "properties",
        false => "uri",
    };
    let endpoint = endpoint(config).and_then(address_fault);
    let endpoint = endpoint.map(|message| (place, message));
    let warehouse = sql::location(config).err();
    let warehouse = warehouse.map(|message| ("warehouse", message));
    let others = aws::faults(SERVICE, &config.properties).into_iter();
    let others = others.map(|message| ("properties", message));
    endpoint
        .into_iter()
        .chain(warehouse)
        .chain(others)
        .collect()
}

fn address_fault(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    let fits = matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('@');
    (!fits).then(|| {
        let found = redacted_uri(address);
        format!("expected Glue's address as `http://host` or `https://host`, found `{found}`")
    })
}

/// Where Glue is, if the section says it; Amazon's own address follows from the region.
fn endpoint(config: &CatalogConfig) -> Option<&str> {
    let own = config.properties.get(ENDPOINT).map(String::as_str);
    let uri = Some(config.uri.as_str()).filter(|uri| !uri.is_empty());
    own.or(uri)
}

/// The address that requests go to, for rules about addresses.
pub(super) fn address(config: &CatalogConfig) -> String {
    match (endpoint(config), aws::region(SERVICE, &config.properties)) {
        (Some(endpoint), _) => endpoint.to_owned(),
        (None, Some(region)) => format!("https://glue.{region}.amazonaws.com"),
        (None, None) => "https://glue.amazonaws.com".to_owned(),
    }
}

/// Where tables of a database go that has no location of its own, as pyiceberg does it.
pub(super) fn folder(config: &CatalogConfig, database: &str) -> Option<String> {
    let warehouse = sql::location(config).ok().flatten()?;
    Some(in_warehouse(&warehouse, database))
}

fn in_warehouse(warehouse: &str, database: &str) -> String {
    format!("{warehouse}/{database}.db")
}

/// Asks Glue nothing yet.
pub(super) async fn open(name: &str, config: &CatalogConfig) -> Result<Opened> {
    let unavailable = |message: String| Error::CatalogUnavailable {
        catalog: name.to_owned(),
        message,
    };
    let sdk = aws::sdk_config(SERVICE, &config.properties).await;
    let sdk = sdk.map_err(unavailable)?;
    if sdk.region().is_none() {
        let message = "AWS region is not known; set glue.region or AWS_REGION";
        return Err(unavailable(message.to_owned()));
    }
    let mut settings = Builder::from(&sdk);
    if let Some(endpoint) = endpoint(config) {
        settings = settings.endpoint_url(endpoint.trim_end_matches('/'));
    }
    let glue = Arc::new(Glue {
        name: name.to_owned(),
        reads: Client::from_conf(settings.clone().build()),
        changes: Client::from_conf(for_changes(settings).build()),
        id: config.properties.get(CATALOG_ID).cloned(),
        warehouse: sql::location(config).map_err(unavailable)?,
        skip_archive: skips_archive(config),
        io: storage::file_io(&config.properties),
    });
    Ok(Opened {
        catalog: Arc::new(GlueCatalog(Arc::clone(&glue))),
        committer: Arc::new(GlueCommitter(glue)),
    })
}

/// One attempt, which is waited for as long as all attempts of a read: that a change's outcome is not known is worse than that
/// it comes late.
fn for_changes(settings: Builder) -> Builder {
    let limits = TimeoutConfig::builder()
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(ANSWER_LIMIT)
        .operation_attempt_timeout(ANSWER_LIMIT)
        .operation_timeout(ANSWER_LIMIT);
    settings
        .retry_config(RetryConfig::disabled())
        .timeout_config(limits.build())
}

/// Glue keeps a limited number of a table's versions, so that archiving each commit ends in refusals.
fn skips_archive(config: &CatalogConfig) -> bool {
    let asked = config.properties.get(SKIP_ARCHIVE);
    asked.is_none_or(|asked| !asked.eq_ignore_ascii_case("false"))
}
