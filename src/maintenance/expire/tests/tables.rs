//! Expiry of real tables, read back by the library's own reader.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use iceberg::TableUpdate;
use iceberg::spec::{NestedField, Operation, PrimitiveType, Schema, StatisticsFile, Type};
use tempfile::TempDir;

use super::*;
use crate::catalog::tests::local;
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::model::{SnapshotId, TablePin};
use crate::table::commit::{NewTable, Removed, create_table, current_sequence};
use crate::table::write::write;
use crate::table::{TableCacheConfig, Tables};

const DAYS: Duration = Duration::from_secs(10 * 24 * 60 * 60);

struct Lab {
    folder: TempDir,
    tables: Arc<Tables>,
    name: TableName,
}

impl Lab {
    /// A table of one column, `id`.
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let lab = Self {
            tables: Arc::new(Tables::new(
                local(folder.path()),
                TableCacheConfig::default(),
            )),
            name: TableName::parse("default", "t.stats").unwrap(),
            folder,
        };
        let id = NestedField::optional(1, "id", Type::Primitive(PrimitiveType::Long));
        let schema = Schema::builder().with_fields([Arc::new(id)]).build();
        let new = NewTable {
            schema: schema.unwrap(),
            partition_by: Vec::new(),
            sort_by: Vec::new(),
        };
        create_table(lab.tables.catalogs(), &lab.name, new)
            .await
            .unwrap();
        lab
    }

    /// Four snapshots: rows 1, 2 and 4, of which 1 went with the third snapshot.
    async fn with_history() -> (Self, Vec<i64>) {
        let lab = Self::new().await;
        let (first, path) = lab.append(1).await;
        let (second, _) = lab.append(2).await;
        let third = lab.remove(path).await;
        let (fourth, _) = lab.append(4).await;
        (lab, vec![first, second, third, fourth])
    }

    async fn table(&self) -> Table {
        self.tables.catalogs().load_table(&self.name).await.unwrap()
    }

    async fn change(&self, change: Change) -> Option<i64> {
        let catalogs = self.tables.catalogs();
        let committed = commit_change(catalogs, &self.name, |_| Ok(change.clone())).await;
        committed.unwrap().snapshot_id
    }

    async fn update(&self, update: TableUpdate) {
        let change = Change {
            updates: vec![update],
            ..Change::default()
        };
        self.change(change).await;
    }

    async fn set(&self, pairs: &[(&str, &str)]) {
        let pairs = pairs.iter();
        let updates = pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let updates = updates.collect();
        self.update(TableUpdate::SetProperties { updates }).await;
    }

    async fn tag(&self, name: &str, snapshot: i64) {
        let update = TableUpdate::SetSnapshotRef {
            ref_name: name.to_owned(),
            reference: tag(snapshot, None),
        };
        self.update(update).await;
    }

    /// One row in a file of its own; the snapshot and the file.
    async fn append(&self, id: i64) -> (i64, String) {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![id]));
        let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        let files = write(&self.table().await, &[batch]).await.unwrap();
        let path = files[0].file_path().to_owned();
        let change = Change {
            added: BTreeMap::from([(0, files)]),
            operation: Operation::Append,
            ..Change::default()
        };
        (self.change(change).await.unwrap(), path)
    }

    async fn remove(&self, path: String) -> i64 {
        let change = Change {
            removed: Removed::Files {
                paths: BTreeSet::from([path]),
                read_at: current_sequence(&self.table().await),
            },
            operation: Operation::Delete,
            ..Change::default()
        };
        self.change(change).await.unwrap()
    }

    /// Expires as by a clock that is ahead.
    async fn expire(&self, ahead: Duration, dry_run: bool) -> Result<ExpireReport> {
        let clock = Arc::new(ManualClock::new(SystemClock.now() + ahead));
        let maintenance = Maintenance::new(Arc::clone(&self.tables)).with_clock(clock);
        let (options, progress) = (ExpireOptions::default(), ProgressBar::hidden());
        maintenance
            .expire(&self.name, &options, dry_run, &progress)
            .await
    }

    async fn ids(&self, snapshot: Option<i64>) -> Vec<i64> {
        let table = self.table().await;
        let mut scan = table.scan().select_all();
        if let Some(snapshot) = snapshot {
            scan = scan.snapshot_id(snapshot);
        }
        let stream = scan.build().unwrap().to_arrow().await.unwrap();
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        let ids = batches.iter().flat_map(|batch| {
            let ids = batch.column(0).as_primitive::<Int64Type>();
            ids.values().to_vec()
        });
        let ids: BTreeSet<i64> = ids.collect();
        ids.into_iter().collect()
    }

    async fn snapshots(&self) -> BTreeSet<i64> {
        let table = self.table().await;
        table
            .metadata()
            .snapshots()
            .map(|it| it.snapshot_id())
            .collect()
    }

    /// Names of the table's files on disk.
    fn files(&self) -> BTreeSet<String> {
        fn collect(folder: &Path, files: &mut BTreeSet<String>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => collect(&path, files),
                    false => drop(files.insert(path.display().to_string())),
                }
            }
        }
        let mut files = BTreeSet::new();
        collect(&self.folder.path().join("warehouse"), &mut files);
        files
    }

    fn count(&self, part: &str) -> usize {
        self.files().iter().filter(|it| it.contains(part)).count()
    }
}

