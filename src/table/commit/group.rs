//! Group commit: writes of one table that come while a commit runs are committed together, as one snapshot.
//!
//! Whoever finds nobody committing starts a task that commits what waits until nothing does; a request that goes away
//! takes nothing with it. A write of an idempotency key that an earlier one had, or that waits beside another of the same
//! key, is answered with that write.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};

use iceberg::spec::{DataFile, Operation, TableMetadata};
use iceberg::table::Table;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::change::{Change, Committed, commit_change_on};
use super::conflict;
use super::ledger::{KeyLedgers, Ledger};
use super::snapshot::Removed;
use super::summary::{KnownWrite, known_write, max_sequence, of_writes};
use crate::catalog::Catalogs;
use crate::error::{Error, Result};
use crate::model::TableName;

/// Most writes of one snapshot.
const GROUP: usize = 1_000;

/// Files of one write, not committed yet.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The table that they were written for.
    pub table: Uuid,
    /// The files by the id of their partition spec; not empty.
    pub files: BTreeMap<i32, Vec<DataFile>>,
    /// Rows in them.
    pub rows: u64,
    /// Name of the logical write.
    pub key: Option<String>,
    /// Greatest write sequence in them.
    pub max_sequence: Option<i64>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The snapshot with its rows.
    pub write: KnownWrite,
    /// Whether an earlier write of the same key made them; the files that were handed in are in no snapshot then.
    pub replayed: bool,
}

/// Called with each new state of a table; with none when it was dropped.
pub type CommitHook = Arc<dyn Fn(&TableName, Option<&Table>) + Send + Sync>;

/// Commits writes, by table.
pub struct GroupCommit {
    catalogs: Catalogs,
    hook: Option<CommitHook>,
    ledgers: KeyLedgers,
    queues: Mutex<HashMap<TableName, Arc<Queue>>>,
}

#[derive(Default)]
struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    /// Whether a task takes care of what waits.
    committing: bool,
}

struct Waiting {
    submission: Submission,
    answer: oneshot::Sender<Result<Receipt>>,
}

impl fmt::Debug for GroupCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupCommit").finish_non_exhaustive()
    }
}

impl GroupCommit {
    /// Commits to tables of these catalogs.
    pub fn new(catalogs: Catalogs, hook: Option<CommitHook>) -> Self {
        Self {
            catalogs,
            hook,
            ledgers: KeyLedgers::default(),
            queues: Mutex::default(),
        }
    }

    /// The write of an idempotency key, if an earlier one is part of the table's history.
    ///
    /// # Errors
    /// [`Error::StorageUnavailable`] and others if the keys of expired snapshots cannot be read.
    pub async fn known_write(
        &self,
        name: &TableName,
        table: &Table,
        key: &str,
    ) -> Result<Option<KnownWrite>> {
        if let Some(known) = known_write(table.metadata(), key) {
            return Ok(Some(known));
        }
        // Where the ledger is another one by now, the commit looks for the key again.
        let ledger = self.ledgers.of(&self.catalogs, name, table).await?;
        Ok(ledger.and_then(|ledger| ledger.known_write(table.metadata(), key)))
    }

    /// Commits a write, with others if there are any.
    ///
    /// # Errors
    /// As [`super::commit_change`]. The files may be deleted where [`super::left_nothing`] says so.
    pub async fn commit(&self, name: &TableName, submission: Submission) -> Result<Receipt> {
        let (answer, answered) = oneshot::channel();
        self.enqueue(name, Waiting { submission, answer });
        answered.await.map_err(|_| Error::CatalogUnavailable {
            catalog: name.catalog.clone(),
            message: format!("the commit to table `{name}` was given up; it may have happened"),
        })?
    }

    fn enqueue(&self, name: &TableName, waiting: Waiting) {
        let queue = {
            let mut queues = self.queues.lock().expect("no holder panics");
            queues.retain(|_, queue| Arc::strong_count(queue) > 1);
            Arc::clone(queues.entry(name.clone()).or_default())
        };
        let mut state = queue.0.lock().expect("no holder panics");
        state.waiting.push(waiting);
        if !std::mem::replace(&mut state.committing, true) {
            let committer = Committer {
                catalogs: self.catalogs.clone(),
                hook: self.hook.clone(),
                ledgers: self.ledgers.clone(),
                name: name.clone(),
                queue: Arc::clone(&queue),
                known: None,
            };
            tokio::spawn(committer.run());
        }
    }
}

/// Commits what waits for one table.
struct Committer {
    catalogs: Catalogs,
    hook: Option<CommitHook>,
    ledgers: KeyLedgers,
    name: TableName,
    queue: Arc<Queue>,
    /// The table after the last commit.
    known: Option<Table>,
}

impl Committer {
    async fn run(mut self) {
        let _end = CommitterGone(Arc::clone(&self.queue));
        while let Some(group) = self.next() {
            self.commit(group).await;
        }
    }

