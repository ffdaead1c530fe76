//! Latest rows of some files: a key's row is the one with the greatest event time, then created time, then write
//! sequence. That order is total, so that layers built and merged in any order agree, and a row that is met twice does
//! no harm.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, RecordBatch, UInt32Array,
};
use arrow::compute::{interleave, take};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::budget::{Budget, Charge};
use super::column::Column;
use super::keys::Keys;
use super::packed::Packed;
use crate::error::{Error, Result};
use crate::table::entity_key::key_hash;

/// What decides which of two rows of one key is later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    /// Event time, in microseconds.
    pub(super) event_us: i64,
    /// Created time; rows without one come first.
    pub(super) created_us: Option<i64>,
    /// Write sequence.
    pub(super) sequence: i64,
}

/// One row per key, immutable.
#[derive(Debug)]
pub(super) struct Layer {
    keys: Keys,
    events: Packed,
    /// [`NO_TIME`] where there is none.
    created: Packed,
    sequences: Packed,
    columns: Vec<Column>,
    bytes: usize,
    plain_bytes: usize,
    _charge: Charge,
}

/// Stands for a missing created time; far before any.
const NO_TIME: i64 = i64::MIN;

/// Rows on their way into a layer; cheap to clone.
#[derive(Clone)]
pub(super) struct Rows {
    keys: BinaryArray,
    hashes: Arc<[u32]>,
    orders: Arc<[Order]>,
    columns: Vec<ArrayRef>,
    bytes: usize,
}

impl Layer {
    pub(super) fn rows(&self) -> usize {
        self.keys.len()
    }

    /// Heap bytes, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Heap bytes of the rows as a builder takes them, about.
    pub(super) fn plain_bytes(&self) -> usize {
        self.plain_bytes
    }

    /// The row of a key with its hash.
    pub(super) fn find(&self, key: &[u8], hash: u32) -> Option<usize> {
        self.keys.find(key, hash)
    }

    pub(super) fn order(&self, row: usize) -> Order {
        let created = self.created.get(row);
        Order {
            event_us: self.events.get(row),
            created_us: (created != NO_TIME).then_some(created),
            sequence: self.sequences.get(row),
        }
    }

    /// A column, by its place among those that the layer was built with.
    pub(super) fn column(&self, index: usize) -> &Column {
        &self.columns[index]
    }

    /// The same rows as a builder takes them.
    ///
    /// # Errors
    /// If Arrow cannot copy a column.
    pub(super) fn to_rows(&self) -> Result<Rows> {
        let mut keys = BinaryBuilder::with_capacity(self.rows(), self.keys.bytes());
        let mut key = Vec::new();
        for row in 0..self.rows() {
            key.clear();
            self.keys.put(row, &mut key);
            keys.append_value(&key);
        }
        let keys = keys.finish();
        let columns = self.columns.iter().map(Column::plain);
        Ok(Rows {
            hashes: hashes(&keys),
            keys,
            orders: (0..self.rows()).map(|row| self.order(row)).collect(),
            columns: columns.collect::<Result<_>>()?,
            bytes: self.plain_bytes,
        })
    }
}

/// Spreads 31 bits of hash over the 64 that the builder's table looks at.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Finds the latest row of each key.
#[derive(Default)]
pub(super) struct LayerBuilder {
    chunks: Vec<Rows>,
    table: HashTable<Winner>,
    /// Bytes of the chunks.
    bytes: usize,
}

struct Winner {
    hash: u32,
    chunk: u32,
    row: u32,
}

impl LayerBuilder {
    /// A builder with room for so many keys.
    pub(super) fn with_room(keys: usize) -> Self {
        Self {
            table: HashTable::with_capacity(keys),
            ..Self::default()
        }
    }

    /// Bytes of the rows that are held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts from here on: what is held now cannot be made less.
    pub(super) fn forget_bytes(&mut self) {
        self.bytes = 0;
    }

    /// Adds all of some rows.
    pub(super) fn push(&mut self, rows: Rows) {
        let count = u32::try_from(rows.len()).expect("a batch has less than 2^32 rows");
        self.pick(rows, 0..count);
    }

    /// Adds the rows of these numbers.
    pub(super) fn pick(&mut self, rows: Rows, picked: impl IntoIterator<Item = u32>) {
        let chunk = u32::try_from(self.chunks.len()).expect("chunks are few");
        self.bytes += rows.bytes;
        self.chunks.push(rows);
        let chunks = &self.chunks;
        let own = &chunks[chunk as usize];
        let key = |chunk: u32, row: u32| chunks[chunk as usize].keys.value(row as usize);
        let order = |chunk: u32, row: u32| chunks[chunk as usize].orders[row as usize];
        for row in picked {
            let (bytes, hash) = (own.keys.value(row as usize), own.hashes[row as usize]);
            let entry = self.table.entry(
                u64::from(hash).wrapping_mul(MIX),
                |winner| winner.hash == hash && key(winner.chunk, winner.row) == bytes,
                |winner| u64::from(winner.hash).wrapping_mul(MIX),
            );
            match entry {
                Entry::Vacant(vacant) => {
                    vacant.insert(Winner { hash, chunk, row });
                }
                Entry::Occupied(mut held) => {
                    let winner = held.get_mut();
                    if order(winner.chunk, winner.row) < order(chunk, row) {
                        (winner.chunk, winner.row) = (chunk, row);
                    }
                }
            }
        }
    }

