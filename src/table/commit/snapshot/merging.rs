//! Many small manifests become few, so that a table that is written every minute is planned from a few dozen. Files keep
//! their snapshots and sequence numbers.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::{FormatVersion, ManifestContentType, ManifestFile};
use iceberg::table::Table;

use super::removal::{MERGED_ENTRIES, SMALL_ENTRIES};
use super::{Manifests, live_manifests};
use crate::error::Result;

/// Iceberg's property that turns merging with each write off.
const ENABLED: &str = "commit.manifest-merge.enabled";
/// Iceberg's property with the number of small manifests that a write merges, and its default.
const LEAST: (&str, usize) = ("commit.manifest.min-count-to-merge", 100);
/// Most bytes of manifests that a write merges.
const WRITE_BYTES: u64 = 8 * 1024 * 1024;
/// Fewer small manifests than this are not worth a snapshot.
const WORTHWHILE: usize = 5;
/// Files whose entries are in memory at a time.
const BATCH_ENTRIES: usize = 64_000;

/// What becomes of small manifests whose files all stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Merging {
    /// Once there are as many as the table's properties say, some are merged: what a write can do in passing.
    #[default]
    WhenMany,
    /// All are merged; the snapshot is not made if there are hardly any.
    All,
}

/// Manifests of a table's current snapshot, and what merging would make of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ManifestCount {
    /// All with live files.
    pub total: usize,
    /// Those that [`Merging::All`] would write anew.
    pub replaced: usize,
    /// Those that would come in their place.
    pub created: usize,
}

/// Counts manifests; reads their list only.
///
/// # Errors
/// What the storage fails with.
pub async fn count_manifests(table: &Table) -> Result<ManifestCount> {
    let manifests = live_manifests(table).await?;
    let total = manifests.len();
    let chosen = Choice::of(manifests, &Limits::ALL);
    let entries = |batch: &Vec<ManifestFile>| batch.iter().filter_map(live_entries).sum::<usize>();
    let created = chosen.batches.iter().map(entries);
    Ok(ManifestCount {
        total,
        replaced: chosen.batches.iter().map(Vec::len).sum(),
        created: created.map(|it| it.div_ceil(MERGED_ENTRIES)).sum(),
    })
}

impl Manifests<'_> {
    /// Lists the manifests of the base, small ones merged as `merging` says.
    pub(super) async fn carry_over(&mut self, merging: Merging) -> Result<()> {
        let manifests = self.current().await?;
        let metadata = self.base.metadata();
        // An entry that is moved loses the row ids that it has from its manifest.
        let limits = match (metadata.format_version(), merging) {
            (FormatVersion::V3, _) => None,
            (_, Merging::All) => Some(Limits::ALL),
            (_, Merging::WhenMany) => Limits::of_write(metadata.properties()),
        };
        let Some(limits) = limits else {
            self.listed.extend(manifests);
            return Ok(());
        };
        let choice = Choice::of(manifests, &limits);
        self.listed.extend(choice.rest);
        for batch in choice.batches {
            let parsed = self.parsed(batch).await?;
            self.rewrite(parsed, |_| false).await?;
        }
        Ok(())
    }
}

/// When manifests of one content and partition spec are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    /// At least so many small ones.
    least: usize,
    /// Of so many bytes at most, the smallest first.
    bytes: u64,
}

impl Limits {
    const ALL: Self = Self {
        least: WORTHWHILE,
        bytes: u64::MAX,
    };

    fn of_write(properties: &HashMap<String, String>) -> Option<Self> {
        let (least, default) = LEAST;
        let least = properties.get(least).and_then(|count| count.parse().ok());
        let enabled = properties.get(ENABLED).map(String::as_str) != Some("false");
        enabled.then(|| Self {
            least: least.unwrap_or(default).max(2),
            bytes: WRITE_BYTES,
        })
    }
}

/// Manifests that are written anew together, and the others.
#[derive(Debug, Default)]
struct Choice {
    batches: Vec<Vec<ManifestFile>>,
    rest: Vec<ManifestFile>,
}

impl Choice {
    fn of(manifests: Vec<ManifestFile>, limits: &Limits) -> Self {
        let mut choice = Self::default();
        let mut groups: BTreeMap<(bool, i32), Vec<ManifestFile>> = BTreeMap::new();
        for manifest in manifests {
            let deletes = manifest.content == ManifestContentType::Deletes;
            match live_entries(&manifest) {
                Some(entries) if entries < SMALL_ENTRIES => groups
                    .entry((deletes, manifest.partition_spec_id))
                    .or_default()
                    .push(manifest),
                _ => choice.rest.push(manifest),
            }
        }
        for group in groups.into_values() {
            match group.len() >= limits.least {
                true => choice.take(group, limits.bytes),
                false => choice.rest.extend(group),
            }
        }
        choice
    }

    fn take(&mut self, mut group: Vec<ManifestFile>, most_bytes: u64) {
        group.sort_by_key(|manifest| manifest.manifest_length);
        let (mut bytes, mut entries) = (0, 0);
        let mut batch = Vec::new();
        for manifest in group {
            bytes += u64::try_from(manifest.manifest_length).unwrap_or_default();
            if bytes > most_bytes {
                self.rest.push(manifest);
                continue;
            }
            entries += live_entries(&manifest).unwrap_or_default();
            batch.push(manifest);
            if entries >= BATCH_ENTRIES {
                self.batches.push(std::mem::take(&mut batch));
                entries = 0;
            }
        }
        match batch.len() {
            0 | 1 => self.rest.extend(batch),
            _ => self.batches.push(batch),
        }
    }
}

/// Live files of a manifest, if its list tells.
fn live_entries(manifest: &ManifestFile) -> Option<usize> {
    let live = manifest.added_files_count? + manifest.existing_files_count?;
    usize::try_from(live).ok()
}

#[cfg(test)]
mod tests;
