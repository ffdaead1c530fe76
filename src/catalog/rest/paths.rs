//! Addresses of the protocol's resources.

use iceberg::{NamespaceIdent, TableIdent};
use reqwest::Url;

use super::settings::Settings;

/// `{uri}/v1/{prefix}/…` with these segments, each escaped as a whole.
fn resource(settings: &Settings, segments: &[&str]) -> Result<Url, String> {
    let mut url = under_v1(&settings.uri)?;
    let prefix = settings.prefix.split('/').filter(|part| !part.is_empty());
    url.path_segments_mut()
        .map_err(|()| "expected an address with a path".to_owned())?
        .extend(prefix)
        .extend(segments);
    Ok(url)
}

/// `{uri}/v1`.
pub(super) fn under_v1(uri: &str) -> Result<Url, String> {
    Url::parse(&format!("{uri}/v1")).map_err(|error| format!("faulty address: {error}"))
}

impl Settings {
    /// The levels of a namespace as one.
    pub(super) fn joined(&self, namespace: &NamespaceIdent) -> String {
        namespace.join(&self.separator)
    }

    pub(super) fn namespaces(&self) -> Result<Url, String> {
        resource(self, &["namespaces"])
    }

    pub(super) fn namespace(&self, namespace: &NamespaceIdent) -> Result<Url, String> {
        resource(self, &["namespaces", &self.joined(namespace)])
    }

    /// Something of a namespace: `tables`, `properties`, `register`.
    pub(super) fn of_namespace(
        &self,
        namespace: &NamespaceIdent,
        what: &str,
    ) -> Result<Url, String> {
        resource(self, &["namespaces", &self.joined(namespace), what])
    }

    pub(super) fn table(&self, table: &TableIdent) -> Result<Url, String> {
        let namespace = self.joined(table.namespace());
        resource(self, &["namespaces", &namespace, "tables", table.name()])
    }

    pub(super) fn credentials(&self, table: &TableIdent) -> Result<Url, String> {
        let namespace = self.joined(table.namespace());
        let segments = [
            "namespaces",
            &namespace,
            "tables",
            table.name(),
            "credentials",
        ];
        resource(self, &segments)
    }

    pub(super) fn renaming(&self) -> Result<Url, String> {
        resource(self, &["tables", "rename"])
    }
}
