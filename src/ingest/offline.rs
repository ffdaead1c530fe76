//! Rows of a feature view become rows of its batch source. A missing table is created in Murre's own layout.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use futures::TryStreamExt;
use iceberg::arrow::arrow_schema_to_schema_auto_assign_ids;
use iceberg::table::Table;

use super::columns::Columns;
use super::online::{self, arrow_type, in_utc};
use super::storable::storable;
use super::{Ingest, Rows, unsupported};
use crate::error::{Error, Result};
use crate::model::{
    FeatureSource, FeatureView, SnapshotId, SourceLocation, TableName, WriteOutcome, WriteRequest,
};
use crate::registry::Registry;
use crate::table::commit::{KnownWrite, NewTable, create_table, known_write};
use crate::table::entity_key::key_array;
use crate::table::layout::PartitionBy;
use crate::table::online::{CREATED_TIMESTAMP, EVENT_TIMESTAMP};
use crate::table::write::arrow_schema;

/// Hash buckets of a table that is created. Every append costs a file for each, and training data is read in bulk, so
/// that there are few: enough to leave out most of a table for a few keys, and to work on side by side.
const BUCKETS: u32 = 16;

/// One write to the batch source of a view.
struct Offline<'a> {
    request: &'a WriteRequest,
    registry: &'a Registry,
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
        check_project(&registry, &request)?;
        let view = registry.feature_view(&request.view.view)?;
        let write = Offline {
            request: &request,
            registry: &registry,
            view: &view,
            place: format!("the batch source of feature view `{}`", view.name),
            names: sent_names(&view.source, &rows.schema),
        };
        match &view.source.location {
            SourceLocation::Iceberg(name) => self.write_source_table(&write, name, rows).await,
            SourceLocation::Parquet(_) if request.idempotency_key.is_some() => {
                Err(Error::Unsupported {
                    what: format!(
                        "an idempotency key for {}, whose rows are Parquet files outside of a table,",
                        write.place
                    ),
                })
            }
            SourceLocation::Parquet(files) => {
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
        let committer = catalogs.committer(name);
        let key = write.request.idempotency_key.clone();
        if let (Err(error), true) = (&committer, key.is_some()) {
            return Err(Error::Unsupported {
                what: error.to_string(),
            });
        }
        let table = self.source_table(write, name, &rows.schema).await?;
        if committer.is_err() {
            let rows = self
                .append_table(&write.place, name, &write.names, rows)
                .await?;
            return Ok(outcome(name.to_string(), rows));
        }
        if let Some(known) = key
            .as_ref()
            .and_then(|key| known_write(table.metadata(), key))
        {
            rows.batches.try_for_each(async |_| Ok(())).await?;
            return Ok(written(name, known, true));
        }
        let target = Arc::new(arrow_schema(&table)?);
        let columns = Columns::new(&write.place, &rows.schema, target, &write.names)?;
        let files = self.write(&table, &columns, rows).await?;
        if files.rows == 0 {
            return Ok(outcome(name.to_string(), 0));
        }
        let spec = table.metadata().default_partition_spec_id();
        let files = online::Written {
            files: BTreeMap::from([(spec, files.files)]),
            rows: files.rows,
            max_sequence: None,
        };
        let receipt = self.commit_written(name, &table, key, files).await?;
        Ok(written(name, receipt.write, receipt.replayed))
    }

    /// The source's table, created if there is none.
    async fn source_table(
        &self,
        write: &Offline<'_>,
        name: &TableName,
        sent: &Schema,
    ) -> Result<Table> {
        let catalogs = self.tables.catalogs();
        catalogs.get_or_create(&name.catalog).await?;
        let _turn = self.locks.hold(&format!("create {name:?}")).await;
        match catalogs.load_table(name).await {
            Err(Error::TableNotFound { .. }) => {
                match create_table(catalogs, name, write.new_table(sent)?).await {
                    // Another process was faster, whatever the catalog says of it.
                    Err(error) => catalogs.load_table(name).await.map_err(|_| error),
                    created => created,
                }
            }
            found => found,
        }
    }
}

