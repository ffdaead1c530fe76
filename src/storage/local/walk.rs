//! The files below a local folder, one after the other, however many there are.

use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use futures::StreamExt;
use futures::stream::{BoxStream, unfold};
use tokio::sync::mpsc::{self, Sender};

use crate::storage::Listed;

/// Files found ahead of who asks.
const AHEAD: usize = 1024;

type Found = object_store::Result<Listed>;

/// Walks on a thread that may block, which ends when nobody listens.
pub(in crate::storage) fn list(folder: PathBuf) -> BoxStream<'static, Found> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = walk(&folder, &sender) {
            // Nobody may be listening any more.
            let _ = sender.blocking_send(Err(failed(&folder, error)));
        }
    });
    unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    })
    .boxed()
}

/// What is deleted meanwhile was not there.
fn walk(folder: &Path, sender: &Sender<Found>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), sender)?;
        } else if kind.is_file()
            && let Some(found) = found(&entry)?
            && sender.blocking_send(Ok(found)).is_err()
        {
            return Err(io::Error::other("nobody listens any more"));
        }
    }
    Ok(())
}

/// `None` for a file that is gone, or whose name no location can have.
fn found(entry: &DirEntry) -> io::Result<Option<Listed>> {
    let metadata = match entry.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        metadata => metadata?,
    };
    let Some(path) = entry.path().to_str().map(str::to_owned) else {
        return Ok(None);
    };
    Ok(Some(Listed {
        path,
        size_bytes: metadata.len(),
        modified: metadata.modified()?,
    }))
}

fn failed(folder: &Path, error: io::Error) -> object_store::Error {
    object_store::Error::Generic {
        store: "local disk",
        source: format!("cannot list `{}`: {error}", folder.display()).into(),
    }
}
