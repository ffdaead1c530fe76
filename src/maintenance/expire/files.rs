//! Files that go with expired snapshots: those that they refer to, without those that the table still refers to. First
//! all of the latter is read, and if that fails nothing is deleted. Then the manifests that only expired snapshots list
//! are read one after another, and their files deleted.
//!
//! In memory are the lists' entries of manifests, and 30 bytes for each file that the table still has or that goes.

use futures::StreamExt;
use futures::stream::iter;
use iceberg::spec::{ManifestFile, SnapshotRef, TableMetadata};
use iceberg::table::Table;
use indicatif::ProgressBar;

use super::paths::{Folders, Paths};
use super::report::ExpiredFiles;
use crate::error::{Error, Result};
use crate::table::commit::ledger_location;

/// Lists and manifests that are read at a time.
const READS: usize = 16;
/// Files that are deleted at a time.
const DELETES: usize = 16;
/// Table property: whether metadata files go that dropped out of the metadata's log.
const DELETE_METADATA: &str = "write.metadata.delete-after-commit.enabled";

/// A file and its bytes.
type Doomed = (String, u64);

/// One expiry's files.
pub(super) struct Sweep<'a> {
    before: &'a Table,
    after: &'a Table,
    dry_run: bool,
    progress: &'a ProgressBar,
    folders: Folders,
    /// What the table still refers to.
    kept: Paths,
    /// What was deleted.
    gone: Paths,
    done: ExpiredFiles,
}

impl<'a> Sweep<'a> {
    /// Of a table before and after the commit.
    pub(super) fn new(
        before: &'a Table,
        after: &'a Table,
        dry_run: bool,
        progress: &'a ProgressBar,
    ) -> Self {
        Self {
            before,
            after,
            dry_run,
            progress,
            folders: Folders::of(before.metadata()),
            kept: Paths::default(),
            gone: Paths::default(),
            done: ExpiredFiles::default(),
        }
    }

    /// Deletes what nothing refers to any more, or only counts it.
    ///
    /// # Errors
    /// If it is not certain what the table still refers to; nothing was deleted then.
    pub(super) async fn run(mut self) -> Result<ExpiredFiles> {
        let (kept, expired) = (self.kept_snapshots(), self.expired_snapshots());
        self.progress
            .set_length((kept.len() + expired.len()) as u64);
        for path in others(self.after.metadata())
            .into_iter()
            .chain(current(self.after))
        {
            self.kept.insert(&path.0);
        }
        let listed = self.keep_lists(kept).await?;
        let (manifests, lists) = self.gone_lists(expired).await;
        let read = manifests.iter().filter(|it| has_files(it)).count();
        if read > 0 {
            self.progress.inc_length((read + listed.len()) as u64);
            self.keep_files(listed).await?;
        }
        self.delete_files(&manifests).await;
        let manifests = manifests.into_iter();
        let manifests = manifests.map(|it| (it.manifest_path, bytes(it.manifest_length)));
        self.done.manifests = self.delete(manifests.collect()).await;
        self.done.manifest_lists = self.delete(lists).await;
        self.done.other_files = self.delete(self.other_files()).await;
        Ok(self.done)
    }

    fn kept_snapshots(&self) -> Vec<SnapshotRef> {
        self.after.metadata().snapshots().cloned().collect()
    }

    fn expired_snapshots(&self) -> Vec<SnapshotRef> {
        let known = |id| self.after.metadata().snapshot_by_id(id).is_some();
        let all = self.before.metadata().snapshots();
        all.filter(|it| !known(it.snapshot_id())).cloned().collect()
    }

    /// Notes the manifests that the table still lists; answers those with files.
    async fn keep_lists(&mut self, snapshots: Vec<SnapshotRef>) -> Result<Vec<ManifestFile>> {
        let (table, mut manifests) = (self.after, Vec::new());
        let reads: Vec<_> = snapshots.into_iter().map(|it| list(table, it)).collect();
        let mut reads = iter(reads).buffered(READS);
        while let Some((path, list)) = reads.next().await {
            self.progress.inc(1);
            self.kept.insert(&path);
            let new = list?.into_iter();
            manifests.extend(new.filter(|it| self.kept.insert(&it.manifest_path) && has_files(it)));
        }
        Ok(manifests)
    }

    /// Notes the files that the table still has.
    async fn keep_files(&mut self, manifests: Vec<ManifestFile>) -> Result<()> {
        let table = self.after;
        let reads: Vec<_> = manifests.iter().map(|it| live(table, it)).collect();
        let mut reads = iter(reads).buffer_unordered(READS);
        while let Some((_, files)) = reads.next().await {
            self.progress.inc(1);
            for (path, _) in files? {
                self.kept.insert(&path);
            }
        }
        Ok(())
    }

    /// The manifests that only expired snapshots list, and the lists.
    async fn gone_lists(
        &mut self,
        snapshots: Vec<SnapshotRef>,
    ) -> (Vec<ManifestFile>, Vec<Doomed>) {
        let (mut manifests, mut lists, mut seen) = (Vec::new(), Vec::new(), Paths::default());
        let table = self.before;
        let reads: Vec<_> = snapshots.into_iter().map(|it| list(table, it)).collect();
        let mut reads = iter(reads).buffered(READS);
        while let Some((path, list)) = reads.next().await {
            self.progress.inc(1);
            let Some(list) = self.done.read(&path, list) else {
                continue;
            };
            let new = |it: &ManifestFile| {
                !self.kept.contains(&it.manifest_path) && seen.insert(&it.manifest_path)
            };
            manifests.extend(list.into_iter().filter(new));
            lists.push((path, 0));
        }
        (manifests, lists)
    }

