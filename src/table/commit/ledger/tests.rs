//! The ledger by itself: which keys it takes over, which count, and files that are missing or broken.

use std::collections::HashMap;

use iceberg::TableUpdate;
use iceberg::spec::{
    FormatVersion, MAIN_BRANCH, NestedField, Operation, PartitionSpec, PrimitiveType, Schema,
    Snapshot, SnapshotReference, SnapshotRetention, SortOrder, Summary, TableMetadataBuilder, Type,
};
use tempfile::TempDir;

use super::*;
use crate::catalog::tests::local;
use crate::table::commit::{Change, IDEMPOTENCY_KEYS, NewTable, commit_change, create_table};

fn schema() -> Schema {
    let id = NestedField::optional(1, "id", Type::Primitive(PrimitiveType::Long));
    let fields = [Arc::new(id)];
    Schema::builder().with_fields(fields).build().unwrap()
}

/// A table whose snapshots 1, 2, … have the keys `k1`, `k2`, …, of 10 rows for each number.
fn table(snapshots: i64) -> TableMetadata {
    let empty = TableMetadataBuilder::new(
        schema(),
        PartitionSpec::unpartition_spec(),
        SortOrder::unsorted_order(),
        "/t".to_owned(),
        FormatVersion::V2,
        HashMap::new(),
    );
    let empty = empty.unwrap().build().unwrap().metadata;
    (1..=snapshots).fold(empty, |base, id| append(base, id, (id > 1).then(|| id - 1)))
}

/// With one snapshot more, a second after the last one.
fn append(base: TableMetadata, id: i64, parent: Option<i64>) -> TableMetadata {
    let keys = format!(r#"{{"k{id}":{}}}"#, 10 * id);
    let summary = Summary {
        operation: Operation::Append,
        additional_properties: HashMap::from([(IDEMPOTENCY_KEYS.to_owned(), keys)]),
    };
    let snapshot = Snapshot::builder()
        .with_snapshot_id(id)
        .with_parent_snapshot_id(parent)
        .with_sequence_number(base.next_sequence_number())
        .with_timestamp_ms(base.last_updated_ms() + 1_000)
        .with_manifest_list(format!("/t/metadata/snap-{id}.avro"))
        .with_summary(summary)
        .with_schema_id(0)
        .build();
    let builder = base.into_builder(None);
    let built = builder.set_branch_snapshot(snapshot, MAIN_BRANCH).unwrap();
    built.build().unwrap().metadata
}

fn without(base: &TableMetadata, expired: &[i64]) -> TableMetadata {
    let builder = base.clone().into_builder(None).remove_snapshots(expired);
    builder.build().unwrap().metadata
}

fn set_back(base: TableMetadata, id: i64) -> TableMetadata {
    let reference = SnapshotReference::new(id, SnapshotRetention::branch(None, None, None));
    let builder = base.into_builder(None).set_ref(MAIN_BRANCH, reference);
    builder.unwrap().build().unwrap().metadata
}

fn keys(ledger: &Ledger) -> Vec<&str> {
    ledger.keys.keys().map(String::as_str).collect()
}

#[test]
fn the_keys_of_expired_snapshots_are_known() {
    let before = table(5);
    let ledger = Ledger::default().after(&before, &BTreeSet::from([1, 2, 3]), 0);
    assert_eq!(keys(&ledger), ["k1", "k2", "k3"]);
    assert_eq!(ledger.known_write(&before, "k3"), None);
    let after = without(&before, &[1, 2, 3]);
    let known = KnownWrite {
        snapshot_id: 3,
        sequence_number: 3,
        rows: 30,
    };
    assert_eq!(ledger.known_write(&after, "k3"), Some(known));
    assert_eq!(ledger.known_write(&after, "k4"), None);
    let all = after.snapshots().count();
    assert_eq!(all, 2);
}

/// The second expiry takes over what the first one noted, without what is too old by then.
#[test]
fn keys_are_kept_for_as_long_as_asked() {
    let before = table(5);
    let at = |id| before.snapshot_by_id(id).unwrap().timestamp_ms();
    let first = Ledger::default().after(&before, &BTreeSet::from([1, 2]), at(2));
    assert_eq!(keys(&first), ["k2"]);
    let between = without(&before, &[1, 2]);
    let second = first.after(&between, &BTreeSet::from([3]), at(2));
    assert_eq!(keys(&second), ["k2", "k3"]);
    let later = first.after(&between, &BTreeSet::from([3]), at(2) + 1);
    assert_eq!(keys(&later), ["k3"]);
    assert!(first.after(&between, &BTreeSet::new(), at(5)).is_empty());
}

/// A tagged snapshot that stays is out of the history's reach once a later one is gone.
#[test]
fn keys_before_a_gap_are_kept() {
    let before = table(4);
    let ledger = Ledger::default().after(&before, &BTreeSet::from([2]), 0);
    assert_eq!(keys(&ledger), ["k1", "k2"]);
    let after = without(&before, &[2]);
    assert!(ledger.known_write(&after, "k1").is_some());
}

#[test]
fn keys_of_rows_that_are_not_there_do_not_count() {
    let before = table(4);
    let ledger = Ledger::default().after(&before, &BTreeSet::from([2, 3]), 0);
    let after = without(&before, &[2, 3]);
    assert!(ledger.known_write(&after, "k3").is_some());
    let back = set_back(after, 1);
    assert_eq!(ledger.known_write(&back, "k3"), None);
    let on = append(back, 5, Some(1));
    assert_eq!(ledger.known_write(&on, "k3"), None);
    // Nor after the snapshot that it was set back to has expired.
    let next = ledger.after(&on, &BTreeSet::from([1]), 0);
    assert_eq!(keys(&next), ["k1"]);
}

#[test]
fn a_side_branch_has_no_keys() {
    let rolled_back = set_back(table(3), 1);
    let before = append(append(rolled_back, 4, Some(1)), 5, Some(4));
    let ledger = Ledger::default().after(&before, &BTreeSet::from([1, 2, 3, 4]), 0);
    assert_eq!(keys(&ledger), ["k1", "k4"]);
}

#[test]
fn a_key_that_was_used_again_is_the_later_write() {
    let before = table(3);
    let ledger = Ledger::default().after(&before, &BTreeSet::from([1]), 0);
    let again = without(&before, &[1]);
    let earlier = Ledger {
        keys: BTreeMap::from([("k2".to_owned(), ledger.keys["k1"])]),
    };
    let next = earlier.after(&again, &BTreeSet::from([2]), 0);
    assert_eq!(next.keys["k2"].snapshot_id, 2);
}

struct Lab {
    folder: TempDir,
    catalogs: Catalogs,
    name: TableName,
}

impl Lab {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let lab = Self {
            catalogs: local(folder.path()),
            name: TableName::parse("default", "t.stats").unwrap(),
            folder,
        };
        let new = NewTable {
            schema: schema(),
            partition_by: Vec::new(),
            sort_by: Vec::new(),
        };
        create_table(&lab.catalogs, &lab.name, new).await.unwrap();
        lab
    }

    /// The table, with a ledger at this place.
    async fn refer(&self, location: &str) -> Table {
        let change = Change {
            updates: vec![TableUpdate::SetProperties {
                updates: HashMap::from([(LEDGER.to_owned(), location.to_owned())]),
            }],
            ..Change::default()
        };
        let committed = commit_change(&self.catalogs, &self.name, |_| Ok(change.clone()));
        committed.await.unwrap().table
    }

    async fn read(&self, ledgers: &KeyLedgers, table: &Table) -> Result<Option<Arc<Ledger>>> {
        ledgers.of(&self.catalogs, &self.name, table).await
    }
}

