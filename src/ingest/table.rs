//! Rows on their way into Iceberg tables: files of bounded size first, then one commit that makes all of them visible.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use futures::TryStreamExt;
use iceberg::arrow::arrow_schema_to_schema_auto_assign_ids;
use iceberg::table::Table;
use tokio::runtime::Handle;

use super::chunks::Chunks;
use super::columns::Columns;
use super::storable::storable;
use super::{Ingest, Rows, online};
use crate::catalog::Catalogs;
use crate::error::{Error, Result};
use crate::model::TableName;
use crate::table::commit::{self, NewTable, Replacement};
use crate::table::layout::PartitionBy;
use crate::table::write::{Attempt, FileStyle, NewFiles, arrow_schema, write_for};

impl Ingest {
    /// Appends to an existing table, called `place` in messages, unless a write of this key was there before.
    pub(super) async fn append_table(
        &self,
        place: &str,
        name: &TableName,
        mapping: &BTreeMap<String, String>,
        key: Option<String>,
        rows: Rows,
    ) -> Result<u64> {
        let table = self.tables.catalogs().load_table(name).await?;
        if let Some(key) = &key
            && let Some(known) = self.commits.known_write(name, &table, key).await?
        {
            rows.batches.try_for_each(async |_| Ok(())).await?;
            return Ok(known.rows);
        }
        let target = Arc::new(arrow_schema(&table)?);
        let columns = Columns::new(place, &rows.schema, target, mapping)?;
        let attempt = self.attempt(name, &table);
        let written = self.write(&attempt, &table, &columns, rows).await?;
        self.append_files(name, &table, key, written).await
    }

    /// Appends to a table that may have to be created.
    pub(super) async fn log_table(
        &self,
        name: &TableName,
        key: Option<String>,
        rows: Rows,
    ) -> Result<u64> {
        let _turn = self.locks.hold(&format!("create {name:?}")).await;
        match self.tables.catalogs().load_table(name).await {
            Err(Error::TableNotFound { .. }) => self.create_with(name, key, rows).await,
            Err(other) => Err(other),
            Ok(_) => {
                let place = format!("table `{name}`");
                self.append_table(&place, name, &BTreeMap::new(), key, rows)
                    .await
            }
        }
    }

    /// Makes `rows` the rows of a new table, or those of an existing one if that may be.
    pub(super) async fn save_table(
        &self,
        name: &TableName,
        overwrite: bool,
        rows: Rows,
    ) -> Result<u64> {
        match self.tables.catalogs().load_table(name).await {
            Ok(_) if overwrite => self.replace(name, rows).await,
            Ok(_) => Err(Error::AlreadyExists {
                what: format!("table `{name}`"),
            }),
            Err(Error::TableNotFound { .. }) => self.create_with(name, None, rows).await,
            Err(other) => Err(other),
        }
    }

    async fn create_with(&self, name: &TableName, key: Option<String>, rows: Rows) -> Result<u64> {
        let (table, created) = self.create(name, &rows.schema, Layout::default()).await?;
        let columns = created_columns(name, &rows.schema, &table)?;
        let attempt = self.attempt(name, &table);
        let written = self.write(&attempt, &table, &columns, rows).await;
        let written = created.settle(written).await?;
        self.append_files(name, &table, key, written).await
    }

    /// Creates a table for rows of this schema. It goes again unless its guard is settled with rows.
    pub(super) async fn create(
        &self,
        name: &TableName,
        schema: &Schema,
        layout: Layout,
    ) -> Result<(Table, Created)> {
        let schema = storable(schema)?;
        let new = NewTable {
            schema: arrow_schema_to_schema_auto_assign_ids(&schema)
                .map_err(Error::iceberg("plan columns"))?,
            partition_by: layout.partition_by,
            sort_by: layout.sort_by,
        };
        let catalogs = self.tables.catalogs();
        let table = commit::create_table(catalogs, name, new).await?;
        let undo = (catalogs.clone(), name.clone(), table.clone());
        Ok((table, Created(Some(undo))))
    }

    async fn replace(&self, name: &TableName, rows: Rows) -> Result<u64> {
        let catalogs = self.tables.catalogs();
        let replacement = Replacement::new(catalogs, name, &storable(&rows.schema)?).await?;
        let table = replacement.table().clone();
        let columns = created_columns(name, &rows.schema, &table)?;
        let attempt = self.attempt(name, &table);
        let written = self.write(&attempt, &table, &columns, rows).await?;
        let _turn = self.locks.hold(&format!("commit {name:?}")).await;
        let files = written.files.keep();
        let replaced = replacement.commit(catalogs, &files).await;
        attempt.settle(&table, &files, replaced).await?;
        Ok(written.rows)
    }

