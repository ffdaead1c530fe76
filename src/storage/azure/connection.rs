//! Azure's connection strings: an account, its key and its address in one text.

use crate::storage::properties::Properties;

/// `Name=value` pairs between semicolons.
pub(super) struct ConnectionString<'a>(Vec<(&'a str, &'a str)>);

impl<'a> ConnectionString<'a> {
    /// `adls.connection-string`; without it, none of its parts is there.
    pub(super) fn of(properties: Properties<'a>) -> Self {
        let text = properties.get("connection-string").unwrap_or_default();
        Self(
            text.split(';')
                .filter_map(|pair| pair.trim().split_once('='))
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }

    /// The Blob service's address.
    pub(super) fn endpoint(&self) -> Option<String> {
        if let Some(endpoint) = self.get("BlobEndpoint") {
            return Some(endpoint.trim_end_matches('/').to_owned());
        }
        let scheme = self.get("DefaultEndpointsProtocol").unwrap_or("https");
        let suffix = self.get("EndpointSuffix")?;
        let account = self.get("AccountName")?;
        Some(format!("{scheme}://{account}.blob.{suffix}"))
    }
}