#[tokio::test]
async fn a_ledger_is_read_as_it_was_written_and_only_once() {
    let lab = Lab::new().await;
    let table = lab.catalogs.load_table(&lab.name).await.unwrap();
    let none = lab.read(&KeyLedgers::default(), &table).await.unwrap();
    assert!(none.unwrap().is_empty());
    let written = Ledger::default().after(&self::table(2), &BTreeSet::from([1]), 0);
    let location = written.write(&lab.name, &table).await.unwrap();
    let table = lab.refer(&location).await;
    let ledgers = KeyLedgers::default();
    let read = lab.read(&ledgers, &table).await.unwrap().unwrap();
    assert_eq!(*read, written);
    table.file_io().delete(&location).await.unwrap();
    let again = lab.read(&ledgers, &table).await.unwrap().unwrap();
    assert_eq!(*again, written);
}

#[tokio::test]
async fn a_missing_ledger_is_empty_unless_there_is_a_newer_one() {
    let lab = Lab::new().await;
    let location = |name: &str| format!("file://{}/{name}.json", lab.folder.path().display());
    let first = lab.refer(&location("first")).await;
    let ledgers = KeyLedgers::default();
    let missing = lab.read(&ledgers, &first).await.unwrap();
    assert!(missing.unwrap().is_empty());
    lab.refer(&location("second")).await;
    assert_eq!(lab.read(&ledgers, &first).await.unwrap(), None);
}

#[tokio::test]
async fn a_ledger_that_cannot_be_read_is_an_error() {
    let lab = Lab::new().await;
    let path = lab.folder.path().join("broken.json");
    std::fs::write(&path, "{").unwrap();
    let broken = lab.refer(&path.display().to_string()).await;
    let error = lab.read(&KeyLedgers::default(), &broken).await.unwrap_err();
    assert!(
        error.to_string().contains("broken.json")
            && error.to_string().contains("murre.idempotency-ledger"),
        "{error}"
    );
    let folder = lab.refer(&lab.folder.path().display().to_string()).await;
    lab.read(&KeyLedgers::default(), &folder).await.unwrap_err();
}
