//! The last line: a panic inside `arrow-ipc` ends one stream, not the server, and does not fill the log.
//!
//! `catch_unwind` stops the unwinding, but the process's panic hook has printed by then. A library must not replace
//! that hook behind its host's back, so nothing here does so by itself: a program calls [`quiet_caught_panics`] once
//! at start. The filter speaks only for threads that are inside [`guarded`]; every other panic reaches the hook that
//! was installed before.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use super::malformed;
use crate::error::Result;

static CAUGHT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Panics of the decoder that were turned into errors since the process started; each one is a gap in the guard.
pub fn caught_panics() -> u64 {
    CAUGHT.load(Ordering::Relaxed)
}

/// Keeps the process's panic hook from reporting panics that the guard catches; a second call does nothing.
pub fn quiet_caught_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if !GUARDED.with(Cell::get) {
                previous(info);
            }
        }));
    });
}

/// Runs `decode`; a panic in it is [`Error::Malformed`](crate::error::Error::Malformed) and logged once.
pub(super) fn guarded<T>(decode: impl FnOnce() -> Result<T>) -> Result<T> {
    let outer = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(decode));
    GUARDED.set(outer);
    outcome.unwrap_or_else(|payload| {
        CAUGHT.fetch_add(1, Ordering::Relaxed);
        let message = text(payload.as_ref());
        tracing::warn!(
            message,
            "the arrow decoder panicked on a message that passed the guard"
        );
        Err(malformed("the decoder refused a message"))
    })
}

fn text(payload: &(dyn Any + Send)) -> &str {
    let literal = payload.downcast_ref::<&str>().copied();
    literal
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
