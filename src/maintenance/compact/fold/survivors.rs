//! Which rows a fold keeps: of each entity key the latest. One bit a row, and the keys of one pass in memory.

use std::ops::Range;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType, UInt64Type};
use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::model::RowAddress;
use crate::table::entity_key::bucket_of;
use crate::table::online::{CREATED_TIMESTAMP, ENTITY_KEY, EVENT_TIMESTAMP, WRITE_SEQUENCE};

/// What decides between two rows of one key: the greatest is the latest. Null is the least created time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) event_us: i64,
    pub(super) created_us: Option<i64>,
    pub(super) write_sequence: i64,
}

/// A set of rows by file and position.
#[derive(Debug)]
pub(super) struct Survivors(Vec<FileRows>);

#[derive(Debug)]
struct FileRows {
    bits: Vec<u64>,
    count: u64,
}

impl Survivors {
    /// No row of files with so many rows.
    pub(super) fn none_of(record_counts: impl IntoIterator<Item = u64>) -> Self {
        let empty = |rows: u64| FileRows {
            bits: vec![0; usize::try_from(rows.div_ceil(64)).unwrap_or(usize::MAX)],
            count: 0,
        };
        Self(record_counts.into_iter().map(empty).collect())
    }

    /// Puts a row into the set; whether it was not there before.
    fn keep(&mut self, row: RowAddress) -> bool {
        let (word, bit) = place(row);
        let file = self.0.get_mut(row.file() as usize);
        let Some(file) = file else { return false };
        let Some(bits) = file.bits.get_mut(word) else {
            return false;
        };
        let new = *bits & bit == 0;
        file.count += u64::from(new);
        *bits |= bit;
        new
    }

    /// Whether the row is in the set.
    pub(super) fn contains(&self, row: RowAddress) -> bool {
        let (word, bit) = place(row);
        let file = self.0.get(row.file() as usize);
        file.and_then(|file| file.bits.get(word))
            .is_some_and(|bits| bits & bit != 0)
    }

    /// Rows of one file that are in the set.
    pub(super) fn count(&self, file: usize) -> u64 {
        self.0.get(file).map_or(0, |file| file.count)
    }
}

fn place(row: RowAddress) -> (usize, u64) {
    let word = usize::try_from(row.row() / 64).unwrap_or(usize::MAX);
    (word, 1 << (row.row() % 64))
}

/// The latest row of each key of some buckets, among the rows seen so far; and rows that stay whether they are or not.
#[derive(Debug)]
pub(super) struct Latest {
    buckets: Range<u32>,
    of: u32,
    rows: HashMap<Box<[u8]>, (Rank, RowAddress)>,
    /// Rows of this event time and later stay.
    young_from_us: i64,
}

impl Latest {
    /// For the keys in `buckets` of `of` buckets; no row was seen yet.
    pub(super) fn new(buckets: Range<u32>, of: u32) -> Self {
        Self {
            buckets,
            of,
            rows: HashMap::new(),
            young_from_us: i64::MAX,
        }
    }

    /// The same, where rows of this event time and later stay; the greatest time keeps none.
    pub(super) fn keeping_from(mut self, young_from_us: i64) -> Self {
        self.young_from_us = young_from_us;
        self
    }

    /// Takes the deciding columns of rows, whose addresses `address` gives, in any order. Those that stay in any case are
    /// put into `stay`.
    ///
    /// # Errors
    /// [`Error::Internal`] if a column is missing or of another type.
    pub(super) fn add(
        &mut self,
        batch: &RecordBatch,
        address: impl Fn(RowAddress) -> RowAddress,
        stay: &mut Stay<'_>,
    ) -> Result<()> {
        let rows = Deciding::of(batch)?;
        let whole = self.buckets == (0..self.of);
        for row in 0..batch.num_rows() {
            let key = rows.keys.value(row);
            if whole || self.buckets.contains(&bucket_of(key, self.of)) {
                let (rank, address) = (rows.rank(row), address(rows.address(row)));
                if self.young_from_us != i64::MAX && rank.event_us >= self.young_from_us {
                    stay.take(key, rank, address);
                }
                self.offer(key, (rank, address));
            }
        }
        Ok(())
    }

    /// Of rows that are equal in everything that decides, the one with the greatest address stays.
    fn offer(&mut self, key: &[u8], row: (Rank, RowAddress)) {
        let known = self.rows.entry_ref(key);
        known
            .and_modify(|known| *known = row.max(*known))
            .or_insert(row);
    }

    /// Puts the latest rows into `stay`.
    pub(super) fn settle(self, stay: &mut Stay<'_>) {
        for (key, (rank, row)) in self.rows {
            stay.take(&key, rank, row);
        }
    }
}

/// Called with the key, the rank and the address of a row.
type See<'a> = dyn FnMut(&[u8], Rank, RowAddress) + Send + 'a;

/// Where rows that stay are put: each is shown to `see` once.
pub(super) struct Stay<'a> {
    pub(super) survivors: &'a mut Survivors,
    pub(super) see: &'a mut See<'a>,
}

impl Stay<'_> {
    fn take(&mut self, key: &[u8], rank: Rank, row: RowAddress) {
        if self.survivors.keep(row) {
            (self.see)(key, rank, row);
        }
    }
}

/// The columns of a batch that decide.
pub(super) struct Deciding<'a> {
    keys: &'a arrow::array::BinaryArray,
    events: &'a arrow::array::TimestampMicrosecondArray,
    created: &'a arrow::array::TimestampMicrosecondArray,
    sequences: &'a arrow::array::Int64Array,
    addresses: &'a arrow::array::UInt64Array,
}

impl<'a> Deciding<'a> {
    /// # Errors
    /// [`Error::Internal`] if a column is missing or of another type.
    pub(super) fn of(batch: &'a RecordBatch) -> Result<Self> {
        let column = |name: &str| {
            let found = batch.column_by_name(name);
            found.ok_or_else(|| damaged(name))
        };
        let time = |name: &str| {
            let column = column(name)?.as_primitive_opt::<TimestampMicrosecondType>();
            column.ok_or_else(|| damaged(name))
        };
        let key = column(ENTITY_KEY)?.as_binary_opt();
        let sequences = column(WRITE_SEQUENCE)?.as_primitive_opt::<Int64Type>();
        let addresses = column(RowAddress::COLUMN)?.as_primitive_opt::<UInt64Type>();
        Ok(Self {
            keys: key.ok_or_else(|| damaged(ENTITY_KEY))?,
            events: time(EVENT_TIMESTAMP)?,
            created: time(CREATED_TIMESTAMP)?,
            sequences: sequences.ok_or_else(|| damaged(WRITE_SEQUENCE))?,
            addresses: addresses.ok_or_else(|| damaged(RowAddress::COLUMN))?,
        })
    }

    fn rank(&self, row: usize) -> Rank {
        Rank {
            event_us: self.events.value(row),
            created_us: self.created.is_valid(row).then(|| self.created.value(row)),
            write_sequence: self.sequences.value(row),
        }
    }

    pub(super) fn key(&self, row: usize) -> &'a [u8] {
        self.keys.value(row)
    }

    pub(super) fn event_us(&self, row: usize) -> i64 {
        self.events.value(row)
    }

    pub(super) fn address(&self, row: usize) -> RowAddress {
        RowAddress::from_u64(self.addresses.value(row))
    }
}

fn damaged(column: &str) -> Error {
    Error::internal(
        "compact",
        format!("column `{column}` is missing or of another type"),
    )
}
