//! What Murre keeps in the summaries of snapshots: the highest write sequence, and the idempotency keys of the writes
//! that a snapshot holds.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{SnapshotRef, Summary, TableMetadata};

use crate::error::{Error, Result};

/// The greatest write sequence of all rows of the table.
pub const MAX_SEQUENCE: &str = "murre.max-write-sequence";
/// JSON object of the keys of a snapshot's writes, each with the number of its rows.
pub const IDEMPOTENCY_KEYS: &str = "murre.idempotency-keys";

/// Totals, each with what adds to it and what takes from it.
const TOTALS: [(&str, &str, &str); 6] = [
    ("total-data-files", "added-data-files", "deleted-data-files"),
    (
        "total-delete-files",
        "added-delete-files",
        "removed-delete-files",
    ),
    ("total-records", "added-records", "deleted-records"),
    ("total-files-size", "added-files-size", "removed-files-size"),
    (
        "total-position-deletes",
        "added-position-deletes",
        "removed-position-deletes",
    ),
    (
        "total-equality-deletes",
        "added-equality-deletes",
        "removed-equality-deletes",
    ),
];

/// An earlier write of one idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownWrite {
    /// Snapshot that has its rows.
    pub snapshot_id: i64,
    /// That snapshot's sequence number.
    pub sequence_number: i64,
    /// Its rows.
    pub rows: u64,
}

/// The greatest write sequence that the table's snapshots tell of: that of the nearest ancestor which tells one, since
/// other engines' snapshots do not.
pub fn max_sequence(metadata: &TableMetadata) -> Option<i64> {
    let told = |snapshot: &SnapshotRef| {
        let properties = &snapshot.summary().additional_properties;
        properties.get(MAX_SEQUENCE)?.parse().ok()
    };
    history(metadata).find_map(told)
}

/// The current snapshot and those that it descends from, newest first, as far as they are known.
pub(super) fn history(metadata: &TableMetadata) -> impl Iterator<Item = &SnapshotRef> {
    let parent = |snapshot: &&SnapshotRef| metadata.snapshot_by_id(snapshot.parent_snapshot_id()?);
    let ancestors = std::iter::successors(metadata.current_snapshot(), parent);
    ancestors.take(metadata.snapshots().len())
}

/// Whether the current snapshot is this one or descends from it, as far as is known.
pub fn descends_from(metadata: &TableMetadata, snapshot_id: i64) -> bool {
    history(metadata).any(|snapshot| snapshot.snapshot_id() == snapshot_id)
}

/// The write of an idempotency key, if a snapshot that is still known and part of the table's history has it. The ledger
/// knows those of other snapshots.
pub(super) fn known_write(metadata: &TableMetadata, key: &str) -> Option<KnownWrite> {
    let quoted = serde_json::to_string(key).ok()?;
    history(metadata).find_map(|snapshot| {
        if !keys(snapshot)?.contains(&quoted) {
            return None;
        }
        Some(KnownWrite {
            snapshot_id: snapshot.snapshot_id(),
            sequence_number: snapshot.sequence_number(),
            rows: *writes(snapshot).get(key)?,
        })
    })
}

/// The idempotency keys of a snapshot's writes, with the rows of each.
pub(super) fn writes(snapshot: &SnapshotRef) -> BTreeMap<String, u64> {
    let keys = keys(snapshot).and_then(|keys| serde_json::from_str(keys).ok());
    keys.unwrap_or_default()
}

fn keys(snapshot: &SnapshotRef) -> Option<&String> {
    let properties = &snapshot.summary().additional_properties;
    properties.get(IDEMPOTENCY_KEYS)
}

/// The properties of a snapshot that holds writes of these keys.
pub(super) fn of_writes(
    max_sequence: Option<i64>,
    keys: &BTreeMap<&str, u64>,
) -> Result<HashMap<String, String>> {
    let mut properties = HashMap::new();
    if let Some(sequence) = max_sequence {
        properties.insert(MAX_SEQUENCE.to_owned(), sequence.to_string());
    }
    if !keys.is_empty() {
        let keys = serde_json::to_string(keys)
            .map_err(|error| Error::internal("record idempotency keys", error))?;
        properties.insert(IDEMPOTENCY_KEYS.to_owned(), keys);
    }
    Ok(properties)
}

/// What every snapshot says again.
pub(super) fn carried(base: &TableMetadata) -> HashMap<String, String> {
    let sequence = max_sequence(base).map(|it| (MAX_SEQUENCE.to_owned(), it.to_string()));
    sequence.into_iter().collect()
}

/// Totals after a snapshot with these counts; `anew` if nothing of what was before is left. A total that the previous
/// snapshot does not tell is not told either.
pub(super) fn totals(
    previous: Option<&Summary>,
    counts: &HashMap<String, String>,
    anew: bool,
) -> HashMap<String, String> {
    let count = |key: &str| counts.get(key).and_then(|text| text.parse::<u64>().ok());
    let total = |(total, added, removed): &(&str, &str, &str)| {
        let before: u64 = match previous {
            Some(summary) => summary.additional_properties.get(*total)?.parse().ok()?,
            None => 0,
        };
        let removed = if anew { 0 } else { count(removed).unwrap_or(0) };
        let after = (before + count(added).unwrap_or(0)).saturating_sub(removed);
        Some(((*total).to_owned(), after.to_string()))
    };
    TOTALS.iter().filter_map(total).collect()
}
