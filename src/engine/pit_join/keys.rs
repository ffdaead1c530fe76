//! Numbers the distinct keys of the spine and finds those numbers again for the keys of a scan, column by column.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, GenericByteArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ByteArrayType, DataType, Date32Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use arrow_row::{RowConverter, Rows, SortField};
use datafusion::error::Result;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::NONE;
use super::memory::bytes_of;
use super::spine::instants;

/// The distinct keys of a spine; a key's *group* is its position in order of first appearance.
pub(super) enum KeyIndex {
    /// No key columns: one group.
    Whole { is_used: bool },
    /// One column that fits 64 bits.
    Int(IntKeys),
    /// One column of strings or bytes.
    Bytes(BytesKeys),
    /// Anything else, as arrow-row encodes it.
    Rows {
        converter: Arc<RowConverter>,
        keys: BytesKeys,
    },
}

/// Integers that may lie between the least and the greatest key for each that is one.
const MAX_SPREAD: usize = 8;

/// Buffers of one prober, kept from batch to batch.
#[derive(Default)]
pub(super) struct KeyScratch {
    hashes: Vec<u64>,
    rows: Option<Rows>,
}

impl KeyScratch {
    /// Bytes allocated.
    pub(super) fn bytes(&self) -> usize {
        bytes_of::<u64>(self.hashes.capacity()) + self.rows.as_ref().map_or(0, Rows::size)
    }
}

/// Evaluates `$body` with `$values` as the slice of integers behind a column that [`is_int`] accepts.
macro_rules! with_ints {
    ($column:expr, $values:ident => $body:expr) => {
        match $column.data_type() {
            DataType::Int8 => with_ints!(@ $column.as_primitive::<Int8Type>().values(), $values, $body),
            DataType::Int16 => with_ints!(@ $column.as_primitive::<Int16Type>().values(), $values, $body),
            DataType::Int32 => with_ints!(@ $column.as_primitive::<Int32Type>().values(), $values, $body),
            DataType::Date32 => with_ints!(@ $column.as_primitive::<Date32Type>().values(), $values, $body),
            DataType::Int64 => with_ints!(@ $column.as_primitive::<Int64Type>().values(), $values, $body),
            _ => with_ints!(@ instants($column), $values, $body),
        }
    };
    (@ $slice:expr, $values:ident, $body:expr) => {{
        let $values = $slice;
        $body
    }};
}

/// Evaluates `$body` with `$values` as the array behind a column that [`is_bytes`] accepts.
macro_rules! with_bytes {
    ($column:expr, $values:ident => $body:expr) => {
        match $column.data_type() {
            DataType::Utf8 => with_bytes!(@ $column.as_string::<i32>(), $values, $body),
            DataType::LargeUtf8 => with_bytes!(@ $column.as_string::<i64>(), $values, $body),
            DataType::Binary => with_bytes!(@ $column.as_binary::<i32>(), $values, $body),
            DataType::LargeBinary => with_bytes!(@ $column.as_binary::<i64>(), $values, $body),
            _ => with_bytes!(@ $column.as_fixed_size_binary(), $values, $body),
        }
    };
    (@ $array:expr, $values:ident, $body:expr) => {{
        let $values = $array;
        $body
    }};
}

impl KeyIndex {
    pub(super) fn try_new(types: &[DataType]) -> Result<Self> {
        Ok(match types {
            [] => Self::Whole { is_used: false },
            [one] if is_int(one) => Self::Int(IntKeys::default()),
            [one] if is_bytes(one) => Self::Bytes(BytesKeys::default()),
            _ => {
                let fields = types.iter().cloned().map(SortField::new).collect();
                Self::Rows {
                    converter: Arc::new(RowConverter::new(fields)?),
                    keys: BytesKeys::default(),
                }
            }
        })
    }

    /// Whether keys of these types can be told apart.
    pub(super) fn supports(types: &[DataType]) -> bool {
        RowConverter::supports_fields(
            &types
                .iter()
                .cloned()
                .map(SortField::new)
                .collect::<Vec<_>>(),
        )
    }

    /// Appends each row's group to `groups`, new ones for new keys, [`NONE`] where not `valid`.
    pub(super) fn insert(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        valid: Option<&NullBuffer>,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        let is_valid = |row: usize| valid.is_none_or(|valid| valid.is_valid(row));
        match self {
            Self::Whole { is_used } => {
                *is_used |= (0..rows).any(is_valid);
                groups.extend((0..rows).map(|row| if is_valid(row) { 0 } else { NONE }));
            }
            Self::Int(keys) => {
                with_ints!(&columns[0], values => keys.insert(values, is_valid, groups))
            }
            Self::Bytes(keys) => {
                with_bytes!(&columns[0], values => keys.insert(values, rows, is_valid, groups))
            }
            Self::Rows { converter, keys } => {
                keys.insert(&converter.convert_columns(columns)?, rows, is_valid, groups);
            }
        }
        Ok(())
    }

