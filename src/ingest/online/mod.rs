//! Rows of a feature view become rows of its online table: checked, given their entity keys and write sequences, sorted,
//! written, and committed as one snapshot, together with the writes of others that come at the same time.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use iceberg::spec::PartitionSpecRef;
use iceberg::table::Table;

use super::chunks::{Chunks, size};
use super::table::blocking;
use super::{Ingest, Rows};
use crate::error::{Error, Result};
use crate::model::{
    FeatureView, OnlineDefinition, SnapshotId, TableName, ViewVersion, WriteOutcome, WriteRequest,
    WriteToken,
};
use crate::registry::RegistryReader;
use crate::table::commit::{Receipt, Submission, current_sequence, left_nothing, max_sequence};
use crate::table::online::{OnlineLayout, OnlineProperties};
use crate::table::write::{Attempt, FileStyle, NewFiles, partitions, write_for};

mod columns;
mod definition;
mod sequence;
mod tables;
mod types;
mod update;

use columns::OnlineColumns;
pub(super) use sequence::Sequences;
use tables::Wanted;
pub(super) use tables::in_utc;
pub(super) use types::of_feature as arrow_type;

/// With fewer rows and bytes a partition on average, a chunk becomes one file outside of the partitions: a write of a few
/// rows must not cost a file for each bucket.
const PARTITION_ROWS: usize = 1_000;
/// In memory; a write of many wide rows is large, too.
const PARTITION_BYTES: usize = 128 * 1024;

/// What writing feature views depends on.
#[derive(Clone, Debug)]
pub(super) struct Features {
    pub(super) registry: Arc<dyn RegistryReader>,
    pub(super) layout: OnlineLayout,
}

/// The view that an online table belongs to.
#[derive(Clone, Debug)]
struct Owner {
    project: String,
    view: ViewVersion,
    table: TableName,
}

impl Ingest {
    pub(super) fn features(&self) -> Result<&Features> {
        let missing = || Error::internal("write features", "no definitions were given");
        self.features.as_ref().ok_or_else(missing)
    }

    /// Writes rows to a view's online table, which is created if there is none. See [`Ingest::write_view`].
    pub(super) async fn write_online(
        &self,
        request: WriteRequest,
        rows: Rows,
    ) -> Result<WriteOutcome> {
        let owner = self
            .owner(request.project.clone(), request.view.clone())
            .await?;
        let found = self.find(&owner).await?;
        if let (Some(key), Some((table, _))) = (&request.idempotency_key, &found)
            && let Some(write) = self.commits.known_write(&owner.table, table, key).await?
        {
            rows.batches.try_for_each(async |_| Ok(())).await?;
            let replayed = true;
            return Ok(outcome(&owner, table, Receipt { write, replayed }));
        }
        let stored = found.as_ref().map(|(_, properties)| &properties.definition);
        let wanted = self.wanted(&owner, &request, stored, &rows.schema).await?;
        let table = self.ensure(&owner, &wanted, found).await?;
        let columns = Arc::new(OnlineColumns::new(&wanted, &rows.schema, &table)?);
        let attempt = self.attempt(&owner.table, &table);
        let written = self.write_files(attempt, &table, &columns, rows).await?;
        self.commit_online(&owner, &table, request.idempotency_key, written)
            .await
    }

    /// The table and names of a view in a project, by default the registry's.
    async fn owner(&self, project: Option<String>, view: ViewVersion) -> Result<Owner> {
        let features = self.features()?;
        let project = match project {
            Some(project) => project,
            None => features.registry.current().await?.project().to_owned(),
        };
        let table = features.layout.table_name(&project, &view);
        let catalogs = self.tables.catalogs();
        catalogs.get_or_create(&table.catalog).await?;
        Ok(Owner {
            project,
            view,
            table,
        })
    }

    /// The view's table, if there is one.
    async fn find(&self, owner: &Owner) -> Result<Option<(Table, OnlineProperties)>> {
        let table = match self.tables.catalogs().load_table(&owner.table).await {
            Err(Error::TableNotFound { .. }) => return Ok(None),
            found => found?,
        };
        let (project, view) = (&owner.project, &owner.view);
        let properties = OnlineProperties::of_view(&owner.table, table.metadata(), project, view)?;
        Ok(Some((table, properties)))
    }

    /// The view in the registry, if that is of the same project.
    async fn registered(&self, owner: &Owner) -> Result<Option<Arc<FeatureView>>> {
        let registry = self.features()?.registry.current().await?;
        if registry.project() != owner.project {
            return Ok(None);
        }
        let mut views = registry.feature_views();
        Ok(views.find(|view| view.name == owner.view.view).cloned())
    }

    async fn wanted(
        &self,
        owner: &Owner,
        request: &WriteRequest,
        stored: Option<&OnlineDefinition>,
        sent: &SchemaRef,
    ) -> Result<Wanted> {
        let given = request.definition.as_ref().or(stored);
        let names = self.time_names(owner, sent, given.is_some()).await?;
        let definition = match given {
            Some(given) => given.clone(),
            None => self.registered_definition(owner, Some(sent)).await?,
        };
        Wanted::of_rows(definition, request.definition.is_some(), sent, names)
    }

