//! The state of real tables.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::clock::ManualClock;
use crate::maintenance::lab::{Lab, hybrid};

#[tokio::test]
async fn a_table_says_what_it_is_made_of() {
    let mut lab = Lab::new(hybrid(), &[]).await;
    for value in 0..8 {
        lab.append(&[(Some(1), 1, Some(value))]).await;
    }
    lab.append_together(&[(Some(1), 1, None), (Some(2), 30, None)])
        .await;
    let table = lab.table().await;
    let snapshots = table.metadata().snapshots();
    let first = snapshots.map(|it| it.timestamp_ms()).min().unwrap();
    let clock = ManualClock::new(UNIX_EPOCH + Duration::from_millis(first as u64 + 60_000));
    let maintenance = lab.maintenance.clone().with_clock(Arc::new(clock));
    let status = maintenance.status(&lab.name).await.unwrap();
    let bytes: u64 = lab.files().await.iter().map(|file| file.size_bytes).sum();
    let expected = TableStatus {
        catalog: "default".to_owned(),
        table: "t.history".to_owned(),
        files: 9,
        small_files: 8,
        loose_files: 1,
        rows: 10,
        bytes,
        snapshots: 9,
        oldest_snapshot_age_s: Some(60),
        maintenance: Some("on".to_owned()),
        due: status.due.clone(),
        manifests: status.manifests,
        metadata_bytes: status.metadata_bytes,
        ..TableStatus::default()
    };
    assert_eq!(status, expected);
    let due = status.due.unwrap();
    assert!(due.starts_with("a partition has 8 small files"), "{due}");
    assert!((1..=9).contains(&status.manifests));
    let location = table.metadata_location().unwrap();
    let metadata = std::fs::metadata(location.trim_start_matches("file://")).unwrap();
    assert_eq!(status.metadata_bytes, metadata.len());
}

#[tokio::test]
async fn an_empty_table_has_nothing() {
    let lab = Lab::new(hybrid(), &[]).await;
    let status = lab.maintenance.status(&lab.name).await.unwrap();
    assert_eq!(
        (status.files, status.manifests, status.snapshots),
        (0, 0, 0)
    );
    assert_eq!((status.oldest_snapshot_age_s, status.due), (None, None));
}
