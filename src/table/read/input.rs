//! Byte ranges of one file, from a local disk without blocking the runtime or from any store that the table's
//! `FileIO` knows; and what its failures mean.

use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use iceberg::io::{FileIO, FileRead};
use parquet::errors::ParquetError;

use super::buffers::Buffers;
use super::store::{FileStore, Object, local_version, object_failure};
use crate::error::{Error, Result};
use crate::model::ScanCounters;
use crate::storage;

/// Ranges of a local file that are closer than this are read as one.
const LOCAL_GAP_BYTES: u64 = 16 << 10;
/// The same for stores where a request costs more than the bytes between.
const REMOTE_GAP_BYTES: u64 = 1 << 20;
/// How much of a local file's end is read to find the footer.
const LOCAL_TAIL_BYTES: u64 = 64 << 10;
/// A local file of up to so many bytes is read as it is opened: waiting for another thread takes longer than reading.
const LOCAL_WHOLE_BYTES: u64 = 128 << 10;
/// How much of a stored file's end is read to find the footer; of a smaller one, that is all.
const REMOTE_TAIL_BYTES: u64 = 256 << 10;
/// Requests in flight to a store for one read.
const REMOTE_REQUESTS: usize = 8;

/// What a file is and who asks for it.
#[derive(Clone, Copy, Debug)]
pub(in crate::table) struct FileRef<'a> {
    /// Table's name, for messages.
    pub(in crate::table) table: &'a str,
    /// Location as the table's metadata has it.
    pub(in crate::table) path: &'a str,
    /// Length as the table's metadata has it.
    pub(in crate::table) size_bytes: u64,
    /// The version that was listed, for files that can change.
    pub(in crate::table) version: Option<&'a str>,
}

/// An open file.
pub(super) struct Input {
    table: String,
    path: String,
    size_bytes: u64,
    version: Option<String>,
    source: Source,
    /// All of it, once that was read.
    whole: OnceLock<Bytes>,
    counters: Arc<ScanCounters>,
    buffers: Arc<Buffers>,
}

enum Source {
    Local(Arc<File>),
    Iceberg(Box<dyn FileRead>, FileIO),
    Object(Object),
}

