//! The ledger of idempotency keys: writes whose snapshots the table's metadata does not have any more.
//!
//! Keys stand in the summaries of snapshots and would go with them. An expiry therefore writes those of the last hours into
//! a file among the table's data, which the table property `murre.idempotency-ledger` names. Such a file never changes:
//! the next expiry writes another one, without the keys that are older than the retention.
//!
//! As everywhere, a key counts only while its rows are part of the table's history. A history of which the beginning has
//! expired ends with a snapshot whose parent is unknown, and the ledger's writes lie below that one: a table that was set
//! back below them has lost their rows, and they may be written again.
//!
//! A key is lost if another engine expires its snapshot before Murre does: a repeated write of it counts as a new one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use iceberg::spec::{SnapshotRef, TableMetadata};
use iceberg::table::Table;
use moka::sync::Cache;
use uuid::Uuid;

use super::summary::{KnownWrite, history, writes};
use crate::catalog::Catalogs;
use crate::error::{Error, Result};
use crate::model::TableName;
use crate::storage::missing_file;
use crate::table::write::data_folder;

mod file;

use file::{decode, encode};

/// Table property: where the ledger is. A table without it has none.
pub const LEDGER: &str = "murre.idempotency-ledger";

/// Of all ledgers that are held in memory together.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// Of one key in memory besides its text.
const ENTRY_BYTES: usize = 96;

/// Writes by their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    keys: BTreeMap<String, Entry>,
}

/// A write and when it was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    snapshot_id: i64,
    sequence_number: i64,
    rows: u64,
    committed_at_ms: i64,
}

impl Entry {
    fn new(snapshot: &SnapshotRef, rows: u64) -> Self {
        Self {
            snapshot_id: snapshot.snapshot_id(),
            sequence_number: snapshot.sequence_number(),
            rows,
            committed_at_ms: snapshot.timestamp_ms(),
        }
    }
}

impl Ledger {
    /// Whether it has no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The write of a key, if its rows are part of the table's history.
    pub fn known_write(&self, metadata: &TableMetadata, key: &str) -> Option<KnownWrite> {
        let entry = self.keys.get(key)?;
        let below = entry.sequence_number < unknown_below(metadata)?;
        below.then_some(KnownWrite {
            snapshot_id: entry.snapshot_id,
            sequence_number: entry.sequence_number,
            rows: entry.rows,
        })
    }

    /// The ledger that a table with this one needs once `expired` snapshots are gone: the keys of all snapshots that its
    /// history then ends before, and its own, as far as they were committed at `since_ms` (UTC) or later.
    #[must_use]
    pub fn after(&self, metadata: &TableMetadata, expired: &BTreeSet<i64>, since_ms: i64) -> Self {
        let known = |snapshot: &&SnapshotRef| !expired.contains(&snapshot.snapshot_id());
        let mut keys = BTreeMap::new();
        for snapshot in history(metadata).skip_while(known) {
            for (key, rows) in writes(snapshot) {
                keys.entry(key).or_insert(Entry::new(snapshot, rows));
            }
        }
        let below = unknown_below(metadata);
        for (key, entry) in &self.keys {
            if below.is_some_and(|below| entry.sequence_number < below) {
                keys.entry(key.clone()).or_insert(*entry);
            }
        }
        keys.retain(|_, entry| entry.committed_at_ms >= since_ms);
        Self { keys }
    }

    /// Writes it to a new file of the table, which is nothing before the table's property names it; answers the location.
    ///
    /// # Errors
    /// What the storage fails with.
    pub async fn write(&self, name: &TableName, table: &Table) -> Result<String> {
        let folder = data_folder(table.metadata());
        let location = format!("{folder}/murre-keys-{}.parquet", Uuid::new_v4());
        let action = format!("write the ledger of idempotency keys of table `{name}`");
        let bytes = encode(self).map_err(|error| Error::internal(&action, error))?;
        let written = async {
            let output = table.file_io().new_output(&location)?;
            output.write(bytes.into()).await
        };
        written.await.map_err(Error::iceberg(&action))?;
        Ok(location)
    }

    fn weight(&self) -> u32 {
        let keys = self.keys.keys().map(|key| key.len() + ENTRY_BYTES);
        u32::try_from(keys.sum::<usize>() + ENTRY_BYTES).unwrap_or(u32::MAX)
    }
}

/// Where a table's ledger is.
pub fn ledger_location(metadata: &TableMetadata) -> Option<&str> {
    metadata.properties().get(LEDGER).map(String::as_str)
}

/// The sequence number below which the history has snapshots that are not known any more; `None` if all of it is known.
fn unknown_below(metadata: &TableMetadata) -> Option<i64> {
    let oldest = history(metadata).last()?;
    let parent = metadata.snapshot_by_id(oldest.parent_snapshot_id()?);
    parent.is_none().then(|| oldest.sequence_number())
}

/// Ledgers as they were read, by location, bounded in bytes.
#[derive(Clone, Debug)]
pub struct KeyLedgers(Cache<String, Arc<Ledger>>);

impl Default for KeyLedgers {
    fn default() -> Self {
        let cache = Cache::builder().max_capacity(CACHE_BYTES).weigher(
            |location: &String, ledger: &Arc<Ledger>| {
                let key = u32::try_from(location.len()).unwrap_or(u32::MAX);
                ledger.weight().saturating_add(key)
            },
        );
        Self(cache.build())
    }
}

impl KeyLedgers {
    /// The ledger of a table as it was loaded; `None` if the table has another one by now, and is to be loaded again. One
    /// that the table names but that is not there counts as empty.
    ///
    /// # Errors
    /// [`Error::StorageUnavailable`] and others if it cannot be read: nothing is known of its keys then.
    pub async fn of(
        &self,
        catalogs: &Catalogs,
        name: &TableName,
        table: &Table,
    ) -> Result<Option<Arc<Ledger>>> {
        let Some(location) = ledger_location(table.metadata()) else {
            return Ok(Some(Arc::default()));
        };
        if let Some(known) = self.0.get(location) {
            return Ok(Some(known));
        }
        let Some(ledger) = read(name, table, location).await? else {
            return missing(catalogs, name, location).await;
        };
        let ledger = Arc::new(ledger);
        self.0.insert(location.to_owned(), Arc::clone(&ledger));
        Ok(Some(ledger))
    }
}

/// `None` if there is no such file.
async fn read(name: &TableName, table: &Table, location: &str) -> Result<Option<Ledger>> {
    let action = format!("read the ledger of idempotency keys of table `{name}`, `{location}`");
    let read = async { table.file_io().new_input(location)?.read().await };
    let bytes = match read.await {
        Ok(bytes) => bytes,
        Err(error) if missing_file(&error).is_some() => return Ok(None),
        Err(error) => return Err(Error::iceberg(action)(error)),
    };
    let parsed = decode(bytes).map_err(|error| {
        let remedy = format!("{error}; without its property `{LEDGER}` the table has no such keys");
        Error::internal(action, remedy)
    });
    parsed.map(Some)
}

/// An expiry deletes the file before its own, so that the table may have to be looked at again.
async fn missing(
    catalogs: &Catalogs,
    name: &TableName,
    location: &str,
) -> Result<Option<Arc<Ledger>>> {
    let now = catalogs.load_table(name).await?;
    if ledger_location(now.metadata()) != Some(location) {
        return Ok(None);
    }
    tracing::warn!(table = %name, location, "the ledger of idempotency keys is missing and counts as empty");
    Ok(Some(Arc::default()))
}

#[cfg(test)]
mod tests;
