//! The only place that changes tables.

use std::collections::HashMap;

use iceberg::spec::{DataFile, Schema, TableProperties};
use iceberg::table::Table;
use iceberg::transaction::{ApplyTransactionAction, Transaction};
use iceberg::{ErrorKind, TableCreation};

use super::layout::{PartitionBy, partition_spec, sort_order};
use crate::catalog::{Catalogs, identifier, table_error};
use crate::error::{Error, Result};
use crate::model::{SnapshotId, TableName};

/// Concurrent appends to one table retry this often; the library's 4 lose a commit among eight writers.
const COMMIT_RETRIES: &str = "20";

/// What a new table looks like.
#[derive(Clone, Debug)]
pub struct NewTable {
    /// Columns. The catalog assigns field ids anew: ask the created table for them.
    pub schema: Schema,
    /// Partition fields; none is unpartitioned.
    pub partition_by: Vec<PartitionBy>,
    /// Columns that rows are sorted by within a file; none is unsorted.
    pub sort_by: Vec<String>,
}

/// Creates a table, its namespace and its catalog's database where they are missing.
///
/// # Errors
/// [`Error::InvalidRequest`] if the table exists or the layout names an unknown column.
pub async fn create_table(catalogs: &Catalogs, name: &TableName, new: NewTable) -> Result<Table> {
    let catalog = catalogs.get_or_create(&name.catalog).await?;
    let namespace = identifier(name)?.namespace;
    let creation = TableCreation::builder()
        .name(name.name.clone())
        .partition_spec(partition_spec(&new.schema, &new.partition_by)?)
        .sort_order(sort_order(&new.schema, &new.sort_by)?)
        .properties([(
            TableProperties::PROPERTY_COMMIT_NUM_RETRIES.to_owned(),
            COMMIT_RETRIES.to_owned(),
        )])
        .schema(new.schema)
        .build();
    match catalog.create_namespace(&namespace, HashMap::new()).await {
        Err(error) if error.kind() != ErrorKind::NamespaceAlreadyExists => {
            return Err(table_error(name, error));
        }
        _ => {}
    }
    catalog
        .create_table(&namespace, creation)
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::TableAlreadyExists => {
                Error::invalid("table", format!("`{name}` exists already"))
            }
            _ => table_error(name, error),
        })
}

/// Adds files to a table in one snapshot, on top of whatever the table is by then.
///
/// # Errors
/// [`Error::TableNotFound`], [`Error::CatalogUnavailable`], also if the catalog took the commit but does not show it.
#[expect(clippy::disallowed_methods, reason = "the one door to commits")]
pub async fn append(
    catalogs: &Catalogs,
    name: &TableName,
    files: Vec<DataFile>,
) -> Result<SnapshotId> {
    let catalog = catalogs.get(&name.catalog).await?;
    let table = catalogs.load_table(name).await?;
    let transaction = Transaction::new(&table);
    // The duplicate check would read every manifest of the table again.
    let append = transaction
        .fast_append()
        .with_check_duplicate(false)
        .add_data_files(files);
    let transaction = append
        .apply(transaction)
        .map_err(Error::iceberg("append"))?;
    let committed = transaction
        .commit(&*catalog)
        .await
        .map_err(|error| table_error(name, error))?;
    let snapshot = committed.metadata().current_snapshot_id();
    let snapshot =
        snapshot.ok_or_else(|| Error::internal("append", "the commit made no snapshot"))?;
    confirm(catalogs, name, snapshot).await?;
    Ok(SnapshotId(snapshot))
}

/// iceberg-catalog-sql 0.10.1 drops the error of the database's own `COMMIT`, so success is looked up, not believed.
async fn confirm(catalogs: &Catalogs, name: &TableName, snapshot: i64) -> Result<()> {
    let stored = catalogs.load_table(name).await?;
    if stored.metadata().snapshot_by_id(snapshot).is_some() {
        return Ok(());
    }
    let message = format!(
        "it did not store snapshot {snapshot} of table `{name}`; the append can be repeated"
    );
    Err(Error::CatalogUnavailable {
        catalog: name.catalog.clone(),
        message,
    })
}
