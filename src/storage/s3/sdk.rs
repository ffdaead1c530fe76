//! Credentials as Amazon's tools find them: profiles, assumed roles, single sign-on, containers, instances.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::sync::OnceCell;

use crate::aws::sdk_config;
use crate::clock::SystemClock;
use crate::storage::lease::{Lease, Term};

/// Finds the provider once, at the first request, and asks it again before its credentials expire.
pub(in crate::storage) struct SdkCredentials {
    properties: BTreeMap<String, String>,
    provider: OnceCell<SharedCredentialsProvider>,
    lease: Lease<Arc<AwsCredential>>,
}

impl SdkCredentials {
    pub(in crate::storage) fn new(properties: BTreeMap<String, String>) -> Self {
        Self {
            properties,
            provider: OnceCell::new(),
            lease: Lease::empty(Arc::new(SystemClock)),
        }
    }

    async fn fetch(&self) -> Result<Term<Arc<AwsCredential>>, String> {
        let provider = self.provider.get_or_try_init(|| self.find()).await?;
        let found = provider.provide_credentials().await;
        let found = found.map_err(|error| format!("no credentials: {}", root_cause(&error)))?;
        Ok(Term {
            expires: found.expiry(),
            value: Arc::new(credential(&found)),
        })
    }

    async fn find(&self) -> Result<SharedCredentialsProvider, String> {
        let config = sdk_config("s3", &self.properties).await?;
        let provider = config.credentials_provider();
        provider.ok_or_else(|| "no credentials are configured".to_owned())
    }
}

/// The innermost error, which says what went wrong.
fn root_cause<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost
}

fn credential(found: &Credentials) -> AwsCredential {
    AwsCredential {
        key_id: found.access_key_id().to_owned(),
        secret_key: found.secret_access_key().to_owned(),
        token: found.session_token().map(str::to_owned),
    }
}

impl fmt::Debug for SdkCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SdkCredentials")
            .field("properties", &self.properties.keys())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl CredentialProvider for SdkCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let credential = self.lease.get("Amazon", self.fetch()).await;
        credential.map_err(|message| object_store::Error::Generic {
            store: "S3",
            source: message.into(),
        })
    }
}
