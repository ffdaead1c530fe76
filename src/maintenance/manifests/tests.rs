//! Manifests merged by command and in passing.

use std::collections::BTreeMap;

use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, ManifestContentType};

use super::*;
use crate::error::Error;
use crate::maintenance::lab::{Lab, hybrid};

const OFF: (&str, &str) = ("commit.manifest-merge.enabled", "false");

/// Of each live file: its sequence numbers, and the snapshot that added it.
async fn entries(lab: &Lab) -> BTreeMap<String, (Option<i64>, Option<i64>, Option<i64>)> {
    let table = lab.table().await;
    let current = table.metadata().current_snapshot().unwrap();
    let list = table.manifest_list_reader(current).load().await.unwrap();
    let mut entries = BTreeMap::new();
    for file in list.entries() {
        let manifest = file.load_manifest(table.file_io()).await.unwrap();
        for entry in manifest.entries().iter().filter(|it| it.is_alive()) {
            let numbers = (entry.sequence_number(), entry.file_sequence_number);
            let value = (numbers.0, numbers.1, entry.snapshot_id());
            let twice = entries.insert(entry.file_path().to_owned(), value);
            assert_eq!(twice, None);
        }
    }
    entries
}

async fn count(lab: &Lab) -> usize {
    count_manifests(&lab.table().await).await.unwrap().total
}

#[tokio::test]
async fn files_and_their_numbers_stay_as_they_are() {
    let mut lab = Lab::new(hybrid(), &[OFF]).await;
    for hour in 0..12 {
        lab.append(&[(Some(hour % 5), 9 * hour, None), (None, hour, None)])
            .await;
    }
    for id in 0..6 {
        lab.delete_positions(&[2 * id]).await;
    }
    let (before, manifests) = (entries(&lab).await, count(&lab).await);
    assert_eq!(manifests, 18);
    let said = lab.maintenance.merge_manifests(&lab.name, true);
    let said = said.await.unwrap();
    assert_eq!((said.before, said.after, said.snapshot_id), (18, 2, None));
    assert_eq!(count(&lab).await, 18);

    let done = lab.maintenance.merge_manifests(&lab.name, false);
    let done = done.await.unwrap();
    assert_eq!((done.before, done.after), (18, 2));
    assert_eq!(entries(&lab).await, before);
    let table = lab.table().await;
    let current = table.metadata().current_snapshot().unwrap();
    assert_eq!(done.snapshot_id, Some(current.snapshot_id()));
    let summary = current.summary();
    assert_eq!(summary.operation, Operation::Replace);
    assert_eq!(summary.additional_properties["manifests-replaced"], "18");
    lab.check().await;

    let again = lab.maintenance.merge_manifests(&lab.name, false);
    let again = again.await.unwrap();
    assert_eq!((again.before, again.after, again.snapshot_id), (2, 2, None));
    assert_eq!(again.to_string(), "t.history: nothing to do, 2 manifests");
}

#[tokio::test]
async fn a_merged_manifest_is_sorted_by_partition() {
    let mut lab = Lab::new(hybrid(), &[OFF]).await;
    for day in [4, 1, 3, 0, 2] {
        lab.append(&[(Some(1), 24 * day, None)]).await;
    }
    let merged = lab.maintenance.merge_manifests(&lab.name, false);
    merged.await.unwrap();
    let files = lab.files().await;
    let days = files.iter().map(|file| {
        let day = file.partition.iter().nth(1).flatten();
        day.and_then(|day| day.as_primitive_literal()).unwrap()
    });
    let days: Vec<_> = days.collect();
    assert_eq!(days.len(), 5);
    assert!(days.is_sorted());
}

#[tokio::test]
async fn writes_merge_manifests_in_passing() {
    let least = ("commit.manifest.min-count-to-merge", "5");
    let mut lab = Lab::new(Vec::new(), &[least]).await;
    let mut most = 0;
    for hour in 0..23 {
        lab.append(&[(Some(1), hour, None)]).await;
        most = most.max(count(&lab).await);
    }
    assert_eq!(most, 5);
    let sequences = entries(&lab).await;
    let mut sequences: Vec<i64> = sequences.values().map(|it| it.0.unwrap()).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=23).collect::<Vec<_>>());
    let table = lab.table().await;
    let summary = table.metadata().current_snapshot().unwrap().summary();
    assert_eq!(summary.operation, Operation::Append);
    assert_eq!(summary.additional_properties["added-data-files"], "1");
    assert_eq!(summary.additional_properties["total-data-files"], "23");
    lab.check().await;
}

#[tokio::test]
async fn a_merge_that_is_turned_off_or_not_due_is_none() {
    for properties in [&[OFF, ("commit.manifest.min-count-to-merge", "2")][..], &[]] {
        let mut lab = Lab::new(Vec::new(), properties).await;
        for hour in 0..7 {
            lab.append(&[(Some(1), hour, None)]).await;
        }
        assert_eq!(count(&lab).await, 7);
    }
}

#[tokio::test]
async fn deletes_that_a_merge_moved_are_still_later_than_what_was_read() {
    use crate::table::commit::{Removed, current_sequence};
    let mut lab = Lab::new(Vec::new(), &[OFF]).await;
    for hour in 0..5 {
        lab.append(&[(Some(1), hour, None)]).await;
    }
    let (read_at, files) = (current_sequence(&lab.table().await), lab.files().await);
    for id in 0..5 {
        lab.delete_positions(&[id]).await;
    }
    let merged = lab.maintenance.merge_manifests(&lab.name, false);
    assert!(merged.await.unwrap().snapshot_id.is_some());
    let change = Change {
        removed: Removed::Files {
            paths: [files[0].path.clone()].into(),
            read_at,
        },
        operation: Operation::Replace,
        ..Change::default()
    };
    let late = lab.change(change).await;
    assert!(
        matches!(late, Err(Error::CommitConflict { .. })),
        "{late:?}"
    );
}

#[tokio::test]
async fn tables_with_row_ids_are_refused() {
    let mut lab = Lab::new(Vec::new(), &[OFF]).await;
    lab.append(&[(Some(1), 1, None)]).await;
    let format_version = FormatVersion::V3;
    let updates = vec![TableUpdate::UpgradeFormatVersion { format_version }];
    lab.change(Change {
        updates,
        ..Change::default()
    })
    .await
    .unwrap();
    let hidden = indicatif::ProgressBar::hidden();
    let merged = lab.maintenance.merge_manifests(&lab.name, false).await;
    let compacted = lab.maintenance.compact(&lab.name, false, &hidden).await;
    for refused in [merged.map(drop), compacted.map(drop)] {
        assert!(matches!(refused, Err(Error::Unsupported { .. })));
    }
    assert_eq!(lab.maintenance.due(&lab.name).await.unwrap(), None);
}

#[tokio::test]
async fn deletes_are_listed_apart() {
    let mut lab = Lab::new(Vec::new(), &[OFF]).await;
    for hour in 0..5 {
        lab.append(&[(Some(1), hour, None), (Some(2), hour, None)])
            .await;
        lab.delete_equal(&[2 * hour]).await;
    }
    let merged = lab.maintenance.merge_manifests(&lab.name, false);
    merged.await.unwrap();
    let table = lab.table().await;
    let current = table.metadata().current_snapshot().unwrap();
    let list = table.manifest_list_reader(current).load().await.unwrap();
    let mut contents: Vec<_> = list.entries().iter().map(|it| it.content).collect();
    contents.sort_by_key(|it| *it as i32);
    let expected = [ManifestContentType::Data, ManifestContentType::Deletes];
    assert_eq!(contents, expected);
    lab.check().await;
}
