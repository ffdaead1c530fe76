//! Commits that the Iceberg library has no transaction for. The library lets nobody else call `Catalog::update_table`
//! with updates of their own, so that this talks to the catalog's back end itself.

use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::io::FileIO;
use iceberg::spec::TableMetadata;
use iceberg::table::Table;
use iceberg::{MetadataLocation, Runtime, TableRequirement, TableUpdate};

use crate::error::{Error, Result};

/// What became of a commit.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The table has the new state, which is this.
    Committed(Box<Table>),
    /// The catalog refused, because the table was not as it was read any more. That may be the doing of this very commit,
    /// where something in between has sent it twice.
    Conflict {
        /// The metadata file that was written for it, which nobody has deleted.
        wrote: Option<String>,
    },
    /// The connection broke: it may have happened, now or later.
    Unknown {
        /// Why, without secrets.
        cause: String,
        /// The metadata file that was written for it.
        wrote: Option<String>,
    },
}

impl Outcome {
    /// Known before anything was sent.
    pub(super) const CONFLICT: Self = Self::Conflict { wrote: None };
}

/// Changes tables of one catalog if they are still as they were read.
#[async_trait]
pub trait TableCommitter: Send + Sync {
    /// Applies `updates` to `base` if `requirements` hold, and makes the result the table's state if that is still
    /// `base`.
    ///
    /// # Errors
    /// Where certainly nothing was committed: invalid updates, storage failures, a catalog that cannot be reached.
    async fn commit(
        &self,
        base: &Table,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Outcome>;

    /// Whether a commit to `base` that was sent, with these `requirements`, may still be carried out where the table is `now`:
    /// for back ends that swap the metadata's location as long as it is that of `base`.
    fn may_land(&self, base: &Table, _requirements: &[TableRequirement], now: &Table) -> bool {
        base.metadata_location() == now.metadata_location()
    }

    /// Whether there is a connection, for back ends whose own client waits too long for one.
    ///
    /// # Errors
    /// [`Error::CatalogUnavailable`].
    async fn reach(&self) -> Result<()> {
        Ok(())
    }

    /// Drops a table from the catalog if it is still as it was read; whether it did.
    ///
    /// # Errors
    /// [`Error::CatalogUnavailable`].
    async fn drop_unchanged(&self, base: &Table) -> Result<bool>;
}

/// Deletes files that nothing refers to, as far as it goes; whether all are gone.
pub(crate) async fn delete_quietly(io: &FileIO, paths: &[String]) -> bool {
    let mut all_gone = true;
    for path in paths {
        if let Err(error) = io.delete(path).await {
            tracing::warn!(path, %error, "a file that no table refers to stays");
            all_gone = false;
        }
    }
    all_gone
}

/// The metadata of `base` after `updates`.
///
/// # Errors
/// If the updates contradict each other or the table.
pub(crate) fn staged(base: &Table, updates: Vec<TableUpdate>) -> Result<TableMetadata> {
    let location = base.metadata_location().map(ToOwned::to_owned);
    let mut builder = base.metadata().clone().into_builder(location);
    for update in updates {
        builder = update
            .apply(builder)
            .map_err(Error::iceberg("change table"))?;
    }
    let built = builder.build().map_err(Error::iceberg("change table"))?;
    Ok(built.metadata)
}

/// `base` with other metadata, stored at `location` if it is.
pub(crate) fn with_metadata(
    base: &Table,
    metadata: TableMetadata,
    location: Option<&str>,
) -> Result<Table> {
    let table = Table::builder()
        .file_io(base.file_io().clone())
        .identifier(base.identifier().clone())
        .metadata(Arc::new(metadata))
        .runtime(Runtime::try_current().map_err(Error::iceberg("stage table"))?);
    let table = match location {
        Some(location) => table.metadata_location(location),
        None => table,
    };
    table.build().map_err(Error::iceberg("stage table"))
}

/// What data files and commits depend on: columns, layout and order.
pub(crate) fn same_layout(metadata: &TableMetadata) -> Vec<TableRequirement> {
    vec![
        TableRequirement::CurrentSchemaIdMatch {
            current_schema_id: metadata.current_schema_id(),
        },
        TableRequirement::LastAssignedFieldIdMatch {
            last_assigned_field_id: metadata.last_column_id(),
        },
        TableRequirement::DefaultSpecIdMatch {
            default_spec_id: metadata.default_partition_spec_id(),
        },
        TableRequirement::DefaultSortOrderIdMatch {
            default_sort_order_id: metadata.default_sort_order_id(),
        },
    ]
}

pub(crate) fn next_location(old: &str, metadata: &TableMetadata) -> Result<MetadataLocation> {
    let old = MetadataLocation::from_str(old).map_err(Error::iceberg("commit"))?;
    Ok(old.with_next_version().with_new_metadata(metadata))
}