#[tokio::test]
async fn old_snapshots_go_and_what_remains_is_read() {
    let (lab, snapshots) = Lab::with_history().await;
    let report = lab.expire(DAYS, false).await.unwrap();
    assert_eq!((report.snapshots_before, report.snapshots_after), (4, 1));
    let ExpiredFiles { bytes, .. } = report.files;
    let expected = ExpiredFiles {
        data_files: 1,
        manifests: 2,
        manifest_lists: 3,
        bytes,
        ..ExpiredFiles::default()
    };
    assert_eq!(report.files, expected);
    assert!(bytes > 0);
    assert_eq!(lab.snapshots().await, BTreeSet::from([snapshots[3]]));
    assert_eq!(lab.ids(None).await, [2, 4]);
    let left = (lab.count(".parquet"), lab.count("-m"), lab.count("snap-"));
    assert_eq!(left, (2, 2, 1));
    let again = lab.expire(DAYS, false).await.unwrap();
    assert_eq!(again.to_string(), "t.stats: nothing to do, 1 snapshots");
    lab.append(5).await;
    assert_eq!(lab.ids(None).await, [2, 4, 5]);
}

#[tokio::test]
async fn a_dry_run_tells_the_same_and_changes_nothing() {
    let (lab, _) = Lab::with_history().await;
    let (files, before) = (lab.files(), lab.table().await);
    let told = lab.expire(DAYS, true).await.unwrap();
    assert_eq!(lab.files(), files);
    let location = before.metadata_location();
    assert_eq!(lab.table().await.metadata_location(), location);
    assert!(
        told.to_string().ends_with(" deleted (nothing was changed)"),
        "{told}"
    );
    let done = lab.expire(DAYS, false).await.unwrap();
    let told = ExpireReport {
        dry_run: false,
        ..told
    };
    assert_eq!(told, done);
}

#[tokio::test]
async fn a_tag_keeps_its_snapshot_readable() {
    let (lab, snapshots) = Lab::with_history().await;
    lab.tag("v1", snapshots[0]).await;
    let report = lab.expire(DAYS, false).await.unwrap();
    assert_eq!(report.snapshots_after, 2);
    let left = BTreeSet::from([snapshots[0], snapshots[3]]);
    assert_eq!(lab.snapshots().await, left);
    assert_eq!(lab.ids(Some(snapshots[0])).await, [1]);
    assert_eq!(lab.ids(None).await, [2, 4]);
    let pin = TablePin {
        snapshot: Some(SnapshotId(snapshots[0])),
        schema_id: 0,
    };
    let pinned = lab.tables.pin(&lab.name, Some(pin)).await.unwrap();
    assert_eq!(pinned.files().record_count(), 1);
    let gone = TablePin {
        snapshot: Some(SnapshotId(snapshots[1])),
        schema_id: 0,
    };
    let gone = lab.tables.pin(&lab.name, Some(gone)).await;
    assert!(matches!(gone, Err(Error::SnapshotNotFound { .. })));
}

