//! Rows for a feature view's batch source. An Iceberg table that is missing is made in the layout that joins read best:
//! bucketed by key, sorted by key and time.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use futures::StreamExt;
use iceberg::table::Table;

use super::columns::Columns;
use super::storable::storable;
use super::table::{Created, Layout, Written};
use super::{Ingest, Rows, unsupported};
use crate::error::{Error, Result};
use crate::model::{FeatureView, SourceLocation, TableName};
use crate::table::layout::PartitionBy;
use crate::table::parquet::union;
use crate::table::write::arrow_schema;

/// Hash buckets of a new table: enough to leave most of a table out, few enough that files are not small.
const BUCKETS: u32 = 16;

/// Some of the rows of one write, and what messages call them.
#[derive(Debug)]
pub struct Part {
    /// For example a file.
    pub name: String,
    /// The rows.
    pub rows: Rows,
}

/// What became of a write to a batch source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfflineWrite {
    /// Rows written.
    pub rows: u64,
    /// Whether the table was made for them.
    pub created: bool,
}

impl Ingest {
    /// Writes rows to the batch source of a view; all parts become visible in one snapshot, or nothing does. Columns go by
    /// the source's names or by the mapped ones, as with [`Ingest::append`].
    ///
    /// # Errors
    /// As [`Ingest::append`], with the name of the part; [`Error::SchemaMismatch`] if parts for a new table have nothing in
    /// common or lack the view's columns.
    pub async fn import_offline(
        &self,
        view: &FeatureView,
        parts: Vec<Part>,
    ) -> Result<OfflineWrite> {
        let name = match &view.source.location {
            SourceLocation::Iceberg(name) => name,
            SourceLocation::Parquet(_) => return self.append_parts(view, parts).await,
            SourceLocation::Unsupported(kind) => return Err(unsupported(&view.name, kind)),
        };
        let schema = common_schema(&parts)?;
        let (table, created) = self.offline_table(view, name, &schema).await?;
        let made = created.is_some();
        let written = self.write_parts(view, name, &table, parts).await;
        let written = match created {
            Some(created) => created.settle(written).await?,
            None => written?,
        };
        Ok(OfflineWrite {
            rows: self.append_files(name, &table, None, written).await?,
            created: made,
        })
    }

    /// The table of a view's batch source; made for rows of this schema where it is missing, in the layout of the view's
    /// keys and times. A made one goes again unless its guard is settled with rows.
    pub(super) async fn offline_table(
        &self,
        view: &FeatureView,
        name: &TableName,
        schema: &Schema,
    ) -> Result<(Table, Option<Created>)> {
        let catalogs = self.tables.catalogs();
        catalogs.get_or_create(&name.catalog).await?;
        let _turn = self.locks.hold(&format!("create {name:?}")).await;
        match catalogs.load_table(name).await {
            Err(Error::TableNotFound { .. }) => {
                let schema = source_schema(view, schema)?;
                let layout = layout(view, &schema)?;
                let (table, created) = self.create(name, &schema, layout).await?;
                Ok((table, Some(created)))
            }
            loaded => Ok((loaded?, None)),
        }
    }

    async fn write_parts(
        &self,
        view: &FeatureView,
        name: &TableName,
        table: &Table,
        parts: Vec<Part>,
    ) -> Result<Written> {
        let attempt = self.attempt(name, table);
        let mut all = Written::none(&attempt, table);
        for part in parts {
            let named = |error| of_part(&part.name, error);
            let target = Arc::new(arrow_schema(table)?);
            let place = format!("data source of feature view `{}`", view.name);
            let mapping = &view.source.field_mapping;
            let columns = Columns::new(&place, &part.rows.schema, target, mapping);
            let written = match columns {
                Ok(columns) => self.write(&attempt, table, &columns, part.rows).await,
                Err(error) => Err(error),
            };
            match written {
                Ok(written) => all.add(written),
                Err(error) => {
                    all.files.discard().await;
                    return Err(named(error));
                }
            }
        }
        Ok(all)
    }

    /// Files outside of tables have no snapshots: each part is visible once it is written.
    async fn append_parts(&self, view: &FeatureView, parts: Vec<Part>) -> Result<OfflineWrite> {
        let mut rows = 0;
        for part in parts {
            let written = self.append(&view.name, &view.source, part.rows).await;
            rows += written.map_err(|error| of_part(&part.name, error))?;
        }
        Ok(OfflineWrite {
            rows,
            created: false,
        })
    }
}

