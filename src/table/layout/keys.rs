//! The distinct values of a key column, sorted, so that a range of file, row group or page bounds costs one binary
//! search whatever the number of keys.

use std::sync::Arc;

use arrow::array::{Array, ArrayAccessor, ArrayRef, AsArray, Int64Array, LargeBinaryArray};
use arrow::datatypes::{
    DataType, Date32Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use iceberg::spec::Transform;
use iceberg::transform::create_transform_function;

/// Keys hashed at a time.
const CHUNK: usize = 64 * 1024;
/// More buckets than this are not worth a table of them.
const MAX_BUCKETS: u32 = 1 << 20;

/// Distinct non-null values, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SortedKeys {
    /// Int, long, date (days) and timestamp (microseconds).
    Int(Arc<[i64]>),
    /// String, binary, uuid and fixed, in unsigned byte order.
    Bytes(Arc<[Box<[u8]>]>),
}

impl SortedKeys {
    /// The values of an array, or `None` for a type that scans are not pruned by.
    pub fn try_new(array: &dyn Array) -> Option<Self> {
        Self::from_chunks(&[array])
    }

    /// The values of a column that comes in several arrays of one type; `None` if there is no array, or for a type
    /// that scans are not pruned by.
    pub fn from_chunks(arrays: &[&dyn Array]) -> Option<Self> {
        match arrays.first()?.data_type() {
            DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Timestamp(TimeUnit::Microsecond, _) => {
                let mut keys = Vec::with_capacity(arrays.iter().map(|array| array.len()).sum());
                arrays
                    .iter()
                    .try_for_each(|array| collect_ints(*array, &mut keys))?;
                keys.sort_unstable();
                keys.dedup();
                Some(Self::Int(keys.into()))
            }
            _ => {
                let mut keys: Vec<&[u8]> = Vec::new();
                arrays
                    .iter()
                    .try_for_each(|array| collect_bytes(*array, &mut keys))?;
                keys.sort_unstable();
                keys.dedup();
                Some(Self::Bytes(keys.into_iter().map(Box::from).collect()))
            }
        }
    }

    /// Number of distinct values.
    pub fn len(&self) -> usize {
        match self {
            Self::Int(keys) => keys.len(),
            Self::Bytes(keys) => keys.len(),
        }
    }

    /// Whether there are none, so that no row can matter.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a column with values in `min..=max` can hold one of the keys; true where the keys are not integers.
    pub fn any_in_ints(&self, min: i64, max: i64) -> bool {
        let Self::Int(keys) = self else { return true };
        keys.get(keys.partition_point(|key| *key < min))
            .is_some_and(|key| *key <= max)
    }

    /// Whether a column with values in `min..=max` (unbounded where `None`) can hold one of the keys; true where the
    /// keys are not bytes. An empty `min` is no bound.
    pub fn any_in_bytes(&self, min: &[u8], max: Option<&[u8]>) -> bool {
        let Self::Bytes(keys) = self else { return true };
        let first = keys.get(keys.partition_point(|key| &**key < min));
        first.is_some_and(|key| max.is_none_or(|max| &**key <= max))
    }

    /// Whether these bytes are one of the keys.
    pub fn contains_bytes(&self, key: &[u8]) -> bool {
        match self {
            Self::Bytes(keys) => keys.binary_search_by(|known| (**known).cmp(key)).is_ok(),
            Self::Int(_) => false,
        }
    }

    /// Whether one of the keys starts with `prefix`; true where the keys are not bytes.
    pub(super) fn any_with_prefix(&self, prefix: &[u8]) -> bool {
        let Self::Bytes(keys) = self else { return true };
        keys.get(keys.partition_point(|key| &**key < prefix))
            .is_some_and(|key| key.starts_with(prefix))
    }

    /// For each of `buckets` buckets, whether one of the keys falls into it; `None` where that cannot be told.
    /// Iceberg hashes by value, not by type: int, long, date and timestamp alike, and so string, binary, uuid and fixed.
    pub(super) fn buckets(&self, buckets: u32) -> Option<Vec<bool>> {
        let of_keys = self.bucket_of_each(buckets)?;
        let mut hit = vec![false; usize::try_from(buckets).ok()?];
        for bucket in of_keys {
            *hit.get_mut(usize::try_from(bucket).ok()?)? = true;
        }
        Some(hit)
    }

