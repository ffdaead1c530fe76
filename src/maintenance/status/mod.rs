//! How a table is: what it is made of, what is due, and who looks after it. Reads lists only, and changes nothing.

mod text;

use std::collections::HashMap;
use std::fmt;

use bytesize::ByteSize;
use iceberg::spec::{ManifestContentType, Struct};
use iceberg::table::Table;
use serde::Serialize;

use super::compact::{FileState, Sizes, file_states};
use super::{Holder, Maintenance, lease};
use crate::error::{Error, Result};
use crate::model::TableName;
use crate::table::commit::MAINTENANCE;

pub(super) use text::text_table;

/// What `murre maintain status` tells of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableStatus {
    /// Its catalog's name.
    pub catalog: String,
    /// The table.
    pub table: String,
    /// Live data files.
    pub files: u64,
    /// Those that compaction would merge with others of their partition.
    pub small_files: u64,
    /// Those outside of the partitions that the table has by now, such as write-optimised ones of online tables.
    pub loose_files: u64,
    /// Live delete files.
    pub delete_files: u64,
    /// Rows of the data files, deleted and superseded ones with them.
    pub rows: u64,
    /// Bytes of the data files.
    pub bytes: u64,
    /// Manifests with live files.
    pub manifests: u64,
    /// Snapshots that the metadata knows.
    pub snapshots: u64,
    /// Age of the oldest of them, in seconds.
    pub oldest_snapshot_age_s: Option<u64>,
    /// Bytes of the metadata file, which every commit writes anew.
    pub metadata_bytes: u64,
    /// Why compaction is due; absent if it is not.
    pub due: Option<String>,
    /// The property `murre.maintenance`: the schedule looks after tables that say `on`.
    pub maintenance: Option<String>,
    /// Who maintains it now.
    pub maintainer: Option<Holder>,
}

impl fmt::Display for TableStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = ByteSize::b(self.bytes);
        write!(
            f,
            "{}: {} files of {} rows and {bytes}, {} snapshots",
            self.table, self.files, self.rows, self.snapshots
        )?;
        match &self.due {
            Some(due) => write!(f, "; due: {due}"),
            None => Ok(()),
        }
    }
}

impl Maintenance {
    /// Looks at a table.
    ///
    /// # Errors
    /// [`Error::TableNotFound`]; as [`crate::table::Tables::pin`].
    pub async fn status(&self, name: &TableName) -> Result<TableStatus> {
        let table = self.tables.catalogs().load_table(name).await?;
        let metadata = table.metadata();
        let pinned = self.tables.pin_loaded(name, &table, None).await?;
        let files = file_states(&pinned.files().files, metadata);
        let sizes = Sizes::of(metadata, self.limits.group_bytes);
        let loose = files.iter().filter(|file| file.partition.is_none());
        let (manifests, delete_files) = manifests(&table).await?;
        let oldest = metadata.snapshots().map(|it| it.timestamp_ms()).min();
        let now = self.clock.now();
        let age = oldest.and_then(|at| lease::millis(now).checked_sub(u64::try_from(at).ok()?));
        Ok(TableStatus {
            catalog: name.catalog.clone(),
            table: name.to_string(),
            files: files.len() as u64,
            small_files: small(&files, sizes),
            loose_files: loose.count() as u64,
            delete_files,
            rows: pinned.files().record_count(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            manifests,
            snapshots: metadata.snapshots().len() as u64,
            oldest_snapshot_age_s: age.map(|age_ms| age_ms / 1000),
            metadata_bytes: metadata_bytes(&table).await?,
            due: self.due(name).await?,
            maintenance: metadata.properties().get(MAINTENANCE).cloned(),
            maintainer: Holder::of(metadata, now),
        })
    }
}

/// Small files that are not the only one of their partition.
fn small(files: &[FileState<'_>], sizes: Sizes) -> u64 {
    let mut partitions: HashMap<&Struct, u64> = HashMap::new();
    for file in files.iter().filter(|file| file.bytes < sizes.small()) {
        if let Some(partition) = file.partition {
            *partitions.entry(partition).or_default() += 1;
        }
    }
    partitions.into_values().filter(|files| *files > 1).sum()
}

/// Manifests with live files, and live delete files.
async fn manifests(table: &Table) -> Result<(u64, u64)> {
    let Some(snapshot) = table.metadata().current_snapshot() else {
        return Ok((0, 0));
    };
    let list = table.manifest_list_reader(snapshot).load().await;
    let list = list.map_err(Error::iceberg("read the list of manifests"))?;
    let (mut manifests, mut deletes) = (0, 0);
    for manifest in list.consume_entries() {
        let count = |files: Option<u32>| u64::from(files.unwrap_or_default());
        let live = count(manifest.added_files_count) + count(manifest.existing_files_count);
        manifests += u64::from(manifest.has_added_files() || manifest.has_existing_files());
        deletes += match manifest.content {
            ManifestContentType::Deletes => live,
            ManifestContentType::Data => 0,
        };
    }
    Ok((manifests, deletes))
}

async fn metadata_bytes(table: &Table) -> Result<u64> {
    let Some(location) = table.metadata_location() else {
        return Ok(0);
    };
    let failed = || Error::iceberg(format!("look at `{location}`"));
    let file = table.file_io().new_input(location).map_err(failed())?;
    Ok(file.metadata().await.map_err(failed())?.size)
}

#[cfg(test)]
mod tests;