    /// Writes all rows as files that nothing refers to yet.
    pub(super) async fn write(
        &self,
        attempt: &Attempt,
        table: &Table,
        columns: &Columns,
        rows: Rows,
    ) -> Result<Written> {
        let mut chunks = Chunks::new(rows.batches, columns, self.chunk_bytes);
        let mut written = Written::none(attempt, table);
        while let Some(chunk) = next_written(&mut chunks, attempt, table).await.transpose() {
            match chunk {
                Ok(chunk) => written.add(chunk),
                Err(error) => {
                    written.files.discard().await;
                    return Err(error);
                }
            }
        }
        Ok(written)
    }

    /// Commits files; one commit of each key.
    pub(super) async fn append_files(
        &self,
        name: &TableName,
        table: &Table,
        key: Option<String>,
        written: Written,
    ) -> Result<u64> {
        if written.rows == 0 {
            return Ok(0);
        }
        if key.is_some() {
            let receipt = self.commit_written(name, table, key, written.placed(table));
            return Ok(receipt.await?.write.rows);
        }
        let _turn = self.locks.hold(&format!("commit {name:?}")).await;
        let attempt = written.files.attempt().clone();
        let files = written.files.keep();
        let appended = commit::append(self.tables.catalogs(), name, files.clone()).await;
        attempt.settle(table, &files, appended).await?;
        Ok(written.rows)
    }
}

/// Files of one write.
pub(super) struct Written {
    pub(super) files: NewFiles,
    pub(super) rows: u64,
}

impl Written {
    pub(super) fn none(attempt: &Attempt, table: &Table) -> Self {
        Self {
            files: NewFiles::of(attempt, table),
            rows: 0,
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.files.add(other.files);
        self.rows += other.rows;
    }

    /// The same, in the table's partitions.
    pub(super) fn placed(self, table: &Table) -> online::Written {
        let spec = table.metadata().default_partition_spec_id();
        online::Written {
            attempt: self.files.attempt().clone(),
            files: BTreeMap::from([(spec, self.files)]),
            rows: self.rows,
            max_sequence: None,
        }
    }
}

async fn next_written(
    chunks: &mut Chunks<'_>,
    attempt: &Attempt,
    table: &Table,
) -> Result<Option<Written>> {
    let Some(chunk) = chunks.next().await? else {
        return Ok(None);
    };
    let rows = chunk.iter().map(|batch| batch.num_rows() as u64).sum();
    let spec = table.metadata().default_partition_spec();
    let files = write_for(attempt, table, spec, FileStyle::Scanned, chunk).await?;
    Ok(Some(Written { files, rows }))
}

/// Work for a processor, on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal("prepare rows", error))?
}

pub(super) fn created_columns(name: &TableName, sent: &Schema, table: &Table) -> Result<Columns> {
    let target = Arc::new(arrow_schema(table)?);
    Columns::new(&format!("table `{name}`"), sent, target, &BTreeMap::new())
}

/// How the rows of a new table lie in files; the default says nothing about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) partition_by: Vec<PartitionBy>,
    pub(super) sort_by: Vec<String>,
}

/// Drops a table that was created for rows that then did not come, also where the request was cancelled.
pub(super) struct Created(Option<(Catalogs, TableName, Table)>);

impl Created {
    /// The table stays if its rows came, and goes otherwise.
    pub(super) async fn settle<T: Send + Sync>(mut self, written: Result<T>) -> Result<T> {
        let undo = self.0.take();
        if let (Err(_), Some((catalogs, name, created))) = (&written, undo) {
            drop_created(&catalogs, &name, &created).await;
        }
        written
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        let (Some(undo), Ok(runtime)) = (self.0.take(), Handle::try_current()) else {
            return;
        };
        let (catalogs, name, created) = undo;
        runtime.spawn(async move { drop_created(&catalogs, &name, &created).await });
    }
}

async fn drop_created(catalogs: &Catalogs, name: &TableName, created: &Table) {
    if let Err(error) = commit::drop_if_unchanged(catalogs, name, created).await {
        tracing::warn!(table = %name, %error, "an empty table stays");
    }
}
