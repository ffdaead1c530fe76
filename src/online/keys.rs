//! Entity keys of one layer and the way from a key to its row: the bytes that keys have in common are kept once, and a
//! table of row numbers, probed linearly, takes two or four bytes a slot.

use arrow::array::{Array, BinaryArray};

/// Distinct keys by row.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: Box<[u8]>,
    rest: Rest,
    slots: Slots,
    rows: usize,
}

/// What follows the common prefix.
#[derive(Debug)]
enum Rest {
    Fixed { width: usize, bytes: Box<[u8]> },
    Varying { ends: Box<[u32]>, bytes: Box<[u8]> },
}

#[derive(Debug)]
enum Slots {
    Small(Box<[u16]>),
    Large(Box<[u32]>),
}

impl Keys {
    /// Keys that are all different, each with its [`key_hash`](crate::table::entity_key::key_hash); less than 4 GiB.
    pub(super) fn new(keys: &BinaryArray, hashes: &[u32]) -> Self {
        let prefix = common_prefix(keys);
        let rest = Rest::new(keys, prefix.len());
        Self {
            prefix,
            rest,
            slots: Slots::new(hashes),
            rows: keys.len(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// The row of a key.
    pub(super) fn find(&self, key: &[u8], hash: u32) -> Option<usize> {
        let rest = key.strip_prefix(&*self.prefix)?;
        self.slots.find(hash, |row| self.rest.get(row) == rest)
    }

    /// Appends the key of a row to `key`.
    pub(super) fn put(&self, row: usize, key: &mut Vec<u8>) {
        key.extend_from_slice(&self.prefix);
        key.extend_from_slice(self.rest.get(row));
    }

    pub(super) fn bytes(&self) -> usize {
        let rest = match &self.rest {
            Rest::Fixed { bytes, .. } => bytes.len(),
            Rest::Varying { ends, bytes } => 4 * ends.len() + bytes.len(),
        };
        let slots = match &self.slots {
            Slots::Small(slots) => 2 * slots.len(),
            Slots::Large(slots) => 4 * slots.len(),
        };
        self.prefix.len() + rest + slots
    }
}

fn common_prefix(keys: &BinaryArray) -> Box<[u8]> {
    if keys.is_empty() {
        return Box::default();
    }
    let first = keys.value(0);
    let shared = (1..keys.len()).fold(first.len(), |shared, row| {
        let pairs = first[..shared].iter().zip(keys.value(row));
        pairs.take_while(|(a, b)| a == b).count()
    });
    first[..shared].into()
}

impl Rest {
    fn new(keys: &BinaryArray, skip: usize) -> Self {
        let values = || (0..keys.len()).map(|row| &keys.value(row)[skip..]);
        let width = values().next().map_or(0, <[u8]>::len);
        let bytes = values().flatten().copied().collect();
        if values().all(|value| value.len() == width) {
            return Self::Fixed { width, bytes };
        }
        let mut end = 0;
        let ends = values().map(|value| {
            end += value.len();
            u32::try_from(end).expect("a layer's keys are less than 4 GiB")
        });
        Self::Varying {
            ends: ends.collect(),
            bytes,
        }
    }

    fn get(&self, row: usize) -> &[u8] {
        match self {
            Self::Fixed { width, bytes } => &bytes[row * width..(row + 1) * width],
            Self::Varying { ends, bytes } => {
                let start = row.checked_sub(1).map_or(0, |before| ends[before] as usize);
                &bytes[start..ends[row] as usize]
            }
        }
    }
}

impl Slots {
    fn new(hashes: &[u32]) -> Self {
        let count = (hashes.len() * 4 / 3 + 1).next_power_of_two();
        match hashes.len() < usize::from(u16::MAX) {
            true => Self::Small(filled(hashes, count)),
            false => Self::Large(filled(hashes, count)),
        }
    }

    fn find(&self, hash: u32, is_key: impl Fn(usize) -> bool) -> Option<usize> {
        match self {
            Self::Small(slots) => probe(slots, hash, is_key),
            Self::Large(slots) => probe(slots, hash, is_key),
        }
    }
}

/// A row number in a slot; the greatest is an empty slot.
trait Slot: Copy + Eq {
    const EMPTY: Self;
    fn of(row: usize) -> Self;
    fn row(self) -> usize;
}

impl Slot for u16 {
    const EMPTY: Self = Self::MAX;

    fn of(row: usize) -> Self {
        Self::try_from(row).expect("small layers have fewer rows than slots can number")
    }

    fn row(self) -> usize {
        usize::from(self)
    }
}

impl Slot for u32 {
    const EMPTY: Self = Self::MAX;

    fn of(row: usize) -> Self {
        Self::try_from(row).expect("a layer has less than 2^32 rows")
    }

    fn row(self) -> usize {
        self as usize
    }
}

fn filled<S: Slot>(hashes: &[u32], count: usize) -> Box<[S]> {
    let mut slots = vec![S::EMPTY; count].into_boxed_slice();
    for (row, hash) in hashes.iter().enumerate() {
        let mut at = start(*hash, count);
        while slots[at] != S::EMPTY {
            at = (at + 1) & (count - 1);
        }
        slots[at] = S::of(row);
    }
    slots
}

fn probe<S: Slot>(slots: &[S], hash: u32, is_key: impl Fn(usize) -> bool) -> Option<usize> {
    let mut at = start(hash, slots.len());
    while slots[at] != S::EMPTY {
        if is_key(slots[at].row()) {
            return Some(slots[at].row());
        }
        at = (at + 1) & (slots.len() - 1);
    }
    None
}

/// Keys of one bucket have the low bits of their hashes in common, so that all bits are mixed (Fibonacci hashing).
fn start(hash: u32, count: usize) -> usize {
    let mixed = u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize & (count - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::table::entity_key::key_hash;

    fn keys(keys: &[Vec<u8>]) -> Keys {
        let hashes: Vec<u32> = keys.iter().map(|key| key_hash(key)).collect();
        let array = BinaryArray::from_iter_values(keys);
        Keys::new(&array, &hashes)
    }

    #[test]
    fn equal_widths_take_no_offsets() {
        let numbers: Vec<Vec<u8>> = (0_u64..1000)
            .map(|n| [b"prefix", n.to_le_bytes().as_slice()].concat())
            .collect();
        assert_eq!(keys(&numbers).bytes(), 6 + 8 * 1000 + 2 * 2048);
    }

    #[test]
    fn many_keys_of_one_bucket_are_found() {
        let all: Vec<Vec<u8>> = (0_u64..2_000_000)
            .map(|n| n.to_le_bytes().to_vec())
            .collect();
        let bucket: Vec<Vec<u8>> = all
            .into_iter()
            .filter(|key| key_hash(key) % 16 == 3)
            .collect();
        let index = keys(&bucket);
        for (row, key) in bucket.iter().enumerate() {
            assert_eq!(index.find(key, key_hash(key)), Some(row));
        }
    }

    proptest! {
        #[test]
        fn keys_are_found_and_come_back(
            set in prop::collection::btree_set(prop::collection::vec(0_u8..4, 0..5), 0..50),
            other in prop::collection::vec(0_u8..4, 0..5),
        ) {
            let list: Vec<Vec<u8>> = set.iter().cloned().collect();
            let index = keys(&list);
            for (row, key) in list.iter().enumerate() {
                prop_assert_eq!(index.find(key, key_hash(key)), Some(row));
                let mut back = Vec::new();
                index.put(row, &mut back);
                prop_assert_eq!(&back, key);
            }
            let known = BTreeSet::contains(&set, &other);
            prop_assert_eq!(index.find(&other, key_hash(&other)).is_some(), known);
        }
    }
}
