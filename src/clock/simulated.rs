//! Time that passes when nobody has anything to do, for simulations on one thread: the runtime's `on_thread_park` is to
//! call [`pass`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

thread_local! {
    static TIMERS: RefCell<Option<Timers>> = const { RefCell::new(None) };
}

struct Timers {
    chance: StdRng,
    now: Duration,
    made: u64,
    waiting: BTreeMap<(Duration, u64), Waker>,
}

/// Makes this thread's time a simulated one, which is the same for the same seed.
pub(crate) fn start(seed: u64) {
    TIMERS.set(Some(Timers {
        chance: StdRng::seed_from_u64(seed),
        now: Duration::ZERO,
        made: 0,
        waiting: BTreeMap::new(),
    }));
}

/// Ends the simulation.
pub(crate) fn end() {
    TIMERS.set(None);
}

/// Moves the clock to the next moment that somebody waits for.
pub(crate) fn pass() {
    let next = with(|timers| {
        let ((at, _), waker) = timers.waiting.pop_first()?;
        timers.now = at;
        Some(waker)
    });
    if let Some(waker) = next.flatten() {
        waker.wake();
    }
}

/// A share of one, if this thread's time is simulated.
pub(super) fn share() -> Option<f64> {
    with(|timers| timers.chance.random_range(0.0..1.0))
}

/// Waits, if this thread's time is simulated.
pub(super) fn sleep(duration: Duration) -> Option<Sleep> {
    with(|timers| {
        timers.made += 1;
        Sleep((timers.now + duration, timers.made))
    })
}

fn with<T>(work: impl FnOnce(&mut Timers) -> T) -> Option<T> {
    TIMERS.with_borrow_mut(|timers| timers.as_mut().map(work))
}

pub(super) struct Sleep((Duration, u64));

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let waits = with(|timers| {
            let waits = timers.now < self.0.0;
            if waits {
                timers.waiting.insert(self.0, context.waker().clone());
            }
            waits
        });
        match waits {
            Some(true) => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        with(|timers| timers.waiting.remove(&self.0));
    }
}
