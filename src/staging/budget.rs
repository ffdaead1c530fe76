//! Bytes of this process's uploads: those that are kept, and those that are arriving.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::error::{Error, Result};

#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    used: Mutex<u64>,
}

/// Bytes taken from the budget, given back on drop.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            used: Mutex::default(),
        }
    }

    pub(super) fn open(self: &Arc<Self>) -> Charge {
        Charge {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn used_bytes(&self) -> u64 {
        *self.used()
    }

    fn used(&self) -> MutexGuard<'_, u64> {
        self.used.lock().expect("no holder panics")
    }
}

impl Charge {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes this charge `bytes` large, or leaves it as it is and fails.
    pub(super) fn resize(&mut self, bytes: u64) -> Result<()> {
        let mut used = self.budget.used();
        let needed_bytes = (*used - self.bytes).saturating_add(bytes);
        if bytes > self.bytes && needed_bytes > self.budget.limit {
            return Err(Error::BudgetExceeded {
                what: "the staging area".to_owned(),
                needed_bytes,
                limit_bytes: self.budget.limit,
                hint: "retry when earlier uploads have expired, upload less, or raise staging.budget",
            });
        }
        *used = needed_bytes;
        drop(used);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        *self.budget.used() -= self.bytes;
    }
}
