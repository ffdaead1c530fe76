//! The best feature row of each slot while scans stream past, shared by all partitions of a scan.
//!
//! Slots are split into shards, each behind its own lock; a batch's hits are put in order of shards first, so that a
//! batch takes each lock once. Memory does not grow with the number of partitions, and the outcome does not depend on
//! their interleaving: the best is a maximum, and rows equal to it are all kept.

use std::sync::Mutex;

use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use super::memory::bytes_of;

/// Fewest slots of a shard.
const MIN_SHARD_SLOTS: usize = if cfg!(test) { 2 } else { 1024 };
/// Shards aimed at.
const SHARDS: usize = 128;
/// Tied rows of a shard that are kept without looking whether they still count.
const MIN_TIES: usize = if cfg!(test) { 2 } else { 1024 };
/// Stands in [`Best::address`] while a slot has no candidate.
const VACANT: u64 = u64::MAX;

/// The created time of a candidate, or `()` in a view that has none.
pub(super) trait Created: Copy + Ord + Send + Sync + 'static {
    /// Sorts lowest; stands for a missing value.
    const LOWEST: Self;

    fn from_value(value: i64) -> Self;
}

impl Created for () {
    const LOWEST: Self = ();

    fn from_value(_: i64) -> Self {}
}

impl Created for i64 {
    const LOWEST: Self = Self::MIN;

    fn from_value(value: i64) -> Self {
        value
    }
}

/// A feature row, as far as it decides who wins.
#[derive(Clone, Copy)]
pub(super) struct Best<C> {
    pub(super) event: i64,
    pub(super) created: C,
    pub(super) address: u64,
}

impl<C: Created> Best<C> {
    const NOBODY: Self = Self {
        event: i64::MIN,
        created: C::LOWEST,
        address: VACANT,
    };

    pub(super) fn is_vacant(&self) -> bool {
        self.address == VACANT
    }

    fn rank(&self) -> (i64, C) {
        (self.event, self.created)
    }
}

/// A row of a batch and the first slot that accepts it.
#[derive(Clone, Copy)]
pub(super) struct Hit {
    pub(super) slot: u32,
    pub(super) row: u32,
}

/// A feature row that equalled the best of its slot.
#[derive(Clone, Copy)]
struct Tie<C> {
    slot: u32,
    row: Best<C>,
}

/// Candidates of every slot.
pub(super) struct Candidates<C> {
    shards: Vec<Mutex<Shard<C>>>,
    shard_bits: u32,
    reservation: MemoryReservation,
}

/// What remains after the scan.
pub(super) struct Survivors<C> {
    shards: Vec<Vec<Best<C>>>,
    shard_bits: u32,
    _reservation: MemoryReservation,
}

struct Shard<C> {
    best: Vec<Best<C>>,
    /// Rows that equalled the best of their slot when they came; stale ones are swept out now and then.
    ties: Vec<Tie<C>>,
    sweep_at: usize,
}

/// One prober's hits of one batch.
#[derive(Default)]
pub(super) struct Hits {
    pub(super) rows: Vec<Hit>,
    by_shard: Vec<Hit>,
    ends: Vec<usize>,
}

impl<C: Created> Candidates<C> {
    pub(super) fn try_new(slots: usize, reservation: MemoryReservation) -> Result<Self> {
        reservation.try_grow(bytes_of::<Best<C>>(slots))?;
        let shard_slots = slots
            .div_ceil(SHARDS)
            .max(MIN_SHARD_SLOTS)
            .next_power_of_two();
        let starts = (0..slots).step_by(shard_slots);
        let shards = starts
            .map(|start| Mutex::new(Shard::new(shard_slots.min(slots - start))))
            .collect();
        Ok(Self {
            shards,
            shard_bits: shard_slots.trailing_zeros(),
            reservation,
        })
    }

    /// Lets each hit compete for its slot as `best` says of its row.
    pub(super) fn offer(&self, hits: &mut Hits, best: impl Fn(u32) -> Best<C>) -> Result<()> {
        hits.sort_by_shard(self.shards.len(), self.shard_bits);
        let mut start = 0;
        for (shard, end) in self.shards.iter().zip(&hits.ends) {
            if start < *end {
                let mut shard = shard.lock().expect("no holder panics");
                let mask = low_bits(self.shard_bits);
                for hit in &hits.by_shard[start..*end] {
                    shard.offer(hit.slot, best(hit.row), mask, &self.reservation)?;
                }
            }
            start = *end;
        }
        Ok(())
    }

