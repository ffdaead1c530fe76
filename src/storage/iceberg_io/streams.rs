//! One remote file being read by ranges, or written in parts.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use iceberg::io::{FileRead, FileWrite};
use iceberg::{Error, ErrorKind, Result};
use object_store::ObjectStoreExt;
use object_store::buffered::BufWriter;
use tokio::io::AsyncWrite;

use crate::storage::Located;

/// Parts of one file that are uploaded at a time.
const UPLOADS_AT_ONCE: usize = 4;

/// The store's own message stays in the source: it may hold a whole response.
pub(super) fn failed(
    action: &'static str,
    path: impl fmt::Display,
) -> impl FnOnce(object_store::Error) -> Error {
    move |error| {
        Error::new(ErrorKind::Unexpected, format!("Failed to {action} {path}")).with_source(error)
    }
}

pub(super) struct RemoteReader {
    pub(super) at: Located,
    pub(super) path: String,
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

pub(super) struct RemoteWriter {
    writer: BufWriter,
    path: String,
}

impl RemoteWriter {
    pub(super) fn new(at: Located, path: &str) -> Self {
        Self {
            writer: BufWriter::new(at.store, at.path).with_max_concurrency(UPLOADS_AT_ONCE),
            path: path.to_owned(),
        }
    }
}

#[async_trait]
impl FileWrite for RemoteWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let written = self.writer.put(bytes).await;
        written.map_err(failed("write file", &self.path))
    }

    async fn close(&mut self) -> Result<()> {
        let finished = poll_fn(|context| Pin::new(&mut self.writer).poll_shutdown(context)).await;
        finished.map_err(|error| failed("finish file", &self.path)(store_error(error)))
    }
}

/// What the store failed with, which `io::Error` hides from those who look for causes.
fn store_error(error: io::Error) -> object_store::Error {
    error
        .downcast()
        .unwrap_or_else(|error| object_store::Error::Generic {
            store: "upload",
            source: error.into(),
        })
}
