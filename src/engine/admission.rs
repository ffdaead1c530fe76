//! How many plans run at once: so many, a bounded number of others wait for a while, and the rest are told to come back.
//!
//! A running plan holds memory, so a limit on memory alone would let many requests into the engine that can then do
//! nothing but fail. One that waits holds none.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::EngineConfig;
use crate::error::{Error, Result};

/// Who may run.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    running: usize,
    waiting: usize,
    patience: Duration,
}

impl Admission {
    pub(super) fn new(config: &EngineConfig) -> Self {
        let limits = Limits {
            running: config.running_limit(),
            waiting: config.max_waiting,
            patience: config.wait_timeout,
        };
        Self {
            running: Arc::new(Semaphore::new(limits.running)),
            waiting: Arc::new(Semaphore::new(limits.waiting)),
            limits,
        }
    }

    /// Waits for a place among those that run; it is given back when the permit is dropped.
    ///
    /// # Errors
    /// [`Error::Busy`] if too many wait already, or if it takes too long.
    pub(super) async fn enter(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = self.waiting.try_acquire().map_err(|_| self.busy())?;
        let permit = Arc::clone(&self.running).acquire_owned();
        match tokio::time::timeout(self.limits.patience, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(self.busy()),
        }
    }

    fn busy(&self) -> Error {
        Error::Busy {
            running: self.limits.running,
            waiting: self.limits.waiting,
            retry_after: self.limits.patience,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn admission(max_running: usize, max_waiting: usize, wait_timeout: Duration) -> Admission {
        Admission::new(&EngineConfig {
            max_running,
            max_waiting,
            wait_timeout,
            ..EngineConfig::default()
        })
    }

    #[tokio::test]
    async fn who_waits_runs_when_another_ends() {
        let admission = admission(1, 1, Duration::from_secs(60));
        let first = admission.enter().await.unwrap();
        let second = admission.enter();
        let end = async move { drop(first) };
        let (second, ()) = futures::join!(second, end);
        assert!(second.is_ok());
    }

    #[tokio::test]
    async fn one_too_many_is_told_at_once() {
        let admission = admission(1, 0, Duration::from_secs(60));
        let _running = admission.enter().await.unwrap();
        let error = admission.enter().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert_eq!(
            error.to_string(),
            "the server is busy: 1 historical requests run and 0 wait, as many as `engine.max_running` and \
             `engine.max_waiting` allow; retry in 1m"
        );
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_allowed() {
        let admission = admission(1, 1, Duration::from_millis(1));
        let running = admission.enter().await.unwrap();
        assert!(admission.enter().await.is_err());
        drop(running);
        assert!(admission.enter().await.is_ok());
    }
}
