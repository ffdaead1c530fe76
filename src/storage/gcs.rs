//! Google Cloud Storage from pyiceberg's properties over the environment's (`GOOGLE_…`, application default credentials).
//!
//! Untested against the real service: only what is sent is tested.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::gcp::{GcpCredential, GcpCredentialProvider, GoogleCloudStorageBuilder};
use object_store::{ClientOptions, ObjectStore, StaticCredentialProvider};

use super::http::{self, Connector};
use super::properties::Properties;
use super::quiet::Quiet;

/// The client of `bucket`, with lent credentials if there are any.
///
/// # Errors
/// A message without secrets, if the settings contradict each other.
pub(super) fn client(
    bucket: &str,
    properties: &BTreeMap<String, String>,
    lent: Option<GcpCredentialProvider>,
) -> Result<Arc<dyn ObjectStore>, String> {
    let properties = Properties::new("gcs", properties);
    let endpoint = endpoint(properties);
    let store = format!("gs://{bucket} {}", endpoint.unwrap_or_default());
    let connector = Connector::new(store, properties, None)?;
    let builder = match properties.get("credentials-json") {
        Some(json) => GoogleCloudStorageBuilder::new().with_service_account_key(json),
        None => GoogleCloudStorageBuilder::from_env(),
    };
    let builder = builder
        .with_bucket_name(bucket)
        .with_retry(http::retry())
        .with_http_connector(connector);
    let builder = match endpoint {
        Some(endpoint) => at(builder, endpoint)?,
        None => builder,
    };
    http::built(signed(builder, properties, lent)?.build().map(Quiet))
}

/// The token of the properties.
pub(super) fn token(properties: Properties<'_>) -> Result<Option<GcpCredential>, String> {
    let token = properties.get("oauth2.token");
    Ok(token.map(|token| GcpCredential {
        bearer: token.to_owned(),
    }))
}

fn endpoint(properties: Properties<'_>) -> Option<&str> {
    ["service.host", "endpoint", "service.path"]
        .iter()
        .find_map(|name| properties.get(name))
        .map(|endpoint| endpoint.trim_end_matches('/'))
}

fn at(
    builder: GoogleCloudStorageBuilder,
    endpoint: &str,
) -> Result<GoogleCloudStorageBuilder, String> {
    let plain = endpoint.starts_with("http://");
    if !plain && !endpoint.starts_with("https://") {
        return Err("gcs.service.host must begin with http:// or https://".to_owned());
    }
    let options = ClientOptions::new().with_allow_http(plain);
    Ok(builder.with_base_url(endpoint).with_client_options(options))
}

fn signed(
    builder: GoogleCloudStorageBuilder,
    properties: Properties<'_>,
    lent: Option<GcpCredentialProvider>,
) -> Result<GoogleCloudStorageBuilder, String> {
    if properties.is_true("no-auth") == Some(true) {
        return Ok(builder.with_skip_signature(true));
    }
    if let Some(lent) = lent {
        return Ok(builder.with_credentials(lent));
    }
    Ok(match token(properties)? {
        Some(token) => builder.with_credentials(Arc::new(StaticCredentialProvider::new(token))),
        None => builder,
    })
}
