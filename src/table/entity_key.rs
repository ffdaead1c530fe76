//! Feast's entity keys, version 3: the bytes that an online table's rows are found by, and the bucket they fall into.
//!
//! Little-endian: the number of join keys; their names in order, each as type, length and text; then their values in the
//! same order, each as type, length and bytes (Feast's `infra/key_encoding_utils.py`). Buckets are Iceberg's
//! `bucket[N]` of those bytes: murmur3, 32 bits, x86, seed 0, without its sign bit.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampSecondType};
use murmurhash32::murmurhash3_with_seed;

use crate::error::{Error, Result};
use crate::model::{DUMMY_KEY, KeyField, KeyType};

const STRING: u32 = 2;

/// Encodes the keys of one view; cheap to keep, and independent of rows.
#[derive(Clone, Debug)]
pub struct KeyEncoder {
    /// By name, as the bytes have them.
    keys: Vec<KeyField>,
    /// The bytes before the first value, the same for all keys of the view.
    header: Vec<u8>,
}

impl KeyEncoder {
    /// An encoder of these join keys; none stands for an entity-less view.
    pub fn new(join_keys: &[KeyField]) -> Self {
        let mut keys = join_keys.to_vec();
        keys.sort_by(|a, b| a.name.cmp(&b.name));
        let mut header = Vec::new();
        let names: Vec<&str> = match keys.is_empty() {
            true => vec![DUMMY_KEY],
            false => keys.iter().map(|key| key.name.as_str()).collect(),
        };
        put_u32(&mut header, names.len());
        for name in names {
            put_text(&mut header, name.as_bytes());
        }
        Self { keys, header }
    }

    /// One entity key for each of `rows` rows; null where a join key is. `column` finds the column of a join key, whose
    /// type must be that of [`key_array`].
    ///
    /// # Errors
    /// [`Error::Internal`] for a column of another type.
    pub fn encode<'a>(
        &self,
        rows: usize,
        column: impl Fn(&str) -> Option<&'a ArrayRef>,
    ) -> Result<BinaryArray> {
        let columns: Vec<Values<'_>> = self
            .keys
            .iter()
            .map(|key| {
                let array = column(&key.name).and_then(|array| Values::of(key.key_type, array));
                array.ok_or_else(|| Error::internal("encode entity keys", &key.name))
            })
            .collect::<Result<_>>()?;
        let mut encoded = BinaryBuilder::with_capacity(rows, rows * (self.header.len() + 16));
        let mut bytes = Vec::with_capacity(self.header.len() + 32);
        for row in 0..rows {
            bytes.clear();
            bytes.extend_from_slice(&self.header);
            if columns.iter().any(|values| values.is_null(row)) {
                encoded.append_null();
                continue;
            }
            if columns.is_empty() {
                put_text(&mut bytes, b"");
            }
            columns
                .iter()
                .for_each(|values| values.put(row, &mut bytes));
            encoded.append_value(&bytes);
        }
        Ok(encoded.finish())
    }
}

