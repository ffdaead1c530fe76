//! Object stores by location: local disk and S3, for Parquet files, registries and Iceberg tables alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use crate::error::{Error, Result};

/// An object store and a place in it.
#[derive(Clone, Debug)]
pub struct Located {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// A file or folder.
    pub path: Path,
}

/// The store that holds `uri`: an absolute path, `file:///path` or `s3://bucket/key`. `properties` are pyiceberg's (`s3.endpoint`,
/// `s3.access-key-id`, …); what they leave out comes from the environment. Touches neither disk nor network.
///
/// # Errors
/// [`Error::InvalidRequest`] for another kind of location.
pub fn open(uri: &str, properties: &BTreeMap<String, String>) -> Result<Located> {
    if let Some(rest) = uri.strip_prefix("s3://") {
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        if let Some(endpoint) = properties.get("s3.endpoint") {
            builder = builder.with_endpoint(endpoint).with_allow_http(true);
        }
        let store = builder
            .build()
            .map_err(|error| Error::internal("open S3", error))?;
        return Ok(Located {
            store: Arc::new(store),
            path: Path::from(key),
        });
    }
    let path = uri.strip_prefix("file://").unwrap_or(uri);
    let path =
        Path::from_absolute_path(path).map_err(|error| Error::invalid("uri", error.to_string()))?;
    Ok(Located {
        store: Arc::new(LocalFileSystem::new()),
        path,
    })
}
