//! Keys of writes whose snapshots have expired.

use std::time::Duration;

use indicatif::ProgressBar;

use super::*;
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::maintenance::{ExpireOptions, ExpireReport, Maintenance};
use crate::table::commit::{LEDGER, ledger_location};

const DAYS: u32 = 10;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Lab {
    /// Expires the view's table by a clock that is ahead, and keeps keys for so many days.
    async fn expire(&self, table: &str, retention: u32) -> ExpireReport {
        let clock = Arc::new(ManualClock::new(SystemClock.now() + DAYS * DAY));
        let maintenance = Maintenance::new(Arc::clone(&self.base.tables)).with_clock(clock);
        let options = ExpireOptions {
            key_retention: retention * DAY,
            ..ExpireOptions::default()
        };
        let (name, progress) = (named(table), ProgressBar::hidden());
        let report = maintenance.expire(&name, &options, false, &progress).await;
        report.unwrap()
    }

    /// Files of this kind on disk.
    fn ledgers(&self) -> usize {
        let folder = self.base.folder.path().join("warehouse");
        let mut found = vec![folder];
        let mut count = 0;
        while let Some(path) = found.pop() {
            match std::fs::read_dir(&path) {
                Ok(entries) => found.extend(entries.map(|it| it.unwrap().path())),
                Err(_) => count += usize::from(path.display().to_string().contains("murre-keys-")),
            }
        }
        count
    }
}

const TABLE: &str = "online.shop_stats";

#[tokio::test]
async fn a_key_outlives_its_snapshot() {
    let lab = Lab::new().await;
    let first = lab.write(keyed("first"), drivers(0..3)).await.unwrap();
    lab.write(keyed("second"), drivers(3..4)).await.unwrap();
    lab.write(online("stats"), drivers(4..5)).await.unwrap();
    let report = lab.expire(TABLE, 2 * DAYS).await;
    assert_eq!((report.snapshots_before, report.snapshots_after), (3, 1));
    let again = lab.write(keyed("first"), drivers(0..3)).await.unwrap();
    assert!(again.replayed);
    assert_eq!(
        (again.rows, again.snapshot, again.token),
        (3, first.snapshot, first.token)
    );
    // The ledger is written anew, and the earlier one goes.
    lab.write(online("stats"), drivers(5..6)).await.unwrap();
    let report = lab.expire(TABLE, 2 * DAYS).await;
    assert_eq!((report.snapshots_after, report.files.other_files), (1, 1));
    assert_eq!(lab.ledgers(), 1);
    for key in ["first", "second"] {
        assert!(
            lab.write(keyed(key), drivers(0..3)).await.unwrap().replayed,
            "{key}"
        );
    }
    assert!(
        !lab.write(keyed("third"), drivers(6..7))
            .await
            .unwrap()
            .replayed
    );
    assert_eq!(
        integers(&lab.stored().await, "row_id"),
        [0, 1, 2, 3, 4, 5, 6]
    );
}

#[tokio::test]
async fn a_key_is_forgotten_after_its_time() {
    let lab = Lab::new().await;
    lab.write(keyed("first"), drivers(0..1)).await.unwrap();
    lab.write(online("stats"), drivers(1..2)).await.unwrap();
    lab.expire(TABLE, 2 * DAYS).await;
    assert_eq!(lab.ledgers(), 1);
    // Nothing expires but the key.
    lab.expire(TABLE, 1).await;
    assert_eq!(ledger_location(lab.table().await.metadata()), None);
    assert_eq!(lab.ledgers(), 0);
    assert!(
        !lab.write(keyed("first"), drivers(0..1))
            .await
            .unwrap()
            .replayed
    );

    lab.write(online("stats"), drivers(2..3)).await.unwrap();
    lab.expire(TABLE, 1).await;
    assert!(
        !lab.write(keyed("first"), drivers(0..1))
            .await
            .unwrap()
            .replayed
    );
}

/// Writers that know the table as it was before the expiry, and such that begin anew.
#[tokio::test]
async fn a_group_commit_knows_expired_keys() {
    let lab = Lab::new().await;
    lab.write(keyed("first"), drivers(0..1)).await.unwrap();
    lab.write(online("stats"), drivers(1..2)).await.unwrap();
    let (table, rows) = (lab.table().await, lab.stored().await);
    let spec = table.metadata().default_partition_spec_id();
    lab.expire(TABLE, 2 * DAYS).await;
    for (key, replayed) in [(Some("first"), true), (Some("other"), false), (None, false)] {
        let files = write(&table, &[rows[0].clone()]).await.unwrap();
        let submission = crate::table::commit::Submission {
            table: table.metadata().uuid(),
            files: BTreeMap::from([(spec, files)]),
            rows: 1,
            key: key.map(str::to_owned),
            max_sequence: None,
        };
        let receipt = lab.ingest.commits.commit(&named(TABLE), submission).await;
        assert_eq!(receipt.unwrap().replayed, replayed, "{key:?}");
    }
}

#[tokio::test]
async fn keys_of_batch_sources_outlive_their_snapshots() {
    let lab = Lab::new().await;
    let write = |key: Option<&str>, id: i64| {
        let request = WriteRequest {
            to: WriteTarget::Offline,
            idempotency_key: key.map(str::to_owned),
            ..online("stats")
        };
        lab.write(request, drivers(id..id + 1))
    };
    write(Some("first"), 0).await.unwrap();
    write(None, 1).await.unwrap();
    lab.expire("demo.offline", 2 * DAYS).await;
    assert!(write(Some("first"), 0).await.unwrap().replayed);
    assert_eq!(
        integers(&lab.base.rows(&named("demo.offline")).await, "row_id"),
        [0, 1]
    );
}

#[tokio::test]
async fn a_write_does_not_go_on_without_the_ledger() {
    let lab = Lab::new().await;
    lab.write(online("stats"), drivers(0..1)).await.unwrap();
    let broken = lab.base.folder.path().join("broken.json");
    std::fs::write(&broken, "?").unwrap();
    let location = HashMap::from([(LEDGER.to_owned(), broken.display().to_string())]);
    let change = Change {
        updates: vec![iceberg::TableUpdate::SetProperties { updates: location }],
        ..Change::default()
    };
    let name = named(TABLE);
    let referred = commit_change(lab.base.tables.catalogs(), &name, |_| Ok(change.clone()));
    referred.await.unwrap();
    lab.write(keyed("first"), drivers(1..2)).await.unwrap_err();
    // Writes without keys need it not, and a missing one counts as empty.
    lab.write(online("stats"), drivers(2..3)).await.unwrap();
    std::fs::remove_file(&broken).unwrap();
    assert!(
        !lab.write(keyed("first"), drivers(1..2))
            .await
            .unwrap()
            .replayed
    );
    assert_eq!(integers(&lab.stored().await, "row_id"), [0, 1, 2]);
}
