//! Rows of a feature view become rows of its batch source. A missing table is created in Murre's own layout.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use futures::TryStreamExt;
use iceberg::table::Table;

use super::columns::Columns;
use super::online::{arrow_type, in_utc};
use super::table::{Created, Written};
use super::{Ingest, Rows, refuse_key, unsupported};
use crate::error::{Error, Result};
use crate::model::{
    FeatureSource, FeatureView, SnapshotId, SourceLocation, TableName, WriteOutcome, WriteRequest,
};
use crate::table::commit::KnownWrite;
use crate::table::online::{CREATED_TIMESTAMP, EVENT_TIMESTAMP, stored_key};
use crate::table::write::arrow_schema;

/// One write to the batch source of a view.
struct Offline<'a> {
    request: &'a WriteRequest,
    view: &'a FeatureView,
    place: String,
    /// Source columns to the names that they have in rows.
    names: BTreeMap<String, String>,
}

impl Ingest {
    pub(super) async fn write_offline(
        &self,
        request: WriteRequest,
        rows: Rows,
    ) -> Result<WriteOutcome> {
        let registry = self.features()?.registry.current().await?;
        registry.check_project(request.project.as_deref())?;
        let view = registry.feature_view(&request.view.view)?;
        let write = Offline {
            request: &request,
            view,
            place: format!("the batch source of feature view `{}`", view.name),
            names: sent_names(&view.source, &rows.schema),
        };
        match &view.source.location {
            SourceLocation::Iceberg(name) => self.write_source_table(&write, name, rows).await,
            SourceLocation::Parquet(files) => {
                refuse_key(&write.place, request.idempotency_key.as_deref())?;
                let rows = self
                    .append_files_at(&write.place, files, &write.names, rows)
                    .await?;
                Ok(outcome(files.uri.clone(), rows))
            }
            SourceLocation::Unsupported(kind) => Err(unsupported(&view.name, kind)),
        }
    }

    async fn write_source_table(
        &self,
        write: &Offline<'_>,
        name: &TableName,
        rows: Rows,
    ) -> Result<WriteOutcome> {
        let catalogs = self.tables.catalogs();
        catalogs.get_or_create(&name.catalog).await?;
        let key = write.request.idempotency_key.clone();
        let (table, created) = self.source_table(write, name, &rows.schema).await?;
        if let Some(key) = &key
            && let Some(known) = self.commits.known_write(name, &table, key).await?
        {
            rows.batches.try_for_each(async |_| Ok(())).await?;
            return Ok(written(name, known, true));
        }
        let files = self.source_files(write, name, &table, rows).await;
        let files = match created {
            Some(created) => created.settle(files).await?,
            None => files?,
        };
        if files.rows == 0 {
            return Ok(outcome(name.to_string(), 0));
        }
        let files = files.placed(&table);
        let receipt = self.commit_written(name, &table, key, files).await?;
        Ok(written(name, receipt.write, receipt.replayed))
    }

    async fn source_files(
        &self,
        write: &Offline<'_>,
        name: &TableName,
        table: &Table,
        rows: Rows,
    ) -> Result<Written> {
        let target = Arc::new(arrow_schema(table)?);
        let columns = Columns::new(&write.place, &rows.schema, target, &write.names)?;
        let attempt = self.attempt(name, table);
        self.write(&attempt, table, &columns, rows).await
    }

    /// The source's table, created if there is none.
    async fn source_table(
        &self,
        write: &Offline<'_>,
        name: &TableName,
        sent: &Schema,
    ) -> Result<(Table, Option<Created>)> {
        let catalogs = self.tables.catalogs();
        let schema = write.source_schema(sent);
        match self.offline_table(write.view, name, &schema).await {
            // Another process was faster.
            Err(error @ Error::AlreadyExists { .. }) => {
                let table = catalogs.load_table(name).await.map_err(|_| error)?;
                Ok((table, None))
            }
            table => table,
        }
    }
}

impl Offline<'_> {
    /// The columns that a new table is made for: times by the source's names, types as the definition declares them.
    fn source_schema(&self, sent: &Schema) -> Schema {
        let fields = sent.fields().iter().map(|field| {
            let mut names = self.names.iter();
            let source = names.find(|(_, name)| *name == field.name());
            let name = source.map_or(field.name(), |(source, _)| source);
            Field::new(name, self.data_type(field), true)
        });
        Schema::new(fields.collect::<Vec<_>>())
    }

    /// The declared type, or the column's own.
    fn data_type(&self, field: &Field) -> DataType {
        let definition = self.request.definition.as_ref();
        let mut keys = definition.into_iter().flat_map(|it| &it.join_keys);
        let key = keys.find(|it| it.name == *field.name());
        let mut features = definition.into_iter().flat_map(|it| &it.features);
        let feature = features.find(|it| it.name == *field.name());
        let declared = key.map(|key| stored_key(key.key_type));
        let declared = declared.or_else(|| arrow_type(feature?));
        declared.unwrap_or_else(|| in_utc(field.data_type()))
    }
}

/// The source's mapping, and the usual names of the times for rows that have them instead of the source's.
fn sent_names(source: &FeatureSource, sent: &Schema) -> BTreeMap<String, String> {
    let mut names = source.field_mapping.clone();
    let times = [
        (Some(&source.timestamp_field), EVENT_TIMESTAMP),
        (source.created_timestamp_column.as_ref(), CREATED_TIMESTAMP),
    ];
    for (time, usual) in times {
        let Some(time) = time else { continue };
        if sent.index_of(time).is_err() && sent.index_of(usual).is_ok() {
            let own = source
                .field_mapping
                .iter()
                .find(|(_, mapped)| *mapped == time);
            let own = own.map_or(time, |(own, _)| own);
            names.insert(own.clone(), usual.to_owned());
        }
    }
    names
}

fn outcome(table: String, rows: u64) -> WriteOutcome {
    WriteOutcome {
        table,
        snapshot: None,
        rows,
        replayed: false,
        token: None,
    }
}

fn written(name: &TableName, write: KnownWrite, replayed: bool) -> WriteOutcome {
    WriteOutcome {
        snapshot: Some(SnapshotId(write.snapshot_id)),
        replayed,
        ..outcome(name.to_string(), write.rows)
    }
}
