//! Serves a Feast registry as it is at each request.
//!
//! A read that began after a request arrived is new enough for it: however many requests wait, one read serves them all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::decode::Decoder;
use super::origin::{Failure, Fetched, Origin};
use crate::error::{Error, Result};
use crate::proto::feast::core;
use crate::registry::{Registry, RegistryReader};

/// Reads a registry again for each request, and decodes it again whenever it has changed.
#[derive(Debug)]
pub(super) struct FeastRegistry {
    origin: Origin,
    decoder: Decoder,
    /// Requests so far.
    arrivals: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests that had arrived before the last read began.
    served: u64,
    /// What the last read came to.
    outcome: Option<Result<Arc<Registry>, Arc<Error>>>,
    /// The store's name for the state that was last decoded.
    version: Option<String>,
    /// The messages that were last decoded.
    seen: Option<core::Registry>,
    /// The last definitions without fault.
    good: Option<Arc<Registry>>,
    /// What is wrong with newer ones.
    fault: Option<String>,
}

impl FeastRegistry {
    pub(super) fn new(origin: Origin, decoder: Decoder) -> Self {
        Self {
            origin,
            decoder,
            arrivals: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    async fn refresh(&self, state: &mut State) -> Result<Arc<Registry>> {
        let known = state.good.as_ref().and(state.version.as_deref());
        let decoded = match self.origin.fetch(self.decoder.project(), known).await {
            Ok(Fetched::Unchanged) => {
                state.fault = None;
                None
            }
            Ok(Fetched::Absent) => Some(self.absent(state)),
            Ok(Fetched::Found { message, version }) => self.decode(state, *message, version),
            Err(Failure::Broken(message)) => Some(Err(message)),
            Err(Failure::Unreachable(message)) => return Err(self.error(message)),
        };
        match decoded {
            Some(Ok(registry)) => {
                state.good = Some(Arc::new(registry));
                state.fault = None;
            }
            Some(Err(fault)) => self.keep_good(state, fault),
            None => {}
        }
        let fault = state.fault.as_deref().unwrap_or_default();
        state.good.clone().ok_or_else(|| self.error(fault))
    }

    fn absent(&self, state: &mut State) -> Result<Registry, String> {
        if state.good.is_none() || state.seen.is_some() {
            tracing::warn!(
                registry = self.origin.name(),
                "there is no registry yet; waiting for `feast apply`"
            );
        }
        (state.seen, state.version) = (None, None);
        Ok(self.decoder.empty())
    }

    /// The definitions, or nothing where they are those that are in force.
    fn decode(
        &self,
        state: &mut State,
        message: core::Registry,
        version: Option<String>,
    ) -> Option<Result<Registry, String>> {
        if state.seen.as_ref() == Some(&message) && state.fault.is_none() {
            state.version = version;
            return None;
        }
        let decoded = self.decoder.registry(&message);
        if let Ok(registry) = &decoded {
            let views = registry.feature_views().count();
            let (registry, project) = (self.origin.name(), registry.project());
            tracing::info!(registry, project, views, "definitions loaded");
            (state.seen, state.version) = (Some(message), version);
        }
        Some(decoded)
    }

    fn keep_good(&self, state: &mut State, fault: String) {
        if state.fault.as_deref() != Some(fault.as_str()) {
            let kept = if state.good.is_some() {
                "the last good ones stay in force"
            } else {
                "there are no others"
            };
            tracing::warn!(
                registry = self.origin.name(),
                "definitions are broken, {kept}: {fault}"
            );
        }
        state.fault = Some(fault);
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::InvalidDefinitions {
            origin: self.origin.name().to_owned(),
            message: message.into(),
        }
    }
}

#[async_trait]
impl RegistryReader for FeastRegistry {
    async fn current(&self) -> Result<Arc<Registry>> {
        let arrival = self.arrivals.fetch_add(1, Ordering::SeqCst);
        let mut state = self.state.lock().await;
        if arrival < state.served
            && let Some(outcome) = &state.outcome
        {
            return outcome.clone().map_err(Error::from);
        }
        let arrived = self.arrivals.load(Ordering::SeqCst);
        let outcome = self.refresh(&mut state).await.map_err(Arc::new);
        state.served = arrived;
        state.outcome = Some(outcome.clone());
        outcome.map_err(Error::from)
    }
}