    /// The keys of each of `buckets` buckets; `None` where that cannot be told.
    pub(super) fn by_bucket(&self, buckets: u32) -> Option<Vec<Self>> {
        let of_keys = self.bucket_of_each(buckets)?;
        match self {
            Self::Int(keys) => {
                let divided = divide(keys.iter().copied(), &of_keys, buckets)?;
                Some(divided.map(|keys| Self::Int(keys.into())).collect())
            }
            Self::Bytes(keys) => {
                let divided = divide(keys.iter().cloned(), &of_keys, buckets)?;
                Some(divided.map(|keys| Self::Bytes(keys.into())).collect())
            }
        }
    }

    fn bucket_of_each(&self, buckets: u32) -> Option<Vec<i32>> {
        if buckets == 0 || buckets > MAX_BUCKETS {
            return None;
        }
        let transform = create_transform_function(&Transform::Bucket(buckets)).ok()?;
        let mut of_keys = Vec::with_capacity(self.len());
        for chunk in self.chunks() {
            let hashed = transform.transform(chunk).ok()?;
            of_keys.extend_from_slice(hashed.as_primitive_opt::<Int32Type>()?.values());
        }
        Some(of_keys)
    }

    fn chunks(&self) -> Box<dyn Iterator<Item = ArrayRef> + '_> {
        match self {
            Self::Int(keys) => Box::new(
                keys.chunks(CHUNK)
                    .map(|keys| Arc::new(Int64Array::from_iter_values(keys.iter().copied())) as _),
            ),
            Self::Bytes(keys) => Box::new(
                keys.chunks(CHUNK)
                    .map(|keys| Arc::new(LargeBinaryArray::from_iter_values(keys)) as _),
            ),
        }
    }
}

/// `keys` by their buckets, in the order that they have.
fn divide<T>(
    keys: impl Iterator<Item = T>,
    of_keys: &[i32],
    buckets: u32,
) -> Option<impl Iterator<Item = Vec<T>>> {
    let mut divided: Vec<Vec<T>> = Vec::new();
    divided.resize_with(usize::try_from(buckets).ok()?, Vec::new);
    for (key, bucket) in keys.zip(of_keys) {
        divided.get_mut(usize::try_from(*bucket).ok()?)?.push(key);
    }
    Some(divided.into_iter())
}

fn collect_ints(array: &dyn Array, keys: &mut Vec<i64>) -> Option<()> {
    match array.data_type() {
        DataType::Int32 => keys.extend(
            array
                .as_primitive_opt::<Int32Type>()?
                .iter()
                .flatten()
                .map(i64::from),
        ),
        DataType::Date32 => keys.extend(
            array
                .as_primitive_opt::<Date32Type>()?
                .iter()
                .flatten()
                .map(i64::from),
        ),
        DataType::Int64 => keys.extend(array.as_primitive_opt::<Int64Type>()?.iter().flatten()),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            keys.extend(
                array
                    .as_primitive_opt::<TimestampMicrosecondType>()?
                    .iter()
                    .flatten(),
            );
        }
        _ => return None,
    }
    Some(())
}

fn collect_bytes<'a>(array: &'a dyn Array, keys: &mut Vec<&'a [u8]>) -> Option<()> {
    match array.data_type() {
        DataType::Utf8 => keys.extend(non_null(array.as_string_opt::<i32>()?).map(str::as_bytes)),
        DataType::LargeUtf8 => {
            keys.extend(non_null(array.as_string_opt::<i64>()?).map(str::as_bytes))
        }
        DataType::Utf8View => keys.extend(non_null(array.as_string_view_opt()?).map(str::as_bytes)),
        DataType::Binary => keys.extend(non_null(array.as_binary_opt::<i32>()?)),
        DataType::LargeBinary => keys.extend(non_null(array.as_binary_opt::<i64>()?)),
        DataType::BinaryView => keys.extend(non_null(array.as_binary_view_opt()?)),
        DataType::FixedSizeBinary(_) => keys.extend(non_null(array.as_fixed_size_binary_opt()?)),
        _ => return None,
    }
    Some(())
}

fn non_null<A: ArrayAccessor + Copy>(array: A) -> impl Iterator<Item = A::Item> {
    (0..array.len())
        .filter(move |row| array.is_valid(*row))
        .map(move |row| array.value(row))
}
