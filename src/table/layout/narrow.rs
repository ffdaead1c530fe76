//! What matters of one file: of the keys only those of its bucket. Within a file that holds every sixteenth key, a page spans
//! sixteen times as many keys as it has rows of, and would seem to matter for most of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use iceberg::spec::{PrimitiveLiteral, Transform};

use super::prune::partitions_of;
use super::{KeyFilter, ScanFilter, SortedKeys};
use crate::table::files::FileEntry;

/// Keys of each bucket; `None` where buckets cannot be told.
type Buckets = Option<Arc<[SortedKeys]>>;

/// The keys of one scan's filter by field id and number of buckets, hashed when the first file needs it.
#[derive(Debug, Default)]
pub struct KeysByBucket(Mutex<HashMap<(i32, u32), Buckets>>);

impl KeysByBucket {
    /// `filter`, always the same one, for the rows of `file`.
    pub fn narrow(&self, filter: &ScanFilter, file: &FileEntry) -> ScanFilter {
        let keys = filter.keys.iter().map(|key| KeyFilter {
            field_id: key.field_id,
            values: self.of_file(key, file).unwrap_or(key.values.clone()),
        });
        ScanFilter {
            timestamp: filter.timestamp,
            keys: keys.collect(),
        }
    }

    fn of_file(&self, key: &KeyFilter, file: &FileEntry) -> Option<SortedKeys> {
        let mut partitions = partitions_of(file, key.field_id);
        let bucket = partitions.find_map(|(field, value)| match (field.transform, value) {
            (Transform::Bucket(count), PrimitiveLiteral::Int(bucket)) => Some((count, *bucket)),
            _ => None,
        });
        let (count, bucket) = bucket?;
        let mut known = self.0.lock().expect("no holder panics");
        let buckets = known
            .entry((key.field_id, count))
            .or_insert_with(|| Some(key.values.by_bucket(count)?.into()));
        buckets
            .as_ref()?
            .get(usize::try_from(bucket).ok()?)
            .cloned()
    }
}
