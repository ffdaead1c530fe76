//! What batches really hold on to: slices and decoded messages share buffers, which must be charged once.

use std::hash::BuildHasher;

use arrow::array::{Array, ArrayData, RecordBatch};
use arrow::buffer::Buffer;
use hashbrown::HashTable;

/// Counts the bytes behind batches, each buffer once.
#[derive(Debug, Default)]
pub struct RetainedBytes {
    seen: HashTable<usize>,
    hasher: foldhash::fast::RandomState,
    bytes: usize,
}

impl RetainedBytes {
    /// Adds the buffers of `batch`; returns the total so far.
    pub fn add(&mut self, batch: &RecordBatch) -> usize {
        batch
            .columns()
            .iter()
            .for_each(|column| self.add_data(&column.to_data()));
        self.bytes
    }

    /// The total so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn add_data(&mut self, data: &ArrayData) {
        data.buffers()
            .iter()
            .for_each(|buffer| self.add_buffer(buffer));
        if let Some(nulls) = data.nulls() {
            self.add_buffer(nulls.buffer());
        }
        data.child_data()
            .iter()
            .for_each(|child| self.add_data(child));
    }

    fn add_buffer(&mut self, buffer: &Buffer) {
        let Self {
            seen,
            hasher,
            bytes,
        } = self;
        let start = buffer.data_ptr().as_ptr() as usize;
        let entry = seen.entry(
            hasher.hash_one(start),
            |known| *known == start,
            |known| hasher.hash_one(known),
        );
        if let hashbrown::hash_table::Entry::Vacant(vacant) = entry {
            vacant.insert(start);
            *bytes += buffer.capacity();
        }
    }
}
