//! When a job of a table may be looked at again: at once, after its own pause, or after failures later and later.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::jobs::Job;
use crate::model::TableName;

/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 60 * 60);
/// Doublings of the pause.
const MOST_DOUBLINGS: u32 = 16;

/// What a schedule remembers.
#[derive(Debug)]
pub(super) struct Memory {
    /// The pause after the first failure.
    first_pause: Duration,
    jobs: Mutex<HashMap<(TableName, Job), Past>>,
}

#[derive(Clone, Copy, Debug)]
struct Past {
    not_before: SystemTime,
    /// In a row.
    failures: u32,
}

impl Memory {
    pub(super) fn new(first_pause: Duration) -> Self {
        Self {
            first_pause,
            jobs: Mutex::default(),
        }
    }

    /// Whether a job may be looked at.
    pub(super) fn may(&self, name: &TableName, job: Job, now: SystemTime) -> bool {
        let past = self.jobs().get(&(name.clone(), job)).copied();
        past.is_none_or(|past| past.not_before <= now)
    }

    pub(super) fn succeeded(&self, name: &TableName, job: Job, not_before: SystemTime) {
        let past = Past {
            not_before,
            failures: 0,
        };
        self.jobs().insert((name.clone(), job), past);
    }

    /// Answers the pause.
    pub(super) fn failed(&self, name: &TableName, job: Job, now: SystemTime) -> Duration {
        let mut jobs = self.jobs();
        let past = jobs.get(&(name.clone(), job));
        let failures = past.map_or(0, |past| past.failures);
        let pause = self
            .first_pause
            .saturating_mul(1 << failures.min(MOST_DOUBLINGS));
        let pause = pause.min(LONGEST_PAUSE.max(self.first_pause));
        let past = Past {
            not_before: now + pause,
            failures: failures + 1,
        };
        jobs.insert((name.clone(), job), past);
        pause
    }

    /// Forgets all other tables.
    pub(super) fn keep(&self, names: &[TableName]) {
        let names: BTreeSet<&TableName> = names.iter().collect();
        self.jobs().retain(|(name, _), _| names.contains(name));
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<(TableName, Job), Past>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(table: &str) -> TableName {
        TableName::parse("default", table).unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn failures_make_pauses_longer_up_to_a_limit() {
        let (memory, table) = (Memory::new(Duration::from_secs(300)), name("n.t"));
        let minutes: Vec<u64> = (0..9)
            .map(|_| memory.failed(&table, Job::Gc, at(0)).as_secs() / 60)
            .collect();
        assert_eq!(minutes, [5, 10, 20, 40, 80, 160, 320, 360, 360]);
        assert!(!memory.may(&table, Job::Gc, at(360 * 60 - 1)));
        assert!(memory.may(&table, Job::Gc, at(360 * 60)));
        memory.succeeded(&table, Job::Gc, at(10));
        assert!(!memory.may(&table, Job::Gc, at(9)));
        let pause = memory.failed(&table, Job::Gc, at(10));
        assert_eq!(pause, Duration::from_secs(300));
    }

    #[test]
    fn jobs_and_tables_are_remembered_apart_until_a_table_is_gone() {
        let (memory, one, two) = (
            Memory::new(Duration::from_secs(300)),
            name("n.a"),
            name("n.b"),
        );
        memory.failed(&one, Job::Gc, at(0));
        assert!(memory.may(&one, Job::Compact, at(1)));
        assert!(memory.may(&two, Job::Gc, at(1)));
        memory.failed(&two, Job::Gc, at(0));
        memory.keep(std::slice::from_ref(&two));
        assert!(memory.may(&one, Job::Gc, at(1)));
        assert!(!memory.may(&two, Job::Gc, at(1)));
    }
}
