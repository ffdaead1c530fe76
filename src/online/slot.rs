//! The place of one part: empty, being loaded by one loader, or resident.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::runtime::Handle;

use super::part::Part;
use crate::error::{Error, Result};

type Loading = Shared<BoxFuture<'static, Result<Arc<Part>, Arc<Error>>>>;

/// See the module's text.
#[derive(Default)]
pub(super) struct Slot {
    part: ArcSwapOption<Part>,
    loading: Mutex<Option<Loading>>,
}

impl Slot {
    pub(super) fn holding(part: Part) -> Self {
        Self {
            part: ArcSwapOption::from_pointee(part),
            loading: Mutex::default(),
        }
    }

    pub(super) fn resident(&self) -> Option<Arc<Part>> {
        self.part.load_full()
    }

    /// Forgets the part. Whoever reads it goes on reading it.
    pub(super) fn evict(&self) {
        self.part.store(None);
    }

    /// The part; loaded by `load` on `runtime` if it is neither resident nor being loaded. The load goes on when
    /// everybody has stopped waiting for it.
    ///
    /// # Errors
    /// The failure of the load, to everybody who waited for it; the next call tries again.
    pub(super) async fn get_or_load<F>(
        self: &Arc<Self>,
        runtime: &Handle,
        load: impl FnOnce() -> F,
    ) -> Result<Arc<Part>>
    where
        F: Future<Output = Result<Part>> + Send + 'static,
    {
        if let Some(part) = self.resident() {
            return Ok(part);
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

    fn start<F>(self: &Arc<Self>, runtime: &Handle, load: impl FnOnce() -> F) -> Loading
    where
        F: Future<Output = Result<Part>> + Send + 'static,
    {
        let mut loading = self.lock();
        if let Some(part) = self.resident() {
            return std::future::ready(Ok(part)).boxed().shared();
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
                Err(Arc::new(Error::internal("load online rows", error)))
            })
        };
        let started = done.boxed().shared();
        *loading = Some(started.clone());
        started
    }

    fn fill(&self, loaded: Result<Part>) -> Result<Arc<Part>, Arc<Error>> {
        let loaded = loaded.map(Arc::new).map_err(Arc::new);
        if let Ok(part) = &loaded {
            self.part.store(Some(Arc::clone(part)));
        }
        *self.lock() = None;
        loaded
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Loading>> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