    /// `None`, and the next writer starts a new task, if nothing waits.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut state = self.queue.0.lock().expect("no holder panics");
        let most = state.waiting.len().min(GROUP);
        let group: Vec<Waiting> = state.waiting.drain(..most).collect();
        state.committing = !group.is_empty();
        state.committing.then_some(group)
    }

    async fn commit(&mut self, group: Vec<Waiting>) {
        let (submissions, answers): (Vec<Submission>, Vec<_>) = group
            .into_iter()
            .map(|it| (it.submission, it.answer))
            .unzip();
        let mut verdicts = Vec::new();
        let keyed = submissions.iter().any(|it| it.key.is_some());
        let committed = commit_change_on(
            &self.catalogs,
            &self.name,
            self.known.take(),
            keyed.then_some(&self.ledgers),
            |base, ledger| {
                verdicts = judge(base.metadata(), ledger, &submissions);
                change(base.metadata(), &submissions, &verdicts)
            },
        );
        let results = match committed.await {
            Ok(committed) => self.committed(&submissions, &verdicts, committed),
            // Files of a table that is gone are of no use: the writes have to be made again.
            Err(Error::TableNotFound { .. }) => shared(conflict(&self.name), submissions.len()),
            Err(error) => shared(error, submissions.len()),
        };
        for (answer, result) in answers.into_iter().zip(results) {
            // A writer that went away needs no answer.
            let _ = answer.send(result);
        }
    }

    fn committed(
        &mut self,
        submissions: &[Submission],
        verdicts: &[Verdict],
        committed: Committed,
    ) -> Vec<Result<Receipt>> {
        tracing::debug!(table = %self.name, writes = submissions.len(), "group committed");
        if let (Some(hook), true) = (&self.hook, committed.changed) {
            hook(&self.name, Some(&committed.table));
        }
        self.known = Some(committed.table);
        let new = |rows| KnownWrite {
            snapshot_id: committed.snapshot_id.unwrap_or_default(),
            sequence_number: committed.sequence_number,
            rows,
        };
        let receipt = |(submission, verdict): (&Submission, &Verdict)| match verdict {
            Verdict::New => Ok(Receipt {
                write: new(submission.rows),
                replayed: false,
            }),
            Verdict::Known(write) => Ok(Receipt {
                write: *write,
                replayed: true,
            }),
            Verdict::SameAs(first) => Ok(Receipt {
                write: new(submissions[*first].rows),
                replayed: true,
            }),
            Verdict::OtherTable => Err(conflict(&self.name)),
        };
        submissions.iter().zip(verdicts).map(receipt).collect()
    }
}

/// Lets the next writer start a new task where this one did not end by itself.
struct CommitterGone(Arc<Queue>);

impl Drop for CommitterGone {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut state = self.0.0.lock().unwrap_or_else(|held| held.into_inner());
            state.committing = false;
            state.waiting.clear();
        }
    }
}

/// What is to be done with one write of a group.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    New,
    /// An earlier write has its key.
    Known(KnownWrite),
    /// Another write of the group has its key.
    SameAs(usize),
    /// The table is another one by now.
    OtherTable,
}

fn judge<'a>(
    metadata: &TableMetadata,
    ledger: &Ledger,
    submissions: &'a [Submission],
) -> Vec<Verdict> {
    let mut firsts: HashMap<&str, usize> = HashMap::new();
    let verdict = |(i, submission): (usize, &'a Submission)| {
        if submission.table != metadata.uuid() {
            return Verdict::OtherTable;
        }
        let Some(key) = submission.key.as_deref() else {
            return Verdict::New;
        };
        if let Some(first) = firsts.get(key) {
            return Verdict::SameAs(*first);
        }
        let known = known_write(metadata, key).or_else(|| ledger.known_write(metadata, key));
        match known {
            Some(known) => Verdict::Known(known),
            None => {
                firsts.insert(key, i);
                Verdict::New
            }
        }
    };
    submissions.iter().enumerate().map(verdict).collect()
}

fn change(
    metadata: &TableMetadata,
    submissions: &[Submission],
    verdicts: &[Verdict],
) -> Result<Change> {
    let new = submissions
        .iter()
        .zip(verdicts)
        .filter_map(|(submission, verdict)| matches!(verdict, Verdict::New).then_some(submission));
    let (mut added, mut keys) = (BTreeMap::<i32, Vec<DataFile>>::new(), BTreeMap::new());
    let mut sequence = max_sequence(metadata);
    for submission in new {
        for (spec, files) in &submission.files {
            added.entry(*spec).or_default().extend_from_slice(files);
        }
        if let Some(key) = &submission.key {
            keys.insert(key.as_str(), submission.rows);
        }
        sequence = sequence.max(submission.max_sequence);
    }
    Ok(Change {
        added,
        removed: Removed::Nothing,
        operation: Operation::Append,
        summary: of_writes(sequence, &keys)?,
        ..Change::default()
    })
}

/// One failure for all. An error that says that nothing was committed says so to each.
fn shared(error: Error, writers: usize) -> Vec<Result<Receipt>> {
    let error = Arc::new(error);
    (0..writers)
        .map(|_| Err(Error::Shared(Arc::clone(&error))))
        .collect()
}
