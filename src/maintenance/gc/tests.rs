//! Tables with files that nobody refers to, on disk and in a bucket.

mod history;
mod neighbours;
mod orphans;
mod recover;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use futures::TryStreamExt;
use iceberg::TableUpdate;
use iceberg::spec::{DataFile, NestedField, Operation, PrimitiveType, Schema, Type};
use iceberg::table::Table;
use indicatif::ProgressBar;
use tempfile::TempDir;

use crate::catalog::{CatalogConfig, CatalogType, Catalogs};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::error::{Error, Result};
use crate::maintenance::{GcOptions, GcReport, Maintenance};
use crate::model::TableName;
use crate::storage::{self, Listed};
use crate::table::commit::{Change, NewTable, Removed, append, commit_change, create_table};
use crate::table::write::{Attempt, FileStyle, Journal, write, write_for};
use crate::table::{TableCacheConfig, Tables};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Where a lab's tables are.
#[derive(Clone, Copy, Debug)]
enum Store {
    Disk,
    Bucket,
}

struct Lab {
    folder: TempDir,
    clock: Arc<ManualClock>,
    tables: Arc<Tables>,
    maintenance: Maintenance,
    name: TableName,
}

impl Lab {
    /// A table without rows, ten days before the clock's time.
    async fn new(store: Store) -> Self {
        let folder = TempDir::new().unwrap();
        let catalogs = catalogs(&folder, store);
        let tables = Arc::new(Tables::new(catalogs, TableCacheConfig::default()));
        let clock = Arc::new(ManualClock::new(SystemClock.now() + 10 * DAY));
        let clock_of_it = Arc::<ManualClock>::clone(&clock);
        let lab = Self {
            folder,
            clock,
            maintenance: Maintenance::new(Arc::clone(&tables)).with_clock(clock_of_it),
            tables,
            name: TableName::parse("default", "demo.stats").unwrap(),
        };
        lab.create(&lab.name).await;
        lab
    }

    async fn create(&self, name: &TableName) -> Table {
        let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
        let schema = Schema::builder().with_fields([id.into()]).build();
        let new = NewTable {
            schema: schema.unwrap(),
            partition_by: vec![],
            sort_by: vec![],
        };
        let created = create_table(self.tables.catalogs(), name, new).await;
        created.unwrap()
    }

    async fn table(&self) -> Table {
        self.tables.catalogs().load_table(&self.name).await.unwrap()
    }

    async fn location(&self) -> String {
        self.table().await.metadata().location().to_owned()
    }

    async fn change(&self, change: Change) -> Option<i64> {
        let catalogs = self.tables.catalogs();
        let committed = commit_change(catalogs, &self.name, |_| Ok(change.clone())).await;
        committed.unwrap().snapshot_id
    }

    async fn update(&self, updates: Vec<TableUpdate>) {
        self.change(Change {
            updates,
            ..Change::default()
        })
        .await;
    }

    async fn set(&self, property: &str, value: &str) {
        let updates = [(property.to_owned(), value.to_owned())].into();
        self.update(vec![TableUpdate::SetProperties { updates }])
            .await;
    }

    /// Files that nothing refers to yet.
    async fn files(&self, id: i64) -> Vec<DataFile> {
        write(&self.table().await, &[batch(id)]).await.unwrap()
    }

    async fn append(&self, id: i64) -> i64 {
        let files = self.files(id).await;
        let appended = append(self.tables.catalogs(), &self.name, files).await;
        appended.unwrap().0
    }

    /// Makes a row the only one.
    async fn replace(&self, id: i64) {
        let files = self.files(id).await;
        self.change(Change {
            added: BTreeMap::from([(0, files)]),
            removed: Removed::Everything,
            operation: Operation::Overwrite,
            ..Change::default()
        })
        .await;
    }

    async fn put(&self, below: &str) -> String {
        let path = format!("{}/{below}", self.location().await);
        let output = self.table().await.file_io().new_output(&path).unwrap();
        output.write("orphan".into()).await.unwrap();
        path
    }

    async fn listed(&self) -> Vec<Listed> {
        let (table, location) = (self.table().await, self.location().await);
        let listed = storage::list(table.file_io(), &location).unwrap();
        listed.try_collect().await.unwrap()
    }

    /// What is below the table's location.
    async fn below(&self) -> BTreeSet<String> {
        let location = storage::canonical(&self.location().await).unwrap();
        let below = |file: &Listed| {
            let path = storage::canonical(&file.path).unwrap();
            path.strip_prefix(&format!("{location}/"))
                .unwrap()
                .to_owned()
        };
        self.listed().await.iter().map(below).collect()
    }

    async fn rows(&self, snapshot: Option<i64>) -> BTreeSet<i64> {
        let table = self.table().await;
        let mut scan = table.scan().select_all();
        if let Some(snapshot) = snapshot {
            scan = scan.snapshot_id(snapshot);
        }
        let stream = scan.build().unwrap().to_arrow().await.unwrap();
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        let ids = |batch: &RecordBatch| {
            let ids = batch.column(0).as_any().downcast_ref::<Int64Array>();
            ids.unwrap().values().to_vec()
        };
        batches.iter().flat_map(ids).collect()
    }

    async fn try_gc(&self, options: GcOptions, dry_run: bool) -> Result<GcReport> {
        let progress = ProgressBar::hidden();
        self.maintenance
            .gc(&self.name, options, dry_run, &progress)
            .await
    }

    async fn gc(&self) -> GcReport {
        self.try_gc(GcOptions::default(), false).await.unwrap()
    }
}

fn catalogs(folder: &TempDir, store: Store) -> Catalogs {
    let path = folder.path().display();
    let warehouse = match store {
        Store::Disk => format!("file://{path}/warehouse"),
        Store::Bucket => format!("memory://gc{path}/warehouse"),
    };
    let config = CatalogConfig {
        kind: CatalogType::Sql,
        uri: format!("sqlite:///{path}/catalog.db"),
        warehouse: Some(warehouse),
        properties: BTreeMap::new(),
    };
    Catalogs::connect(&BTreeMap::from([("default".to_owned(), config)])).unwrap()
}

fn batch(id: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![id]));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}
