//! Which files go and which stay.

use iceberg::spec::{
    PartitionStatisticsFile, SnapshotReference, SnapshotRetention, StatisticsFile,
};
use rstest::rstest;

use super::super::sweep::Sweep;
use super::*;
use crate::table::commit::LEDGER;

#[rstest]
#[case(Store::Disk)]
#[case(Store::Bucket)]
#[tokio::test]
async fn orphans_go_and_live_files_stay(#[case] store: Store) {
    let lab = Lab::new(store).await;
    for id in 0..3 {
        lab.append(id).await;
    }
    for kept in ["metadata/version-hint.text", "data/_spark/a", ".hidden"] {
        lab.put(kept).await;
    }
    let live = lab.below().await;
    let mut orphans = BTreeSet::new();
    for orphan in [
        "data/a.parquet",
        "data/_day=1/b c.parquet",
        "metadata/m.avro",
        "c",
    ] {
        orphans.insert(lab.put(orphan).await);
    }
    let all = lab.below().await;

    let would = lab.try_gc(GcOptions::default(), true).await.unwrap();
    let spelled = |path: &String| storage::canonical(path).unwrap();
    assert_eq!(
        (would.orphans, would.orphan_bytes, would.deleted),
        (4, 24, 0)
    );
    assert_eq!(
        would.paths.iter().map(spelled).collect::<BTreeSet<_>>(),
        orphans.iter().map(spelled).collect()
    );
    assert_eq!(lab.below().await, all);

    let report = lab.gc().await;
    assert_eq!((report.orphans, report.deleted, report.failed), (4, 4, 0));
    assert_eq!(report.files, all.len() as u64);
    assert_eq!(lab.below().await, live);
    assert_eq!(lab.rows(None).await, BTreeSet::from([0, 1, 2]));
    assert_eq!(lab.gc().await.orphans, 0);
}

#[tokio::test]
async fn whatever_the_metadata_knows_stays() {
    let lab = Lab::new(Store::Disk).await;
    let (first, second) = (lab.append(0).await, lab.append(1).await);
    let reference = |name: &str, id, retention| TableUpdate::SetSnapshotRef {
        ref_name: name.to_owned(),
        reference: SnapshotReference::new(id, retention),
    };
    let tag = SnapshotRetention::Tag {
        max_ref_age_ms: None,
    };
    let statistics = lab.put("metadata/a.stats").await;
    let partitions = lab.put("metadata/b.stats").await;
    lab.update(vec![
        reference("tag", first, tag),
        reference(
            "branch",
            second,
            SnapshotRetention::branch(None, None, None),
        ),
        TableUpdate::SetStatistics {
            statistics: StatisticsFile {
                snapshot_id: second,
                statistics_path: statistics,
                file_size_in_bytes: 6,
                file_footer_size_in_bytes: 1,
                key_metadata: None,
                blob_metadata: Vec::new(),
            },
        },
        TableUpdate::SetPartitionStatistics {
            partition_statistics: PartitionStatisticsFile {
                snapshot_id: second,
                statistics_path: partitions,
                file_size_in_bytes: 6,
            },
        },
    ])
    .await;
    let ledger = lab.put("data/murre-keys-1.parquet").await;
    lab.put("data/murre-keys-0.parquet").await;
    lab.set(LEDGER, &ledger).await;
    lab.replace(2).await;
    assert_eq!(lab.gc().await.paths.len(), 1);
    let below = lab.below().await;
    for kept in [
        "metadata/a.stats",
        "metadata/b.stats",
        "data/murre-keys-1.parquet",
    ] {
        assert!(below.contains(kept), "{kept}");
    }
    assert!(!below.contains("data/murre-keys-0.parquet"));
    assert_eq!(lab.rows(None).await, BTreeSet::from([2]));
    assert_eq!(lab.rows(Some(first)).await, BTreeSet::from([0]));
    assert_eq!(lab.rows(Some(second)).await, BTreeSet::from([0, 1]));
}

#[tokio::test]
async fn young_files_stay() {
    let mut lab = Lab::new(Store::Disk).await;
    lab.put("data/a").await;
    let in_two_days = Arc::new(ManualClock::new(SystemClock.now() + 2 * DAY));
    lab.maintenance = lab.maintenance.with_clock(in_two_days);
    assert_eq!(lab.gc().await.orphans, 0);
    let options = GcOptions {
        older_than: DAY,
        ..GcOptions::default()
    };
    assert_eq!(lab.try_gc(options, true).await.unwrap().orphans, 1);
}

#[tokio::test]
async fn less_than_a_day_is_refused_unless_forced() {
    let lab = Lab::new(Store::Disk).await;
    lab.put("data/a").await;
    let hour = |force_younger| GcOptions {
        older_than: HOUR,
        force_younger,
    };
    let refused = lab.try_gc(hour(false), false).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "older_than: 1h is less than a day, so that files of writes in flight would be taken for orphans"
    );
    assert_eq!(lab.try_gc(hour(true), false).await.unwrap().deleted, 1);
}

#[tokio::test]
async fn a_table_can_forbid_it() {
    let lab = Lab::new(Store::Disk).await;
    lab.set("gc.enabled", "false").await;
    lab.put("data/a").await;
    let refused = lab.try_gc(GcOptions::default(), false).await;
    assert!(matches!(refused, Err(Error::NotAllowed { .. })));
    assert!(lab.below().await.contains("data/a"));
}

#[rstest]
#[case(Store::Disk)]
#[case(Store::Bucket)]
#[tokio::test]
async fn a_commit_after_the_listing_keeps_its_files(#[case] store: Store) {
    let lab = Lab::new(store).await;
    lab.append(0).await;
    let files = lab.files(1).await;
    lab.put("data/orphan").await;
    let table = lab.table().await;
    let catalogs = lab.tables.catalogs();
    let mut sweep = Sweep::begin(catalogs, &lab.name, table, false)
        .await
        .unwrap();
    for file in lab.listed().await {
        sweep.look(file).unwrap();
    }
    append(catalogs, &lab.name, files).await.unwrap();
    sweep.delete().await.unwrap();
    let report = sweep.end();
    assert_eq!((report.orphans, report.deleted), (1, 1));
    assert!(report.paths[0].ends_with("/data/orphan"));
    assert_eq!(lab.rows(None).await, BTreeSet::from([0, 1]));
}

#[tokio::test]
async fn nothing_goes_where_a_manifest_cannot_be_read() {
    let lab = Lab::new(Store::Disk).await;
    lab.append(0).await;
    lab.append(1).await;
    lab.put("data/a").await;
    let table = lab.table().await;
    let snapshot = table.metadata().current_snapshot().unwrap();
    let list = table.manifest_list_reader(snapshot).load().await.unwrap();
    let manifest = list.entries()[0].manifest_path.clone();
    let output = table.file_io().new_output(&manifest).unwrap();
    output.write("damaged".into()).await.unwrap();
    assert!(lab.try_gc(GcOptions::default(), false).await.is_err());
    assert!(lab.below().await.contains("data/a"));
}

#[tokio::test]
async fn a_file_that_is_referred_to_by_another_path_stays() {
    let lab = Lab::new(Store::Disk).await;
    let files = lab.files(0).await;
    let name = files[0].file_path().rsplit('/').next().unwrap().to_owned();
    append(lab.tables.catalogs(), &lab.name, files)
        .await
        .unwrap();
    lab.put(&format!("copy/{name}")).await;
    let report = lab.gc().await;
    assert_eq!((report.orphans, report.ambiguous), (0, 1));
    assert!(lab.below().await.contains(&format!("copy/{name}")));
}