#[tokio::test]
async fn a_ref_that_is_over_goes_with_its_files() {
    let (lab, snapshots) = Lab::with_history().await;
    let reference = tag(snapshots[1], Some(1));
    let ref_name = "short".to_owned();
    lab.update(TableUpdate::SetSnapshotRef {
        ref_name,
        reference,
    })
    .await;
    let report = lab.expire(DAYS, false).await.unwrap();
    assert_eq!(report.refs_removed, ["short"]);
    assert!(
        report
            .to_string()
            .starts_with("t.stats: 4 snapshots → 1, without short, "),
        "{report}"
    );
    let table = lab.table().await;
    assert!(table.metadata().snapshot_for_ref("short").is_none());
    assert_eq!(lab.ids(None).await, [2, 4]);
}

/// Whatever the table says: what was current within the last hour may still be read.
#[tokio::test]
async fn a_snapshot_that_may_be_pinned_stays() {
    let (lab, snapshots) = Lab::with_history().await;
    lab.set(&[("history.expire.max-snapshot-age-ms", "1")])
        .await;
    let soon = Duration::from_secs(30 * 60);
    let report = lab.expire(soon, false).await.unwrap();
    assert_eq!((report.snapshots_after, report.files.count()), (4, 0));
    assert_eq!(lab.ids(Some(snapshots[0])).await, [1]);
    let later = lab.expire(2 * READERS, false).await.unwrap();
    assert_eq!(later.snapshots_after, 1);
}

fn expiry<'a>(lab: &'a Lab, options: &'a ExpireOptions) -> Expiry<'a> {
    let now = (SystemClock.now() + DAYS).duration_since(UNIX_EPOCH);
    Expiry {
        catalogs: lab.tables.catalogs(),
        name: &lab.name,
        options,
        now_ms: millis(now.unwrap()),
    }
}

#[tokio::test]
async fn a_snapshot_that_is_tagged_meanwhile_stays() {
    let (lab, snapshots) = Lab::with_history().await;
    let options = ExpireOptions::default();
    let expiry = expiry(&lab, &options);
    let plan = expiry.plan().await.unwrap();
    lab.tag("v1", snapshots[0]).await;
    let files = lab.files();
    let conflict = expiry.commit(&plan).await.unwrap_err();
    assert!(
        matches!(conflict, Error::CommitConflict { .. }),
        "{conflict}"
    );
    assert_eq!(lab.files(), files);
    assert_eq!(lab.snapshots().await.len(), 4);
    let report = expiry.once(false, &ProgressBar::hidden()).await.unwrap();
    assert_eq!(report.snapshots_after, 2);
    assert_eq!(lab.ids(Some(snapshots[0])).await, [1]);
}

#[tokio::test]
async fn an_append_in_between_is_no_conflict() {
    let (lab, _) = Lab::with_history().await;
    let options = ExpireOptions::default();
    let expiry = expiry(&lab, &options);
    let plan = expiry.plan().await.unwrap();
    lab.append(5).await;
    let after = expiry.commit(&plan).await.unwrap();
    let progress = ProgressBar::hidden();
    let files = Sweep::new(&plan.base, &after, false, &progress)
        .run()
        .await
        .unwrap();
    assert_eq!(
        (files.data_files, files.manifests, files.manifest_lists),
        (1, 2, 3)
    );
    assert_eq!(lab.snapshots().await.len(), 2);
    assert_eq!(lab.ids(None).await, [2, 4, 5]);
}

/// As when its answer was lost: it is not taken for somebody else's, and not made again.
#[tokio::test]
async fn a_commit_that_happened_is_recognised() {
    let (lab, _) = Lab::with_history().await;
    let options = ExpireOptions::default();
    let expiry = expiry(&lab, &options);
    let plan = expiry.plan().await.unwrap();
    let table = lab.table().await;
    let change = expiry.change(&plan, &table, None, true).unwrap();
    assert_eq!(change.updates.len(), 3);
    expiry.commit(&plan).await.unwrap();
    let table = lab.table().await;
    let change = expiry.change(&plan, &table, None, true).unwrap();
    assert!(change.updates.is_empty());
    let others = expiry.change(&plan, &table, None, false).unwrap_err();
    assert!(matches!(others, Error::CommitConflict { .. }));
}