    /// Takes the tied rows of all slots that still have the rank of their slot's best, and what else survived.
    pub(super) fn finish(&self) -> (Survivors<C>, Vec<(u32, u64)>) {
        let (mut shards, mut ties) = (Vec::with_capacity(self.shards.len()), Vec::new());
        for shard in &self.shards {
            let mut shard = shard.lock().expect("no holder panics");
            shard.sweep(low_bits(self.shard_bits));
            ties.extend(shard.ties.drain(..).map(|tie| (tie.slot, tie.row.address)));
            shards.push(std::mem::take(&mut shard.best));
        }
        let reservation = self.reservation.split(self.reservation.size());
        (
            Survivors {
                shards,
                shard_bits: self.shard_bits,
                _reservation: reservation,
            },
            ties,
        )
    }
}

fn low_bits(bits: u32) -> u32 {
    (1 << bits) - 1
}

impl<C: Created> Shard<C> {
    fn new(slots: usize) -> Self {
        Self {
            best: vec![Best::NOBODY; slots],
            ties: Vec::new(),
            sweep_at: MIN_TIES,
        }
    }

    fn offer(
        &mut self,
        slot: u32,
        row: Best<C>,
        mask: u32,
        reservation: &MemoryReservation,
    ) -> Result<()> {
        let best = &mut self.best[(slot & mask) as usize];
        if best.is_vacant() || row.rank() > best.rank() {
            *best = row;
        } else if row.rank() == best.rank() {
            self.remember(Tie { slot, row }, mask, reservation)?;
        }
        Ok(())
    }

    fn remember(&mut self, tie: Tie<C>, mask: u32, reservation: &MemoryReservation) -> Result<()> {
        if self.ties.len() >= self.sweep_at {
            self.sweep(mask);
        }
        if self.ties.len() == self.ties.capacity() {
            let more = self.ties.len().max(16);
            reservation.try_grow(bytes_of::<Tie<C>>(more))?;
            self.ties.reserve_exact(more);
        }
        self.ties.push(tie);
        Ok(())
    }

    fn sweep(&mut self, mask: u32) {
        let Self { best, ties, .. } = self;
        ties.retain(|tie| best[(tie.slot & mask) as usize].rank() == tie.row.rank());
        self.sweep_at = MIN_TIES.max(ties.len() * 2);
    }
}

impl Hits {
    /// Moves `rows` into `by_shard`, shard by shard.
    fn sort_by_shard(&mut self, shards: usize, shard_bits: u32) {
        let Self {
            rows,
            by_shard,
            ends,
        } = self;
        ends.clear();
        if shards == 1 {
            std::mem::swap(rows, by_shard);
            ends.push(by_shard.len());
            return;
        }
        ends.resize(shards + 1, 0);
        rows.iter()
            .for_each(|hit| ends[(hit.slot >> shard_bits) as usize + 1] += 1);
        (0..shards).for_each(|shard| ends[shard + 1] += ends[shard]);
        by_shard.resize(rows.len(), Hit { slot: 0, row: 0 });
        for hit in rows.iter() {
            let next = &mut ends[(hit.slot >> shard_bits) as usize];
            by_shard[*next] = *hit;
            *next += 1;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        bytes_of::<Hit>(self.rows.capacity() + self.by_shard.capacity())
    }
}

impl<C: Created> Survivors<C> {
    pub(super) fn get(&self, slot: u32) -> &Best<C> {
        &self.shards[(slot >> self.shard_bits) as usize]
            [(slot & low_bits(self.shard_bits)) as usize]
    }

    /// Makes `address` the winner of `slot`.
    pub(super) fn set_winner(&mut self, slot: u32, address: u64) {
        let local = (slot & low_bits(self.shard_bits)) as usize;
        self.shards[(slot >> self.shard_bits) as usize][local].address = address;
    }

    /// Address and slot of every candidate, in slot order.
    pub(super) fn into_addresses(self) -> impl Iterator<Item = (u64, u32)> {
        let slots = self.shards.into_iter().flatten().zip(0..);
        slots
            .filter(|(best, _)| !best.is_vacant())
            .map(|(best, slot)| (best.address, slot))
    }

    pub(super) fn count(&self) -> usize {
        self.shards
            .iter()
            .flatten()
            .filter(|best| !best.is_vacant())
            .count()
    }
}
