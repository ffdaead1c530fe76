//! What Iceberg asks of a storage, by the location of each file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use iceberg::io::{FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage};
use iceberg::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use super::streams::{RemoteReader, RemoteWriter, failed};
use crate::storage::clients::client;
use crate::storage::lent::Lent;
use crate::storage::{Listed, Located, Location, local};

/// Local files and remote ones, by each file's location. Settings may hold secrets, so they are neither shown nor serialized.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct LocatedStorage {
    #[serde(skip)]
    pub(super) settings: Settings,
}

/// Whose credentials remote files are reached with.
#[derive(Clone)]
pub(super) enum Settings {
    /// Those of these properties.
    Own(Arc<BTreeMap<String, String>>),
    /// Those that a catalog lends.
    Lent(Arc<Lent>),
}

impl Default for Settings {
    fn default() -> Self {
        Self::Own(Arc::default())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(properties) => f.debug_tuple("Own").field(&properties.keys()).finish(),
            Self::Lent(lent) => f.debug_tuple("Lent").field(lent).finish(),
        }
    }
}

enum Place {
    Local(PathBuf),
    Remote(Located),
}

impl LocatedStorage {
    fn place(&self, path: &str) -> Result<Place> {
        let invalid = |message: String| Error::new(ErrorKind::DataInvalid, message);
        match Location::parse(path).map_err(invalid)? {
            Location::Local(path) => Ok(Place::Local(path)),
            Location::Remote {
                service,
                container,
                key,
            } => {
                let store = match &self.settings {
                    Settings::Own(properties) => client(service, &container, properties),
                    Settings::Lent(lent) => lent.client(service, &container, path),
                };
                let store = store.map_err(|message| invalid(format!("`{path}`: {message}")))?;
                let path = Path::parse(key).map_err(|error| invalid(error.to_string()))?;
                Ok(Place::Remote(Located { store, path }))
            }
        }
    }

    /// The files below a folder.
    pub(super) fn list(
        &self,
        folder: &str,
    ) -> Result<BoxStream<'static, object_store::Result<Listed>>> {
        // Credentials may be lent for what begins with the folder's name and a slash.
        match self.place(&format!("{}/", folder.trim_end_matches('/')))? {
            Place::Local(path) => Ok(local::list(path)),
            Place::Remote(at) => {
                let (scheme, rest) = folder.split_once("://").unwrap_or_default();
                let container = rest.split('/').next().unwrap_or_default();
                let start = format!("{scheme}://{container}");
                let listed = at.store.list(Some(&at.path));
                Ok(listed.map_ok(move |file| found(&start, file)).boxed())
            }
        }
    }
}

fn found(container: &str, file: ObjectMeta) -> Listed {
    Listed {
        path: format!("{container}/{}", file.location),
        size_bytes: file.size,
        modified: file.last_modified.into(),
    }
}

#[async_trait]
#[typetag::serde]
impl Storage for LocatedStorage {
    async fn exists(&self, path: &str) -> Result<bool> {
        match self.place(path)? {
            Place::Local(path) => local::exists(path).await,
            Place::Remote(at) => match at.store.head(&at.path).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::NotFound { .. }) => Ok(false),
                Err(error) => Err(failed("look for", path)(error)),
            },
        }
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        let size = match self.place(path)? {
            Place::Local(path) => local::length(path).await?,
            Place::Remote(at) => {
                let found = at.store.head(&at.path).await;
                found.map_err(failed("get metadata for", path))?.size
            }
        };
        Ok(FileMetadata { size })
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        match self.place(path)? {
            Place::Local(path) => local::read(path).await,
            Place::Remote(at) => {
                let read = async { at.store.get(&at.path).await?.bytes().await };
                read.await.map_err(failed("read file", path))
            }
        }
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        match self.place(path)? {
            Place::Local(path) => local::reader(path).await,
            Place::Remote(at) => Ok(Box::new(RemoteReader {
                at,
                path: path.to_owned(),
            })),
        }
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        match self.place(path)? {
            Place::Local(path) => local::write(path, bytes).await,
            Place::Remote(at) => {
                let written = at.store.put(&at.path, bytes.into()).await;
                written.map(drop).map_err(failed("write file", path))
            }
        }
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        match self.place(path)? {
            Place::Local(path) => local::writer(path).await,
            Place::Remote(at) => Ok(Box::new(RemoteWriter::new(at, path))),
        }
    }

    async fn delete(&self, path: &str) -> Result<()> {
        match self.place(path)? {
            Place::Local(path) => local::delete(path).await,
            Place::Remote(at) => match at.store.delete(&at.path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(failed("delete file", path)(error)),
            },
        }
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        match self.place(path)? {
            Place::Local(path) => local::delete_folder(path).await,
            Place::Remote(at) => {
                let listed = at.store.list(Some(&at.path));
                let found = listed.map_ok(|object| object.location).boxed();
                let deleted = at.store.delete_stream(found).try_for_each(async |_| Ok(()));
                deleted.await.map_err(failed("delete directory", path))
            }
        }
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> Result<()> {
        while let Some(path) = paths.next().await {
            self.delete(&path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}
