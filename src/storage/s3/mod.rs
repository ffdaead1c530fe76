//! S3 clients from pyiceberg's properties over the environment's.
//!
//! Keys come from the properties, else from the environment's variables, else through Amazon's SDK, which knows profiles,
//! roles, single sign-on, containers and instances; a role or a profile in the properties goes before keys of the environment.

mod address;
mod sdk;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider};
use object_store::client::HttpConnector;
use object_store::{ObjectStore, StaticCredentialProvider};

use super::http::{self, Connector};
use super::properties::Properties;
use crate::config::variable;
pub(super) use sdk::SdkCredentials;

/// Signed with where neither properties nor environment say; servers other than Amazon's take any.
const DEFAULT_REGION: &str = "us-east-1";

/// The client of `bucket` with these properties.
///
/// # Errors
/// A message without secrets, if the settings contradict each other or ask for what is not supported.
pub(super) fn client(
    bucket: &str,
    properties: &BTreeMap<String, String>,
) -> Result<Arc<dyn ObjectStore>, String> {
    let bucket = Bucket::new(bucket, properties)?;
    let connector = bucket.connector()?;
    let builder = match credentials(bucket.properties, &bucket.builder)? {
        Some(credentials) => bucket.builder.with_credentials(credentials),
        None => bucket.builder,
    };
    http::built(builder.with_http_connector(connector).build())
}

/// A client of a bucket that lacks credentials and connections.
pub(super) struct Bucket<'a> {
    properties: Properties<'a>,
    store: String,
    builder: AmazonS3Builder,
}

impl<'a> Bucket<'a> {
    /// # Errors
    /// A message, if the settings contradict each other or ask for what is not supported.
    pub(super) fn new(
        bucket: &str,
        properties: &'a BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let properties = Properties::new("s3", properties);
        if properties.is_true("remote-signing-enabled") == Some(true)
            || properties.get("signer").is_some()
        {
            let message = "signing of requests by the catalog (s3.signer, s3.remote-signing-enabled) is not supported; ask \
                 for credentials that come with the table";
            return Err(message.to_owned());
        }
        let builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(http::retry());
        let builder = in_region(builder, properties);
        let builder = match properties.is_true("anonymous") {
            Some(anonymous) => builder.with_skip_signature(anonymous),
            None => builder,
        };
        let builder = address::addressed(builder, bucket, properties)?;
        let endpoint = address::endpoint(&builder).unwrap_or_default();
        Ok(Self {
            properties,
            store: format!("s3://{bucket} {endpoint}"),
            builder,
        })
    }

    /// Shared by all clients of this bucket with the same settings.
    pub(super) fn connector(&self) -> Result<Connector, String> {
        Connector::new(
            self.store.clone(),
            self.properties,
            authorities(self.properties),
        )
    }

    /// What requests are signed for.
    pub(super) fn region(&self) -> String {
        let region = self.builder.get_config_value(&AmazonS3ConfigKey::Region);
        region.unwrap_or_else(|| DEFAULT_REGION.to_owned())
    }

    pub(super) fn build(
        self,
        credentials: AwsCredentialProvider,
        connector: impl HttpConnector,
    ) -> Result<Arc<dyn ObjectStore>, String> {
        let builder = self.builder.with_credentials(credentials);
        http::built(builder.with_http_connector(connector).build())
    }
}

fn in_region(builder: AmazonS3Builder, properties: Properties<'_>) -> AmazonS3Builder {
    let known = builder.get_config_value(&AmazonS3ConfigKey::Region);
    match (properties.shared("region"), known) {
        (Some(region), _) => builder.with_region(region),
        (None, Some(_)) => builder,
        (None, None) => builder.with_region(DEFAULT_REGION),
    }
}

/// Whose credentials requests are signed with; none if the builder has them from the environment.
fn credentials(
    properties: Properties<'_>,
    builder: &AmazonS3Builder,
) -> Result<Option<AwsCredentialProvider>, String> {
    let named = ["role-arn", "assume-role.arn", "profile-name"];
    let by_name = named.iter().any(|name| properties.shared(name).is_some());
    let keys = keys(properties)?;
    let in_environment = builder
        .get_config_value(&AmazonS3ConfigKey::AccessKeyId)
        .is_some();
    Ok(match keys {
        Some(keys) if !by_name => Some(Arc::new(StaticCredentialProvider::new(keys))),
        None if !by_name && in_environment => None,
        _ => Some(Arc::new(SdkCredentials::new(properties.all().clone()))),
    })
}

/// Keys of one source as a whole: a session token belongs to its own key.
///
/// # Errors
/// A message, if one of the two is missing.
pub(super) fn keys(properties: Properties<'_>) -> Result<Option<AwsCredential>, String> {
    for owner in ["s3", "client"] {
        let of = |name: &str| {
            let value = properties.named(&format!("{owner}.{name}"));
            value.map(str::to_owned)
        };
        match (of("access-key-id"), of("secret-access-key")) {
            (Some(key_id), Some(secret_key)) => {
                return Ok(Some(AwsCredential {
                    key_id,
                    secret_key,
                    token: of("session-token"),
                }));
            }
            (None, None) => {}
            _ => {
                return Err(format!(
                    "{owner}.access-key-id and {owner}.secret-access-key must be set together"
                ));
            }
        }
    }
    Ok(None)
}

/// A file of certificates that are trusted too.
fn authorities(properties: Properties<'_>) -> Option<PathBuf> {
    let named = properties
        .get("ca-bundle")
        .or_else(|| properties.named("ssl.cabundle"))
        .map(str::to_owned);
    let named = named.or_else(|| variable("AWS_CA_BUNDLE"));
    named.filter(|path| !path.is_empty()).map(PathBuf::from)
}