/// All parts as one, in columns that hold the values of all of them.
///
/// # Errors
/// [`Error::SchemaMismatch`] or [`Error::ColumnsDiffer`] with the name of the part, also while rows are read.
pub fn joined(parts: Vec<Part>) -> Result<Rows> {
    let schema = Arc::new(common_schema(&parts)?);
    let mut streams = Vec::with_capacity(parts.len());
    for Part { name, rows } in parts {
        let target = Arc::clone(&schema);
        let columns = Columns::new("the first file", &rows.schema, target, &BTreeMap::new());
        let columns = columns.map_err(|error| of_part(&name, error))?;
        streams.push(rows.batches.map(move |batch| {
            let fitted = batch.and_then(|batch| columns.fit(&batch));
            fitted.map_err(|error| of_part(&name, error))
        }));
    }
    Ok(Rows {
        schema,
        batches: futures::stream::iter(streams).flatten().boxed(),
    })
}

/// An error that says which part it is about.
fn of_part(part: &str, error: Error) -> Error {
    match part.is_empty() {
        true => error,
        false => Error::Reworded {
            message: format!("{part}: {error}"),
            cause: Box::new(error),
        },
    }
}

/// Columns that hold the values of all parts.
fn common_schema(parts: &[Part]) -> Result<Schema> {
    let mut fields = Fields::empty();
    for part in parts {
        let storable = storable(&part.rows.schema).map_err(|error| of_part(&part.name, error))?;
        fields = union(&fields, storable.fields()).map_err(|field| {
            let known = fields.find(field.name());
            let expected = known.map_or_else(String::new, |(_, it)| it.data_type().to_string());
            of_part(
                &part.name,
                Error::SchemaMismatch {
                    column: field.name().clone(),
                    expected: format!("{expected}, as in the files before it"),
                    found: field.data_type().to_string(),
                },
            )
        })?;
    }
    Ok(Schema::new(fields))
}

/// The same columns under the source's own names.
fn source_schema(view: &FeatureView, schema: &Schema) -> Result<Schema> {
    let source = &view.source;
    let own_name = |name: &str| {
        let mapped = source.field_mapping.iter().find(|(_, to)| *to == name);
        mapped.map_or(name, |(from, _)| from).to_owned()
    };
    let rename = |field: &Field| match source.field_mapping.contains_key(field.name()) {
        true => field.clone(),
        false => field.clone().with_name(own_name(field.name())),
    };
    let fields: Vec<Field> = schema.fields().iter().map(|it| rename(it)).collect();
    let schema = Schema::new(fields);
    let wanted = view.join_keys.iter().chain([&source.timestamp_field]);
    for name in wanted.chain(&source.created_timestamp_column) {
        column_of(view, &schema, name)?;
    }
    Ok(schema)
}

/// A column by the view's name of it.
fn column_of<'a>(view: &FeatureView, schema: &'a Schema, name: &str) -> Result<&'a Field> {
    let source = &view.source;
    let mut fields = schema.fields().iter();
    let found = fields.find(|field| source.mapped_name(field.name()) == name);
    let found = found.or_else(|| schema.fields().iter().find(|it| it.name() == name));
    found
        .map(AsRef::as_ref)
        .ok_or_else(|| Error::SchemaMismatch {
            column: name.to_owned(),
            expected: format!("a column, which feature view `{}` needs", view.name),
            found: "none of this name".to_owned(),
        })
}

/// Bucketed by the first key column that can be, sorted by keys and time.
fn layout(view: &FeatureView, schema: &Schema) -> Result<Layout> {
    let column = |name: &String| column_of(view, schema, name);
    let keys: Vec<&Field> = view.join_keys.iter().map(column).collect::<Result<_>>()?;
    let time = column(&view.source.timestamp_field)?;
    let bucketed = keys.iter().find(|key| has_buckets(key.data_type()));
    let sorted = keys.iter().chain([&time]);
    Ok(Layout {
        partition_by: bucketed
            .map(|key| PartitionBy::Bucket {
                column: key.name().clone(),
                buckets: BUCKETS,
            })
            .into_iter()
            .collect(),
        sort_by: sorted
            .filter(|field| !field.data_type().is_nested())
            .map(|field| field.name().clone())
            .collect(),
    })
}

/// Types that Iceberg hashes.
fn has_buckets(kind: &DataType) -> bool {
    use DataType::{Date32, FixedSizeBinary, Int32, Int64, LargeBinary, Timestamp, Utf8};
    matches!(
        kind,
        Int32 | Int64 | Utf8 | LargeBinary | FixedSizeBinary(_) | Date32 | Timestamp(..)
    )
}