    /// Replaces `groups` by each row's group, [`NONE`] where the spine lacks the key or the row is not `valid`.
    pub(super) fn find(
        &self,
        columns: &[ArrayRef],
        rows: usize,
        valid: Option<&NullBuffer>,
        scratch: &mut KeyScratch,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        let is_valid = |row: usize| valid.is_none_or(|valid| valid.is_valid(row));
        groups.clear();
        match self {
            Self::Whole { is_used } => {
                groups
                    .extend((0..rows).map(|row| if *is_used && is_valid(row) { 0 } else { NONE }));
            }
            Self::Int(keys) => {
                with_ints!(&columns[0], values => keys.find(values, is_valid, scratch, groups))
            }
            Self::Bytes(keys) => {
                with_bytes!(&columns[0], values => keys.find(values, rows, is_valid, &mut scratch.hashes, groups));
            }
            Self::Rows { converter, keys } => {
                let KeyScratch {
                    hashes,
                    rows: encoded,
                } = scratch;
                let encoded = encoded.get_or_insert_with(|| converter.empty_rows(0, 0));
                encoded.clear();
                converter.append(encoded, columns)?;
                keys.find(&*encoded, rows, is_valid, hashes, groups);
            }
        }
        Ok(())
    }

    /// Prepares for finding, once all keys are in.
    pub(super) fn finish(&mut self) {
        if let Self::Int(keys) = self {
            keys.finish();
        }
    }

    /// Number of groups.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Whole { is_used } => usize::from(*is_used),
            Self::Int(keys) => keys.table.len(),
            Self::Bytes(keys) | Self::Rows { keys, .. } => keys.ends.len(),
        }
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Whole { .. } => 0,
            Self::Int(keys) => keys.bytes(),
            Self::Bytes(keys) | Self::Rows { keys, .. } => keys.bytes(),
        }
    }
}

/// Whether a column is looked up by the 64-bit integer of its values.
fn is_int(data_type: &DataType) -> bool {
    use DataType::{Date32, Int8, Int16, Int32, Int64, Timestamp};
    matches!(
        data_type,
        Int8 | Int16 | Int32 | Int64 | Date32 | Timestamp(_, _)
    )
}

/// Whether a column is looked up by the bytes of its values.
fn is_bytes(data_type: &DataType) -> bool {
    use DataType::{Binary, FixedSizeBinary, LargeBinary, LargeUtf8, Utf8};
    matches!(
        data_type,
        Utf8 | LargeUtf8 | Binary | LargeBinary | FixedSizeBinary(_)
    )
}

/// Groups by integer, the integer inside the table's entry; and by position where the integers lie close together, as
/// ids that were counted up do.
#[derive(Default)]
pub(super) struct IntKeys {
    table: HashTable<(i64, u32)>,
    hasher: RandomState,
    dense: Option<Dense>,
}

/// The group of each integer from `least` on.
struct Dense {
    least: i64,
    groups: Vec<u32>,
}

impl Dense {
    /// `None` where most integers in between are no keys.
    fn new(table: &HashTable<(i64, u32)>) -> Option<Self> {
        let keys = || table.iter().map(|(key, _)| *key);
        let (least, most) = (keys().min()?, keys().max()?);
        let span = usize::try_from(most.abs_diff(least)).ok()?.checked_add(1)?;
        (span / MAX_SPREAD <= table.len()).then(|| {
            let mut groups = vec![NONE; span];
            for (key, group) in table {
                groups[key.abs_diff(least) as usize] = *group;
            }
            Self { least, groups }
        })
    }

    fn find(&self, key: i64) -> u32 {
        let position = key.wrapping_sub(self.least) as u64;
        let group = usize::try_from(position).ok();
        let group = group.and_then(|position| self.groups.get(position));
        group.copied().unwrap_or(NONE)
    }
}

impl IntKeys {
    fn insert<T: Copy + Into<i64>>(
        &mut self,
        values: &[T],
        is_valid: impl Fn(usize) -> bool,
        groups: &mut Vec<u32>,
    ) {
        let values = values.iter().enumerate();
        groups.extend(values.map(|(row, value)| {
            if is_valid(row) {
                self.group((*value).into())
            } else {
                NONE
            }
        }));
    }

