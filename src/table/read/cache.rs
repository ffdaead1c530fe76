//! What is kept of files between requests: parsed footers, and decoded columns of row groups that are read again.
//!
//! Data files never change, so a decoded column stays right for as long as there is room for it; it is kept as the
//! file has it, before deletes and the table's schema are applied. Only scans whose columns fill at most half of the
//! room keep theirs: larger ones would push each other's out and gain nothing.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::FieldRef;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::footer::FooterCache;
use crate::model::value_bytes;
use crate::table::files::FileEntry;

/// What a column takes besides its values, and a mark that it was asked for.
const ENTRY_BYTES: usize = 128;

/// Footers and columns of files, each bounded in bytes.
#[derive(Debug)]
pub struct FileCache {
    pub(super) footers: FooterCache,
    pub(super) columns: Option<Arc<ColumnCache>>,
}

impl FileCache {
    /// Keeps about `footer_bytes` of parsed footers and `column_bytes` of decoded columns.
    pub fn new(footer_bytes: u64, column_bytes: u64) -> Self {
        Self {
            columns: (column_bytes > 0).then(|| Arc::new(ColumnCache::new(column_bytes))),
            ..Self::footers_only(footer_bytes)
        }
    }

    /// Keeps about `bytes` of parsed footers, and no columns.
    pub fn footers_only(bytes: u64) -> Self {
        Self {
            footers: FooterCache::new(bytes),
            columns: None,
        }
    }

    /// What a scan of these columns of these files may do: `wanted`, if there is room for all of them.
    pub(super) fn keep(
        &self,
        wanted: Keep,
        files: &[Arc<FileEntry>],
        columns: &[FieldRef],
    ) -> Keep {
        let rows: u64 = files.iter().map(|file| file.record_count).sum();
        let types = columns.iter().map(|column| column.data_type());
        let bytes = rows.saturating_mul(types.map(value_bytes).sum());
        match &self.columns {
            Some(columns) if columns.has_room_for(bytes) => wanted,
            Some(_) | None => Keep::No,
        }
    }

    /// Keeps nothing, for files that are read whole: their page indexes are not even parsed.
    pub fn none() -> Self {
        Self {
            footers: FooterCache::none(),
            columns: None,
        }
    }
}

/// When the columns of a row group are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Never.
    No,
    /// Once they have been decoded anyway.
    Decoded,
    /// When they are asked for the second time; then all of them are decoded, however few rows are wanted.
    AskedTwice,
}

/// One decoded column of a row group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ColumnKey {
    pub(super) file: Arc<str>,
    pub(super) group: usize,
    /// The leaves of the file's schema that it was decoded from.
    pub(super) leaves: Arc<[usize]>,
}

#[derive(Clone, Debug)]
enum Entry {
    Asked,
    Column(ArrayRef),
}

/// Decoded columns, bounded in bytes; the ones that were not used for longest go first.
#[derive(Debug)]
pub(super) struct ColumnCache {
    entries: Cache<ColumnKey, Entry>,
    max_bytes: u64,
}

impl ColumnCache {
    fn new(max_bytes: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, entry| weight(entry))
            .eviction_policy(EvictionPolicy::lru());
        Self {
            entries: cache.build(),
            max_bytes,
        }
    }

    /// Whether a scan of about so many decoded bytes may keep its columns.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        bytes <= self.max_bytes / 2
    }

    /// The columns, if all of them are here.
    pub(super) fn get(&self, keys: &[ColumnKey]) -> Option<Vec<ArrayRef>> {
        let column = |key| match self.entries.get(key)? {
            Entry::Column(column) => Some(column),
            Entry::Asked => None,
        };
        keys.iter().map(column).collect()
    }

    /// Notes that the columns were asked for; whether each had been before.
    pub(super) fn ask(&self, keys: &[ColumnKey]) -> bool {
        let asked = |key: &ColumnKey| {
            let known = self.entries.contains_key(key);
            if !known {
                self.entries.insert(key.clone(), Entry::Asked);
            }
            known
        };
        keys.iter().map(asked).fold(true, |all, one| all & one)
    }

    pub(super) fn put(&self, keys: &[ColumnKey], columns: &[ArrayRef]) {
        for (key, column) in keys.iter().zip(columns) {
            self.entries
                .insert(key.clone(), Entry::Column(Arc::clone(column)));
        }
    }
}

fn weight(entry: &Entry) -> u32 {
    let values = match entry {
        Entry::Asked => 0,
        Entry::Column(column) => column.get_array_memory_size(),
    };
    u32::try_from(values.saturating_add(ENTRY_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn key(group: usize) -> ColumnKey {
        ColumnKey {
            file: Arc::from("f"),
            group,
            leaves: Arc::from([0]),
        }
    }

    fn column() -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(0..1000))
    }

    #[test]
    fn columns_come_back_only_all_together() {
        let cache = ColumnCache::new(1 << 20);
        cache.put(&[key(0)], &[column()]);
        assert_eq!(cache.get(&[key(0)]).unwrap().len(), 1);
        assert!(cache.get(&[key(0), key(1)]).is_none());
    }

    #[test]
    fn a_column_was_asked_for_from_the_second_time_on() {
        let cache = ColumnCache::new(1 << 20);
        assert!(!cache.ask(&[key(0)]));
        assert!(!cache.ask(&[key(0), key(1)]));
        assert!(cache.ask(&[key(0), key(1)]));
        assert!(cache.get(&[key(0)]).is_none());
    }

    #[test]
    fn bytes_are_bounded() {
        let cache = ColumnCache::new(50_000);
        assert!(cache.has_room_for(25_000) && !cache.has_room_for(25_001));
        for group in 0..100 {
            cache.put(&[key(group)], &[column()]);
        }
        cache.entries.run_pending_tasks();
        assert!(cache.entries.weighted_size() <= 50_000);
        assert!(cache.get(&[key(99)]).is_some());
    }
}
