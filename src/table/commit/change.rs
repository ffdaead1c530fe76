//! One change of a table, made again on top of what others changed meanwhile until it is committed or does not apply.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use iceberg::spec::{
    DataFile, MAIN_BRANCH, Operation, Snapshot, SnapshotReference, SnapshotRetention,
};
use iceberg::table::Table;
use iceberg::{TableRequirement, TableUpdate};

use super::ledger::{KeyLedgers, Ledger};
use super::sent::{Fate, LIMIT, Prepared};
use super::snapshot::{Contents, Made, Merging, Removed, snapshot};
use super::{CONFLICTS, conflict};
use crate::catalog::Catalogs;
use crate::catalog::commit::{TableCommitter, delete_quietly, staged};
use crate::error::{Error, Result};
use crate::model::TableName;

/// What a commit does. The default does nothing.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Changes of schema, specs and properties; made before the snapshot, which may depend on them.
    pub updates: Vec<TableUpdate>,
    /// What has to hold at the commit, besides that it is the same table.
    pub requirements: Vec<TableRequirement>,
    /// New data files by the id of the partition spec that they were written with.
    pub added: BTreeMap<i32, Vec<DataFile>>,
    /// Data files that go.
    pub removed: Removed,
    /// What becomes of manifests whose files stay.
    pub merging: Merging,
    /// `Append` where nothing goes, `Replace` where the rows stay the same.
    pub operation: Operation,
    /// Properties of the snapshot's summary beside the counts, which Murre adds.
    pub summary: HashMap<String, String>,
}

impl Change {
    /// Whether it makes a snapshot.
    fn has_snapshot(&self) -> bool {
        self.added.values().any(|files| !files.is_empty())
            || !matches!(self.removed, Removed::Nothing)
            || self.merging == Merging::All
    }
}

/// A table after a commit.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The commit's snapshot; `None` if it made none.
    pub snapshot_id: Option<i64>,
    /// Sequence number of that snapshot, or of the current one; 0 if there is none.
    pub sequence_number: i64,
    /// The table, which others may have changed since.
    pub table: Table,
    /// Whether anything was committed; `false` for a change that did nothing.
    pub changed: bool,
}

/// Makes the change that `plan` asks for. `plan` is called with the table as it is at each attempt, and is to check there
/// what its change depends on; its errors end the commit, and so nothing is committed.
///
/// # Errors
/// Those of `plan`; [`Error::CommitConflict`] if others were faster each time or if a file to be removed is not there as
/// it was read. With these, nothing was committed. [`Error::CatalogUnavailable`]
/// also if it is not known whether the commit happened: files must not be deleted then.
pub async fn commit_change(
    catalogs: &Catalogs,
    name: &TableName,
    mut plan: impl FnMut(&Table) -> Result<Change> + Send,
) -> Result<Committed> {
    commit_change_on(catalogs, name, None, None, |base, _| plan(base)).await
}

/// [`commit_change`], where the table may still be as `known`, which saves a look-up. With `ledgers`, `plan` is given the
/// ledger of each table that it is called with, else an empty one.
pub(super) async fn commit_change_on(
    catalogs: &Catalogs,
    name: &TableName,
    mut known: Option<Table>,
    ledgers: Option<&KeyLedgers>,
    mut plan: impl FnMut(&Table, &Ledger) -> Result<Change> + Send,
) -> Result<Committed> {
    let committer = catalogs.committer(&name.catalog).await?;
    for attempt in 0..CONFLICTS {
        let base = match known.take() {
            Some(known) => known,
            None => catalogs.load_table(name).await?,
        };
        let ledger = match ledgers {
            Some(ledgers) => ledgers.of(catalogs, name, &base).await?,
            None => Some(Arc::default()),
        };
        let Some(ledger) = ledger else { continue };
        let change = plan(&base, &ledger)?;
        let writer = Writer {
            catalogs,
            name,
            committer: committer.as_ref(),
            attempt,
            limit: LIMIT,
        };
        match writer.attempt(base, change).await? {
            Attempt::Committed(committed) => return Ok(*committed),
            Attempt::Lost(now) => known = Some(*now),
        }
    }
    Err(conflict(name))
}

