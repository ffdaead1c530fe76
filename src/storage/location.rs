//! Locations as people and table metadata write them.

use std::path::PathBuf;

/// A place on disk or in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// An absolute path.
    Local(PathBuf),
    /// A place in an object store.
    Remote {
        /// Whose.
        service: Service,
        /// Bucket name. For Azure a container, followed by `@host` of its account if the location names that.
        container: String,
        /// Key or prefix as it is stored, without a leading slash; empty for the container's root.
        key: String,
    },
}

/// Kinds of object stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Amazon S3, and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage and Data Lake Storage.
    Azure,
    /// A store within this process, for tests.
    #[cfg(test)]
    Memory,
}

impl Service {
    /// The service that a scheme names.
    fn of_scheme(scheme: &str) -> Option<Self> {
        match scheme.to_ascii_lowercase().as_str() {
            "s3" | "s3a" | "s3n" => Some(Self::S3),
            "gs" => Some(Self::Gcs),
            "abfss" | "abfs" | "az" | "wasbs" => Some(Self::Azure),
            #[cfg(test)]
            "memory" => Some(Self::Memory),
            _ => None,
        }
    }

    /// How the names of its properties begin.
    pub(super) fn family(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gcs",
            Self::Azure => "adls",
            #[cfg(test)]
            Self::Memory => "memory",
        }
    }

    /// The scheme that most people write.
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "abfss",
            #[cfg(test)]
            Self::Memory => "memory",
        }
    }
}

/// Whether locations with this scheme can be opened.
pub fn supported_scheme(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("file") || Service::of_scheme(scheme).is_some()
}

impl Location {
    /// Parses an absolute path, `file:///path`, `file:/path`, `s3://bucket/key` (also `s3a://`), `gs://bucket/key`,
    /// `abfss://container@host/key` (also `abfs://` and `wasbs://`) or `az://container/key`. Nothing is decoded: tables are
    /// full of names with percent signs.
    ///
    /// # Errors
    /// A message that says what was expected.
    pub fn parse(uri: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = uri.split_once("://") else {
            return local(uri.strip_prefix("file:").unwrap_or(uri), uri);
        };
        if scheme.eq_ignore_ascii_case("file") {
            return local(rest.strip_prefix("localhost").unwrap_or(rest), uri);
        }
        match Service::of_scheme(scheme) {
            Some(service) => remote(service, rest, uri),
            None => Err(format!("{scheme}:// storage is not supported")),
        }
    }
}

fn local(path: &str, uri: &str) -> Result<Location, String> {
    if path.starts_with('/') {
        return Ok(Location::Local(PathBuf::from(path)));
    }
    Err(format!(
        "expected an absolute path, `file:///path` or `s3://bucket/key`, found `{uri}`"
    ))
}

fn remote(service: Service, rest: &str, uri: &str) -> Result<Location, String> {
    let (container, key) = rest.split_once('/').unwrap_or((rest, ""));
    if container.is_empty() || container.starts_with('@') {
        let scheme = service.scheme();
        return Err(format!("expected `{scheme}://bucket/key`, found `{uri}`"));
    }
    Ok(Location::Remote {
        service,
        container: container.to_owned(),
        key: key.to_owned(),
    })
}
