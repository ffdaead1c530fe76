//! The snapshot of a replacement: the manifests of what goes and of what comes, and their list.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use iceberg::io::FileWrite;
use iceberg::spec::{
    DataContentType, DataFile, FormatVersion, ManifestContentType, ManifestFile,
    ManifestListWriter, ManifestWriter, ManifestWriterBuilder, Operation, PartitionSpec, SchemaRef,
    Snapshot, SnapshotSummaryCollector, Summary,
};
use iceberg::table::Table;
use uuid::Uuid;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};

/// A snapshot of `base` in which all live files are deleted and `files`, written for `staged`, are added. Its manifests
/// and their list are written; nothing refers to them yet.
pub(super) async fn replacing(
    base: &Table,
    staged: &Table,
    files: &[DataFile],
) -> Result<Snapshot> {
    let (mut low, high) = Uuid::new_v4().as_u64_pair();
    low ^= high;
    let snapshot = Manifests {
        base,
        id: i64::try_from(low >> 1).expect("63 bits fit"),
        commit: Uuid::new_v4(),
        written: Vec::new(),
        summary: SnapshotSummaryCollector::default(),
    };
    snapshot.write(staged, files).await
}

struct Manifests<'a> {
    base: &'a Table,
    id: i64,
    commit: Uuid,
    written: Vec<ManifestFile>,
    summary: SnapshotSummaryCollector,
}

impl Manifests<'_> {
    async fn write(mut self, staged: &Table, files: &[DataFile]) -> Result<Snapshot> {
        if !files.is_empty() {
            self.add(staged, files).await?;
        }
        self.delete_all().await?;
        let list = self.path(&format!("snap-{}-0-{}", self.id, self.commit));
        let rows = self.list(&list).await?;
        let metadata = self.base.metadata();
        let now = SystemClock
            .now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let snapshot = Snapshot::builder()
            .with_manifest_list(list)
            .with_snapshot_id(self.id)
            .with_parent_snapshot_id(metadata.current_snapshot_id())
            .with_sequence_number(metadata.next_sequence_number())
            .with_summary(self.summary(files))
            .with_schema_id(staged.metadata().current_schema_id())
            .with_timestamp_ms(now.max(metadata.last_updated_ms()));
        Ok(match rows {
            Some(next) => snapshot
                .with_row_range(metadata.next_row_id(), next - metadata.next_row_id())
                .build(),
            None => snapshot.build(),
        })
    }

    async fn add(&mut self, staged: &Table, files: &[DataFile]) -> Result<()> {
        let metadata = staged.metadata();
        let spec = metadata.default_partition_spec();
        let mut writer = self.writer(
            Arc::clone(metadata.current_schema()),
            spec.as_ref().clone(),
            ManifestContentType::Data,
        )?;
        for file in files {
            // The sequence number is inherited from the snapshot.
            writer.add_file(file.clone(), -1).map_err(failed)?;
            let schema = Arc::clone(metadata.current_schema());
            self.summary.add_file(file, schema, Arc::clone(spec));
        }
        self.written
            .push(writer.write_manifest_file().await.map_err(failed)?);
        Ok(())
    }

    /// Marks all live files as deleted by this snapshot, one manifest for each of the base.
    async fn delete_all(&mut self) -> Result<()> {
        let Some(current) = self.base.metadata().current_snapshot() else {
            return Ok(());
        };
        let list = self.base.manifest_list_reader(current);
        let list = list.load().await.map_err(failed)?;
        let manifests: Vec<ManifestFile> = list.consume_entries().into_iter().collect();
        for manifest in &manifests {
            self.delete(manifest).await?;
        }
        Ok(())
    }

    async fn delete(&mut self, file: &ManifestFile) -> Result<()> {
        let manifest = file.load_manifest(self.base.file_io()).await;
        let manifest = manifest.map_err(failed)?;
        let own = manifest.metadata();
        let live: Vec<_> = manifest
            .entries()
            .iter()
            .filter(|entry| entry.is_alive())
            .collect();
        if live.is_empty() {
            return Ok(());
        }
        let spec = own.partition_spec().clone();
        let schema = Arc::clone(own.schema());
        let mut writer = self.writer(Arc::clone(&schema), spec.clone(), file.content)?;
        let spec = Arc::new(spec);
        for entry in live {
            let gone = entry.data_file();
            let sequence = entry.sequence_number().unwrap_or_default();
            writer
                .add_delete_file(gone.clone(), sequence, entry.file_sequence_number)
                .map_err(failed)?;
            self.summary
                .remove_file(gone, Arc::clone(&schema), Arc::clone(&spec));
        }
        self.written
            .push(writer.write_manifest_file().await.map_err(failed)?);
        Ok(())
    }

    fn writer(
        &self,
        schema: SchemaRef,
        spec: PartitionSpec,
        content: ManifestContentType,
    ) -> Result<ManifestWriter> {
        let path = self.path(&format!("{}-m{}", self.commit, self.written.len()));
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

    /// Answers the next row id, where the format counts rows.
    async fn list(&mut self, path: &str) -> Result<Option<u64>> {
        let output = self.base.file_io().new_output(path).map_err(failed)?;
        let mut list = self.list_writer(output.writer().await.map_err(failed)?);
        list.add_manifests(std::mem::take(&mut self.written).into_iter())
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

    /// What changed, and that nothing but `files` is left.
    fn summary(&self, files: &[DataFile]) -> Summary {
        let mut properties: HashMap<String, String> = self.summary.build();
        let data = files
            .iter()
            .filter(|file| file.content_type() == DataContentType::Data);
        let records: u64 = data.clone().map(DataFile::record_count).sum();
        let bytes: u64 = data.clone().map(DataFile::file_size_in_bytes).sum();
        let totals = [
            ("total-data-files", data.count().to_string()),
            ("total-records", records.to_string()),
            ("total-files-size", bytes.to_string()),
            ("total-delete-files", "0".to_owned()),
            ("total-position-deletes", "0".to_owned()),
            ("total-equality-deletes", "0".to_owned()),
        ];
        properties.extend(totals.map(|(key, total)| (key.to_owned(), total)));
        Summary {
            operation: Operation::Overwrite,
            additional_properties: properties,
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/metadata/{name}.avro", self.base.metadata().location())
    }
}

fn failed(error: iceberg::Error) -> Error {
    Error::iceberg("replace rows")(error)
}