    /// The latest rows.
    ///
    /// # Errors
    /// If a column of all keys together is more than Arrow can hold.
    pub(super) fn finish(self, budget: &Arc<Budget>) -> Result<Layer> {
        let mut winners: Vec<&Winner> = self.table.iter().collect();
        // In file order, which is key order: neighbours are read together.
        winners.sort_unstable_by_key(|it| u64::from(it.chunk) << 32 | u64::from(it.row));
        let places: Vec<(usize, usize)> = winners
            .iter()
            .map(|winner| (winner.chunk as usize, winner.row as usize))
            .collect();
        let hashes: Vec<u32> = winners.iter().map(|winner| winner.hash).collect();
        let orders: Vec<Order> = places
            .iter()
            .map(|(chunk, row)| self.chunks[*chunk].orders[*row])
            .collect();
        let packed =
            |value: fn(&Order) -> i64| Packed::new(&orders.iter().map(value).collect::<Vec<_>>());
        let no_keys = BinaryArray::new_null(0);
        let keys = self.chunks.iter().map(|rows| &rows.keys).chain([&no_keys]);
        let keys = gathered(keys.map(|keys| keys as &dyn Array), &places)?;
        let columns = self.gather(&places)?;
        let plain_bytes: usize = columns.iter().map(|it| it.get_array_memory_size()).sum();
        let columns: Vec<Column> = columns.into_iter().map(Column::new).collect();
        let keys = Keys::new(keys.as_binary(), &hashes);
        let times = [
            packed(|order| order.event_us),
            packed(|order| order.created_us.unwrap_or(NO_TIME)),
            packed(|order| order.sequence),
        ];
        let bytes = size_of::<Layer>()
            + keys.bytes()
            + times.iter().map(Packed::bytes).sum::<usize>()
            + columns.iter().map(Column::bytes).sum::<usize>();
        let [events, created, sequences] = times;
        Ok(Layer {
            keys,
            events,
            created,
            sequences,
            columns,
            bytes,
            plain_bytes: bytes.max(plain_bytes),
            _charge: budget.charge(bytes),
        })
    }

    fn gather(&self, places: &[(usize, usize)]) -> Result<Vec<ArrayRef>> {
        let width = self.chunks.first().map_or(0, |rows| rows.columns.len());
        let column = |column: usize| {
            let arrays = self.chunks.iter().map(|rows| rows.columns[column].as_ref());
            gathered(arrays, places)
        };
        (0..width).map(column).collect()
    }
}

fn gathered<'a>(
    arrays: impl Iterator<Item = &'a dyn Array>,
    places: &[(usize, usize)],
) -> Result<ArrayRef> {
    let arrays: Vec<&dyn Array> = arrays.collect();
    interleave(&arrays, places).map_err(Error::arrow("gather latest rows"))
}

impl Rows {
    /// The rows of a batch that begins with the entity key, event and created times and the write sequence, as the
    /// online table has them; the layer's columns follow.
    ///
    /// # Errors
    /// If the columns are others.
    pub(super) fn of(batch: &RecordBatch) -> Result<Self> {
        let [keys, events, created, sequences, columns @ ..] = batch.columns() else {
            return Err(Error::internal("index online rows", "columns are missing"));
        };
        let wrong = || Error::internal("index online rows", "columns have other types");
        let keys = keys.as_binary_opt::<i32>().ok_or_else(wrong)?;
        let events = events
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(wrong)?;
        let created = created
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(wrong)?;
        let sequences = sequences
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(wrong)?;
        let order = |row| Order {
            event_us: events.value(row),
            created_us: created.is_valid(row).then(|| created.value(row)),
            sequence: sequences.value(row),
        };
        Ok(Self {
            keys: keys.clone(),
            hashes: hashes(keys),
            orders: (0..batch.num_rows()).map(order).collect(),
            columns: columns.to_vec(),
            bytes: batch.get_array_memory_size(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.orders.len()
    }

    /// Only the rows whose keys are wanted, in memory of their own.
    ///
    /// # Errors
    /// If Arrow cannot copy a column.
    pub(super) fn of_keys(&self, wanted: impl Fn(&[u8]) -> bool) -> Result<Self> {
        let picked: Vec<u32> = (0..)
            .take(self.len())
            .filter(|row| wanted(self.keys.value(*row as usize)))
            .collect();
        let hashes = picked
            .iter()
            .map(|row| self.hashes[*row as usize])
            .collect();
        let orders = picked
            .iter()
            .map(|row| self.orders[*row as usize])
            .collect();
        let picked = UInt32Array::from(picked);
        let pick =
            |column: &dyn Array| take(column, &picked, None).map_err(Error::arrow("pick rows"));
        let columns: Vec<ArrayRef> = self
            .columns
            .iter()
            .map(|column| pick(column))
            .collect::<Result<_>>()?;
        let bytes = columns
            .iter()
            .map(|column| column.get_array_memory_size())
            .sum();
        Ok(Self {
            keys: pick(&self.keys)?.as_binary::<i32>().clone(),
            hashes,
            orders,
            columns,
            bytes,
        })
    }

    /// The numbers of the rows of each bucket.
    pub(super) fn by_bucket(&self, buckets: u32) -> Vec<Vec<u32>> {
        let mut rows = vec![Vec::new(); buckets as usize];
        for (row, hash) in (0..).zip(&*self.hashes) {
            rows[(hash % buckets) as usize].push(row);
        }
        rows
    }
}

fn hashes(keys: &BinaryArray) -> Arc<[u32]> {
    (0..keys.len())
        .map(|row| key_hash(keys.value(row)))
        .collect()
}

/// One layer with the rows of all.
pub(super) fn merge(layers: &[Arc<Layer>], budget: &Arc<Budget>) -> Result<Layer> {
    let mut builder = LayerBuilder::default();
    for layer in layers {
        builder.push(layer.to_rows()?);
    }
    builder.finish(budget)
}
