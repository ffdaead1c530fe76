//! A commit whose answer was lost, or was a refusal: it is looked for, and sent again as it was while it may still happen. A
//! snapshot cannot be in a table twice, and in a table that is not what it was made for it cannot be at all, so that either
//! ends the matter.
//!
//! A refusal is no proof either: what lies between may have sent the commit twice and heard of the second time only, and a
//! catalog refuses what comes while it is at another commit, which may be this one, sent before. No file of the commit may
//! go until the table is seen in a state in which nothing of it can land.

use std::time::Duration;

use iceberg::table::Table;
use iceberg::{TableRequirement, TableUpdate};

use super::wait_after;
use crate::catalog::Catalogs;
use crate::catalog::commit::{Outcome, TableCommitter};
use crate::clock;
use crate::error::{Error, Result};
use crate::model::TableName;

/// How long a commit is looked for.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// Between two looks; catalogs that were restarted are back after some of these.
const PAUSE: Duration = Duration::from_millis(200);
/// Why a commit is looked for that nothing else is known of.
const REFUSED: &str = "the catalog refused it and shows no other commit";

/// What became of a commit.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is in the table, which is this.
    Committed(Box<Table>),
    /// Somebody else was first, and it cannot happen any more; the table as it is now.
    Lost(Box<Table>),
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
    /// The snapshot that `updates` add.
    pub(super) snapshot: Option<i64>,
    /// Times that the change was made before, on other states of the table.
    pub(super) attempt: u32,
    /// [`LIMIT`].
    pub(super) limit: Duration,
    /// Metadata files that the sendings have written.
    pub(super) wrote: Vec<String>,
}

impl Prepared<'_> {
    pub(super) async fn send(&mut self) -> Fate {
        let mut told = REFUSED.to_owned();
        match self.once().await {
            Ok(Outcome::Committed(table)) => return Fate::Committed(table),
            Err(error) => return Fate::Failed(error),
            Ok(Outcome::Conflict { .. }) => wait_after(self.attempt).await,
            Ok(Outcome::Unknown { cause, .. }) => {
                tracing::warn!(table = %self.name, cause, "a commit's answer was lost; looking for it");
                told = cause;
            }
        }
        let limit = self.limit;
        let settled = self.settled(&mut told);
        let settled = clock::timeout(limit, settled).await;
        settled.unwrap_or(Fate::Unknown(told))
    }

    async fn once(&mut self) -> Result<Outcome> {
        let (requirements, updates) = (self.requirements.clone(), self.updates.clone());
        let committing = self.committer.commit(self.base, requirements, updates);
        let outcome = committing.await?;
        if let Outcome::Conflict { wrote } | Outcome::Unknown { wrote, .. } = &outcome {
            self.wrote.extend(wrote.clone());
        }
        Ok(outcome)
    }

    /// Ends when it is known; `told` is why it is not.
    async fn settled(&mut self, told: &mut String) -> Fate {
        loop {
            match self.look().await {
                Ok(Some(fate)) => return fate,
                Ok(None) => match self.once().await {
                    Ok(Outcome::Committed(table)) => return Fate::Committed(table),
                    Ok(Outcome::Conflict { .. }) => REFUSED.clone_into(told),
                    Ok(Outcome::Unknown { cause, .. }) => *told = cause,
                    Err(error) => *told = error.to_string(),
                },
                Err(error) => *told = error.to_string(),
            }
            clock::sleep(PAUSE).await;
        }
    }

    /// What the table says; `None` while the commit may still happen.
    async fn look(&self) -> Result<Option<Fate>> {
        let now = self.catalogs.load_table(self.name).await?;
        if self.is_in(&now) {
            return Ok(Some(Fate::Committed(Box::new(now))));
        }
        let may_land = self.committer.may_land(self.base, &self.requirements, &now);
        Ok((!may_land).then(|| Fate::Lost(Box::new(now))))
    }

    /// Whether the table has the commit: its snapshot, or one of its metadata files.
    fn is_in(&self, now: &Table) -> bool {
        let metadata = now.metadata();
        let log = metadata.metadata_log().iter();
        let mut files = log
            .map(|entry| entry.metadata_file.as_str())
            .chain(now.metadata_location());
        self.snapshot
            .is_some_and(|id| metadata.snapshot_by_id(id).is_some())
            || files.any(|file| self.wrote.iter().any(|wrote| wrote == file))
    }
}
