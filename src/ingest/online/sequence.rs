//! Write sequences: numbers that tell which of two rows was written later. A hybrid clock: the time in microseconds,
//! unless the table has seen a later one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use uuid::Uuid;

use crate::clock::{Clock, SystemClock};

/// The last number given out, by table.
#[derive(Debug)]
pub(in crate::ingest) struct Sequences {
    clock: Arc<dyn Clock>,
    last: Mutex<HashMap<Uuid, i64>>,
}

impl Default for Sequences {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            last: Mutex::default(),
        }
    }
}

impl Sequences {
    /// The first of `rows` numbers that are nobody else's and above all that were given out before or are in the table.
    pub(super) fn reserve(&self, table: Uuid, highest: Option<i64>, rows: usize) -> i64 {
        let now = self
            .clock
            .now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        let mut last = self.last.lock().expect("no holder panics");
        let last = last.entry(table).or_insert(i64::MIN);
        let first = now
            .max(highest.unwrap_or(-1) + 1)
            .max(last.saturating_add(1));
        *last = first.saturating_add(rows - 1);
        first
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn numbers_rise_whatever_the_clock_does() {
        let at = |micros| UNIX_EPOCH + Duration::from_micros(micros);
        let sequences = |now: SystemTime| Sequences {
            clock: Arc::new(ManualClock::new(now)),
            last: Mutex::default(),
        };
        let table = Uuid::from_u128(1);
        let given = sequences(at(1_000));
        assert_eq!(given.reserve(table, None, 10), 1_000);
        assert_eq!(given.reserve(table, None, 5), 1_010);
        assert_eq!(given.reserve(table, Some(5_000), 5), 5_001);
        assert_eq!(given.reserve(table, Some(10), 1), 5_006);
        assert_eq!(given.reserve(Uuid::from_u128(2), None, 1), 1_000);
    }
}
