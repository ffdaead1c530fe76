//! Where a bucket is: in the path of its server's address by default, in the host name on request.

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

use crate::storage::properties::Properties;

/// The builder with the endpoint of the properties, else of the environment.
///
/// # Errors
/// A message, if the endpoint is not a web address.
pub(super) fn addressed(
    builder: AmazonS3Builder,
    bucket: &str,
    properties: Properties<'_>,
) -> Result<AmazonS3Builder, String> {
    let in_path = properties.is_true("path-style-access");
    let in_host = properties
        .is_true("force-virtual-addressing")
        .or(in_path.map(|in_path| !in_path));
    let builder = match in_host {
        Some(in_host) => builder.with_virtual_hosted_style_request(in_host),
        None => builder,
    };
    let Some(named) = properties.get("endpoint") else {
        let plain = endpoint(&builder).is_some_and(|endpoint| endpoint.starts_with("http://"));
        return Ok(match plain {
            true => builder.with_allow_http(true),
            false => builder,
        });
    };
    let (scheme, host) = named
        .split_once("://")
        .filter(|(scheme, host)| matches!(*scheme, "http" | "https") && !host.is_empty())
        .ok_or("s3.endpoint must begin with http:// or https://")?;
    let address = match in_host {
        Some(true) => format!("{scheme}://{bucket}.{host}"),
        _ => named.to_owned(),
    };
    Ok(builder
        .with_config(AmazonS3ConfigKey::S3Endpoint, address)
        .with_allow_http(scheme == "http"))
}

/// The address of the store, if it is not Amazon's own.
pub(super) fn endpoint(builder: &AmazonS3Builder) -> Option<String> {
    [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
        .iter()
        .find_map(|key| builder.get_config_value(key))
}
