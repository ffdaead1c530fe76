//! What has to hold in the end, in the most obvious way: by reading everything that is there.

use std::collections::{BTreeMap, BTreeSet};

use iceberg::spec::SnapshotRef;
use iceberg::table::Table;

use super::actors::History;
use super::world::World;
use crate::error::{Error, Result};

/// The data files of a snapshot, from its manifests.
async fn files_of(table: &Table, snapshot: &SnapshotRef) -> Result<BTreeSet<String>> {
    let failed = || Error::iceberg("read a snapshot");
    let list = table
        .manifest_list_reader(snapshot)
        .load()
        .await
        .map_err(failed())?;
    let mut found = BTreeSet::new();
    for file in list.entries() {
        let manifest = file
            .load_manifest(table.file_io())
            .await
            .map_err(failed())?;
        let live = manifest.entries().iter().filter(|entry| entry.is_alive());
        for entry in live {
            let is_new = found.insert(entry.file_path().to_owned());
            assert!(is_new, "{} is there twice", entry.file_path());
        }
    }
    Ok(found)
}

/// The data files of the current snapshot.
pub(super) async fn live_files(table: &Table) -> Result<BTreeSet<String>> {
    match table.metadata().current_snapshot() {
        Some(current) => files_of(table, current).await,
        None => Ok(BTreeSet::new()),
    }
}

pub(super) async fn check(world: &World, history: &History) {
    let table = world.read().await.unwrap();
    every_snapshot_is_readable(&table).await;
    the_history_has_no_fork(&table);
    let live = live_files(&table).await.unwrap();
    let deleted: Vec<_> = live.intersection(&history.deleted).collect();
    assert!(deleted.is_empty(), "live files were deleted: {deleted:?}");
    rows_are_there_once(&live, history);
    one_answer_is_the_first(history);
}

async fn every_snapshot_is_readable(table: &Table) {
    for snapshot in table.metadata().snapshots() {
        let files = files_of(table, snapshot).await;
        files.unwrap_or_else(|error| unreachable!("snapshot {}: {error}", snapshot.snapshot_id()));
    }
}

fn the_history_has_no_fork(table: &Table) {
    let metadata = table.metadata();
    let parent = |it: &&SnapshotRef| metadata.snapshot_by_id(it.parent_snapshot_id()?);
    let history: Vec<_> = std::iter::successors(metadata.current_snapshot(), parent).collect();
    assert_eq!(history.len(), metadata.snapshots().len());
    assert!(history.windows(2).all(|pair| match pair {
        [newer, older] => newer.sequence_number() == older.sequence_number() + 1,
        _ => true,
    }));
}

fn rows_are_there_once(live: &BTreeSet<String>, history: &History) {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for attempt in live.iter().flat_map(|path| &history.contents[path]) {
        let key = history.keys.get(attempt).unwrap_or(attempt);
        *found.entry(key).or_default() += 1;
    }
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "written more than once: {twice:?}");
    let acknowledged = history.receipts.keys();
    let lost: Vec<_> = acknowledged
        .filter(|key| !found.contains_key(key.as_str()))
        .collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

fn one_answer_is_the_first(history: &History) {
    for (key, receipts) in &history.receipts {
        let firsts = receipts.iter().filter(|receipt| !receipt.replayed).count();
        assert!(firsts <= 1, "{key} was told to be new {firsts} times");
    }
}
