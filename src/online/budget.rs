//! Bytes of the index: what every part takes is charged to one budget, and when that is used up, the parts that were not
//! read for longest go. Which those are is known by a tick that reads advance, not by a list that they would fight over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes that all parts may take together.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    used: AtomicU64,
    tick: AtomicU64,
}

/// Bytes in use; given back when dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicU64::new(0),
            tick: AtomicU64::new(0),
        })
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes bytes, also beyond the limit: whoever has built a part makes room afterwards.
    pub(super) fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        let bytes = bytes as u64;
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Charge {
            budget: Arc::clone(self),
            bytes,
        }
    }

    /// Bytes that have to go before the budget holds again.
    pub(super) fn excess(&self) -> u64 {
        self.used().saturating_sub(self.limit)
    }

    /// The time by which uses are compared.
    pub(super) fn now(&self) -> u64 {
        self.tick.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
