//! The only place that asks what time it is, so that tests can say.

#[cfg(test)]
pub(crate) mod simulated;

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

/// A source of wall-clock time.
pub trait Clock: std::fmt::Debug + Send + Sync {
    /// The current time.
    fn now(&self) -> SystemTime;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one door to the machine's clock"
    )]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct ManualClock(Mutex<SystemTime>);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: SystemTime) -> Self {
        Self(Mutex::new(now))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        *self.0.lock().expect("no holder panics") += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().expect("no holder panics")
    }
}

/// A duration of up to `most`, another one each time.
pub fn jitter(most: Duration) -> Duration {
    most.mul_f64(share())
}

#[cfg(not(test))]
fn share() -> f64 {
    rand::random_range(0.0..1.0)
}

#[cfg(test)]
fn share() -> f64 {
    simulated::share().unwrap_or_else(|| rand::random_range(0.0..1.0))
}

/// What `work` comes to; `None` if it takes longer than `limit`.
pub async fn timeout<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = sleep(limit) => None,
    }
}

/// Waits on the runtime's timer; `interval`s and time limits are built on it.
#[expect(
    clippy::disallowed_methods,
    reason = "the one door to the runtime's timer"
)]
pub async fn sleep(duration: Duration) {
    #[cfg(test)]
    if let Some(simulated) = simulated::sleep(duration) {
        return simulated.await;
    }
    tokio::time::sleep(duration).await;
}