    fn group(&mut self, key: i64) -> u32 {
        let Self { table, hasher, .. } = self;
        let next = table.len() as u32;
        match table.entry(
            hasher.hash_one(key),
            |(known, _)| *known == key,
            |(known, _)| hasher.hash_one(known),
        ) {
            Entry::Occupied(known) => known.get().1,
            Entry::Vacant(vacant) => vacant.insert((key, next)).get().1,
        }
    }

    fn find<T: Copy + Into<i64>>(
        &self,
        values: &[T],
        is_valid: impl Fn(usize) -> bool,
        scratch: &mut KeyScratch,
        groups: &mut Vec<u32>,
    ) {
        if let Some(dense) = &self.dense {
            let found = |(row, value): (usize, &T)| match is_valid(row) {
                true => dense.find((*value).into()),
                false => NONE,
            };
            groups.extend(values.iter().enumerate().map(found));
            return;
        }
        scratch.hashes.clear();
        scratch.hashes.extend(
            values
                .iter()
                .map(|value| self.hasher.hash_one((*value).into())),
        );
        let rows = values.iter().zip(&scratch.hashes).enumerate();
        groups.extend(rows.map(|(row, (value, hash))| {
            let key = (*value).into();
            let found = if is_valid(row) {
                self.table.find(*hash, |(known, _)| *known == key)
            } else {
                None
            };
            found.map_or(NONE, |(_, group)| *group)
        }));
    }
}

impl IntKeys {
    fn finish(&mut self) {
        self.dense = Dense::new(&self.table);
    }

    fn bytes(&self) -> usize {
        let dense = self.dense.as_ref().map_or(0, |dense| dense.groups.len());
        self.table.allocation_size() + bytes_of::<u32>(dense)
    }
}

/// A column whose values are byte strings.
trait BytesColumn {
    fn bytes(&self, row: usize) -> &[u8];
}

impl<T: ByteArrayType> BytesColumn for GenericByteArray<T> {
    fn bytes(&self, row: usize) -> &[u8] {
        self.value(row).as_ref()
    }
}

impl BytesColumn for FixedSizeBinaryArray {
    fn bytes(&self, row: usize) -> &[u8] {
        self.value(row)
    }
}

impl BytesColumn for Rows {
    fn bytes(&self, row: usize) -> &[u8] {
        self.row(row).data()
    }
}

/// Groups by byte string; the strings stand end to end in one arena.
#[derive(Default)]
pub(super) struct BytesKeys {
    table: HashTable<(u64, u32)>,
    hasher: RandomState,
    ends: Vec<usize>,
    arena: Vec<u8>,
}

impl BytesKeys {
    fn insert(
        &mut self,
        values: &impl BytesColumn,
        rows: usize,
        is_valid: impl Fn(usize) -> bool,
        groups: &mut Vec<u32>,
    ) {
        groups.extend((0..rows).map(|row| {
            if is_valid(row) {
                self.group(values.bytes(row))
            } else {
                NONE
            }
        }));
    }

    fn group(&mut self, key: &[u8]) -> u32 {
        let Self {
            table,
            hasher,
            ends,
            arena,
        } = self;
        let hash = hasher.hash_one(key);
        let is_key =
            |(known, group): &(u64, u32)| *known == hash && stored(ends, arena, *group) == key;
        match table.entry(hash, is_key, |(known, _)| *known) {
            Entry::Occupied(known) => known.get().1,
            Entry::Vacant(vacant) => {
                let group = ends.len() as u32;
                vacant.insert((hash, group));
                arena.extend_from_slice(key);
                ends.push(arena.len());
                group
            }
        }
    }

    fn find(
        &self,
        values: &impl BytesColumn,
        rows: usize,
        is_valid: impl Fn(usize) -> bool,
        hashes: &mut Vec<u64>,
        groups: &mut Vec<u32>,
    ) {
        let Self {
            table,
            hasher,
            ends,
            arena,
        } = self;
        hashes.clear();
        hashes.extend((0..rows).map(|row| hasher.hash_one(values.bytes(row))));
        groups.extend(hashes.iter().enumerate().map(|(row, hash)| {
            let is_key = |(known, group): &(u64, u32)| {
                known == hash && stored(ends, arena, *group) == values.bytes(row)
            };
            let found = if is_valid(row) {
                table.find(*hash, is_key)
            } else {
                None
            };
            found.map_or(NONE, |(_, group)| *group)
        }));
    }

    fn bytes(&self) -> usize {
        self.table.allocation_size()
            + self.ends.capacity() * size_of::<usize>()
            + self.arena.capacity()
    }
}

fn stored<'a>(ends: &[usize], arena: &'a [u8], group: u32) -> &'a [u8] {
    let group = group as usize;
    let start = if group == 0 { 0 } else { ends[group - 1] };
    &arena[start..ends[group]]
}
