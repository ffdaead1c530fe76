//! Commits: the metadata file's name is swapped if the table's entry is still of the version that was read.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_glue::types::TableInput;
use iceberg::table::Table;
use iceberg::{ErrorKind, MetadataLocation, TableIdent, TableRequirement, TableUpdate};

use super::client::{Glue, about, database};
use super::error::Failure;
use super::table_input::{changed, metadata_location};
use crate::catalog::commit::{
    Outcome, TableCommitter, delete_quietly, next_location, staged, with_metadata,
};
use crate::catalog::table_error;
use crate::error::{Error, Result};
use crate::model::TableName;

#[derive(Debug)]
pub(super) struct GlueCommitter(pub(super) Arc<Glue>);

/// The next state of a table, not stored yet.
struct Staged {
    table: Table,
    location: MetadataLocation,
    /// Of Glue's entry that it replaces.
    version: String,
    input: TableInput,
}

#[async_trait]
impl TableCommitter for GlueCommitter {
    async fn commit(
        &self,
        base: &Table,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Outcome> {
        let holds = |one: &TableRequirement| one.check(Some(base.metadata())).is_ok();
        if !requirements.iter().all(holds) {
            return Ok(Outcome::CONFLICT);
        }
        let Some(next) = self.stage(base, updates).await? else {
            return Ok(Outcome::CONFLICT);
        };
        let written = next
            .table
            .metadata()
            .write_to(base.file_io(), &next.location);
        written
            .await
            .map_err(Error::iceberg("write table metadata"))?;
        let file = next.location.to_string();
        let outcome = self.swap(next).await;
        if outcome.is_err() {
            delete_quietly(base.file_io(), &[file]).await;
        }
        outcome
    }

    /// Glue cannot delete on a condition: a commit between the look and the deletion is lost with the table.
    async fn drop_unchanged(&self, base: &Table) -> Result<bool> {
        let table = base.identifier();
        let now = match self.0.table(table).await {
            Ok(now) => now,
            Err(error) if error.kind() == ErrorKind::TableNotFound => return Ok(false),
            Err(error) => return Err(self.failed(table, error)),
        };
        let now = metadata_location(&now).map_err(|error| self.failed(table, error))?;
        if Some(now) != base.metadata_location() {
            return Ok(false);
        }
        let database = self.database(table)?;
        match self.0.delete(database, table.name()).await {
            Ok(()) => Ok(true),
            Err(Failure::NotFound | Failure::Conflict) => Ok(false),
            Err(failure) => Err(self.failed(table, about(table)(failure))),
        }
    }
}

impl GlueCommitter {
    /// `None` if the table is not as it was read.
    async fn stage(&self, base: &Table, updates: Vec<TableUpdate>) -> Result<Option<Staged>> {
        let table = base.identifier();
        let old = base.metadata_location_result();
        let old = old.map_err(Error::iceberg("commit"))?;
        let entry = self.0.table(table).await;
        let entry = entry.map_err(|error| self.failed(table, error))?;
        if metadata_location(&entry).map_err(|error| self.failed(table, error))? != old {
            return Ok(None);
        }
        let metadata = staged(base, updates)?;
        let location = next_location(old, &metadata)?;
        let new = location.to_string();
        let input = changed(&entry, &metadata, old, &new);
        let unversioned =
            || Error::internal("commit", format!("Glue shows no version of `{table}`"));
        Ok(Some(Staged {
            table: with_metadata(base, metadata, Some(&new))?,
            location,
            version: entry.version_id.ok_or_else(unversioned)?,
            input,
        }))
    }

    async fn swap(&self, next: Staged) -> Result<Outcome> {
        let table = next.table.identifier();
        let database = self.database(table)?;
        let wrote = Some(next.location.to_string());
        match self.0.update(database, &next.version, next.input).await {
            Ok(()) => Ok(Outcome::Committed(Box::new(next.table))),
            Err(Failure::Conflict) => Ok(Outcome::Conflict { wrote }),
            Err(Failure::Unknown(cause)) => Ok(Outcome::Unknown { cause, wrote }),
            Err(failure) => Err(self.failed(table, about(table)(failure))),
        }
    }

    fn database<'a>(&self, table: &'a TableIdent) -> Result<&'a str> {
        database(table.namespace()).map_err(|error| self.failed(table, error))
    }

    fn failed(&self, table: &TableIdent, error: iceberg::Error) -> Error {
        let name = TableName {
            catalog: self.0.name.clone(),
            namespace: table.namespace().to_vec(),
            name: table.name().to_owned(),
        };
        table_error(&name, error)
    }
}
