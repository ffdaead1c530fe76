//! The place of something that is loaded when it is first asked for: empty, being loaded by one loader, or resident.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::runtime::Handle;

use super::part::Part;
use crate::error::{Error, Result};

type Loading<T> = Shared<BoxFuture<'static, Result<Arc<T>, Arc<Error>>>>;

/// See the module's text.
pub(super) struct Slot<T = Part> {
    held: ArcSwapOption<T>,
    loading: Mutex<Option<Loading<T>>>,
    asked: AtomicBool,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            held: ArcSwapOption::empty(),
            loading: Mutex::default(),
            asked: AtomicBool::new(false),
        }
    }
}

impl<T: Send + Sync + 'static> Slot<T> {
    pub(super) fn holding(held: T) -> Self {
        Self {
            held: ArcSwapOption::from_pointee(held),
            loading: Mutex::default(),
            asked: AtomicBool::new(true),
        }
    }

    /// Whether nobody has asked this before.
    pub(super) fn is_asked_first(&self) -> bool {
        !self.asked.swap(true, Ordering::Relaxed)
    }

    pub(super) fn resident(&self) -> Option<Arc<T>> {
        self.held.load_full()
    }

    /// Whether there is nothing, and nothing under way.
    pub(super) fn is_idle(&self) -> bool {
        self.resident().is_none() && self.lock().is_none()
    }

    /// Forgets what it holds. Whoever reads that goes on reading it.
    pub(super) fn evict(&self) {
        self.held.store(None);
    }

    /// What belongs here; loaded by `load` on `runtime` if it is neither resident nor being loaded. The load goes on when
    /// everybody has stopped waiting for it.
    ///
    /// # Errors
    /// The failure of the load, to everybody who waited for it; the next call tries again.
    pub(super) async fn get_or_load<F>(
        self: &Arc<Self>,
        runtime: &Handle,
        load: impl FnOnce() -> F,
    ) -> Result<Arc<T>>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        if let Some(held) = self.resident() {
            return Ok(held);
        }
        self.start(runtime, load).await.map_err(Error::from)
    }

    /// Waits for a load that is under way, whatever comes of it.
    pub(super) async fn settled(&self) {
        let loading = self.lock().clone();
        if let Some(loading) = loading {
            let _ = loading.await;
        }
    }

    fn start<F>(self: &Arc<Self>, runtime: &Handle, load: impl FnOnce() -> F) -> Loading<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let mut loading = self.lock();
        if let Some(held) = self.resident() {
            return std::future::ready(Ok(held)).boxed().shared();
        }
        if let Some(under_way) = &*loading {
            return under_way.clone();
        }
        let (slot, load) = (Arc::clone(self), load());
        let task = runtime.spawn(async move { slot.fill(load.await) });
        let slot = Arc::clone(self);
        let done = async move {
            task.await.unwrap_or_else(|error| {
                *slot.lock() = None;
                Err(Arc::new(Error::internal("load what a read needs", error)))
            })
        };
        let started = done.boxed().shared();
        *loading = Some(started.clone());
        started
    }

    fn fill(&self, loaded: Result<T>) -> Result<Arc<T>, Arc<Error>> {
        let loaded = loaded.map(Arc::new).map_err(Arc::new);
        if let Ok(held) = &loaded {
            self.held.store(Some(Arc::clone(held)));
        }
        *self.lock() = None;
        loaded
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Loading<T>>> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