    /// Deletes the files that were live in these manifests.
    async fn delete_files(&mut self, manifests: &[ManifestFile]) {
        let table = self.before;
        let read = manifests.iter().filter(|it| has_files(it));
        let reads: Vec<_> = read.map(|it| live(table, it)).collect();
        let mut reads = iter(reads).buffered(READS);
        while let Some((path, files)) = reads.next().await {
            self.progress.inc(1);
            let files = self.done.read(&path, files).unwrap_or_default();
            self.done.data_files += self.delete(files).await;
        }
    }

    /// What the metadata referred to besides its snapshots, and does not any more.
    fn other_files(&self) -> Vec<Doomed> {
        let (before, after) = (self.before.metadata(), self.after.metadata());
        let mut files = others(before);
        let continued = |it: &Doomed| {
            after
                .metadata_log()
                .iter()
                .any(|log| log.metadata_file == it.0)
        };
        let earlier = current(self.before);
        let delete = before.properties().get(DELETE_METADATA);
        // A log that does not go on from what was read says nothing of it.
        if delete.is_some_and(|it| it == "true") && earlier.iter().any(continued) {
            let log = before.metadata_log().iter();
            files.extend(log.map(|it| (it.metadata_file.clone(), 0)));
        }
        files
    }

    /// Deletes files that nothing refers to; answers how many these were.
    async fn delete(&mut self, files: Vec<Doomed>) -> u64 {
        let doomed: Vec<Doomed> = files.into_iter().filter(|it| self.takes(&it.0)).collect();
        let (io, dry_run) = (self.after.file_io(), self.dry_run);
        let deletions = doomed.into_iter().map(|(path, bytes)| async move {
            let deleted = match dry_run {
                true => Ok(()),
                false => io.delete(&path).await,
            };
            (path, deleted.map(|()| bytes))
        });
        let deletions: Vec<_> = deletions.collect();
        let mut deletions = iter(deletions).buffer_unordered(DELETES);
        let mut count = 0;
        while let Some((path, deleted)) = deletions.next().await {
            let deleted = deleted.map_err(Error::iceberg("delete a file of an expired snapshot"));
            if let Some(bytes) = self.done.read(&path, deleted) {
                self.done.bytes += bytes;
                count += 1;
            }
        }
        count
    }

    /// Whether a file is to be deleted: nothing refers to it, it is the table's, and it is not deleted yet.
    fn takes(&mut self, path: &str) -> bool {
        if self.kept.contains(path) || !self.gone.insert(path) {
            return false;
        }
        let own = self.folders.contain(path);
        self.done.files_elsewhere += u64::from(!own);
        own
    }
}

impl ExpiredFiles {
    /// What became of one file; a failure is logged and counted.
    fn read<T>(&mut self, path: &str, result: Result<T>) -> Option<T> {
        result
            .inspect_err(|error| {
                tracing::warn!(path, %error, "a file of an expired snapshot stays");
                self.failures += 1;
            })
            .ok()
    }
}

/// A snapshot's list and what it lists.
async fn list(table: &Table, snapshot: SnapshotRef) -> (String, Result<Vec<ManifestFile>>) {
    let path = snapshot.manifest_list().to_owned();
    let list = table.manifest_list_reader(&snapshot).load().await;
    let list = list.map(|list| list.consume_entries().into_iter().collect());
    let action = format!("read manifest list `{path}`");
    (path, list.map_err(Error::iceberg(action)))
}

/// A manifest's path and its live files.
async fn live(table: &Table, manifest: &ManifestFile) -> (String, Result<Vec<Doomed>>) {
    let path = manifest.manifest_path.clone();
    let loaded = manifest.load_manifest(table.file_io()).await;
    let files = loaded.map(|loaded| {
        let live = loaded.entries().iter().filter(|it| it.is_alive());
        live.map(|it| (it.file_path().to_owned(), it.file_size_in_bytes()))
            .collect()
    });
    let action = format!("read manifest `{path}`");
    (path, files.map_err(Error::iceberg(action)))
}

fn has_files(manifest: &ManifestFile) -> bool {
    manifest.has_added_files() || manifest.has_existing_files()
}

/// Statistics and the ledger of idempotency keys.
fn others(metadata: &TableMetadata) -> Vec<Doomed> {
    let statistics = metadata.statistics_iter();
    let statistics =
        statistics.map(|it| (it.statistics_path.clone(), bytes(it.file_size_in_bytes)));
    let partitions = metadata.partition_statistics_iter();
    let partitions =
        partitions.map(|it| (it.statistics_path.clone(), bytes(it.file_size_in_bytes)));
    let ledger = ledger_location(metadata).map(|it| (it.to_owned(), 0));
    statistics.chain(partitions).chain(ledger).collect()
}

/// The metadata's own file and those that it logs.
fn current(table: &Table) -> Vec<Doomed> {
    let log = table.metadata().metadata_log().iter();
    let log = log.map(|it| it.metadata_file.clone());
    let own = table.metadata_location().map(ToOwned::to_owned);
    own.into_iter().chain(log).map(|path| (path, 0)).collect()
}

fn bytes(length: i64) -> u64 {
    u64::try_from(length).unwrap_or(0)
}