    async fn write_files(
        &self,
        attempt: Attempt,
        table: &Table,
        columns: &Arc<OnlineColumns>,
        rows: Rows,
    ) -> Result<Written> {
        let mut chunks = Chunks::raw(rows.batches, self.chunk_bytes);
        let mut written = Written::none(attempt);
        loop {
            let chunk = match chunks.next().await {
                Ok(Some(chunk)) => self.write_chunk(table, columns, chunk, &mut written).await,
                Ok(None) => return Ok(written),
                Err(error) => Err(error),
            };
            if let Err(error) = chunk {
                written.discard().await;
                return Err(error);
            }
        }
    }

    async fn write_chunk(
        &self,
        table: &Table,
        columns: &Arc<OnlineColumns>,
        chunk: Vec<RecordBatch>,
        written: &mut Written,
    ) -> Result<()> {
        let rows: usize = chunk.iter().map(RecordBatch::num_rows).sum();
        let uuid = table.metadata().uuid();
        let first = self
            .sequences
            .reserve(uuid, max_sequence(table.metadata()), rows);
        let (columns, for_spec) = (Arc::clone(columns), table.clone());
        let (batch, spec) = blocking(move || {
            let batch = columns.fit(&chunk, first)?;
            let spec = spec_for(&for_spec, &batch)?;
            Ok((batch, spec))
        })
        .await?;
        let attempt = &written.attempt;
        let files = write_for(attempt, table, &spec, FileStyle::LookedUp, vec![batch]).await?;
        let own = written.files.entry(spec.spec_id());
        own.or_insert_with(|| NewFiles::of(attempt, table))
            .add(files);
        written.rows += rows as u64;
        let last = first + i64::try_from(rows).unwrap_or(i64::MAX) - 1;
        written.max_sequence = written.max_sequence.max(Some(last));
        Ok(())
    }

    async fn commit_online(
        &self,
        owner: &Owner,
        table: &Table,
        key: Option<String>,
        written: Written,
    ) -> Result<WriteOutcome> {
        if written.rows == 0 {
            return Ok(nothing(owner, table));
        }
        let receipt = self
            .commit_written(&owner.table, table, key, written)
            .await?;
        Ok(outcome(owner, table, receipt))
    }

    /// Commits files, and removes them where it is certain that no snapshot has them.
    pub(super) async fn commit_written(
        &self,
        name: &TableName,
        table: &Table,
        key: Option<String>,
        written: Written,
    ) -> Result<Receipt> {
        let files = written.files.into_iter();
        let files: BTreeMap<_, _> = files.map(|(spec, files)| (spec, files.keep())).collect();
        let submission = Submission {
            table: table.metadata().uuid(),
            files: files.clone(),
            rows: written.rows,
            key,
            max_sequence: written.max_sequence,
        };
        let committed = self.commits.commit(name, submission).await;
        match &committed {
            Ok(receipt) if !receipt.replayed => written.attempt.committed(),
            Err(error) if !left_nothing(error) => {}
            _ => {
                let unused = files.values().flatten();
                written.attempt.discard(table, unused).await;
            }
        }
        committed
    }
}

/// Files of one write.
pub(super) struct Written {
    pub(super) attempt: Attempt,
    /// By partition spec.
    pub(super) files: BTreeMap<i32, NewFiles>,
    pub(super) rows: u64,
    pub(super) max_sequence: Option<i64>,
}

impl Written {
    fn none(attempt: Attempt) -> Self {
        Self {
            attempt,
            files: BTreeMap::new(),
            rows: 0,
            max_sequence: None,
        }
    }

    async fn discard(self) {
        for files in self.files.into_values() {
            files.discard().await;
        }
    }
}

/// The table's partitions for a batch that fills them, the unpartitioned spec for one that does not.
fn spec_for(table: &Table, batch: &RecordBatch) -> Result<PartitionSpecRef> {
    let metadata = table.metadata();
    let own = metadata.default_partition_spec();
    let mut specs = metadata.partition_specs_iter();
    let together = specs.find(|spec| spec.is_unpartitioned()).unwrap_or(own);
    let filled = (batch.num_rows() / PARTITION_ROWS).max(size(batch) / PARTITION_BYTES);
    let full = filled > 0 && filled >= partitions(table, own, batch)?;
    Ok(Arc::clone(if full { own } else { together }))
}

fn outcome(owner: &Owner, table: &Table, receipt: Receipt) -> WriteOutcome {
    WriteOutcome {
        table: owner.table.to_string(),
        snapshot: Some(SnapshotId(receipt.write.snapshot_id)),
        rows: receipt.write.rows,
        replayed: receipt.replayed,
        token: Some(WriteToken {
            table: table.metadata().uuid(),
            sequence: receipt.write.sequence_number,
        }),
    }
}

/// A write without rows, which makes no snapshot.
fn nothing(owner: &Owner, table: &Table) -> WriteOutcome {
    WriteOutcome {
        table: owner.table.to_string(),
        snapshot: None,
        rows: 0,
        replayed: false,
        token: Some(WriteToken {
            table: table.metadata().uuid(),
            sequence: current_sequence(table),
        }),
    }
}
