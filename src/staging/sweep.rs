//! Deletes what has expired: before every upload, when an expired one is asked for, and in the background.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::Staging;
use crate::clock;
use crate::error::Result;

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
    /// [`StorageUnavailable`](crate::error::Error::StorageUnavailable) or [`Io`](crate::error::Error::Io) if the store fails.
    pub async fn sweep(&self) -> Result<usize> {
        let now = self.now();
        let mut deleted = 0;
        for id in self.store.ids().await? {
            if id.is_expired(now) {
                self.store.delete(&id).await?;
                deleted += 1;
            }
        }
        self.store.sweep(now).await?;
        Ok(deleted)
    }

    /// Sweeps now and from time to time, as long as the returned handle and the staging area live. Needs a runtime.
    pub fn sweep_in_background(self: &Arc<Self>) -> Sweeper {
        let interval = (self.ttl / 4).clamp(Duration::from_millis(10), Duration::from_secs(60));
        Sweeper(tokio::spawn(sweep_on(Arc::downgrade(self), interval)).abort_handle())
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
