//! From the best candidate of each slot to the rows to fetch and, for each slot, which of them it shows.

use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use super::NONE;
use super::candidates::{Created, Survivors};
use super::memory::bytes_of;
use super::spine::SpineIndex;
use super::window::Windows;
use crate::model::RowAddress;

/// The rows that won and where they show.
pub(super) struct Winners {
    /// Distinct, ascending. Every candidate that survived is one: it wins at least in its own slot.
    pub(super) addresses: Vec<RowAddress>,
    /// For each slot the position of its winner in `addresses`, or [`NONE`].
    pub(super) of_slot: Vec<u32>,
    /// Covers both.
    pub(super) reservation: MemoryReservation,
}

impl Winners {
    pub(super) fn new<C: Created>(
        survivors: Survivors<C>,
        index: &SpineIndex,
        windows: &Windows,
        reservation: MemoryReservation,
    ) -> Result<Self> {
        let (slots, count) = (index.instants().len(), survivors.count());
        reservation.try_grow(bytes_of::<u32>(slots) + bytes_of::<RowAddress>(count))?;
        let scratch = reservation.new_empty();
        scratch.try_grow(bytes_of::<u32>(slots) + bytes_of::<(u64, u32)>(count))?;

        let mut of_slot = carry_forward(&survivors, index, windows);
        let mut by_address = Vec::with_capacity(count);
        by_address.extend(survivors.into_addresses());
        by_address.sort_unstable();
        let mut position = vec![NONE; slots];
        by_address
            .iter()
            .zip(0..)
            .for_each(|((_, slot), at)| position[*slot as usize] = at);
        let sources = of_slot.iter_mut().filter(|source| **source != NONE);
        sources.for_each(|source| *source = position[*source as usize]);
        let addresses = by_address
            .iter()
            .map(|(address, _)| RowAddress::from_u64(*address))
            .collect();
        Ok(Self {
            addresses,
            of_slot,
            reservation,
        })
    }
}

/// For each slot the slot whose candidate it shows: its own, or else the latest earlier one that is fresh enough.
fn carry_forward<C: Created>(
    survivors: &Survivors<C>,
    index: &SpineIndex,
    windows: &Windows,
) -> Vec<u32> {
    let mut sources = Vec::with_capacity(index.instants().len());
    for slots in index.groups() {
        let mut held = None;
        for slot in slots {
            let own = survivors.get(slot as u32);
            if !own.is_vacant() {
                held = Some((slot as u32, own.event));
            }
            let shown = held.filter(|(_, event)| windows.is_fresh(slot, *event));
            sources.push(shown.map_or(NONE, |(source, _)| source));
        }
    }
    sources
}
