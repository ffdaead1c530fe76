//! Object stores by location: local disk, S3, Google's and Azure's, for Parquet files, registries and Iceberg tables alike.

mod azure;
mod clients;
mod failure;
mod gcs;
mod http;
mod iceberg_io;
mod lease;
mod lent;
mod listing;
mod local;
mod location;
#[cfg(test)]
pub(crate) mod memory;
mod properties;
mod quiet;
mod s3;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use crate::error::{Error, Result};

pub use failure::{outage, told};
pub use http::certificates;
pub use iceberg_io::{factory, file_io, missing_file};
pub use lent::{Lender, Loan, lent_file_io};
pub use listing::{Listed, canonical, list};
pub use location::{Location, Service, supported_scheme};

/// An object store and a place in it.
#[derive(Clone, Debug)]
pub struct Located {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// A file or folder.
    pub path: Path,
}

/// The store that holds `uri`, which is a location as [`Location::parse`] takes it. `properties` are pyiceberg's
/// (`s3.endpoint`, `s3.access-key-id`, …); what they leave out comes from the environment. Touches no network; clients are
/// shared by all who ask for the same container with the same properties.
///
/// # Errors
/// [`Error::InvalidRequest`] for another kind of location, or for settings that contradict each other.
pub fn open(uri: &str, properties: &BTreeMap<String, String>) -> Result<Located> {
    let invalid = |message: String| Error::invalid("uri", message);
    match Location::parse(uri).map_err(invalid)? {
        Location::Local(path) => {
            let path = Path::from_absolute_path(path);
            Ok(Located {
                store: Arc::new(LocalFileSystem::new()),
                path: path.map_err(|error| invalid(error.to_string()))?,
            })
        }
        Location::Remote {
            service,
            container,
            key,
        } => {
            let path = Path::parse(key).map_err(|error| invalid(error.to_string()))?;
            let store = clients::client(service, &container, properties)
                .map_err(|message| invalid(format!("`{uri}`: {message}")))?;
            Ok(Located { store, path })
        }
    }
}