impl Input {
    /// Opens a file; a missing one is [`Error::FileNotFound`].
    pub(super) async fn open(
        file: FileRef<'_>,
        store: &FileStore,
        counters: &Arc<ScanCounters>,
        buffers: &Arc<Buffers>,
    ) -> Result<Self> {
        let local = match local_path(file.path) {
            Some(path) => open_local(path, file, buffers).await?,
            None => None,
        };
        let whole = OnceLock::new();
        let (source, size_bytes) = match (local, store) {
            (Some(Opened { file, length, all }), _) => {
                if let Some(all) = all {
                    ScanCounters::add(&counters.bytes_read, length);
                    whole.get_or_init(|| all);
                }
                (Source::Local(Arc::new(file)), length)
            }
            (None, FileStore::Iceberg(file_io)) => {
                let reader = open_stored(file, file_io).await?;
                (Source::Iceberg(reader, file_io.clone()), file.size_bytes)
            }
            (None, FileStore::Objects(store)) => {
                (Source::Object(Object::new(store, file)?), file.size_bytes)
            }
        };
        Ok(Self {
            table: file.table.to_owned(),
            path: file.path.to_owned(),
            size_bytes,
            version: file.version.map(str::to_owned),
            source,
            whole,
            counters: Arc::clone(counters),
            buffers: Arc::clone(buffers),
        })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// What the file's content is known by: its path, and its version if it has one.
    pub(super) fn identity(&self) -> Cow<'_, str> {
        match &self.version {
            None => Cow::Borrowed(&self.path),
            Some(version) => Cow::Owned(format!("{}#{version}", self.path)),
        }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The end of the file, which holds its footer; of a small file all of it, so that nothing has to be read again.
    pub(super) async fn read_tail(&self) -> Result<(Range<u64>, Bytes)> {
        let tail = match self.source {
            Source::Local(_) => LOCAL_TAIL_BYTES,
            Source::Iceberg(..) | Source::Object(_) => REMOTE_TAIL_BYTES,
        };
        let size = self.size_bytes;
        let range = match self.whole.get() {
            Some(_) => 0..size,
            None => size.saturating_sub(tail)..size,
        };
        let read = self.read(std::slice::from_ref(&range)).await?.pop();
        let bytes = read.unwrap_or_default();
        if range.start == 0 {
            self.whole.get_or_init(|| bytes.clone());
        }
        Ok((range, bytes))
    }

    /// The error of a file whose content is wrong.
    pub(super) fn corrupt(&self, source: ParquetError) -> Error {
        Error::Parquet {
            path: self.path.clone(),
            source,
        }
    }

    /// Reads ranges, in any order and possibly overlapping; the answer is in the order of the question.
    pub(super) async fn read(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.check(ranges)?;
        if let Some(whole) = self.whole.get() {
            let all = 0..self.size_bytes;
            let whole = std::slice::from_ref(whole);
            return ranges
                .iter()
                .map(|range| self.cut(range, std::slice::from_ref(&all), whole))
                .collect();
        }
        let gap = match self.source {
            Source::Local(_) => LOCAL_GAP_BYTES,
            Source::Iceberg(..) | Source::Object(_) => REMOTE_GAP_BYTES,
        };
        let merged = merge(ranges, gap);
        ScanCounters::add(
            &self.counters.bytes_read,
            merged.iter().map(|range| range.end - range.start).sum(),
        );
        let blocks = match &self.source {
            Source::Local(file) => self.read_local(file, merged.clone()).await?,
            Source::Iceberg(reader, file_io) => {
                self.read_stored(reader.as_ref(), file_io, &merged).await?
            }
            Source::Object(object) => self.read_object(object, &merged).await?,
        };
        ranges
            .iter()
            .map(|range| self.cut(range, &merged, &blocks))
            .collect()
    }

    /// A footer that lies must not make us allocate what the file cannot hold.
    fn check(&self, ranges: &[Range<u64>]) -> Result<()> {
        match ranges
            .iter()
            .find(|range| range.start > range.end || range.end > self.size_bytes)
        {
            None => Ok(()),
            Some(range) => Err(self.truncated(range, self.size_bytes)),
        }
    }

    fn truncated(&self, range: &Range<u64>, length: u64) -> Error {
        let message = format!(
            "bytes {}..{} lie outside the file of {length} bytes",
            range.start, range.end
        );
        self.corrupt(ParquetError::EOF(message))
    }

    fn cut(&self, range: &Range<u64>, merged: &[Range<u64>], blocks: &[Bytes]) -> Result<Bytes> {
        let index = merged
            .partition_point(|block| block.start <= range.start)
            .saturating_sub(1);
        let short = || self.truncated(range, self.size_bytes);
        let (block, bytes) = merged.get(index).zip(blocks.get(index)).ok_or_else(short)?;
        let start = usize::try_from(range.start - block.start).map_err(|_| short())?;
        let end = usize::try_from(range.end - block.start).map_err(|_| short())?;
        (end <= bytes.len())
            .then(|| bytes.slice(start..end))
            .ok_or_else(short)
    }

    async fn read_local(&self, file: &Arc<File>, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>> {
        let (file, buffers) = (Arc::clone(file), Arc::clone(&self.buffers));
        let read = move || {
            ranges
                .iter()
                .map(|range| read_exact(&file, range, &buffers))
                .collect::<std::io::Result<Vec<_>>>()
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(blocks)) => Ok(blocks),
            Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.corrupt(ParquetError::EOF(error.to_string())))
            }
            Ok(Err(error)) => Err(Error::StorageUnavailable {
                path: self.path.clone(),
                message: error.to_string(),
            }),
            Err(error) => Err(Error::internal(format!("reading `{}`", self.path), error)),
        }
    }

    async fn read_stored(
        &self,
        reader: &dyn FileRead,
        file_io: &FileIO,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>> {
        let requests = ranges.iter().cloned().map(|range| async move {
            match reader.read(range.clone()).await {
                Ok(bytes) => Ok(bytes),
                Err(error) => Err(self.stored_failure(file_io, &range, &error).await),
            }
        });
        futures::stream::iter(requests)
            .buffered(REMOTE_REQUESTS)
            .try_collect()
            .await
    }

    async fn read_object(&self, object: &Object, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let requests = ranges.iter().cloned().map(|range| async move {
            let bytes = object.read(range).await;
            bytes.map_err(|error| object_failure(&self.table, &self.path, &error))
        });
        futures::stream::iter(requests)
            .buffered(REMOTE_REQUESTS)
            .try_collect()
            .await
    }

    /// Stores tell neither a missing nor a short file apart from other failures: ask.
    async fn stored_failure(
        &self,
        file_io: &FileIO,
        range: &Range<u64>,
        error: &iceberg::Error,
    ) -> Error {
        let file = FileRef {
            table: &self.table,
            path: &self.path,
            size_bytes: self.size_bytes,
            version: self.version.as_deref(),
        };
        if let Some(length) = stored_length(&self.path, file_io).await
            && length < range.end
        {
            return self.truncated(range, length);
        }
        open_failure(file, file_io, error).await
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input")
            .field("path", &self.path)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

/// The path of a location on the local disk.
pub(super) fn local_path(location: &str) -> Option<&str> {
    let path = location
        .strip_prefix("file://")
        .or_else(|| location.strip_prefix("file:"))
        .unwrap_or(location);
    (cfg!(unix) && path.starts_with('/')).then_some(path)
}

/// A local file.
struct Opened {
    file: File,
    length: u64,
    /// What is in it, if that is little.
    all: Option<Bytes>,
}

/// `None` where no such local file exists, as is the case for tables in memory.
async fn open_local(
    path: &str,
    file: FileRef<'_>,
    buffers: &Arc<Buffers>,
) -> Result<Option<Opened>> {
    let (owned, buffers) = (path.to_owned(), Arc::clone(buffers));
    let open = move || -> std::io::Result<(Metadata, Opened)> {
        let file = File::open(owned)?;
        let metadata = file.metadata()?;
        let length = metadata.len();
        let read = || read_exact(&file, &(0..length), &buffers);
        let all = (length <= LOCAL_WHOLE_BYTES).then(read).transpose()?;
        Ok((metadata, Opened { file, length, all }))
    };
    match tokio::task::spawn_blocking(open).await {
        Ok(Ok((metadata, opened))) => {
            check_version(file, &metadata)?;
            Ok(Some(opened))
        }
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(None),
        Ok(Err(error)) => Err(Error::StorageUnavailable {
            path: file.path.to_owned(),
            message: error.to_string(),
        }),
        Err(error) => Err(Error::internal(format!("opening `{}`", file.path), error)),
    }
}

fn check_version(file: FileRef<'_>, metadata: &Metadata) -> Result<()> {
    match file.version {
        Some(version) if local_version(metadata) != version => Err(Error::FileChanged {
            path: file.path.to_owned(),
        }),
        _ => Ok(()),
    }
}

async fn open_stored(file: FileRef<'_>, file_io: &FileIO) -> Result<Box<dyn FileRead>> {
    let opened = match file_io.new_input(file.path) {
        Ok(input) => input.reader().await,
        Err(error) => Err(error),
    };
    match opened {
        Ok(reader) => Ok(reader),
        Err(error) => Err(open_failure(file, file_io, &error).await),
    }
}

async fn open_failure(file: FileRef<'_>, file_io: &FileIO, error: &iceberg::Error) -> Error {
    if let Some((_, message)) = storage::outage(error) {
        let path = file.path.to_owned();
        return Error::StorageUnavailable { path, message };
    }
    match file_io.exists(file.path).await {
        Ok(false) => Error::FileNotFound {
            table: file.table.to_owned(),
            path: file.path.to_owned(),
        },
        Ok(true) | Err(_) => Error::StorageUnavailable {
            path: file.path.to_owned(),
            message: error.to_string(),
        },
    }
}

async fn stored_length(path: &str, file_io: &FileIO) -> Option<u64> {
    let input = file_io.new_input(path).ok()?;
    Some(input.metadata().await.ok()?.size)
}

#[cfg(unix)]
fn read_exact(file: &File, range: &Range<u64>, buffers: &Arc<Buffers>) -> std::io::Result<Bytes> {
    use std::os::unix::fs::FileExt;
    let length = usize::try_from(range.end - range.start).map_err(std::io::Error::other)?;
    buffers.read(length, |bytes| file.read_exact_at(bytes, range.start))
}

#[cfg(not(unix))]
fn read_exact(_: &File, _: &Range<u64>, _: &Arc<Buffers>) -> std::io::Result<Bytes> {
    Err(std::io::Error::from(ErrorKind::Unsupported))
}

/// Joins ranges that overlap or lie within `gap` of each other; ascending.
fn merge(ranges: &[Range<u64>], gap: u64) -> Vec<Range<u64>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(gap) => {
                last.end = last.end.max(range.end)
            }
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_joins_close_and_overlapping_ranges() {
        assert_eq!(
            merge(&[50..60, 0..10, 12..20, 15..18], 2),
            vec![0..20, 50..60]
        );
        assert_eq!(merge(&[0..10, 12..20], 1), vec![0..10, 12..20]);
        assert_eq!(merge(&[], 1), Vec::<Range<u64>>::new());
    }

    #[test]
    fn local_paths_are_recognised_in_all_spellings() {
        assert_eq!(local_path("file:///a/b"), Some("/a/b"));
        assert_eq!(local_path("file:/a/b"), Some("/a/b"));
        assert_eq!(local_path("/a/b"), Some("/a/b"));
        assert_eq!(local_path("s3://a/b"), None);
        assert_eq!(local_path("memory:///a/b"), None);
    }

    async fn memory_file(path: &str, bytes: &'static [u8]) -> FileStore {
        let file_io = FileIO::new_with_memory();
        file_io
            .new_output(path)
            .unwrap()
            .write(Bytes::from_static(bytes))
            .await
            .unwrap();
        FileStore::Iceberg(file_io)
    }

    #[tokio::test]
    async fn stored_ranges_come_back_in_the_order_asked_and_are_counted() {
        let file_io = memory_file("memory:///f", b"0123456789").await;
        let counters = Arc::new(ScanCounters::default());
        let file = FileRef {
            table: "n.t",
            path: "memory:///f",
            size_bytes: 10,
            version: None,
        };
        let input = Input::open(file, &file_io, &counters, &Arc::default())
            .await
            .unwrap();
        let read = input.read(&[7..9, 0..2]).await.unwrap();
        assert_eq!(
            read,
            vec![Bytes::from_static(b"78"), Bytes::from_static(b"01")]
        );
        assert_eq!(counters.report(0, Default::default()).bytes_read, 9);
    }

    #[tokio::test]
    async fn a_file_shorter_than_listed_is_corrupt_and_a_missing_one_not_found() {
        let file_io = memory_file("memory:///f", b"0123456789").await;
        let counters = Arc::new(ScanCounters::default());
        let longer = FileRef {
            table: "n.t",
            path: "memory:///f",
            size_bytes: 20,
            version: None,
        };
        let input = Input::open(longer, &file_io, &counters, &Arc::default())
            .await
            .unwrap();
        assert!(
            matches!(input.read(&[0..1, 8..18]).await, Err(Error::Parquet { path, .. }) if path == "memory:///f")
        );
        let missing = FileRef {
            table: "n.t",
            path: "memory:///g",
            size_bytes: 20,
            version: None,
        };
        let opened = match Input::open(missing, &file_io, &counters, &Arc::default()).await {
            Ok(input) => input.read(&[0..1, 2..3]).await.map(|_| ()),
            Err(error) => Err(error),
        };
        let expected = "file `memory:///g` of table `n.t` is missing";
        assert_eq!(opened.unwrap_err().to_string(), expected);
    }
}
