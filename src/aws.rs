//! Amazon's SDK, configured by pyiceberg's properties: whose keys requests are signed with, and in which region.

use std::collections::BTreeMap;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

const SESSION: &str = "murre";

/// The configuration of `service`: keys, profile and region by its own properties (`glue.region`), else by those of all
/// services (`client.region`), else as Amazon's tools find them. A role is assumed on top if one is named.
///
/// # Errors
/// A message without secrets, if the properties contradict each other.
pub(crate) async fn sdk_config(
    service: &str,
    properties: &BTreeMap<String, String>,
) -> Result<SdkConfig, String> {
    let of = |name: &str| {
        let own = properties.get(&format!("{service}.{name}"));
        own.or_else(|| properties.get(&format!("client.{name}")))
            .cloned()
    };
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if let Some(region) = of("region") {
        loader = loader.region(Region::new(region));
    }
    if let Some(profile) = of("profile-name") {
        loader = loader.profile_name(profile);
    }
    if let (Some(id), Some(secret)) = (of("access-key-id"), of("secret-access-key")) {
        let keys = Credentials::new(id, secret, of("session-token"), None, SESSION);
        loader = loader.credentials_provider(keys);
    }
    let base = loader.load().await;
    let role = of("role-arn").or_else(|| of("assume-role.arn"));
    let Some(role) = role else {
        return Ok(base);
    };
    let assumed = AssumeRoleProvider::builder(role)
        .configure(&base)
        .session_name(of("role-session-name").unwrap_or_else(|| SESSION.to_owned()));
    let assumed = SharedCredentialsProvider::new(assumed.build().await);
    Ok(base.into_builder().credentials_provider(assumed).build())
}
