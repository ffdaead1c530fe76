//! Commits whose answer is lost.

use std::sync::Mutex;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use async_trait::async_trait;
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use tempfile::TempDir;

use super::*;
use crate::catalog::commit::Outcome;
use crate::catalog::tests::local;
use crate::table::commit::{NewTable, create_table, drop_if_unchanged, left_nothing};
use crate::table::write::write;

/// When the connection of a sending breaks.
#[derive(Clone, Copy)]
enum Break {
    /// Before the commit, which never happens.
    Before,
    /// After it.
    After,
    /// Before it, and it happens when the next one is sent.
    Late,
    /// Before it, and somebody else commits.
    Overtaken,
    /// The catalog refuses it while it is at it, and it happens when the next one is sent.
    Busy,
    /// The commit is done, and then sent again by what lies between: the second answer is what is heard.
    Doubled,
}

type Sending = (Table, Vec<TableRequirement>, Vec<TableUpdate>);

/// A catalog whose connection breaks as often as there are breaks.
struct Breaking {
    inner: Arc<dyn TableCommitter>,
    breaks: Mutex<Vec<Break>>,
    late: Mutex<Option<Sending>>,
}

impl Breaking {
    async fn land(&self, (base, requirements, updates): Sending) -> Result<Outcome> {
        self.inner.commit(&base, requirements, updates).await
    }
}

#[async_trait]
impl TableCommitter for Breaking {
    async fn commit(
        &self,
        base: &Table,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Outcome> {
        let late = self.late.lock().unwrap().take();
        if let Some(late) = late {
            self.land(late).await?;
        }
        let sending = (base.clone(), requirements, updates);
        let breaks = self.breaks.lock().unwrap().pop();
        match breaks {
            None => return self.land(sending).await,
            Some(Break::Before) => {}
            Some(Break::After) => drop(self.land(sending).await?),
            Some(Break::Late) => *self.late.lock().unwrap() = Some(sending),
            Some(Break::Busy) => {
                *self.late.lock().unwrap() = Some(sending);
                return Ok(Outcome::Conflict { wrote: None });
            }
            Some(Break::Overtaken) => {
                let other = super::updates(one_row(base).await.updates, Some(other(base).await));
                drop(self.inner.commit(base, Vec::new(), other).await?);
            }
            Some(Break::Doubled) => {
                drop(self.land(sending.clone()).await?);
                return self.land(sending).await;
            }
        }
        Ok(Outcome::Unknown {
            cause: "connection reset".to_owned(),
            wrote: None,
        })
    }

    async fn drop_unchanged(&self, base: &Table) -> Result<bool> {
        self.inner.drop_unchanged(base).await
    }
}

/// Somebody else's snapshot.
async fn other(base: &Table) -> Snapshot {
    let name = TableName::parse("default", "t.stats").unwrap();
    let change = one_row(base).await;
    let contents = Contents {
        staged: base.metadata(),
        added: &change.added,
        removed: &change.removed,
        merging: change.merging,
        operation: change.operation.clone(),
        summary: &change.summary,
    };
    let made = snapshot(&name, base, contents).await.unwrap();
    made.unwrap().snapshot
}

async fn new_table(catalogs: &Catalogs, name: &TableName) -> Table {
    let id = NestedField::optional(1, "id", Type::Primitive(PrimitiveType::Long));
    let new = NewTable {
        schema: Schema::builder()
            .with_fields([Arc::new(id)])
            .build()
            .unwrap(),
        partition_by: Vec::new(),
        sort_by: Vec::new(),
    };
    create_table(catalogs, name, new).await.unwrap()
}

async fn one_row(table: &Table) -> Change {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    Change {
        added: BTreeMap::from([(0, write(table, &[batch]).await.unwrap())]),
        operation: Operation::Append,
        ..Change::default()
    }
}

/// Appends a row over a connection that breaks; what that says, and the table's snapshots and its manifest lists
/// afterwards.
async fn append_and_break(breaks: &[Break]) -> (Result<Attempt>, usize, usize) {
    let folder = TempDir::new().unwrap();
    let catalogs = local(folder.path());
    let name = TableName::parse("default", "t.stats").unwrap();
    let table = new_table(&catalogs, &name).await;
    let change = one_row(&table).await;
    let committer = Breaking {
        inner: catalogs.committer(&name.catalog).await.unwrap(),
        breaks: Mutex::new(breaks.iter().rev().copied().collect()),
        late: Mutex::default(),
    };
    let writer = Writer {
        catalogs: &catalogs,
        name: &name,
        committer: &committer,
        attempt: 0,
        limit: Duration::from_secs(2),
    };
    let attempt = writer.attempt(table, change).await;
    let table = catalogs.load_table(&name).await.unwrap();
    let path = table.metadata().location().strip_prefix("file://");
    let files = std::fs::read_dir(format!("{}/metadata", path.unwrap())).unwrap();
    let lists = files.filter(|it| {
        let name = it.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("snap-")
    });
    (attempt, table.metadata().snapshots().len(), lists.count())
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_there_once() {
    use Break::{After, Before, Busy, Doubled, Late};
    for breaks in [
        &[After][..],
        &[Before],
        &[Late],
        &[Before, Before],
        &[Before, After],
        &[Late, Before],
        &[Before, Late],
        &[Doubled],
        &[Before, Doubled],
        &[Busy],
        &[Before, Busy],
        &[Busy, After],
    ] {
        let (attempt, snapshots, lists) = append_and_break(breaks).await;
        let Attempt::Committed(committed) = attempt.unwrap() else {
            unreachable!("nobody else was first");
        };
        let id = committed.snapshot_id.unwrap();
        assert!(committed.table.metadata().snapshot_by_id(id).is_some());
        assert_eq!((committed.sequence_number, snapshots, lists), (1, 1, 1));
    }
}

#[tokio::test]
async fn a_commit_that_was_overtaken_is_made_again() {
    let (attempt, snapshots, lists) = append_and_break(&[Break::Overtaken]).await;
    assert!(matches!(attempt, Ok(Attempt::Lost(_))), "{attempt:?}");
    assert_eq!((snapshots, lists), (1, 1));
}

#[tokio::test]
async fn a_commit_that_is_not_found_is_not_called_a_failure() {
    let (attempt, snapshots, lists) = append_and_break(&[Break::Before; 100]).await;
    let error = attempt.unwrap_err();
    assert!(!left_nothing(&error), "{error:?}");
    assert!(
        error.to_string().ends_with(
            "it is not known whether the change of table `t.stats` was stored: connection reset; send it again with the \
             same idempotency key"
        ),
        "{error}"
    );
    // The manifests stay: it may still happen.
    assert_eq!((snapshots, lists), (0, 1));
}

#[tokio::test]
async fn a_created_table_goes_only_while_it_is_as_it_was_created() {
    let folder = TempDir::new().unwrap();
    let catalogs = local(folder.path());
    let name = TableName::parse("default", "t.stats").unwrap();
    let created = new_table(&catalogs, &name).await;
    let change = one_row(&created).await;
    let committed = commit_change(&catalogs, &name, |_| Ok(change.clone())).await;
    committed.unwrap();
    drop_if_unchanged(&catalogs, &name, &created).await.unwrap();
    let table = catalogs.load_table(&name).await.unwrap();
    drop_if_unchanged(&catalogs, &name, &table).await.unwrap();
    let gone = catalogs.load_table(&name).await;
    assert!(matches!(gone, Err(Error::TableNotFound { .. })));
}
