//! Catalogs that speak Iceberg's REST protocol.
//!
//! Properties go to the library by pyiceberg's names: `token` or `credential` with `oauth2-server-uri` and `scope`, `prefix`,
//! `header.…`; `s3.…` and what the server adds to a table reach its storage.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use iceberg::CatalogBuilder;
use iceberg_catalog_rest::{
    REST_CATALOG_PROP_DISABLE_HEADER_REDACTION, REST_CATALOG_PROP_URI, REST_CATALOG_PROP_WAREHOUSE,
    RestCatalogBuilder,
};

use super::{CatalogConfig, Opened};
use crate::error::{Error, Result};
use crate::storage;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Less than callers wait, so that they learn what did not answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);

/// Faults of a section as (key, message).
pub(super) fn faults(config: &CatalogConfig) -> Vec<(&'static str, String)> {
    let address = config.uri.split_once("://");
    let fits = address.is_some_and(|(scheme, rest)| {
        matches!(scheme, "http" | "https") && !rest.is_empty() && !rest.starts_with('/')
    });
    let has_user =
        address.is_some_and(|(_, rest)| rest.split('/').next().unwrap_or_default().contains('@'));
    let message = match (fits, has_user) {
        (false, _) => "expected `http://host` or `https://host`",
        (true, true) => "credentials belong into the properties `token` or `credential`",
        (true, false) => return Vec::new(),
    };
    vec![("uri", message.to_owned())]
}

/// Asks the server nothing yet.
pub(super) async fn open(name: &str, config: &CatalogConfig) -> Result<Opened> {
    let unavailable = |message: String| Error::CatalogUnavailable {
        catalog: name.to_owned(),
        message,
    };
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .timeout(REQUEST_LIMIT)
        .build()
        .map_err(|error| unavailable(root_cause(&error)))?;
    let catalog = RestCatalogBuilder::default()
        .with_client(client)
        .with_storage_factory(storage::factory())
        .load(name, properties(config))
        .await
        .map_err(|error| unavailable(error.message().to_owned()))?;
    Ok(Opened {
        catalog: Arc::new(catalog),
        committer: None,
    })
}

fn properties(config: &CatalogConfig) -> HashMap<String, String> {
    let mut properties: HashMap<String, String> = config.properties.clone().into_iter().collect();
    properties.remove(REST_CATALOG_PROP_DISABLE_HEADER_REDACTION);
    let uri = config.uri.trim_end_matches('/').to_owned();
    properties.insert(REST_CATALOG_PROP_URI.to_owned(), uri);
    match &config.warehouse {
        Some(warehouse) => {
            properties.insert(REST_CATALOG_PROP_WAREHOUSE.to_owned(), warehouse.clone())
        }
        None => properties.remove(REST_CATALOG_PROP_WAREHOUSE),
    };
    properties
}

/// The connection's words, or the server's status, if that is what failed.
pub(super) fn outage(error: &iceberg::Error) -> Option<String> {
    match error.source().and_then(|source| source.downcast_ref()) {
        Some(error) => Some(connection(error)),
        None => status(error),
    }
}

fn connection(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", REQUEST_LIMIT.as_secs());
    }
    root_cause(error)
}

/// The innermost error: the outer ones repeat the address.
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The library keeps an unexpected status as text only.
fn status(error: &iceberg::Error) -> Option<String> {
    if !error
        .message()
        .starts_with("Received response with unexpected status code")
    {
        return None;
    }
    let shown = error.to_string();
    let (_, rest) = shown.split_once("status: ")?;
    let status = rest.split([',', '}', '\n']).next()?.trim();
    Some(format!("the server answered {status}"))
}
