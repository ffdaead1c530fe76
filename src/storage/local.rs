//! Local files for Iceberg. The system's calls run on threads that may block; ranges of one file are read side by side.

mod walk;

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use iceberg::io::{FileRead, FileWrite};
use iceberg::{Error, ErrorKind, Result};

pub(super) use walk::list;

pub(super) async fn exists(path: PathBuf) -> Result<bool> {
    blocking("look for", path, Path::try_exists).await
}

pub(super) async fn length(path: PathBuf) -> Result<u64> {
    blocking("get metadata for", path, |path| {
        fs::metadata(path).map(|metadata| metadata.len())
    })
    .await
}

pub(super) async fn read(path: PathBuf) -> Result<Bytes> {
    blocking("read file", path, |path| fs::read(path).map(Bytes::from)).await
}

pub(super) async fn reader(path: PathBuf) -> Result<Box<dyn FileRead>> {
    let shown = path.clone();
    let file = blocking("open file", path, |path| File::open(path)).await?;
    Ok(Box::new(Opened {
        file: Arc::new(file),
        path: shown,
    }))
}

pub(super) async fn write(path: PathBuf, bytes: Bytes) -> Result<()> {
    blocking("write file", path, move |path| {
        create_folder_of(path)?;
        whole(path, fs::write(path, &bytes))
    })
    .await
}

pub(super) async fn writer(path: PathBuf) -> Result<Box<dyn FileWrite>> {
    let shown = path.clone();
    let file = blocking("create file", path, |path| {
        create_folder_of(path)?;
        File::create(path)
    })
    .await?;
    Ok(Box::new(Opened {
        file: Arc::new(file),
        path: shown,
    }))
}

/// A file that is not there is deleted already.
pub(super) async fn delete(path: PathBuf) -> Result<()> {
    blocking("delete file", path, |path| absent(fs::remove_file(path))).await
}

/// Deletes a folder; anything else stays.
pub(super) async fn delete_folder(path: PathBuf) -> Result<()> {
    blocking("delete directory", path, |path| {
        if path.is_dir() {
            absent(fs::remove_dir_all(path))?;
        }
        Ok(())
    })
    .await
}

fn absent(deleted: io::Result<()>) -> io::Result<()> {
    deleted.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

/// A file that could not be written to its end goes: it would be in no snapshot and take room from others.
fn whole(path: &Path, written: io::Result<()>) -> io::Result<()> {
    written.inspect_err(|_| drop(fs::remove_file(path)))
}

fn create_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

async fn blocking<T: Send + 'static>(
    action: &'static str,
    path: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let failed = move |path: &Path, error: io::Error| {
        let message = format!("Failed to {action} {}: {error}", path.display());
        Error::new(ErrorKind::DataInvalid, message).with_source(error)
    };
    tokio::task::spawn_blocking(move || work(&path).map_err(|error| failed(&path, error)))
        .await
        .map_err(|error| {
            Error::new(ErrorKind::Unexpected, format!("Failed to {action} a file"))
                .with_source(error)
        })?
}

struct Opened {
    file: Arc<File>,
    path: PathBuf,
}

#[async_trait]
impl FileRead for Opened {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let file = Arc::clone(&self.file);
        blocking("read file", self.path.clone(), move |_| {
            let length =
                usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, range.start)?;
            Ok(Bytes::from(bytes))
        })
        .await
    }
}

#[async_trait]
impl FileWrite for Opened {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let file = Arc::clone(&self.file);
        blocking("write file", self.path.clone(), move |path| {
            whole(path, (&*file).write_all(&bytes))
        })
        .await
    }

    async fn close(&mut self) -> Result<()> {
        let file = Arc::clone(&self.file);
        blocking("sync file", self.path.clone(), move |path| {
            whole(path, file.sync_all())
        })
        .await
    }
}