/// The values of one join key column.
enum Values<'a> {
    Bytes(&'a BinaryArray),
    Text(&'a arrow::array::StringArray),
    Int32(&'a arrow::array::Int32Array),
    Int64(&'a arrow::array::Int64Array),
    Seconds(&'a arrow::array::TimestampSecondArray),
}

impl<'a> Values<'a> {
    fn of(key_type: KeyType, array: &'a ArrayRef) -> Option<Self> {
        Some(match key_type {
            KeyType::Bytes => Self::Bytes(array.as_binary_opt()?),
            KeyType::String => Self::Text(array.as_string_opt()?),
            KeyType::Int32 => Self::Int32(array.as_primitive_opt::<Int32Type>()?),
            KeyType::Int64 => Self::Int64(array.as_primitive_opt::<Int64Type>()?),
            KeyType::UnixTimestamp => {
                Self::Seconds(array.as_primitive_opt::<TimestampSecondType>()?)
            }
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bytes(array) => array.is_null(row),
            Self::Text(array) => array.is_null(row),
            Self::Int32(array) => array.is_null(row),
            Self::Int64(array) => array.is_null(row),
            Self::Seconds(array) => array.is_null(row),
        }
    }

    fn put(&self, row: usize, bytes: &mut Vec<u8>) {
        match self {
            Self::Bytes(array) => put_value(bytes, 1, array.value(row)),
            Self::Text(array) => put_text(bytes, array.value(row).as_bytes()),
            Self::Int32(array) => put_value(bytes, 3, &array.value(row).to_le_bytes()),
            Self::Int64(array) => put_value(bytes, 4, &array.value(row).to_le_bytes()),
            Self::Seconds(array) => put_value(bytes, 8, &array.value(row).to_le_bytes()),
        }
    }
}

fn put_u32(bytes: &mut Vec<u8>, n: usize) {
    let n = u32::try_from(n).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&n.to_le_bytes());
}

fn put_value(bytes: &mut Vec<u8>, value_type: u32, value: &[u8]) {
    bytes.extend_from_slice(&value_type.to_le_bytes());
    put_u32(bytes, value.len());
    bytes.extend_from_slice(value);
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    put_value(bytes, STRING, text);
}

/// The Arrow type that keys of a type are encoded from.
pub fn key_array(key_type: KeyType) -> DataType {
    match key_type {
        KeyType::Bytes => DataType::Binary,
        KeyType::String => DataType::Utf8,
        KeyType::Int32 => DataType::Int32,
        KeyType::Int64 => DataType::Int64,
        KeyType::UnixTimestamp => DataType::Timestamp(TimeUnit::Second, None),
    }
}

/// The join key type that a column of a type has where nothing else says it.
pub fn key_type_of(data_type: &DataType) -> Option<KeyType> {
    Some(match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => KeyType::Bytes,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => KeyType::String,
        DataType::Int8 | DataType::Int16 | DataType::Int32 => KeyType::Int32,
        DataType::Int64 => KeyType::Int64,
        DataType::Timestamp(..) => KeyType::UnixTimestamp,
        _ => return None,
    })
}

/// A column of join keys as [`KeyEncoder::encode`] takes it. Numbers and texts of another width are converted, values
/// that do not fit become null: they are no key of the view. Digits of a timestamp below a second are dropped.
///
/// # Errors
/// [`Error::SchemaMismatch`] for a column of another kind.
pub fn key_column(key: &KeyField, column: &ArrayRef) -> Result<ArrayRef> {
    let target = key_array(key.key_type);
    let found = column.data_type();
    let same_kind = match key.key_type {
        KeyType::Int32 | KeyType::Int64 => found.is_integer(),
        _ => key_type_of(found) == Some(key.key_type),
    };
    if !same_kind && *found != DataType::Null {
        return Err(Error::SchemaMismatch {
            column: key.name.clone(),
            expected: format!("{target}, a join key of type {}", key.key_type.name()),
            found: found.to_string(),
        });
    }
    let naive = match found {
        DataType::Timestamp(unit, Some(_)) => {
            let naive = DataType::Timestamp(*unit, None);
            // Same instants, without the zone.
            cast_with_options(column, &naive, &CastOptions::default())
                .map_err(Error::arrow("read join keys"))?
        }
        _ => ArrayRef::clone(column),
    };
    cast_with_options(&naive, &target, &CastOptions::default())
        .map_err(Error::arrow("read join keys"))
}

/// The hash of an entity key that its bucket is made of.
pub fn key_hash(entity_key: &[u8]) -> u32 {
    murmurhash3_with_seed::<0>(entity_key) & 0x7fff_ffff
}

/// The bucket of an entity key among `buckets`, as every other engine computes it.
pub fn bucket_of(entity_key: &[u8], buckets: u32) -> u32 {
    key_hash(entity_key) % buckets.max(1)
}

#[cfg(test)]
mod tests;
