//! Commits whose answer is lost.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use async_trait::async_trait;
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use tempfile::TempDir;

use super::*;
use crate::catalog::tests::local;
use crate::table::commit::{NewTable, create_table, drop_if_unchanged};
use crate::table::write::write;

/// A database whose connection breaks after it was told to commit, or before.
struct Breaking {
    inner: Arc<dyn TableCommitter>,
    committed_before: bool,
}

#[async_trait]
impl TableCommitter for Breaking {
    async fn commit(
        &self,
        base: &Table,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Outcome> {
        if self.committed_before {
            self.inner.commit(base, requirements, updates).await?;
        }
        Ok(Outcome::Unknown("connection reset".to_owned()))
    }

    async fn drop_unchanged(&self, base: &Table) -> Result<bool> {
        self.inner.drop_unchanged(base).await
    }
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

/// Appends a row over a connection that breaks; what that says, and the table's snapshots afterwards.
async fn append_and_break(committed_before: bool) -> (Result<Option<Committed>>, usize) {
    let folder = TempDir::new().unwrap();
    let catalogs = local(folder.path());
    let name = TableName::parse("default", "t.stats").unwrap();
    let table = new_table(&catalogs, &name).await;
    let change = one_row(&table).await;
    let committer = Breaking {
        inner: catalogs.committer(&name.catalog).await.unwrap(),
        committed_before,
    };
    let writer = Writer {
        catalogs: &catalogs,
        name: &name,
        committer: &committer,
    };
    let attempt = writer.attempt(table, change).await;
    let table = catalogs.load_table(&name).await.unwrap();
    (attempt, table.metadata().snapshots().len())
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_looked_up() {
    let (attempt, snapshots) = append_and_break(true).await;
    let committed = attempt.unwrap().expect("nobody else was first");
    let id = committed.snapshot_id.unwrap();
    assert!(committed.table.metadata().snapshot_by_id(id).is_some());
    assert_eq!((committed.sequence_number, snapshots), (1, 1));
}

#[tokio::test]
async fn a_commit_that_is_not_found_is_not_called_a_failure() {
    let (attempt, snapshots) = append_and_break(false).await;
    let error = attempt.unwrap_err();
    // Neither of the kinds after which files may be deleted.
    assert!(
        matches!(error, Error::CatalogUnavailable { .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().ends_with(
            "it is not known whether the change of table `t.stats` was stored: connection reset; send it again with the \
             same idempotency key"
        ),
        "{error}"
    );
    assert_eq!(snapshots, 0);
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