/// Nothing is deleted where it is not certain what the table still needs.
#[tokio::test]
async fn an_unreadable_table_loses_no_file() {
    let (lab, snapshots) = Lab::with_history().await;
    let table = lab.table().await;
    let current = table.metadata().snapshot_by_id(snapshots[3]).unwrap();
    let list = current.manifest_list().strip_prefix("file://").unwrap();
    std::fs::write(list, "broken").unwrap();
    let report = lab.expire(DAYS, false).await.unwrap();
    assert_eq!((report.files.count(), report.files.failures), (0, 1));
    assert_eq!(lab.count(".parquet"), 3);
    assert_eq!(lab.count("snap-"), 4);
}

#[tokio::test]
async fn a_file_that_is_gone_already_stops_nothing() {
    let (lab, snapshots) = Lab::with_history().await;
    let table = lab.table().await;
    let first = table.metadata().snapshot_by_id(snapshots[0]).unwrap();
    let list = first.manifest_list().strip_prefix("file://").unwrap();
    std::fs::remove_file(list).unwrap();
    let report = lab.expire(DAYS, false).await.unwrap();
    assert_eq!((report.files.manifest_lists, report.files.failures), (2, 1));
    assert_eq!(report.files.data_files, 1);
    assert!(
        report
            .to_string()
            .ends_with(", 1 failed and are left to gc"),
        "{report}"
    );
}

#[tokio::test]
async fn a_table_that_shares_its_files_is_left_alone() {
    let (lab, _) = Lab::with_history().await;
    lab.set(&[("gc.enabled", "false")]).await;
    let files = lab.files();
    for dry_run in [true, false] {
        let error = lab.expire(DAYS, dry_run).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "expiring snapshots of table `t.stats` is not allowed; its property `gc.enabled` is false, since others may \
             share its files"
        );
    }
    assert_eq!(lab.files(), files);
}

#[tokio::test]
async fn statistics_go_with_their_snapshot() {
    let (lab, snapshots) = Lab::with_history().await;
    let folder = lab.table().await.metadata().location().to_owned();
    for (snapshot, name) in [(snapshots[0], "old"), (snapshots[3], "new")] {
        let statistics_path = format!("{folder}/metadata/{name}.stats");
        std::fs::write(statistics_path.strip_prefix("file://").unwrap(), "x").unwrap();
        let statistics = StatisticsFile {
            snapshot_id: snapshot,
            statistics_path,
            file_size_in_bytes: 1,
            file_footer_size_in_bytes: 0,
            key_metadata: None,
            blob_metadata: Vec::new(),
        };
        lab.update(TableUpdate::SetStatistics { statistics }).await;
    }
    let report = lab.expire(DAYS, false).await.unwrap();
    assert_eq!(report.files.other_files, 1);
    let table = lab.table().await;
    assert_eq!(table.metadata().statistics_iter().len(), 1);
    assert_eq!((lab.count("old.stats"), lab.count("new.stats")), (0, 1));
}

#[tokio::test]
async fn earlier_metadata_goes_where_the_table_says_so() {
    let (lab, _) = Lab::with_history().await;
    lab.set(&[("write.metadata.previous-versions-max", "2")])
        .await;
    let metadata = lab.count(".metadata.json");
    lab.expire(DAYS, false).await.unwrap();
    assert_eq!(lab.count(".metadata.json"), metadata + 1);

    lab.append(5).await;
    lab.set(&[("write.metadata.delete-after-commit.enabled", "true")])
        .await;
    let before = lab.table().await;
    let dropped = &before.metadata().metadata_log()[0].metadata_file;
    let dropped = dropped.strip_prefix("file://").unwrap();
    assert!(Path::new(dropped).exists());
    let report = lab.expire(DAYS, false).await.unwrap();
    assert_eq!(report.files.other_files, 1);
    assert!(!Path::new(dropped).exists());
    assert_eq!(lab.ids(None).await, [2, 4, 5]);
}
