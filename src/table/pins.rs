//! Tables as they were pinned lately, so that a request that was planned before goes on while its catalog is down.

use std::fmt;
use std::time::Duration;

use moka::sync::Cache;

use super::PinnedTable;
use super::manifests::index_weight;
use crate::model::{TableName, TablePin};

/// Older pins are not answered: the table may be gone by then.
const LIFETIME: Duration = Duration::from_secs(600);
/// Of an entry besides its files.
const ENTRY_BYTES: u32 = 1024;

/// Pinned tables by name and pin, bounded in bytes.
pub(super) struct Pins(Cache<(TableName, TablePin), Kept>);

#[derive(Clone)]
struct Kept {
    table: PinnedTable,
    bytes: u32,
}

impl Pins {
    pub(super) fn new(size_bytes: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(size_bytes)
            .weigher(|_, kept: &Kept| kept.bytes)
            .time_to_live(LIFETIME)
            .build();
        Self(cache)
    }

    pub(super) fn get(&self, name: &TableName, pin: TablePin) -> Option<PinnedTable> {
        self.0.get(&(name.clone(), pin)).map(|kept| kept.table)
    }

    /// Keeps a pin that names a snapshot. That of an empty table could be mistaken for that of a later table of its name.
    ///
    /// A pin that is made again takes the place of the earlier one, whose storage credentials are older; the files are the
    /// same, and are not weighed again.
    pub(super) fn keep(&self, table: &PinnedTable) {
        if table.pin().snapshot.is_none() {
            return;
        }
        let key = (table.name().clone(), table.pin());
        let weigh = || ENTRY_BYTES.saturating_add(index_weight(table.files()));
        let bytes = self.0.get(&key).map_or_else(weigh, |known| known.bytes);
        let table = table.clone();
        self.0.insert(key, Kept { table, bytes });
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pins").field(&self.0.entry_count()).finish()
    }
}
