//! Which feature times a spine instant accepts, in the feature's own unit and without rounding errors.

use std::ops::Range;
use std::time::Duration;

use arrow::buffer::ScalarBuffer;
use arrow::datatypes::TimeUnit;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use super::memory::bytes_of;
use super::spine::SpineIndex;

/// For each slot the greatest and the least feature time it accepts. Within a group neither ever falls.
pub(super) struct Windows {
    upper: ScalarBuffer<i64>,
    lower: Lower,
    /// Kept where a bound did not fit into the feature's unit: the greatest and least feature time need exact bounds.
    exact: Option<Exact>,
    _reservation: MemoryReservation,
}

enum Lower {
    Unbounded,
    /// The upper bound less this; where spine and feature have the same unit.
    Age(u64),
    Each(Vec<i64>),
}

struct Exact {
    instants: ScalarBuffer<i64>,
    scale: Scale,
}

/// Converts spine instants into bounds in feature units.
#[derive(Clone, Copy)]
struct Scale {
    spine_ns: i128,
    feature_ns: i128,
    ttl_ns: Option<i128>,
}

impl Scale {
    fn new(spine: TimeUnit, feature: TimeUnit, ttl: Option<Duration>) -> Self {
        let ttl_ns = ttl.map(|ttl| {
            i128::try_from(ttl.as_nanos()).expect("2^64 seconds are below 2^127 nanoseconds")
        });
        Self {
            spine_ns: nanoseconds(spine),
            feature_ns: nanoseconds(feature),
            ttl_ns,
        }
    }

    fn upper(&self, instant: i64) -> i128 {
        (i128::from(instant) * self.spine_ns).div_euclid(self.feature_ns)
    }

    fn lower(&self, instant: i64, ttl_ns: i128) -> i128 {
        -(ttl_ns - i128::from(instant) * self.spine_ns).div_euclid(self.feature_ns)
    }

    fn accepts(&self, instant: i64, time: i64) -> bool {
        let time = i128::from(time);
        time <= self.upper(instant)
            && self
                .ttl_ns
                .is_none_or(|ttl| time >= self.lower(instant, ttl))
    }
}

fn nanoseconds(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

impl Windows {
    pub(super) fn try_new(
        index: &SpineIndex,
        feature: TimeUnit,
        ttl: Option<Duration>,
        reservation: MemoryReservation,
    ) -> Result<Self> {
        let scale = Scale::new(index.unit(), feature, ttl);
        if index.unit() == feature {
            let lower = scale.ttl_ns.map_or(Lower::Unbounded, |ttl| {
                Lower::Age(age(ttl, scale.feature_ns))
            });
            return Ok(Self {
                upper: index.instants().clone(),
                lower,
                exact: None,
                _reservation: reservation,
            });
        }
        Self::convert(index.instants(), scale, reservation)
    }

    fn convert(
        instants: &ScalarBuffer<i64>,
        scale: Scale,
        reservation: MemoryReservation,
    ) -> Result<Self> {
        let arrays = 1 + usize::from(scale.ttl_ns.is_some());
        reservation.try_grow(bytes_of::<i64>(instants.len()) * arrays)?;
        let mut clamped = false;
        let mut fit = |exact: i128| {
            let fitted = exact.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
            clamped |= fitted != exact;
            i64::try_from(fitted).expect("clamped")
        };
        let upper: Vec<i64> = instants
            .iter()
            .map(|instant| fit(scale.upper(*instant)))
            .collect();
        let lower = match scale.ttl_ns {
            None => Lower::Unbounded,
            Some(ttl) => Lower::Each(
                instants
                    .iter()
                    .map(|instant| fit(scale.lower(*instant, ttl)))
                    .collect(),
            ),
        };
        let exact = clamped.then(|| Exact {
            instants: instants.clone(),
            scale,
        });
        Ok(Self {
            upper: upper.into(),
            lower,
            exact,
            _reservation: reservation,
        })
    }

    /// The bound in the middle of `slots`, with which [`Self::first_slot`] starts. Asked for many slots before the first
    /// is searched, it lets the processor fetch them side by side.
    pub(super) fn middle(&self, slots: &Range<usize>) -> i64 {
        let bound = self.upper.get(middle_of(slots));
        bound.copied().unwrap_or_default()
    }

    /// The first slot of `slots` (one group's, whose [`Self::middle`] is `middle`) that accepts `time`; every later one
    /// accepts it until it is too old.
    pub(super) fn first_slot(&self, slots: Range<usize>, middle: i64, time: i64) -> Option<usize> {
        if let Some(exact) = self.exact_for(time) {
            return slots
                .into_iter()
                .find(|slot| exact.scale.accepts(exact.instants[*slot], time));
        }
        let half = match middle < time {
            true => (middle_of(&slots) + 1).min(slots.end)..slots.end,
            false => slots.start..middle_of(&slots),
        };
        let slot = half.start + self.upper[half].partition_point(|upper| *upper < time);
        (slot < slots.end && self.is_fresh(slot, time)).then_some(slot)
    }

    /// Whether `slot`, which comes after a slot that accepts `time`, still accepts it.
    pub(super) fn is_fresh(&self, slot: usize, time: i64) -> bool {
        if let Some(exact) = self.exact_for(time) {
            return exact.scale.accepts(exact.instants[slot], time);
        }
        match &self.lower {
            Lower::Unbounded => true,
            Lower::Age(age) => time >= self.upper[slot].saturating_sub_unsigned(*age),
            Lower::Each(lower) => time >= lower[slot],
        }
    }

    fn exact_for(&self, time: i64) -> Option<&Exact> {
        let is_extreme = time == i64::MIN || time == i64::MAX;
        self.exact.as_ref().filter(|_| is_extreme)
    }
}

fn middle_of(slots: &Range<usize>) -> usize {
    slots.start + (slots.end - slots.start) / 2
}

/// Whole units in `ttl_ns`: with instants in the same unit, a remainder reaches no further instant.
fn age(ttl_ns: i128, unit_ns: i128) -> u64 {
    u64::try_from(ttl_ns / unit_ns).unwrap_or(u64::MAX)
}
