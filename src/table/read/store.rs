//! Where files are: behind an Iceberg table's `FileIO`, or in an object store as they are, where they can change.

use std::fmt;
use std::fs::Metadata;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use iceberg::io::FileIO;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};

use super::input::FileRef;
use crate::error::{Error, Result};
use crate::storage::told;

/// The files of one table.
#[derive(Clone, Debug)]
pub enum FileStore {
    /// An Iceberg table's files, which never change.
    Iceberg(FileIO),
    /// Files of a local disk (by absolute path) or of a bucket (`s3://bucket/key`).
    Objects(Arc<dyn ObjectStore>),
}

/// One object, at the version that was listed.
pub(super) struct Object {
    store: Arc<dyn ObjectStore>,
    path: Path,
    version: Option<String>,
}

impl Object {
    pub(super) fn new(store: &Arc<dyn ObjectStore>, file: FileRef<'_>) -> Result<Self> {
        Ok(Self {
            store: Arc::clone(store),
            path: object_path(file.path)?,
            version: file.version.map(str::to_owned),
        })
    }

    /// Reads a range, if the object is still of that version.
    pub(super) async fn read(&self, range: Range<u64>) -> object_store::Result<Bytes> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            if_match: self.version.clone(),
            ..GetOptions::default()
        };
        self.store
            .get_opts(&self.path, options)
            .await?
            .bytes()
            .await
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

/// What the failure of an object store means for a file.
pub(in crate::table) fn object_failure(
    table: &str,
    path: &str,
    error: &object_store::Error,
) -> Error {
    match error {
        object_store::Error::NotFound { .. } => Error::FileNotFound {
            table: table.to_owned(),
            path: path.to_owned(),
        },
        object_store::Error::Precondition { .. } => Error::FileChanged {
            path: path.to_owned(),
        },
        other => Error::StorageUnavailable {
            path: path.to_owned(),
            message: told(other),
        },
    }
}

/// The path within its store of `s3://bucket/key` or of an absolute path.
fn object_path(location: &str) -> Result<Path> {
    let key = match location.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, key)| key),
        None => location,
    };
    Path::parse(key.trim_start_matches('/'))
        .map_err(|error| Error::internal(format!("opening `{location}`"), error))
}

/// The version of a local file, which is the entity tag that `object_store` lists it with.
#[cfg(unix)]
pub(super) fn local_version(metadata: &Metadata) -> String {
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    let modified = metadata.modified().ok();
    let micros = modified
        .and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok())
        .unwrap_or_default()
        .as_micros();
    format!("{inode:x}-{micros:x}-{:x}", metadata.len())
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::local::LocalFileSystem;
    use object_store::memory::InMemory;

    use super::super::input::Input;
    use super::*;

    #[test]
    fn locations_become_paths_within_their_store() {
        let path = |location| object_path(location).unwrap().to_string();
        assert_eq!(path("/a/b=1%20x/c.parquet"), "a/b=1%20x/c.parquet");
        assert_eq!(path("s3://bucket/a/c.parquet"), "a/c.parquet");
    }

    async fn put(store: &Arc<dyn ObjectStore>, path: &Path, text: &'static str) -> String {
        let put = store.put(path, text.into()).await.unwrap();
        put.e_tag.unwrap()
    }

    async fn read(store: &Arc<dyn ObjectStore>, version: &str) -> Result<Vec<Bytes>> {
        let file = FileRef {
            table: "t",
            path: "s3://bucket/a/f",
            size_bytes: 10,
            version: Some(version),
        };
        let store = FileStore::Objects(Arc::clone(store));
        let input = Input::open(file, &store, &Arc::default(), &Arc::default()).await?;
        input.read(&[7..9, 0..2]).await
    }

    #[tokio::test]
    async fn objects_are_read_only_at_the_version_that_was_listed() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("a/f");
        let version = put(&store, &path, "0123456789").await;
        let ranges = read(&store, &version).await.unwrap();
        assert_eq!(ranges, [Bytes::from("78"), Bytes::from("01")]);
        put(&store, &path, "abcdefghij").await;
        let changed = read(&store, &version).await;
        assert!(matches!(changed, Err(Error::FileChanged { path }) if path == "s3://bucket/a/f"));
        store.delete(&path).await.unwrap();
        let missing = read(&store, &version).await;
        assert!(
            matches!(missing, Err(Error::FileNotFound { path, .. }) if path == "s3://bucket/a/f")
        );
    }

    #[tokio::test]
    async fn local_versions_are_those_that_object_store_lists() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, "x").unwrap();
        let path = Path::from_absolute_path(&file).unwrap();
        let listed = LocalFileSystem::new();
        let listed = listed.head(&path).await.unwrap();
        let version = local_version(&std::fs::metadata(&file).unwrap());
        assert_eq!(listed.e_tag, Some(version));
    }
}
