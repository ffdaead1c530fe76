//! Object stores by location: local disk and S3, for Parquet files, registries and Iceberg tables alike.

mod iceberg_io;
mod local;
mod location;
mod s3;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use crate::error::{Error, Result};

pub use iceberg_io::{factory, file_io, missing_file};
pub use location::Location;

/// An object store and a place in it.
#[derive(Clone, Debug)]
pub struct Located {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// A file or folder.
    pub path: Path,
}

/// The store that holds `uri`: an absolute path, `file:///path` or `s3://bucket/key`. `properties` are pyiceberg's (`s3.endpoint`,
/// `s3.access-key-id`, …); what they leave out comes from the environment. Touches neither disk nor network; S3 clients are
/// shared by all who ask for the same bucket with the same properties.
///
/// # Errors
/// [`Error::InvalidRequest`] for another kind of location, or for settings of S3 that contradict each other.
pub fn open(uri: &str, properties: &BTreeMap<String, String>) -> Result<Located> {
    match Location::parse(uri).map_err(|message| Error::invalid("uri", message))? {
        Location::Local(path) => {
            let path = Path::from_absolute_path(path)
                .map_err(|error| Error::invalid("uri", error.to_string()))?;
            let store = Arc::new(LocalFileSystem::new());
            Ok(Located { store, path })
        }
        Location::S3 { bucket, key } => {
            let path =
                Path::parse(key).map_err(|error| Error::invalid("uri", error.to_string()))?;
            let store = s3::client(&bucket, properties)
                .map_err(|message| Error::invalid("uri", format!("`{uri}`: {message}")))?;
            Ok(Located { store, path })
        }
    }
}