impl Offline<'_> {
    /// The table that rows with these columns make: keys, times, then features.
    fn new_table(&self, sent: &Schema) -> Result<NewTable> {
        let mut fields: Vec<Field> = Vec::new();
        let keys = self.request.definition.as_ref();
        let keys = match keys.filter(|it| !it.join_keys.is_empty()) {
            Some(definition) => definition.join_keys.clone(),
            None => online::join_key_types(self.registry, &self.view.join_keys, Some(sent))?,
        };
        for key in &keys {
            if sent.index_of(&key.name).is_err() {
                return Err(Error::MissingEntityColumn {
                    column: key.name.clone(),
                    view: self.view.name.clone(),
                    found: sent.fields().iter().map(|it| it.name().clone()).collect(),
                });
            }
            let data_type = in_utc(&key_array(key.key_type));
            fields.push(Field::new(self.source_name(&key.name), data_type, true));
        }
        let source = &self.view.source;
        let times = [
            Some(&source.timestamp_field),
            source.created_timestamp_column.as_ref(),
        ];
        let times: Vec<String> = times
            .into_iter()
            .flatten()
            .map(|it| self.own_name(it))
            .collect();
        let key_columns: Vec<String> = keys.iter().map(|key| self.source_name(&key.name)).collect();
        let rest = sent.fields().iter().map(|field| {
            let name = self.source_name(field.name());
            Field::new(name, self.declared(field), true)
        });
        let (timed, features): (Vec<Field>, Vec<Field>) = rest
            .filter(|field| !key_columns.contains(field.name()))
            .partition(|field| times.contains(field.name()));
        if !timed.iter().any(|field| *field.name() == times[0]) {
            return Err(Error::SchemaMismatch {
                column: times[0].clone(),
                expected: "a timestamp".to_owned(),
                found: "no column".to_owned(),
            });
        }
        let schema = storable(&Schema::new(
            fields
                .into_iter()
                .chain(timed)
                .chain(features)
                .collect::<Vec<_>>(),
        ))?;
        let schema = arrow_schema_to_schema_auto_assign_ids(&schema);
        Ok(NewTable {
            schema: schema.map_err(Error::iceberg("plan columns"))?,
            partition_by: key_columns.first().map(bucket).into_iter().collect(),
            sort_by: key_columns.into_iter().chain([times[0].clone()]).collect(),
        })
    }

    /// The type that the definition declares, or the column's own.
    fn declared(&self, field: &Field) -> DataType {
        let definition = self.request.definition.as_ref();
        let mut features = definition.into_iter().flat_map(|it| &it.features);
        let declared = features.find(|it| it.name == *field.name());
        let declared = declared.and_then(arrow_type);
        declared.unwrap_or_else(|| in_utc(field.data_type()))
    }

    /// The source column that goes by a name in rows.
    fn source_name(&self, name: &str) -> String {
        let mut names = self.names.iter();
        let found = names.find(|(_, mapped)| *mapped == name);
        found.map_or(name, |(source, _)| source).to_owned()
    }

    /// The source column of a time, which may be given by its mapped name.
    fn own_name(&self, time: &str) -> String {
        let mut mapping = self.view.source.field_mapping.iter();
        let found = mapping.find(|(_, mapped)| *mapped == time);
        found.map_or(time, |(source, _)| source).to_owned()
    }
}

/// All key types can be bucketed.
fn bucket(column: &String) -> PartitionBy {
    PartitionBy::Bucket {
        column: column.clone(),
        buckets: BUCKETS,
    }
}

fn check_project(registry: &Registry, request: &WriteRequest) -> Result<()> {
    match &request.project {
        Some(project) if project != registry.project() => Err(Error::ProjectNotFound {
            project: project.clone(),
            served: registry.project().to_owned(),
        }),
        _ => Ok(()),
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