struct Writer<'a> {
    catalogs: &'a Catalogs,
    name: &'a TableName,
    committer: &'a dyn TableCommitter,
    attempt: u32,
    /// How long a commit whose answer was lost is looked for.
    limit: Duration,
}

#[derive(Debug)]
enum Attempt {
    Committed(Box<Committed>),
    /// Somebody else was first; the table as it is now.
    Lost(Box<Table>),
}

impl Writer<'_> {
    async fn attempt(&self, base: Table, change: Change) -> Result<Attempt> {
        let made = match change.has_snapshot() {
            true => self.snapshot(&base, &change).await?,
            false => None,
        };
        let snapshot = made.as_ref().map(|made| made.snapshot.clone());
        let updates = updates(change.updates, snapshot.clone());
        if updates.is_empty() {
            return Ok(Attempt::Committed(Box::new(unchanged(base))));
        }
        let uuid = base.metadata().uuid();
        let mut requirements = vec![TableRequirement::UuidMatch { uuid }];
        requirements.extend(change.requirements);
        let id = snapshot.as_ref().map(Snapshot::snapshot_id);
        let mut prepared = Prepared {
            catalogs: self.catalogs,
            name: self.name,
            committer: self.committer,
            base: &base,
            requirements,
            updates,
            snapshot: id,
            attempt: self.attempt,
            limit: self.limit,
            wrote: Vec::new(),
        };
        let fate = prepared.send().await;
        if let Fate::Lost(_) | Fate::Failed(_) = &fate {
            let made = made.map(|made| made.paths).unwrap_or_default();
            delete_quietly(base.file_io(), &[made, prepared.wrote].concat()).await;
        }
        let table = match fate {
            Fate::Lost(now) => return Ok(Attempt::Lost(now)),
            Fate::Committed(table) => *table,
            Fate::Failed(error) => return Err(error),
            Fate::Unknown(told) => return Err(self.unknown(&told)),
        };
        Ok(Attempt::Committed(Box::new(Committed {
            snapshot_id: id,
            sequence_number: snapshot.map_or_else(
                || current_sequence(&table),
                |snapshot| snapshot.sequence_number(),
            ),
            table,
            changed: true,
        })))
    }

    async fn snapshot(&self, base: &Table, change: &Change) -> Result<Option<Made>> {
        let staged = staged(base, change.updates.clone())?;
        let contents = Contents {
            staged: &staged,
            added: &change.added,
            removed: &change.removed,
            merging: change.merging,
            operation: change.operation.clone(),
            summary: &change.summary,
        };
        snapshot(self.name, base, contents).await
    }

    fn unknown(&self, told: &str) -> Error {
        Error::CatalogUnavailable {
            catalog: self.name.catalog.clone(),
            message: format!(
                "it is not known whether the change of table `{}` was stored: {told}; send it again with the same \
                 idempotency key",
                self.name
            ),
        }
    }
}

fn updates(mut updates: Vec<TableUpdate>, snapshot: Option<Snapshot>) -> Vec<TableUpdate> {
    if let Some(snapshot) = snapshot {
        let retention = SnapshotRetention::branch(None, None, None);
        let reference = SnapshotReference::new(snapshot.snapshot_id(), retention);
        updates.push(TableUpdate::AddSnapshot { snapshot });
        updates.push(TableUpdate::SetSnapshotRef {
            ref_name: MAIN_BRANCH.to_owned(),
            reference,
        });
    }
    updates
}

fn unchanged(table: Table) -> Committed {
    Committed {
        snapshot_id: None,
        sequence_number: current_sequence(&table),
        table,
        changed: false,
    }
}

/// Sequence number of the current snapshot; 0 if there is none.
pub fn current_sequence(table: &Table) -> i64 {
    let current = table.metadata().current_snapshot();
    current.map_or(0, |snapshot| snapshot.sequence_number())
}

#[cfg(test)]
mod tests;
