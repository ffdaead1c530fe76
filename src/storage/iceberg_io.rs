//! What Iceberg reads and writes its files through: the library brings local files only, this adds S3.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage,
    StorageConfig, StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use object_store::buffered::BufWriter;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWrite;

use super::{Located, Location, local, open};

/// Parts of one file that are uploaded at a time.
const UPLOADS_AT_ONCE: usize = 4;

/// What tables with these properties are read and written through.
pub fn file_io(properties: &BTreeMap<String, String>) -> FileIO {
    FileIOBuilder::new(factory()).with_props(properties).build()
}

/// What catalogs make each table's storage with, from the catalog's properties and those that a table comes with.
pub fn factory() -> Arc<dyn StorageFactory> {
    Arc::new(LocatedStorageFactory)
}

/// The path that an error is about, if the error is that there is no such file.
pub fn missing_file(error: &Error) -> Option<&str> {
    let source = error.source()?;
    let missing_locally = source
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
    let missing = matches!(
        source.downcast_ref(),
        Some(object_store::Error::NotFound { .. })
    );
    if !(missing_locally || missing) {
        return None;
    }
    let message = error.message().strip_prefix("Failed to read file ")?;
    Some(message.rsplit_once(": ").map_or(message, |(path, _)| path))
}

/// Makes [`LocatedStorage`].
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct LocatedStorageFactory;

#[typetag::serde]
impl StorageFactory for LocatedStorageFactory {
    fn build(&self, config: &StorageConfig) -> Result<Arc<dyn Storage>> {
        let properties = config.props().clone().into_iter().collect();
        Ok(Arc::new(LocatedStorage {
            properties: Arc::new(properties),
        }))
    }
}

/// Local files and S3, by each file's location. Properties may hold secrets, so they are neither shown nor serialized.
#[derive(Clone, Default, Serialize, Deserialize)]
struct LocatedStorage {
    #[serde(skip)]
    properties: Arc<BTreeMap<String, String>>,
}

impl fmt::Debug for LocatedStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocatedStorage")
            .field("properties", &self.properties.keys())
            .finish()
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
            Location::S3 { .. } => open(path, &self.properties)
                .map(Place::Remote)
                .map_err(|error| invalid(error.to_string())),
        }
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
            Place::Remote(at) => Ok(Box::new(RemoteWriter {
                writer: BufWriter::new(at.store, at.path).with_max_concurrency(UPLOADS_AT_ONCE),
                path: path.to_owned(),
            })),
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

/// The store's own message stays in the source: it may hold a whole response.
fn failed(
    action: &'static str,
    path: impl fmt::Display,
) -> impl FnOnce(object_store::Error) -> Error {
    move |error| {
        Error::new(ErrorKind::Unexpected, format!("Failed to {action} {path}")).with_source(error)
    }
}

struct RemoteReader {
    at: Located,
    path: String,
}

#[async_trait]
impl FileRead for RemoteReader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let read = self.at.store.get_range(&self.at.path, range).await;
        read.map_err(failed("read file", &self.path))
    }
}

struct RemoteWriter {
    writer: BufWriter,
    path: String,
}

#[async_trait]
impl FileWrite for RemoteWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let written = self.writer.put(bytes).await;
        written.map_err(failed("write file", &self.path))
    }

    async fn close(&mut self) -> Result<()> {
        poll_fn(|context| Pin::new(&mut self.writer).poll_shutdown(context))
            .await
            .map_err(|error| {
                let message = format!("Failed to finish file {}", self.path);
                Error::new(ErrorKind::Unexpected, message).with_source(error)
            })
    }
}
