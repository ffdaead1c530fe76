//! One writer at a time for each place, within this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Locks by place. A place that nobody writes to takes no memory beyond the next call.
#[derive(Debug, Default)]
pub(super) struct Locks(Mutex<HashMap<String, Weak<AsyncMutex<()>>>>);

impl Locks {
    /// Waits until nobody else holds the lock of `place`.
    pub(super) async fn hold(&self, place: &str) -> OwnedMutexGuard<()> {
        self.of(place).lock_owned().await
    }

    fn of(&self, place: &str) -> Arc<AsyncMutex<()>> {
        let mut locks = self.0.lock().expect("no holder panics");
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(place).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(AsyncMutex::new(()));
        locks.insert(place.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
