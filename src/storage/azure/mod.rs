//! Azure Blob Storage and Data Lake Storage from pyiceberg's properties over the environment's (`AZURE_…`).
//!
//! Untested against the real services: only what is sent is tested. Both are spoken to by the Blob service's protocol.

mod connection;

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::azure::{
    AzureConfigKey, AzureCredential, AzureCredentialProvider, MicrosoftAzureBuilder,
};
use object_store::{ClientOptions, ObjectStore, StaticCredentialProvider};

use super::http::{self, Connector};
use super::properties::Properties;
use super::quiet::Quiet;
use connection::ConnectionString;

/// The client of a container, with lent credentials if there are any.
///
/// # Errors
/// A message without secrets, if the settings contradict each other or name no account.
pub(super) fn client(
    container: &str,
    properties: &BTreeMap<String, String>,
    lent: Option<AzureCredentialProvider>,
) -> Result<Arc<dyn ObjectStore>, String> {
    let account = account(container, properties)?;
    let properties = Properties::new("adls", properties);
    let (name, _) = container.split_once('@').unwrap_or((container, ""));
    let store = format!("abfss://{name} {}", account.endpoint);
    let options = ClientOptions::new().with_allow_http(account.endpoint.starts_with("http://"));
    let builder = base(properties)
        .with_container_name(name)
        .with_account(&account.name)
        .with_endpoint(account.endpoint.clone())
        .with_client_options(options)
        .with_retry(http::retry())
        .with_http_connector(Connector::new(store, properties, None)?);
    let builder = match lent {
        Some(lent) => builder.with_credentials(lent),
        None => signed(builder, properties, &account)?,
    };
    http::built(builder.build().map(Quiet))
}

/// Whose containers are meant.
#[derive(Debug)]
pub(super) struct Account {
    name: String,
    endpoint: String,
}

/// The account that a container's location, the properties or the environment name.
///
/// # Errors
/// A message, if none does.
pub(super) fn account(
    container: &str,
    properties: &BTreeMap<String, String>,
) -> Result<Account, String> {
    let properties = Properties::new("adls", properties);
    let connection = ConnectionString::of(properties);
    let host = container
        .split_once('@')
        .map(|(_, host)| host)
        .or_else(|| properties.get("account-host"));
    let environment = MicrosoftAzureBuilder::from_env();
    let in_environment = |key| environment.get_config_value(&key);
    let name = host
        .and_then(|host| host.split('.').next())
        .or_else(|| properties.get("account-name"))
        .or_else(|| connection.get("AccountName"))
        .or_else(|| of_only_token(properties))
        .map(str::to_owned)
        .or_else(|| in_environment(AzureConfigKey::AccountName))
        .ok_or("adls.account-name must be set, or the location name an account")?;
    let endpoint = match (connection.endpoint(), host) {
        (Some(endpoint), _) => endpoint,
        (None, Some(host)) => format!("https://{}", host.replacen(".dfs.", ".blob.", 1)),
        (None, None) => in_environment(AzureConfigKey::Endpoint)
            .unwrap_or_else(|| format!("https://{name}.blob.core.windows.net")),
    };
    Ok(Account { name, endpoint })
}

/// The account of `adls.sas-token.ACCOUNT`.
fn of_only_token(properties: Properties<'_>) -> Option<&str> {
    let tokens = properties.all().keys();
    let mut hosts = tokens.filter_map(|name| name.strip_prefix("adls.sas-token."));
    hosts.next()?.split('.').next()
}

/// The shared access signature or bearer token of the properties.
pub(super) fn token(
    properties: Properties<'_>,
    account: &Account,
) -> Result<Option<AzureCredential>, String> {
    if let Some(token) = properties.get("token") {
        return Ok(Some(AzureCredential::BearerToken(token.to_owned())));
    }
    let Some(signature) = signature(properties, account) else {
        return Ok(None);
    };
    let signature = signature.trim_start_matches('?').replace('+', "%2B");
    let pairs = reqwest::Url::parse(&format!("a:?{signature}"));
    let pairs = pairs.map_err(|_| "adls.sas-token: expected a query string")?;
    let pairs = pairs.query_pairs().into_owned().collect();
    Ok(Some(AzureCredential::SASToken(pairs)))
}

/// Of this account, else of any.
fn signature<'a>(properties: Properties<'a>, account: &Account) -> Option<&'a str> {
    let of_account = |(name, value): (&'a String, &'a String)| {
        let host = name.strip_prefix("adls.sas-token.")?;
        (host.split('.').next() == Some(&account.name)).then_some(value.as_str())
    };
    let own = properties.all().iter().find_map(of_account);
    own.or_else(|| properties.get("sas-token"))
}

/// Credentials of the properties replace those of the environment as a whole.
fn base(properties: Properties<'_>) -> MicrosoftAzureBuilder {
    let names = [
        "anon",
        "account-key",
        "client-secret",
        "connection-string",
        "sas-token",
        "token",
    ];
    let tokens = properties.all().keys();
    let mut tokens = tokens.filter(|name| name.starts_with("adls.sas-token."));
    match tokens.next().is_some() || names.iter().any(|name| properties.get(name).is_some()) {
        true => MicrosoftAzureBuilder::new(),
        false => MicrosoftAzureBuilder::from_env(),
    }
}

fn signed(
    builder: MicrosoftAzureBuilder,
    properties: Properties<'_>,
    account: &Account,
) -> Result<MicrosoftAzureBuilder, String> {
    if properties.is_true("anon") == Some(true) {
        return Ok(builder.with_skip_signature(true));
    }
    let connection = ConnectionString::of(properties);
    let key = properties.get("account-key");
    if let Some(key) = key.or_else(|| connection.get("AccountKey")) {
        return Ok(builder.with_access_key(key));
    }
    if let Some(token) = token(properties, account)? {
        let token = Arc::new(StaticCredentialProvider::new(token));
        return Ok(builder.with_credentials(token));
    }
    if let Some(signature) = connection.get("SharedAccessSignature") {
        return Ok(builder.with_config(AzureConfigKey::SasKey, signature));
    }
    let of = |name| properties.get(name);
    Ok(
        match (of("client-id"), of("client-secret"), of("tenant-id")) {
            (Some(id), Some(secret), Some(tenant)) => {
                builder.with_client_secret_authorization(id, secret, tenant)
            }
            _ => builder,
        },
    )
}
