//! All rows of a table are replaced in one snapshot, with other columns if need be. The snapshots before it stay
//! readable.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema as ArrowSchema};
use iceberg::arrow::{arrow_schema_to_schema_auto_assign_ids, schema_to_arrow_schema};
use iceberg::spec::{
    DataFile, NestedFieldRef, Operation, PartitionSpec, Schema, SortOrder, TableMetadata,
};
use iceberg::table::Table;
use iceberg::{TableRequirement, TableUpdate};

use super::change::{Change, commit_change};
use super::conflict;
use super::snapshot::Removed;
use crate::catalog::Catalogs;
use crate::catalog::commit::{same_layout, staged, with_metadata};
use crate::error::{Error, Result};
use crate::model::{SnapshotId, TableName};

/// A table whose rows are about to be replaced.
#[derive(Debug)]
pub struct Replacement {
    name: TableName,
    base: Table,
    staged: Table,
    /// What turns the base's columns and layout into those of the staged table.
    updates: Vec<TableUpdate>,
}

impl Replacement {
    /// Plans to give the table these columns; equal ones keep their field ids. Changes nothing.
    ///
    /// # Errors
    /// As [`Catalogs::load_table`].
    pub async fn new(catalogs: &Catalogs, name: &TableName, columns: &ArrowSchema) -> Result<Self> {
        let base = catalogs.load_table(name).await?;
        let updates = column_updates(base.metadata(), columns)?;
        let metadata = staged(&base, updates.clone())?;
        Ok(Self {
            name: name.clone(),
            staged: with_metadata(&base, metadata, None)?,
            base,
            updates,
        })
    }

    /// The table as it will be, for [`super::super::write::write`].
    pub fn table(&self) -> &Table {
        &self.staged
    }

    /// Makes `files` the only rows of the table, on top of whatever rows it has by then.
    ///
    /// # Errors
    /// [`Error::CommitConflict`] if the columns or the layout were changed meanwhile; [`Error::CatalogUnavailable`],
    /// also if it is not known whether the commit happened.
    pub async fn commit(self, catalogs: &Catalogs, files: &[DataFile]) -> Result<SnapshotId> {
        let spec = self.staged.metadata().default_partition_spec_id();
        let committed = commit_change(catalogs, &self.name, |base| {
            let met = |it: &TableRequirement| it.check(Some(base.metadata())).is_ok();
            if !self.requirements().iter().all(met) {
                return Err(conflict(&self.name));
            }
            Ok(Change {
                updates: self.updates.clone(),
                added: BTreeMap::from([(spec, files.to_vec())]),
                removed: Removed::Everything,
                operation: Operation::Overwrite,
                ..Change::default()
            })
        });
        let id = committed.await?.snapshot_id;
        id.map(SnapshotId)
            .ok_or_else(|| Error::internal("replace rows", "the commit made no snapshot"))
    }

    /// What the data files depend on.
    fn requirements(&self) -> Vec<TableRequirement> {
        let metadata = self.base.metadata();
        let mut requirements = same_layout(metadata);
        requirements.push(TableRequirement::UuidMatch {
            uuid: metadata.uuid(),
        });
        requirements
    }
}

/// Nothing if the table has these columns already.
fn column_updates(metadata: &TableMetadata, columns: &ArrowSchema) -> Result<Vec<TableUpdate>> {
    let fields = fields(metadata, columns)?;
    if metadata.current_schema().as_struct().fields() == fields {
        return Ok(Vec::new());
    }
    let schema = Schema::builder().with_fields(fields).build();
    let schema = schema.map_err(Error::iceberg("plan columns"))?;
    let mut updates = Vec::new();
    let gone = |source: i32| schema.field_by_id(source).is_none();
    let spec = metadata.default_partition_spec();
    if spec.fields().iter().any(|field| gone(field.source_id)) {
        let spec = PartitionSpec::unpartition_spec().into_unbound();
        updates.push(TableUpdate::AddSpec { spec });
        updates.push(TableUpdate::SetDefaultSpec { spec_id: -1 });
    }
    let order = metadata.default_sort_order();
    if order.fields.iter().any(|field| gone(field.source_id)) {
        let sort_order = SortOrder::unsorted_order();
        updates.push(TableUpdate::AddSortOrder { sort_order });
        updates.push(TableUpdate::SetDefaultSortOrder { sort_order_id: -1 });
    }
    updates.push(TableUpdate::AddSchema { schema });
    updates.push(TableUpdate::SetCurrentSchema { schema_id: -1 });
    Ok(updates)
}

/// The table's own fields where name and type are equal, and new ones under ids that it never had.
fn fields(metadata: &TableMetadata, columns: &ArrowSchema) -> Result<Vec<NestedFieldRef>> {
    let current = metadata.current_schema();
    let own = schema_to_arrow_schema(current).map_err(Error::iceberg("read columns"))?;
    let kept: HashMap<&str, &NestedFieldRef> = columns
        .fields()
        .iter()
        .filter_map(|field| {
            let found = own.field_with_name(field.name()).ok()?;
            let equal = found.data_type().equals_datatype(field.data_type())
                && found.is_nullable() == field.is_nullable();
            let own = current.field_by_name(field.name())?;
            equal.then_some((field.name().as_str(), own))
        })
        .collect();
    let new = columns
        .fields()
        .iter()
        .filter(|field| !kept.contains_key(field.name().as_str()));
    let new = numbered(
        &ArrowSchema::new(new.cloned().collect::<Vec<_>>()),
        metadata,
    )?;
    let field = |name: &str| kept.get(name).copied().or_else(|| new.field_by_name(name));
    let fields = columns.fields().iter();
    Ok(fields
        .filter_map(|column| field(column.name()).cloned())
        .collect())
}

/// Columns under the ids that follow the table's last: the library numbers by level, so that columns which stand for the
/// ids in use come before them.
pub(super) fn numbered(columns: &ArrowSchema, metadata: &TableMetadata) -> Result<Schema> {
    let used = (0..metadata.last_column_id())
        .map(|id| Arc::new(Field::new(format!("\0{id}"), DataType::Int32, true)));
    let fields: Vec<FieldRef> = used.chain(columns.fields().iter().cloned()).collect();
    arrow_schema_to_schema_auto_assign_ids(&ArrowSchema::new(fields))
        .map_err(Error::iceberg("plan columns"))
}
