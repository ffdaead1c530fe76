//! The only place that changes tables.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use iceberg::spec::{DataFile, Operation, Schema, TableProperties};
use iceberg::table::Table;
use iceberg::{ErrorKind, TableCreation};
use uuid::Uuid;

mod change;
mod evolve;
mod group;
mod ledger;
mod replace;
mod sent;
#[cfg(test)]
mod simulation;
mod snapshot;
mod summary;

pub use change::{Change, Committed, commit_change, current_sequence};
pub use evolve::column_updates;
pub use group::{CommitHook, GroupCommit, Receipt, Submission};
pub use ledger::{KeyLedgers, LEDGER, Ledger, ledger_location};
pub use replace::Replacement;
pub use snapshot::{ManifestCount, Merging, Removed, count_manifests};
pub use summary::{IDEMPOTENCY_KEYS, KnownWrite, MAX_SEQUENCE, descends_from, max_sequence};

use super::layout::{PartitionBy, partition_spec, sort_order};
use crate::catalog::{Catalogs, identifier, table_error};
use crate::clock;
use crate::error::{Error, Result};
use crate::model::{SnapshotId, TableName};

/// Concurrent appends to one table retry this often; the library's 4 lose a commit among eight writers.
const COMMIT_RETRIES: &str = "20";
/// Table property that says whether a server's schedule looks after the table: [`ON`] or `off`.
pub const MAINTENANCE: &str = "murre.maintenance";
/// What [`MAINTENANCE`] is for tables that Murre makes.
pub const ON: &str = "on";
/// Commits that are begun anew after a conflict.
const CONFLICTS: u32 = 30;

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
/// [`Error::AlreadyExists`] for the table; [`Error::InvalidRequest`] if the layout names an unknown column.
pub async fn create_table(catalogs: &Catalogs, name: &TableName, new: NewTable) -> Result<Table> {
    make_table(catalogs, name, new, HashMap::new(), Place::OfItsName).await
}

/// [`create_table`] with properties, in a folder that no other table ever has, so that [`delete_files`] can delete its files.
///
/// # Errors
/// As [`create_table`].
pub async fn create_own_table(
    catalogs: &Catalogs,
    name: &TableName,
    new: NewTable,
    properties: HashMap<String, String>,
) -> Result<Table> {
    make_table(catalogs, name, new, properties, Place::OfItsOwn).await
}

/// Where a new table's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Where the catalog puts tables of this name.
    OfItsName,
    /// In a folder that no other table ever has, if the catalog leaves that to its clients.
    OfItsOwn,
}

async fn make_table(
    catalogs: &Catalogs,
    name: &TableName,
    new: NewTable,
    mut properties: HashMap<String, String>,
    place: Place,
) -> Result<Table> {
    properties.insert(
        TableProperties::PROPERTY_COMMIT_NUM_RETRIES.to_owned(),
        COMMIT_RETRIES.to_owned(),
    );
    properties.insert(MAINTENANCE.to_owned(), ON.to_owned());
    let catalog = catalogs.get_or_create(&name.catalog).await?;
    let namespace = identifier(name)?.namespace;
    if let Err(error) = catalog.create_namespace(&namespace, HashMap::new()).await {
        // Who may create tables need not be allowed to create namespaces.
        let exists = error.kind() == ErrorKind::NamespaceAlreadyExists
            || matches!(catalog.namespace_exists(&namespace).await, Ok(true));
        if !exists {
            return Err(table_error(name, error));
        }
    }
    let location = match place {
        Place::OfItsName => None,
        Place::OfItsOwn => catalogs.new_location(name).await?,
    };
    let creation = TableCreation::builder()
        .name(name.name.clone())
        .location_opt(location)
        .partition_spec(partition_spec(&new.schema, &new.partition_by)?)
        .sort_order(sort_order(&new.schema, &new.sort_by)?)
        .properties(properties)
        .schema(new.schema)
        .build();
    catalog
        .create_table(&namespace, creation)
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::TableAlreadyExists => Error::AlreadyExists {
                what: format!("table `{name}`"),
            },
            _ => table_error(name, error),
        })
}

/// Adds files of the table's layout to it in one snapshot, on top of whatever the table is by then.
///
/// # Errors
/// As [`commit_change`].
pub async fn append(
    catalogs: &Catalogs,
    name: &TableName,
    files: Vec<DataFile>,
) -> Result<SnapshotId> {
    let committed = commit_change(catalogs, name, |base| {
        let spec = base.metadata().default_partition_spec_id();
        Ok(Change {
            added: BTreeMap::from([(spec, files.clone())]),
            operation: Operation::Append,
            ..Change::default()
        })
    });
    let snapshot = committed.await?.snapshot_id;
    snapshot
        .map(SnapshotId)
        .ok_or_else(|| Error::internal("append", "the commit made no snapshot"))
}

/// Drops a table that was created for rows that then did not come, if it is still as it was created. Its metadata file
/// stays.
pub async fn drop_if_unchanged(
    catalogs: &Catalogs,
    name: &TableName,
    created: &Table,
) -> Result<()> {
    let committer = catalogs.committer(&name.catalog).await?;
    committer.drop_unchanged(created).await.map(drop)
}

/// Drops this table from its catalog, whatever was committed to it since it was read, and answers its last state; `None` if
/// it is not there any more. Another one of its name stays. Its files stay until [`delete_files`].
///
/// # Errors
/// [`Error::CommitConflict`] if others went on committing; [`Error::CatalogUnavailable`].
pub async fn drop_table(
    catalogs: &Catalogs,
    name: &TableName,
    table: &Table,
) -> Result<Option<Table>> {
    let committer = catalogs.committer(&name.catalog).await?;
    for attempt in 0..CONFLICTS {
        let now = match catalogs.load_table(name).await {
            Ok(now) if now.metadata().uuid() == table.metadata().uuid() => now,
            Ok(_) | Err(Error::TableNotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if committer.drop_unchanged(&now).await? {
            return Ok(Some(now));
        }
        wait_after(attempt).await;
    }
    Err(conflict(name))
}

/// Whether it is certain after a commit failed so that no snapshot has its files.
pub fn left_nothing(error: &Error) -> bool {
    matches!(
        error.root(),
        Error::CommitConflict { .. } | Error::Unsupported { .. } | Error::TableNotFound { .. }
    )
}

/// Deletes all files of a dropped table that was made by [`create_own_table`]. Those of others stay: their folder may be
/// another table's by now.
///
/// # Errors
/// What the storage fails with.
pub async fn delete_files(name: &TableName, table: &Table) -> Result<()> {
    let location = table.metadata().location().trim_end_matches('/');
    let id = location
        .rsplit('/')
        .next()
        .and_then(|folder| folder.rsplit_once('-'));
    if id.is_none_or(|(_, id)| Uuid::try_parse(id).is_err()) {
        tracing::warn!(table = %name, location, "the files of a dropped table stay");
        return Ok(());
    }
    let deleted = table.file_io().delete_prefix(format!("{location}/")).await;
    deleted.map_err(Error::iceberg(format!(
        "delete the files of table `{name}`"
    )))
}

fn conflict(name: &TableName) -> Error {
    Error::CommitConflict {
        table: name.to_string(),
    }
}

/// A while that grows, and is another one for each writer.
async fn wait_after(attempt: u32) {
    let most = Duration::from_millis(20 << attempt.min(6));
    clock::sleep(clock::jitter(most)).await;
}
