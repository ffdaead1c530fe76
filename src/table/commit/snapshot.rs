//! Snapshots that the library cannot make, of its public parts: the manifests of what comes and of what goes, and their
//! list. What is written here is nothing before a commit refers to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use iceberg::io::FileWrite;
use iceberg::spec::{
    DataFile, FormatVersion, ManifestContentType, ManifestFile, ManifestListWriter, ManifestWriter,
    ManifestWriterBuilder, Operation, PartitionSpec, SchemaRef, Snapshot, SnapshotSummaryCollector,
    Summary, TableMetadata,
};
use iceberg::table::Table;
use uuid::Uuid;

use super::conflict;
use super::summary::{carried, totals};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::model::TableName;

mod merging;
mod removal;

pub use merging::{ManifestCount, Merging, count_manifests};
pub use removal::Removed;

/// What a snapshot changes.
pub(super) struct Contents<'a> {
    /// The table's metadata with the schemas and specs that `added` was written for.
    pub(super) staged: &'a TableMetadata,
    /// New data files by partition spec.
    pub(super) added: &'a BTreeMap<i32, Vec<DataFile>>,
    /// Files that go.
    pub(super) removed: &'a Removed,
    /// What becomes of manifests whose files stay.
    pub(super) merging: Merging,
    /// What readers may conclude from it.
    pub(super) operation: Operation,
    /// Properties of the summary beside the counts.
    pub(super) summary: &'a HashMap<String, String>,
}

/// A snapshot, and the files that were written for it alone.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) snapshot: Snapshot,
    /// Manifests and their list.
    pub(super) paths: Vec<String>,
}

/// The snapshot that follows the current one of `base`; `None` if manifests were all that it was about and none can be
/// merged.
///
/// # Errors
/// [`Error::CommitConflict`] if a file to be removed is not there as it was read; storage failures.
pub(super) async fn snapshot(
    name: &TableName,
    base: &Table,
    contents: Contents<'_>,
) -> Result<Option<Made>> {
    let (mut low, high) = Uuid::new_v4().as_u64_pair();
    low ^= high;
    let snapshot = Manifests {
        base,
        id: i64::try_from(low >> 1).expect("63 bits fit"),
        commit: Uuid::new_v4(),
        made: 0,
        replaced: 0,
        listed: Vec::new(),
        counts: SnapshotSummaryCollector::default(),
    };
    snapshot.write(name, contents).await
}

struct Manifests<'a> {
    base: &'a Table,
    id: i64,
    commit: Uuid,
    /// Manifests written so far.
    made: usize,
    /// Manifests of the base that were written anew.
    replaced: usize,
    /// Manifests of the snapshot.
    listed: Vec<ManifestFile>,
    counts: SnapshotSummaryCollector,
}

