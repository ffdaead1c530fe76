//! Values that expire and are fetched again before they do: one fetch at a time, and the old value serves as long as it is
//! valid, while it is being replaced and after a failure to replace it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use crate::clock::Clock;

/// Values are replaced this long before they expire, or when two thirds of their life are over if that is later.
const MARGIN: Duration = Duration::from_secs(300);
/// After a failure, while the old value is still valid.
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// A failure is answered with itself for this long, so that callers who waited for it do not each wait for their own.
const FAILURE_PAUSE: Duration = Duration::from_secs(2);
/// A refused value is not replaced more often: what is refused may be the caller and not the value.
const REFUSAL_PAUSE: Duration = Duration::from_secs(10);

/// A value and how long it is valid; for ever if nothing is told.
#[derive(Clone, Debug)]
pub(super) struct Term<T> {
    pub(super) value: T,
    pub(super) expires: Option<SystemTime>,
}

pub(super) struct Lease<T> {
    clock: Arc<dyn Clock>,
    held: ArcSwapOption<Held<T>>,
    attempts: Mutex<Attempts>,
}

struct Held<T> {
    term: Term<T>,
    /// When it should be replaced.
    due: Option<SystemTime>,
}

#[derive(Default)]
struct Attempts {
    failed: Option<(SystemTime, String)>,
    replaced: Option<SystemTime>,
}

impl<T> Held<T> {
    fn new(term: Term<T>, now: SystemTime) -> Self {
        let due = term.expires.map(|expires| {
            let life = expires.duration_since(now).unwrap_or_default();
            expires - MARGIN.min(life / 3)
        });
        Self { term, due }
    }

    fn is_fresh(&self, now: SystemTime) -> bool {
        self.is_valid(now) && self.due.is_none_or(|due| now < due)
    }

    fn is_valid(&self, now: SystemTime) -> bool {
        self.term.expires.is_none_or(|expires| now < expires)
    }
}

impl<T: Clone + Send + Sync> Lease<T> {
    /// Nothing is fetched yet.
    pub(super) fn empty(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            held: ArcSwapOption::empty(),
            attempts: Mutex::default(),
        }
    }

    pub(super) fn new(clock: Arc<dyn Clock>, term: Term<T>) -> Self {
        let held = Held::new(term, clock.now());
        Self {
            held: ArcSwapOption::from_pointee(held),
            ..Self::empty(clock)
        }
    }

    /// The newest value, valid or not.
    pub(super) fn newest(&self) -> Option<T> {
        self.held
            .load()
            .as_ref()
            .map(|held| held.term.value.clone())
    }

    /// A valid value, fetched if it has to be; `lender` names who is asked, for the log.
    ///
    /// # Errors
    /// The message of `fetch`, if it failed and the old value is not valid any more.
    pub(super) async fn get(
        &self,
        lender: &str,
        fetch: impl Future<Output = Result<Term<T>, String>> + Send,
    ) -> Result<T, String> {
        let now = self.clock.now();
        if let Some(held) = self.held.load_full().filter(|held| held.is_valid(now)) {
            if held.is_fresh(now) {
                return Ok(held.term.value.clone());
            }
            return Ok(match self.attempts.try_lock() {
                Ok(mut attempts) => match self.renewed(&mut attempts, fetch).await {
                    Ok(value) => value,
                    Err(message) => self.postponed(&held, lender, &message),
                },
                Err(_) => held.term.value.clone(),
            });
        }
        let mut attempts = self.attempts.lock().await;
        self.renewed(&mut attempts, fetch).await
    }

    /// Another value than one that was refused, or the one that was fetched just now: the refusal may be older.
    ///
    /// # Errors
    /// The message of `fetch`.
    pub(super) async fn replace(
        &self,
        is_refused: impl Fn(&T) -> bool + Send,
        fetch: impl Future<Output = Result<Term<T>, String>> + Send,
    ) -> Result<T, String> {
        let mut attempts = self.attempts.lock().await;
        let now = self.clock.now();
        let is_new = is_within(attempts.replaced, REFUSAL_PAUSE, now);
        let usable = |value: &T| is_new || !is_refused(value);
        if let Some(other) = self.newest().filter(usable) {
            return Ok(other);
        }
        attempts.replaced = Some(now);
        self.fetched(&mut attempts, fetch).await
    }

    /// Who waited for the lock finds what the one before has fetched.
    async fn renewed(
        &self,
        attempts: &mut Attempts,
        fetch: impl Future<Output = Result<Term<T>, String>> + Send,
    ) -> Result<T, String> {
        let now = self.clock.now();
        match self.held.load_full() {
            Some(held) if held.is_fresh(now) => Ok(held.term.value.clone()),
            _ => self.fetched(attempts, fetch).await,
        }
    }

    async fn fetched(
        &self,
        attempts: &mut Attempts,
        fetch: impl Future<Output = Result<Term<T>, String>> + Send,
    ) -> Result<T, String> {
        if let Some((at, message)) = &attempts.failed
            && is_within(Some(*at), FAILURE_PAUSE, self.clock.now())
        {
            return Err(message.clone());
        }
        let fetched = fetch.await;
        let now = self.clock.now();
        let fetched = fetched.and_then(|term| match term.expires {
            Some(expires) if expires <= now => Err("the new ones have expired already".to_owned()),
            _ => Ok(term),
        });
        attempts.failed = fetched.as_ref().err().map(|message| (now, message.clone()));
        let term = fetched?;
        let value = term.value.clone();
        self.held.store(Some(Arc::new(Held::new(term, now))));
        Ok(value)
    }

    /// The old value, to be replaced later.
    fn postponed(&self, held: &Held<T>, lender: &str, message: &str) -> T {
        tracing::warn!(
            lender,
            error = message,
            "credentials were not renewed, the old ones are still valid"
        );
        let term = held.term.clone();
        let value = term.value.clone();
        let due = Some(self.clock.now() + RETRY_PAUSE);
        self.held.store(Some(Arc::new(Held { term, due })));
        value
    }
}

fn is_within(at: Option<SystemTime>, pause: Duration, now: SystemTime) -> bool {
    at.is_some_and(|at| now.duration_since(at).is_ok_and(|passed| passed < pause))
}
