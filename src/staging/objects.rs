//! Uploads as objects in a directory that servers can share.

use std::collections::HashMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt};

use super::budget::Charge;
use super::id::WellFormed;
use crate::error::{Error, Result};

#[derive(Debug)]
pub(super) struct Objects {
    pub(super) store: Arc<dyn ObjectStore>,
    /// Where half-written files lie.
    directory: PathBuf,
    /// What the uploads that this process received take from the budget.
    kept: Mutex<HashMap<WellFormed, Charge>>,
}

impl Objects {
    pub(super) fn in_directory(directory: &FilePath) -> Result<Self> {
        make_private(directory).map_err(|error| {
            invalid(format!(
                "cannot make directory `{}`: {error}",
                directory.display()
            ))
        })?;
        let store = LocalFileSystem::new_with_prefix(directory);
        let store = store
            .map_err(|error| invalid(format!("cannot use `{}`: {error}", directory.display())))?;
        Ok(Self {
            store: Arc::new(store),
            directory: directory.to_owned(),
            kept: Mutex::default(),
        })
    }

    /// Every upload that is there, whichever server received it.
    pub(super) async fn ids(&self) -> Result<Vec<WellFormed>> {
        let objects = self.store.list(None);
        let ids = objects.try_filter_map(|object| {
            std::future::ready(Ok(WellFormed::of_object(object.location.as_ref())))
        });
        ids.try_collect().await.map_err(|error| self.failed(error))
    }

    pub(super) fn keep(&self, id: WellFormed, charge: Charge) {
        self.kept().insert(id, charge);
    }

    /// Deletes an upload, if it is there.
    pub(super) async fn delete(&self, id: &WellFormed) -> Result<()> {
        match self.store.delete(&id.path()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {
                self.kept().remove(id);
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Ends the charges of expired uploads, which another server may have deleted, and deletes what a server that died
    /// has left behind.
    pub(super) async fn sweep(&self, now: DateTime<Utc>) -> Result<()> {
        let directory = self.directory.clone();
        let sweeping = tokio::task::spawn_blocking(move || sweep_half_written(&directory, now));
        sweeping
            .await
            .map_err(|error| Error::internal("sweeping the staging area", error))??;
        self.kept().retain(|id, _| !id.is_expired(now));
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<WellFormed, Charge>> {
        self.kept.lock().expect("no holder panics")
    }

    /// What the caller is told when the store fails.
    pub(super) fn failed(&self, error: object_store::Error) -> Error {
        Error::StorageUnavailable {
            path: self.directory.display().to_string(),
            message: error.to_string(),
        }
    }

    /// Likewise, where the object may rightly be missing.
    pub(super) fn missing(&self, id: &WellFormed) -> impl Fn(object_store::Error) -> Error {
        move |error| match error {
            object_store::Error::NotFound { .. } => super::unknown(&id.upload_id()),
            error => self.failed(error),
        }
    }
}

fn sweep_half_written(directory: &FilePath, now: DateTime<Utc>) -> Result<()> {
    let io = |source| Error::Io {
        action: format!("listing `{}`", directory.display()),
        source,
    };
    for entry in std::fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if half_written(&path).is_some_and(|id| id.is_expired(now)) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// The id in the name of a half-written object.
fn half_written(path: &FilePath) -> Option<WellFormed> {
    let name = path.file_name()?.to_str()?;
    WellFormed::of_object(name.split_once('#')?.0)
}

fn remove(path: &FilePath) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Io {
            action: format!("deleting `{}`", path.display()),
            source,
        }),
        _ => Ok(()),
    }
}

fn make_private(path: &FilePath) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

pub(super) fn invalid(message: String) -> Error {
    Error::InvalidConfig {
        faults: vec![format!("staging.url: {message}")],
    }
}
