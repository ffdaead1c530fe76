//! S3 clients from pyiceberg's properties over the environment's, shared: a client owns connections and credentials that
//! were costly to get.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsCredential};
use object_store::{RetryConfig, StaticCredentialProvider};
use sha2::{Digest, Sha256};

/// Clients that are kept; the one that was not used for longest goes first.
const CLIENT_LIMIT: usize = 64;
const MAX_RETRIES: usize = 4;
const RETRY_LIMIT: Duration = Duration::from_secs(30);
/// Signed with where neither properties nor environment say; servers other than Amazon's take any.
const DEFAULT_REGION: &str = "us-east-1";

type Key = [u8; 32];

/// Least recently used first.
static CLIENTS: Mutex<VecDeque<(Key, Arc<AmazonS3>)>> = Mutex::new(VecDeque::new());

/// The client of `bucket` with these properties. What they leave out, the environment says (`AWS_ACCESS_KEY_ID`,
/// `AWS_ENDPOINT_URL`, …).
///
/// # Errors
/// A message without secrets, if the settings contradict each other.
pub(super) fn client(
    bucket: &str,
    properties: &BTreeMap<String, String>,
) -> Result<Arc<AmazonS3>, String> {
    let key = digest(bucket, properties);
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = clients.iter().position(|(known, _)| *known == key);
    let client = match known.and_then(|index| clients.remove(index)) {
        Some((_, client)) => client,
        None => Arc::new(build(bucket, properties)?),
    };
    if clients.len() >= CLIENT_LIMIT {
        clients.pop_front();
    }
    clients.push_back((key, Arc::clone(&client)));
    Ok(client)
}

fn digest(bucket: &str, properties: &BTreeMap<String, String>) -> Key {
    let relevant = properties
        .iter()
        .filter(|(key, _)| key.starts_with("s3.") || key.starts_with("client."));
    let parts = relevant.flat_map(|(key, value)| [key.as_str(), value.as_str()]);
    let mut hash = Sha256::new();
    for part in [bucket].into_iter().chain(parts) {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn build(bucket: &str, properties: &BTreeMap<String, String>) -> Result<AmazonS3, String> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(RetryConfig {
            max_retries: MAX_RETRIES,
            retry_timeout: RETRY_LIMIT,
            ..RetryConfig::default()
        });
    if let Some(region) = property(properties, "region") {
        builder = builder.with_region(region);
    } else if builder
        .get_config_value(&AmazonS3ConfigKey::Region)
        .is_none()
    {
        builder = builder.with_region(DEFAULT_REGION);
    }
    if let Some(credential) = credential(properties)? {
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(credential)));
    }
    if is_true(properties, "anonymous") == Some(true) {
        builder = builder.with_skip_signature(true);
    }
    addressed(builder, bucket, properties)?
        .build()
        .map_err(|error| error.to_string())
}

/// Keys of the properties replace those of the environment as a whole: a session token belongs to its own key.
fn credential(properties: &BTreeMap<String, String>) -> Result<Option<AwsCredential>, String> {
    let of = |name| property(properties, name).map(str::to_owned);
    match (of("access-key-id"), of("secret-access-key")) {
        (Some(key_id), Some(secret_key)) => Ok(Some(AwsCredential {
            key_id,
            secret_key,
            token: of("session-token"),
        })),
        (None, None) => Ok(None),
        _ => Err("s3.access-key-id and s3.secret-access-key must be set together".to_owned()),
    }
}

/// Where the bucket is: in the path by default, in the host name on request.
fn addressed(
    builder: AmazonS3Builder,
    bucket: &str,
    properties: &BTreeMap<String, String>,
) -> Result<AmazonS3Builder, String> {
    let in_host = is_true(properties, "force-virtual-addressing").or(is_true(
        properties,
        "path-style-access",
    )
    .map(|in_path| !in_path));
    let builder = match in_host {
        Some(in_host) => builder.with_virtual_hosted_style_request(in_host),
        None => builder,
    };
    let Some(endpoint) = properties.get("s3.endpoint") else {
        let configured = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
        let plain = configured
            .iter()
            .find_map(|key| builder.get_config_value(key))
            .is_some_and(|endpoint| endpoint.starts_with("http://"));
        return Ok(if plain {
            builder.with_allow_http(true)
        } else {
            builder
        });
    };
    let (scheme, host) = endpoint
        .split_once("://")
        .filter(|(scheme, host)| matches!(*scheme, "http" | "https") && !host.is_empty())
        .ok_or("s3.endpoint must begin with http:// or https://")?;
    let endpoint = match in_host {
        Some(true) => format!("{scheme}://{bucket}.{host}"),
        _ => endpoint.clone(),
    };
    Ok(builder
        .with_config(AmazonS3ConfigKey::S3Endpoint, endpoint)
        .with_allow_http(scheme == "http"))
}

/// `s3.NAME`, or the name that pyiceberg shares between all of Amazon's services.
fn property<'a>(properties: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let of = |service: &str| properties.get(&format!("{service}.{name}"));
    of("s3").or_else(|| of("client")).map(String::as_str)
}

fn is_true(properties: &BTreeMap<String, String>, name: &str) -> Option<bool> {
    let text = properties.get(&format!("s3.{name}"))?;
    Some(matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "1" | "yes" | "on"
    ))
}
