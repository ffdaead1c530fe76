//! Files leave a table: manifests that list them are written anew, the others stay as they are. Delete files that apply to
//! no live data file any more leave with them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use iceberg::spec::{
    Literal, Manifest, ManifestContentType, ManifestEntryRef, ManifestFile, PartitionSpec,
    SchemaRef,
};

use super::{Manifests, failed};
use crate::error::Result;
use crate::model::TableName;
use crate::table::files::FileIndex;
use crate::table::manifests;

/// Manifests read at a time.
const READS: usize = 8;
/// A manifest of fewer files is merged with others when a snapshot removes files.
pub(super) const SMALL_ENTRIES: usize = 1_000;
/// Most files of a manifest that is merged.
pub(super) const MERGED_ENTRIES: usize = 8_000;

/// Data files that a snapshot takes out of its table.
#[derive(Clone, Debug, Default)]
pub enum Removed {
    /// None.
    #[default]
    Nothing,
    /// All of them, and all delete files.
    Everything,
    /// These, and delete files that apply to no other.
    Files {
        /// Locations as listed.
        paths: BTreeSet<String>,
        /// Sequence number of the snapshot that the files were read at: deletes that came later are not in what
        /// replaces them.
        read_at: i64,
    },
}

/// A manifest and what the list says of it.
pub(super) type Parsed = (ManifestFile, Manifest);

/// Entries of manifests with one partition spec and one schema.
struct Group {
    schema: SchemaRef,
    spec: PartitionSpec,
    content: ManifestContentType,
    /// Where the entries come from.
    manifests: Vec<ManifestFile>,
    entries: Vec<ManifestEntryRef>,
    /// Whether an entry goes.
    loses: bool,
}

impl Manifests<'_> {
    /// Marks all live files as deleted by this snapshot, one manifest for each of the base.
    pub(super) async fn remove_all(&mut self) -> Result<()> {
        for (file, manifest) in self.parsed(self.current().await?).await? {
            let mut group = Group::of(&file, &manifest);
            group.entries = alive(&manifest);
            self.write_group(&group, |_| true).await?;
        }
        Ok(())
    }

    /// Marks the files of `paths` as deleted, and delete files that no other file needs; `false` if one of them is not
    /// live, or if deletes that came after `read_at` apply to one.
    pub(super) async fn remove(
        &mut self,
        name: &TableName,
        paths: &BTreeSet<String>,
        read_at: i64,
    ) -> Result<bool> {
        let is_data = |manifest: &ManifestFile| manifest.content == ManifestContentType::Data;
        let (data, deletes) = self.current().await?.into_iter().partition(is_data);
        let (data, deletes) = (self.parsed(data).await?, self.parsed(deletes).await?);
        let entries = data.iter().flat_map(|(_, manifest)| manifest.entries());
        let found = entries.filter(|it| it.is_alive() && paths.contains(it.file_path()));
        if found.count() != paths.len() {
            return Ok(false);
        }
        let Some(unneeded) = unneeded(name, (&data, &deletes), paths, read_at)? else {
            return Ok(false);
        };
        self.rewrite(data, |path| paths.contains(path)).await?;
        self.rewrite(deletes, |path| unneeded.contains(path))
            .await?;
        Ok(true)
    }

    pub(super) async fn parsed(&self, files: Vec<ManifestFile>) -> Result<Vec<Parsed>> {
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

    /// Lists manifests of one content: written anew, sorted by partition, where files are `gone` or where several are
    /// small; else as they are.
    pub(super) async fn rewrite(
        &mut self,
        manifests: Vec<Parsed>,
        gone: impl Fn(&str) -> bool + Send + Sync,
    ) -> Result<()> {
        let mut groups: BTreeMap<(i32, i32), Group> = BTreeMap::new();
        for (file, manifest) in manifests {
            let live = alive(&manifest);
            let loses = live.iter().any(|entry| gone(entry.file_path()));
            if !loses && live.len() >= SMALL_ENTRIES {
                self.listed.push(file);
                continue;
            }
            let schema_id = manifest.metadata().schema().schema_id();
            let group = groups.entry((file.partition_spec_id, schema_id));
            let group = group.or_insert_with(|| Group::of(&file, &manifest));
            group.loses |= loses;
            group.entries.extend(live);
            group.manifests.push(file);
        }
        for mut group in groups.into_values() {
            if group.manifests.len() == 1 && !group.loses {
                self.listed.append(&mut group.manifests);
                continue;
            }
            self.replaced += group.manifests.len();
            group.entries.sort_by(by_partition);
            self.write_group(&group, &gone).await?;
        }
        Ok(())
    }

    /// Writes entries anew, those that are `gone` as deleted by this snapshot.
    async fn write_group(
        &mut self,
        group: &Group,
        gone: impl Fn(&str) -> bool + Send,
    ) -> Result<()> {
        let spec = Arc::new(group.spec.clone());
        for entries in group.entries.chunks(MERGED_ENTRIES) {
            let schema = Arc::clone(&group.schema);
            let mut writer = self.writer(schema, group.spec.clone(), group.content)?;
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

impl Group {
    /// No entry yet. The manifest's own spec and schema, because its values were decoded by them.
    fn of(file: &ManifestFile, manifest: &Manifest) -> Self {
        let own = manifest.metadata();
        Self {
            schema: Arc::clone(own.schema()),
            spec: own
                .partition_spec()
                .clone()
                .with_spec_id(file.partition_spec_id),
            content: file.content,
            manifests: Vec::new(),
            entries: Vec::new(),
            loses: false,
        }
    }
}

fn alive(manifest: &Manifest) -> Vec<ManifestEntryRef> {
    let entries = manifest.entries().iter();
    entries.filter(|entry| entry.is_alive()).cloned().collect()
}

/// Delete files that apply to no live data file but those of `paths`; what comes with this snapshot is newer than any of
/// them. `None` if one that came after `read_at` applies to a file of `paths`.
fn unneeded(
    name: &TableName,
    (data, deletes): (&[Parsed], &[Parsed]),
    paths: &BTreeSet<String>,
    read_at: i64,
) -> Result<Option<HashSet<String>>> {
    if deletes.is_empty() {
        return Ok(Some(HashSet::new()));
    }
    let contents = |parsed: &[Parsed]| -> Result<Vec<_>> {
        let parsed = parsed.iter();
        let contents = parsed.map(|(file, manifest)| manifests::contents(name, file, manifest));
        contents.collect()
    };
    let (data, deletes) = (contents(data)?, contents(deletes)?);
    let deletes = deletes.iter().flat_map(|it| &it.deletes);
    let index = FileIndex::assign(data.iter().flat_map(|it| &it.files), deletes.clone());
    let mut needed = HashSet::new();
    for file in &*index.files {
        let goes = paths.contains(&file.path);
        if goes && file.deletes.iter().any(|it| it.sequence_number > read_at) {
            return Ok(None);
        }
        if !goes {
            needed.extend(file.deletes.iter().map(|it| it.path.as_str()));
        }
    }
    let all = deletes.map(|delete| &delete.file.path);
    let unneeded = all.filter(|path| !needed.contains(path.as_str()));
    Ok(Some(unneeded.cloned().collect()))
}

fn by_partition(a: &ManifestEntryRef, b: &ManifestEntryRef) -> Ordering {
    let values = |value: Option<&Literal>| value.and_then(Literal::as_primitive_literal);
    let [a, b] = [a, b].map(|entry| entry.data_file().partition().iter().map(values));
    a.partial_cmp(b).unwrap_or(Ordering::Equal)
}
