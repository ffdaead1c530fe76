//! Commits: the server applies the updates if the table's branch, columns and layout are as they were read.

use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::MAIN_BRANCH;
use iceberg::table::Table;
use iceberg::{ErrorKind, TableIdent, TableRequirement, TableUpdate};
use iceberg_catalog_rest::{CommitTableRequest, CommitTableResponse, LoadTableResult};
use reqwest::{Method, StatusCode};

use super::error::Failure;
use super::session::Session;
use crate::catalog::commit::{Outcome, TableCommitter, same_layout, with_metadata};
use crate::catalog::table_error;
use crate::error::{Error, Result};
use crate::model::TableName;

#[derive(Debug)]
pub(super) struct RestCommitter {
    /// Its name in the configuration.
    pub(super) catalog: String,
    pub(super) session: Arc<Session>,
}

#[async_trait]
impl TableCommitter for RestCommitter {
    async fn commit(
        &self,
        base: &Table,
        mut requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Outcome> {
        let holds = |one: &TableRequirement| one.check(Some(base.metadata())).is_ok();
        if !requirements.iter().all(holds) {
            return Ok(Outcome::CONFLICT);
        }
        requirements.extend(unchanged(base));
        let table = base.identifier();
        let request = CommitTableRequest {
            identifier: Some(table.clone()),
            requirements,
            updates,
        };
        match self.send(&request, table).await {
            Ok(done) => Ok(Outcome::Committed(Box::new(with_metadata(
                base,
                done.metadata,
                Some(&done.metadata_location),
            )?))),
            Err(failure) if failure.status() == Some(StatusCode::CONFLICT) => Ok(Outcome::CONFLICT),
            Err(failure) if failure.is_unknown() => Ok(Outcome::Unknown {
                cause: failure.message(),
                wrote: None,
            }),
            Err(failure) => Err(self.failed(failure, table)),
        }
    }

    /// The server looks at requirements, not at the metadata's location.
    fn may_land(&self, base: &Table, requirements: &[TableRequirement], now: &Table) -> bool {
        let own = unchanged(base);
        let mut all = requirements.iter().chain(&own);
        all.all(|one| one.check(Some(now.metadata())).is_ok())
    }

    /// The protocol cannot delete on a condition: a commit between the look and the deletion is lost with the table.
    async fn drop_unchanged(&self, base: &Table) -> Result<bool> {
        let table = base.identifier();
        match self.drop_if_at(table, base.metadata_location()).await {
            Err(failure) if failure.status() == Some(StatusCode::NOT_FOUND) => Ok(false),
            Err(failure) => Err(self.failed(failure, table)),
            Ok(dropped) => Ok(dropped),
        }
    }
}

impl RestCommitter {
    async fn send(
        &self,
        request: &CommitTableRequest,
        table: &TableIdent,
    ) -> Result<CommitTableResponse, Failure> {
        let url = self.session.settings().await?.table(table);
        self.session
            .post(url.map_err(Failure::Unreachable)?, request)
            .await
    }

    async fn drop_if_at(
        &self,
        table: &TableIdent,
        location: Option<&str>,
    ) -> Result<bool, Failure> {
        let url = self.session.settings().await?.table(table);
        let url = url.map_err(Failure::Unreachable)?;
        let now: LoadTableResult = self.session.get(url.clone()).await?;
        if now.metadata_location.as_deref() != location {
            return Ok(false);
        }
        self.session.do_only(Method::DELETE, url).await?;
        Ok(true)
    }

    fn failed(&self, failure: Failure, table: &TableIdent) -> Error {
        let name = TableName {
            catalog: self.catalog.clone(),
            namespace: table.namespace().to_vec(),
            name: table.name().to_owned(),
        };
        let error = failure.about_table(table);
        match error.kind() {
            ErrorKind::CatalogCommitConflicts => Error::CommitConflict {
                table: name.to_string(),
            },
            _ => table_error(&name, error),
        }
    }
}

/// What a commit depends on beside the table's identity.
fn unchanged(base: &Table) -> Vec<TableRequirement> {
    let metadata = base.metadata();
    let mut requirements = same_layout(metadata);
    requirements.push(TableRequirement::LastAssignedPartitionIdMatch {
        last_assigned_partition_id: metadata.last_partition_id(),
    });
    requirements.push(TableRequirement::RefSnapshotIdMatch {
        r#ref: MAIN_BRANCH.to_owned(),
        snapshot_id: metadata.current_snapshot_id(),
    });
    requirements
}
