//! Deletes what has expired: before every upload, when an expired one is asked for, and in the background.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use tokio::task::AbortHandle;

use super::Staging;
use super::id::WellFormed;
use crate::clock;
use crate::error::{Error, Result};

/// Sweeps until dropped.
#[derive(Debug)]
pub struct Sweeper(AbortHandle);

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Staging {
    /// Deletes all expired uploads of the store, whichever server received them, and returns how many.
    ///
    /// # Errors
    /// [`Error::StorageUnavailable`] or [`Error::Io`] if the store fails.
    pub async fn sweep(&self) -> Result<usize> {
        let now = self.now();
        let store = &self.store;
        let objects: Vec<_> = store
            .objects
            .list(None)
            .try_collect()
            .await
            .map_err(|error| store.failed(error))?;
        let ids = objects
            .iter()
            .filter_map(|object| WellFormed::of_object(object.location.as_ref()));
        let mut deleted = 0;
        for id in ids.filter(|id| id.is_expired(now)) {
            self.delete(&id).await?;
            deleted += 1;
        }
        self.sweep_half_written().await?;
        self.forget_expired(now);
        Ok(deleted)
    }

    /// Sweeps now and from time to time, as long as the returned handle and the staging area live. Needs a runtime.
    pub fn sweep_in_background(self: &Arc<Self>) -> Sweeper {
        let interval = (self.ttl / 4).clamp(Duration::from_millis(10), Duration::from_secs(60));
        Sweeper(tokio::spawn(sweep_on(Arc::downgrade(self), interval)).abort_handle())
    }

    /// Deletes an upload, if it is there.
    pub(super) async fn delete(&self, id: &WellFormed) -> Result<()> {
        match self.store.objects.delete(&id.path()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.store.failed(error)),
        }
    }

    /// What a server that died has left behind.
    async fn sweep_half_written(&self) -> Result<()> {
        let (store, now) = (self.store.clone(), self.now());
        let sweeping = tokio::task::spawn_blocking(move || {
            for (path, id) in store.half_written()? {
                if id.is_expired(now) {
                    remove(&path)?;
                }
            }
            Ok(())
        });
        sweeping
            .await
            .map_err(|error| Error::internal("sweeping the staging area", error))?
    }
}

fn remove(path: &std::path::Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Io {
            action: format!("deleting `{}`", path.display()),
            source,
        }),
        _ => Ok(()),
    }
}

async fn sweep_on(staging: Weak<Staging>, interval: Duration) {
    while let Some(staging) = staging.upgrade() {
        match staging.sweep().await {
            Ok(0) => {}
            Ok(deleted) => tracing::debug!(deleted, "deleted expired uploads"),
            Err(error) => tracing::warn!(%error, "cannot sweep the staging area"),
        }
        drop(staging);
        clock::sleep(interval).await;
    }
}
