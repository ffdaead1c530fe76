//! A commit whose answer was lost: it is looked for, and sent again as it was while it may still happen. A snapshot cannot
//! be in a table twice, and on a branch that has moved on it cannot be at all, so that either ends the matter.

use std::time::Duration;

use iceberg::table::Table;
use iceberg::{TableRequirement, TableUpdate};

use crate::catalog::Catalogs;
use crate::catalog::commit::{Outcome, TableCommitter};
use crate::clock;
use crate::error::{Error, Result};
use crate::model::TableName;

/// How long a commit is looked for.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// Between two looks; catalogs that were restarted are back after some of these.
const PAUSE: Duration = Duration::from_millis(200);

/// What became of a commit.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is in the table, which is this.
    Committed(Box<Table>),
    /// Somebody else was first, and it cannot happen any more.
    Lost,
    /// It did not happen, for another reason.
    Failed(Error),
    /// It may have happened, and may still.
    Unknown(String),
}

/// A commit, ready to be sent.
pub(super) struct Prepared<'a> {
    pub(super) catalogs: &'a Catalogs,
    pub(super) name: &'a TableName,
    pub(super) committer: &'a dyn TableCommitter,
    pub(super) base: &'a Table,
    pub(super) requirements: Vec<TableRequirement>,
    pub(super) updates: Vec<TableUpdate>,
    /// The snapshot that `updates` add; a commit without one is known by nothing, and made again where others committed.
    pub(super) snapshot: Option<i64>,
    /// [`LIMIT`].
    pub(super) limit: Duration,
}

impl Prepared<'_> {
    pub(super) async fn send(&self) -> Fate {
        let mut told = match self.once().await {
            Ok(Outcome::Committed(table)) => return Fate::Committed(table),
            Ok(Outcome::Conflict) => return Fate::Lost,
            Err(error) => return Fate::Failed(error),
            Ok(Outcome::Unknown(told)) => told,
        };
        tracing::warn!(table = %self.name, cause = told, "a commit's answer was lost; looking for it");
        let settled = tokio::time::timeout(self.limit, self.settled(&mut told)).await;
        settled.unwrap_or(Fate::Unknown(told))
    }

    async fn once(&self) -> Result<Outcome> {
        let (requirements, updates) = (self.requirements.clone(), self.updates.clone());
        self.committer
            .commit(self.base, requirements, updates)
            .await
    }

    /// Ends when it is known; `told` is why it is not.
    async fn settled(&self, told: &mut String) -> Fate {
        let mut refused = false;
        loop {
            match self.look(refused).await {
                Ok(Some(fate)) => return fate,
                Ok(None) => match self.once().await {
                    Ok(Outcome::Committed(table)) => return Fate::Committed(table),
                    Ok(Outcome::Conflict) => {
                        refused = true;
                        continue;
                    }
                    Ok(Outcome::Unknown(cause)) => *told = cause,
                    Err(error) => *told = error.to_string(),
                },
                Err(error) => *told = error.to_string(),
            }
            clock::sleep(PAUSE).await;
        }
    }

    /// What the table says; `None` while the commit may still happen. After a sending was `refused`, the ones before it can
    /// only have happened already.
    async fn look(&self, refused: bool) -> Result<Option<Fate>> {
        let now = self.catalogs.load_table(self.name).await?;
        let metadata = now.metadata();
        if self
            .snapshot
            .is_some_and(|id| metadata.snapshot_by_id(id).is_some())
        {
            return Ok(Some(Fate::Committed(Box::new(now))));
        }
        Ok((refused || self.moved_on(&now)).then_some(Fate::Lost))
    }

    /// Whether the table is another one than what the commit was made for.
    fn moved_on(&self, now: &Table) -> bool {
        let (base, metadata) = (self.base.metadata(), now.metadata());
        base.uuid() != metadata.uuid()
            || match self.snapshot {
                Some(_) => base.current_snapshot_id() != metadata.current_snapshot_id(),
                None => self.base.metadata_location() != now.metadata_location(),
            }
    }
}
