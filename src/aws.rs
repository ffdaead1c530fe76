//! Amazon's SDK, configured by pyiceberg's properties: whose keys requests are signed with, in which region, and how long a
//! service that does not answer is waited for. Shared by Glue and S3, so that one section of a catalog means the same to both.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

const CONNECT_LIMIT: Duration = Duration::from_secs(3);
const ATTEMPT_LIMIT: Duration = Duration::from_secs(6);
/// All attempts of one request; less than callers wait, so that they learn what did not answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(18);
const ATTEMPTS: u32 = 3;
/// What an assumed role's session is called in Amazon's logs.
const SESSION: &str = "murre";

/// The configuration of `service`: keys, profile and region by its own properties (`glue.region`), else by those of all
/// services (`client.region`), else as Amazon's tools find them: environment, profile, container, instance. A role is assumed
/// on top if one is named.
///
/// # Errors
/// A message without secrets, if the properties contradict each other.
pub(crate) async fn sdk_config(
    service: &str,
    properties: &BTreeMap<String, String>,
) -> Result<SdkConfig, String> {
    let settings = Settings {
        service,
        properties,
    };
    let base = settings.base()?.load().await;
    Ok(settings.as_role(base).await)
}

/// What is wrong with the properties of `service`.
pub(crate) fn faults(service: &str, properties: &BTreeMap<String, String>) -> Vec<String> {
    let settings = Settings {
        service,
        properties,
    };
    let keys = settings.keys().err();
    let regions = [
        settings.own("region"),
        settings.get("client.region"),
        settings.get("client.assume-role.region"),
    ];
    let regions = regions.into_iter().flatten();
    let regions = regions
        .filter(|region| !is_region(region))
        .map(|region| format!("expected a region like `eu-west-1`, found `{region}`"));
    keys.into_iter().chain(regions).collect()
}

/// The region that the properties of `service` name.
pub(crate) fn region<'a>(
    service: &'a str,
    properties: &'a BTreeMap<String, String>,
) -> Option<&'a str> {
    let settings = Settings {
        service,
        properties,
    };
    settings.region()
}

/// Regions become part of host names.
fn is_region(text: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    !text.is_empty() && text.chars().all(fits)
}

#[derive(Clone, Copy)]
struct Settings<'a> {
    service: &'a str,
    properties: &'a BTreeMap<String, String>,
}

impl<'a> Settings<'a> {
    /// Before a role is assumed.
    fn base(self) -> Result<ConfigLoader, String> {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(limits());
        if let Some(region) = self.region_of_keys() {
            loader = loader.region(Region::new(region.to_owned()));
        }
        let profile = self.either("profile-name");
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        Ok(match (self.keys()?, profile) {
            (Some(keys), _) => loader.credentials_provider(keys),
            (None, Some(profile)) => {
                let config = ProviderConfig::without_region()
                    .with_region(
                        self.region_of_keys()
                            .map(|name| Region::new(name.to_owned())),
                    )
                    .with_http_client(http);
                let profile = ProfileFileCredentialsProvider::builder()
                    .configure(&config)
                    .profile_name(profile);
                loader.credentials_provider(profile.build())
            }
            (None, None) => loader,
        })
    }

    /// `base` with the role's credentials, if a role is named.
    async fn as_role(self, base: SdkConfig) -> SdkConfig {
        let role = self
            .either("role-arn")
            .or(self.get("client.assume-role.arn"));
        let Some(role) = role else {
            return base;
        };
        let session = self
            .either("role-session-name")
            .or(self.get("client.assume-role.session-name"));
        let mut assumed = AssumeRoleProvider::builder(role)
            .configure(&base)
            .session_name(session.unwrap_or(SESSION));
        if let Some(id) = self.get("client.assume-role.external-id") {
            assumed = assumed.external_id(id);
        }
        let region = self.region().map(|region| Region::new(region.to_owned()));
        if let (None, Some(region)) = (base.region(), &region) {
            assumed = assumed.region(region.clone());
        }
        let assumed = SharedCredentialsProvider::new(assumed.build().await);
        let region = region.or_else(|| base.region().cloned());
        let config = base.into_builder().credentials_provider(assumed);
        config.region(region).build()
    }

    /// Of the service. `client.assume-role.region` is where an assumed role works, not where it is assumed.
    fn region(self) -> Option<&'a str> {
        let of_role = || self.get("client.assume-role.region");
        self.own("region")
            .or_else(of_role)
            .or_else(|| self.get("client.region"))
    }

    fn region_of_keys(self) -> Option<&'a str> {
        self.either("region")
    }

    /// Keys of one source as a whole: a session token belongs to its own key.
    fn keys(self) -> Result<Option<Credentials>, String> {
        for owner in [self.service, "client"] {
            let of = |name: &str| self.get(&format!("{owner}.{name}"));
            match (of("access-key-id"), of("secret-access-key")) {
                (Some(id), Some(secret)) => {
                    let token = of("session-token").map(str::to_owned);
                    return Ok(Some(Credentials::new(id, secret, token, None, SESSION)));
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

    fn either(self, name: &str) -> Option<&'a str> {
        let shared = || self.get(&format!("client.{name}"));
        self.own(name).or_else(shared)
    }

    fn own(self, name: &str) -> Option<&'a str> {
        self.get(&format!("{}.{name}", self.service))
    }

    fn get(self, key: &str) -> Option<&'a str> {
        let value = self.properties.get(key).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }
}

fn limits() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(ATTEMPT_LIMIT)
        .operation_attempt_timeout(ATTEMPT_LIMIT)
        .operation_timeout(REQUEST_LIMIT)
        .build()
}
