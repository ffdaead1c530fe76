//! Which files a table refers to: everything that its metadata knows, whatever snapshot, branch or tag it is of. Of each file
//! a hash of its location is kept, and one of its name: who finds a file elsewhere than the table says it is, by a link or by
//! another name of the store, must not take it for nobody's.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt};
use iceberg::io::FileIO;
use iceberg::spec::{ManifestFile, SnapshotRef, TableMetadata};
use iceberg::table::Table;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::model::TableName;
use crate::storage::canonical;
use crate::table::commit::LEDGER;

/// Where tables without a catalog say which metadata file is theirs.
const VERSION_HINT: &str = "version-hint.text";
/// Manifests and manifest lists that are read at a time.
const CONCURRENCY: usize = 8;

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referred {
    /// The table refers to it.
    Yes,
    /// The table refers to a file of its name, in another place.
    ByName,
    /// The table does not.
    No,
}

/// About 32 bytes for each file.
#[derive(Clone, Debug, Default)]
pub struct References(HashSet<u128>);

impl References {
    /// Adds everything that the table refers to as it was loaded. What was added before stays, and manifests among it are not
    /// read again.
    ///
    /// # Errors
    /// If it cannot all be read: nothing may be taken for unreferenced then.
    pub async fn add(&mut self, name: &TableName, table: &Table) -> Result<()> {
        let location = table.metadata_location().ok_or_else(|| Error::Unsupported {
            what: format!("telling the files of table `{name}`, whose catalog does not say where its metadata is,"),
        })?;
        self.insert(location)?;
        for path in of_metadata(table.metadata()) {
            self.insert(path)?;
        }
        let manifests = self.new_manifests(name, table).await?;
        let io = table.file_io();
        let reads: Vec<_> = manifests.iter().map(|it| files(name, io, it)).collect();
        let mut reads = futures::stream::iter(reads).buffer_unordered(CONCURRENCY);
        while let Some(paths) = reads.try_next().await? {
            for path in paths {
                self.insert(&path)?;
            }
        }
        Ok(())
    }

    /// Whether the table refers to the file at a location.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] for another kind of location.
    pub fn get(&self, path: &str) -> Result<Referred> {
        let path = spelled(path)?;
        Ok(match self.0.contains(&hash(&path)) {
            true => Referred::Yes,
            false if file_name(&path) == VERSION_HINT => Referred::Yes,
            false if self.0.contains(&hash(file_name(&path))) => Referred::ByName,
            false => Referred::No,
        })
    }

    /// Whether it is new.
    fn insert(&mut self, path: &str) -> Result<bool> {
        let path = spelled(path)?;
        self.0.insert(hash(file_name(&path)));
        Ok(self.0.insert(hash(&path)))
    }

    /// The manifests that were not added before; each once.
    async fn new_manifests(
        &mut self,
        name: &TableName,
        table: &Table,
    ) -> Result<Vec<ManifestFile>> {
        let mut new = Vec::new();
        for snapshot in table.metadata().snapshots() {
            if self.insert(snapshot.manifest_list())? {
                new.push(snapshot);
            }
        }
        let lists = new.into_iter().map(|it| manifests(name, table, it));
        let lists: Vec<_> = lists.collect();
        let mut lists = futures::stream::iter(lists).buffer_unordered(CONCURRENCY);
        let mut manifests = Vec::new();
        while let Some(list) = lists.try_next().await? {
            for manifest in list {
                if self.insert(&manifest.manifest_path)? {
                    manifests.push(manifest);
                }
            }
        }
        Ok(manifests)
    }
}

/// What the metadata itself names, without manifest lists.
fn of_metadata(metadata: &TableMetadata) -> impl Iterator<Item = &str> {
    let log = metadata.metadata_log().iter();
    let log = log.map(|entry| entry.metadata_file.as_str());
    let statistics = metadata.statistics_iter();
    let statistics = statistics.map(|it| it.statistics_path.as_str());
    let partitions = metadata.partition_statistics_iter();
    let partitions = partitions.map(|it| it.statistics_path.as_str());
    let ledger = metadata.properties().get(LEDGER).map(String::as_str);
    log.chain(statistics).chain(partitions).chain(ledger)
}

async fn manifests(
    name: &TableName,
    table: &Table,
    snapshot: &SnapshotRef,
) -> Result<Vec<ManifestFile>> {
    let path = snapshot.manifest_list();
    let list = table.manifest_list_reader(snapshot).load().await;
    let list = list.map_err(Error::iceberg(unread(name, path)))?;
    Ok(list.consume_entries().into_iter().collect())
}

/// All that a manifest names, deleted files too: what it says of them is not worth a mistake.
async fn files(name: &TableName, io: &FileIO, manifest: &ManifestFile) -> Result<Vec<String>> {
    let parsed = manifest.load_manifest(io).await;
    let parsed = parsed.map_err(Error::iceberg(unread(name, &manifest.manifest_path)))?;
    let entries = parsed.entries().iter();
    Ok(entries.map(|it| it.file_path().to_owned()).collect())
}

fn unread(name: &TableName, path: &str) -> String {
    format!("read `{path}`, which table `{name}` refers to")
}

fn spelled(path: &str) -> Result<String> {
    canonical(path).map_err(|message| Error::invalid("location", message))
}

/// The last part of a location.
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn hash(text: &str) -> u128 {
    let digest = Sha256::digest(text);
    digest
        .iter()
        .take(size_of::<u128>())
        .fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}
