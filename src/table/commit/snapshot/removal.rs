//! Files leave a table: manifests that list them are written anew, the others stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use iceberg::spec::{
    Manifest, ManifestContentType, ManifestEntryRef, ManifestFile, PartitionSpec, SchemaRef,
};

use super::{Manifests, failed};
use crate::error::Result;

/// Manifests read at a time.
const READS: usize = 8;
/// A manifest of fewer files is merged with others when a snapshot removes files.
const SMALL_ENTRIES: usize = 1_000;
/// Most files of a manifest that is merged.
const MERGED_ENTRIES: usize = 8_000;

/// Data files that a snapshot takes out of its table.
#[derive(Clone, Debug, Default)]
pub enum Removed {
    /// None.
    #[default]
    Nothing,
    /// All of them, and all delete files.
    Everything,
    /// These.
    Files {
        /// Locations as listed.
        paths: BTreeSet<String>,
        /// Sequence number of the snapshot that the files were read at: deletes that came later are not in what
        /// replaces them.
        read_at: i64,
    },
}

/// Entries of manifests with one partition spec and one schema.
struct Group {
    schema: SchemaRef,
    spec: PartitionSpec,
    entries: Vec<ManifestEntryRef>,
}

impl Manifests<'_> {
    /// Marks all live files as deleted by this snapshot, one manifest for each of the base.
    pub(super) async fn remove_all(&mut self) -> Result<()> {
        for (file, manifest) in self.parsed(self.current().await?).await? {
            let group = group_of(&file, &manifest, alive(&manifest));
            self.write_group(&group, file.content, |_| true).await?;
        }
        Ok(())
    }

    /// Marks the files of `paths` as deleted; `false` if one of them is not live, or if deletes came after `read_at`.
    pub(super) async fn remove(&mut self, paths: &BTreeSet<String>, read_at: i64) -> Result<bool> {
        let (data, deletes): (Vec<_>, Vec<_>) = self
            .current()
            .await?
            .into_iter()
            .partition(|manifest| manifest.content == ManifestContentType::Data);
        let later = |file: &ManifestFile| file.has_added_files() && file.sequence_number > read_at;
        if deletes.iter().any(later) {
            return Ok(false);
        }
        self.listed.extend(deletes);
        let mut groups: BTreeMap<(i32, i32), Group> = BTreeMap::new();
        let mut found = 0;
        for (file, manifest) in self.parsed(data).await? {
            let live = alive(&manifest);
            let gone = live
                .iter()
                .filter(|it| paths.contains(it.file_path()))
                .count();
            if gone == 0 && live.len() >= SMALL_ENTRIES {
                self.listed.push(file);
                continue;
            }
            found += gone;
            let key = (
                file.partition_spec_id,
                manifest.metadata().schema().schema_id(),
            );
            let group = groups.entry(key);
            let group = group.or_insert_with(|| group_of(&file, &manifest, Vec::new()));
            group.entries.extend(live);
        }
        if found != paths.len() {
            return Ok(false);
        }
        for group in groups.values() {
            self.write_group(group, ManifestContentType::Data, |path| {
                paths.contains(path)
            })
            .await?;
        }
        Ok(true)
    }

    async fn parsed(&self, files: Vec<ManifestFile>) -> Result<Vec<(ManifestFile, Manifest)>> {
        let file_io = self.base.file_io();
        let reads = files.into_iter().map(|file| async move {
            let manifest = file.load_manifest(file_io).await.map_err(failed)?;
            Ok((file, manifest))
        });
        let reads: Vec<_> = reads.collect();
        futures::stream::iter(reads)
            .buffered(READS)
            .try_collect()
            .await
    }

    /// Writes entries anew, those that are `gone` as deleted by this snapshot.
    async fn write_group(
        &mut self,
        group: &Group,
        content: ManifestContentType,
        gone: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let spec = Arc::new(group.spec.clone());
        for entries in group.entries.chunks(MERGED_ENTRIES) {
            let schema = Arc::clone(&group.schema);
            let mut writer = self.writer(schema, group.spec.clone(), content)?;
            for entry in entries {
                let file = entry.data_file().clone();
                let sequence = entry.sequence_number().unwrap_or_default();
                let own = Some(entry.file_sequence_number.unwrap_or(sequence));
                if gone(entry.file_path()) {
                    self.counts
                        .remove_file(&file, Arc::clone(&group.schema), Arc::clone(&spec));
                    writer
                        .add_delete_file(file, sequence, own)
                        .map_err(failed)?;
                } else {
                    let snapshot = entry.snapshot_id().unwrap_or_default();
                    writer
                        .add_existing_file(file, snapshot, sequence, own)
                        .map_err(failed)?;
                }
            }
            self.finish(writer).await?;
        }
        Ok(())
    }
}

fn alive(manifest: &Manifest) -> Vec<ManifestEntryRef> {
    let entries = manifest.entries().iter();
    entries.filter(|entry| entry.is_alive()).cloned().collect()
}

/// The manifest's own spec and schema, because its values were decoded by them.
fn group_of(file: &ManifestFile, manifest: &Manifest, entries: Vec<ManifestEntryRef>) -> Group {
    let own = manifest.metadata();
    Group {
        schema: Arc::clone(own.schema()),
        spec: own
            .partition_spec()
            .clone()
            .with_spec_id(file.partition_spec_id),
        entries,
    }
}