impl Manifests<'_> {
    async fn write(mut self, name: &TableName, contents: Contents<'_>) -> Result<Option<Made>> {
        let base = self.base.metadata();
        match contents.removed {
            Removed::Nothing => self.carry_over(contents.merging).await?,
            Removed::Everything => self.remove_all().await?,
            Removed::Files { paths, read_at } => {
                if !self.remove(name, paths, *read_at).await? {
                    return Err(conflict(name));
                }
            }
        }
        for (spec, files) in contents.added {
            self.add(contents.staged, *spec, files).await?;
        }
        if contents.merging == Merging::All && self.made == 0 {
            return Ok(None);
        }
        let list = self.path(&format!("snap-{}-0-{}", self.id, self.commit));
        let new = self
            .listed
            .iter()
            .filter(|it| it.added_snapshot_id == self.id);
        let new = new.map(|manifest| manifest.manifest_path.clone());
        let paths = new.chain([list.clone()]).collect();
        let rows = self.list(&list).await?;
        let now = SystemClock
            .now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let snapshot = Snapshot::builder()
            .with_manifest_list(list)
            .with_snapshot_id(self.id)
            .with_parent_snapshot_id(base.current_snapshot_id())
            .with_sequence_number(base.next_sequence_number())
            .with_summary(self.summary(&contents))
            .with_schema_id(contents.staged.current_schema_id())
            .with_timestamp_ms(now.max(base.last_updated_ms()));
        let snapshot = match rows {
            Some(next) => snapshot
                .with_row_range(base.next_row_id(), next - base.next_row_id())
                .build(),
            None => snapshot.build(),
        };
        Ok(Some(Made { snapshot, paths }))
    }

    async fn add(&mut self, staged: &TableMetadata, spec: i32, files: &[DataFile]) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let found = staged.partition_spec_by_id(spec).ok_or_else(|| {
            Error::internal("change table", format!("there is no partition spec {spec}"))
        })?;
        let schema = staged.current_schema();
        let mut writer = self.writer(
            Arc::clone(schema),
            found.as_ref().clone(),
            ManifestContentType::Data,
        )?;
        for file in files {
            // The sequence number is inherited from the snapshot.
            writer.add_file(file.clone(), -1).map_err(failed)?;
            self.counts
                .add_file(file, Arc::clone(schema), Arc::clone(found));
        }
        self.finish(writer).await
    }

    /// Manifests of the current snapshot that have live files.
    async fn current(&self) -> Result<Vec<ManifestFile>> {
        live_manifests(self.base).await
    }

    fn writer(
        &mut self,
        schema: SchemaRef,
        spec: PartitionSpec,
        content: ManifestContentType,
    ) -> Result<ManifestWriter> {
        let path = self.path(&format!("{}-m{}", self.commit, self.made));
        self.made += 1;
        let output = self.base.file_io().new_output(path).map_err(failed)?;
        let builder = ManifestWriterBuilder::new(output, Some(self.id), schema, spec);
        Ok(match (self.base.metadata().format_version(), content) {
            (FormatVersion::V1, _) => builder.build_v1(),
            (FormatVersion::V2, ManifestContentType::Data) => builder.build_v2_data(),
            (FormatVersion::V2, ManifestContentType::Deletes) => builder.build_v2_deletes(),
            (FormatVersion::V3, ManifestContentType::Data) => builder.build_v3_data(),
            (FormatVersion::V3, ManifestContentType::Deletes) => builder.build_v3_deletes(),
        })
    }

    async fn finish(&mut self, writer: ManifestWriter) -> Result<()> {
        let manifest = writer.write_manifest_file().await.map_err(failed)?;
        self.listed.push(manifest);
        Ok(())
    }

    /// Answers the next row id, where the format counts rows.
    async fn list(&mut self, path: &str) -> Result<Option<u64>> {
        let output = self.base.file_io().new_output(path).map_err(failed)?;
        let mut list = self.list_writer(output.writer().await.map_err(failed)?);
        list.add_manifests(std::mem::take(&mut self.listed).into_iter())
            .map_err(failed)?;
        let next_row = list.next_row_id();
        list.close().await.map_err(failed)?;
        Ok(next_row)
    }

    fn list_writer(&self, writer: Box<dyn FileWrite>) -> ManifestListWriter {
        let metadata = self.base.metadata();
        let (parent, sequence) = (
            metadata.current_snapshot_id(),
            metadata.next_sequence_number(),
        );
        match metadata.format_version() {
            FormatVersion::V1 => ManifestListWriter::v1(writer, self.id, parent),
            FormatVersion::V2 => ManifestListWriter::v2(writer, self.id, parent, sequence),
            FormatVersion::V3 => {
                let rows = Some(metadata.next_row_id());
                ManifestListWriter::v3(writer, self.id, parent, sequence, rows)
            }
        }
    }

    fn summary(&self, contents: &Contents<'_>) -> Summary {
        let base = self.base.metadata();
        let counts = self.counts.build();
        let previous = match contents.removed {
            Removed::Everything => None,
            Removed::Nothing | Removed::Files { .. } => base.current_snapshot(),
        };
        let totals = totals(
            previous.map(|it| it.summary()),
            &counts,
            matches!(contents.removed, Removed::Everything),
        );
        let mut properties = carried(base);
        properties.extend(contents.summary.clone());
        properties.extend(counts);
        properties.extend(totals);
        if self.replaced > 0 {
            properties.insert("manifests-replaced".to_owned(), self.replaced.to_string());
            properties.insert("manifests-created".to_owned(), self.made.to_string());
        }
        Summary {
            operation: contents.operation.clone(),
            additional_properties: properties,
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/metadata/{name}.avro", self.base.metadata().location())
    }
}

/// Manifests of the current snapshot that have live files.
async fn live_manifests(table: &Table) -> Result<Vec<ManifestFile>> {
    let Some(current) = table.metadata().current_snapshot() else {
        return Ok(Vec::new());
    };
    let list = table.manifest_list_reader(current);
    let list = list.load().await.map_err(failed)?;
    let live =
        |manifest: &ManifestFile| manifest.has_added_files() || manifest.has_existing_files();
    Ok(list.consume_entries().into_iter().filter(live).collect())
}

fn failed(error: iceberg::Error) -> Error {
    Error::iceberg("make a snapshot")(error)
}
