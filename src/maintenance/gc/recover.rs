//! Files of attempts at commits whose end nobody knows, of this machine's journal: once a commit can no longer be on its way,
//! those that no snapshot has go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;
use uuid::Uuid;

use super::sweep::Sweep;
use super::{GcReport, attempt_of};
use crate::error::{Error, Result};
use crate::maintenance::Maintenance;
use crate::model::TableName;
use crate::table::write::Journal;
use crate::table::write::journal::Intent;

/// After this, a commit cannot land any more.
const LANDED: Duration = Duration::from_secs(60 * 60);
/// After this, an attempt is forgotten whose table could not be read all the time: its files are orphans.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What was found of a table's attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecoverReport {
    /// The table.
    pub table: String,
    /// Attempts.
    pub attempts: u64,
    /// Their files that were deleted.
    pub deleted: u64,
    /// Bytes of files that no snapshot has.
    pub bytes: u64,
    /// Files that could not be deleted, so that the attempts are looked at again.
    pub failed: u64,
}

impl fmt::Display for RecoverReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} attempts of unknown end, {} of their files deleted",
            self.table, self.attempts, self.deleted
        )?;
        match self.failed {
            0 => Ok(()),
            failed => write!(f, ", {failed} could not be deleted"),
        }
    }
}

impl Maintenance {
    /// Cleans up after attempts at commits of this machine that died or whose end is not known, an hour after they were found
    /// so. What cannot be told stays for the next call: the table cannot be loaded, or its metadata cannot be read.
    ///
    /// # Errors
    /// [`Error::Io`] for the journal. Failures of tables are logged.
    pub async fn recover(&self) -> Result<Vec<RecoverReport>> {
        let Some(journal) = &self.journal else {
            return Ok(Vec::new());
        };
        journal.adopt()?;
        let mut by_table = BTreeMap::<TableName, Vec<Intent>>::new();
        for intent in journal.doubted(LANDED) {
            by_table
                .entry(intent.table_name())
                .or_default()
                .push(intent);
        }
        let mut reports = Vec::new();
        for (name, intents) in by_table {
            reports.extend(self.try_clean_up(journal, &name, &intents).await);
        }
        for forgotten in journal.doubted(FORGOTTEN) {
            tracing::warn!(table = %forgotten.table_name(), attempt = %forgotten.id, "an attempt of unknown end is forgotten");
            journal.settled(forgotten.id);
        }
        Ok(reports)
    }

    /// The same for one table.
    pub(super) async fn recover_table(&self, name: &TableName) -> Result<()> {
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        journal.adopt()?;
        let mut intents = journal.doubted(LANDED);
        intents.retain(|intent| intent.table_name() == *name);
        if !intents.is_empty() {
            self.try_clean_up(journal, name, &intents).await;
        }
        Ok(())
    }

    /// `None` if it cannot be told what became of them.
    async fn try_clean_up(
        &self,
        journal: &Journal,
        name: &TableName,
        intents: &[Intent],
    ) -> Option<RecoverReport> {
        let cleaned = self.clean_up(journal, name, intents).await;
        let attempts = intents.len();
        cleaned
            .inspect_err(|error| tracing::warn!(table = %name, attempts, %error, "files of attempts of unknown end stay"))
            .ok()
    }

    async fn clean_up(
        &self,
        journal: &Journal,
        name: &TableName,
        intents: &[Intent],
    ) -> Result<RecoverReport> {
        let catalogs = self.tables.catalogs();
        let table = catalogs.load_table(name).await?;
        let uuid = table.metadata().uuid();
        let (ours, others): (Vec<&Intent>, Vec<&Intent>) =
            intents.iter().partition(|intent| intent.table == uuid);
        if ours.is_empty() {
            return Err(gone(name, &others));
        }
        let ids: BTreeSet<Uuid> = ours.iter().map(|intent| intent.id).collect();
        let folders: BTreeSet<&str> = ours.iter().map(|intent| intent.folder.as_str()).collect();
        let is_theirs = |path: &str| attempt_of(path).is_some_and(|id| ids.contains(&id));
        let mut sweep = Sweep::begin(catalogs, name, table, false).await?;
        for folder in folders {
            let hidden = ProgressBar::hidden();
            let may_go = |file: &crate::storage::Listed| Ok(is_theirs(&file.path));
            sweep.run(folder, may_go, &hidden).await?;
        }
        let report = report(ours.len(), &sweep.end());
        tracing::info!(table = %name, attempts = report.attempts, deleted = report.deleted, "cleaned up after attempts");
        if report.failed == 0 {
            ids.into_iter().for_each(|id| journal.settled(id));
        }
        Ok(report)
    }
}

fn report(attempts: usize, swept: &GcReport) -> RecoverReport {
    RecoverReport {
        table: swept.table.clone(),
        attempts: attempts as u64,
        deleted: swept.deleted,
        bytes: swept.orphan_bytes,
        failed: swept.failed,
    }
}

fn gone(name: &TableName, intents: &[&Intent]) -> Error {
    let uuids: BTreeSet<String> = intents.iter().map(|it| it.table.to_string()).collect();
    Error::TableNotFound {
        table: format!(
            "{name} ({})",
            uuids.into_iter().collect::<Vec<_>>().join(", ")
        ),
        catalog: name.catalog.clone(),
    }
}
