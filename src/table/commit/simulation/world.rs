//! A catalog of one table: compare and swap of the name of its metadata file, through doors that a server dies behind.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use iceberg::io::FileIO;
use iceberg::spec::{
    FormatVersion, NestedField, PartitionSpec, PrimitiveType, Schema, SortOrder, TableMetadata,
    TableMetadataBuilder, TableMetadataRef, Type,
};
use iceberg::table::Table;
use iceberg::{
    Catalog, Error as IcebergError, ErrorKind, MetadataLocation, Namespace, NamespaceIdent,
    Result as IcebergResult, Runtime, TableCommit, TableCreation, TableIdent, TableRequirement,
    TableUpdate,
};
use object_store::memory::InMemory;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::watch;

use super::store::FaultyStore;
use crate::catalog::commit::{Outcome, TableCommitter, next_location, staged, with_metadata};
use crate::clock;
use crate::error::{Error, Result};
use crate::storage::{file_io, memory};

/// The table, its catalog and its store, and what goes wrong.
#[derive(Debug)]
pub(super) struct World {
    table: TableIdent,
    io: FileIO,
    /// The metadata file, and what it says.
    current: Mutex<(String, TableMetadataRef)>,
    chance: Mutex<StdRng>,
    faulty: AtomicBool,
    faults: AtomicUsize,
}

type Sending = (Table, Vec<TableRequirement>, Vec<TableUpdate>);

impl World {
    pub(super) async fn new(seed: u64, chance: StdRng) -> Arc<Self> {
        let bucket = format!("simulation-{seed}");
        let folder = format!("memory://{bucket}/t");
        let world = Arc::new_cyclic(|world| {
            let inner = InMemory::new();
            let world = Weak::clone(world);
            memory::put_in_place(&bucket, Arc::new(FaultyStore { inner, world }));
            Self {
                table: TableIdent::from_strs(["n", "t"]).unwrap(),
                io: file_io(&BTreeMap::new()),
                current: Mutex::new((String::new(), Arc::new(metadata(&folder)))),
                chance: Mutex::new(chance),
                faulty: AtomicBool::new(false),
                faults: AtomicUsize::new(0),
            }
        });
        let metadata = metadata(&folder);
        let location = MetadataLocation::new_with_metadata(folder, &metadata);
        metadata.write_to(&world.io, &location).await.unwrap();
        *world.current.lock().unwrap() = (location.to_string(), Arc::new(metadata));
        world.faulty.store(true, Ordering::Relaxed);
        world
    }

    /// Nothing goes wrong from now on.
    pub(super) fn calm(&self) {
        self.faulty.store(false, Ordering::Relaxed);
    }

    pub(super) fn faults(&self) -> usize {
        self.faults.load(Ordering::Relaxed)
    }

    /// Whether something that fails this often fails now.
    pub(super) fn fails(&self, share: f64) -> bool {
        let fails = self.faulty.load(Ordering::Relaxed) && self.draw(0.0..1.0) < share;
        self.faults.fetch_add(usize::from(fails), Ordering::Relaxed);
        fails
    }

    pub(super) fn draw(&self, range: std::ops::Range<f64>) -> f64 {
        self.chance.lock().unwrap().random_range(range)
    }

    pub(super) fn pick(&self, count: usize) -> usize {
        self.chance.lock().unwrap().random_range(0..count)
    }

    /// A while of up to so many seconds.
    pub(super) async fn wait(&self, most: f64) {
        let wait = Duration::from_secs_f64(self.draw(0.0..most));
        clock::sleep(wait).await;
    }

    /// The table as its metadata file says.
    pub(super) async fn read(&self) -> IcebergResult<Table> {
        let (location, _) = self.current.lock().unwrap().clone();
        let metadata = TableMetadata::read_from(&self.io, &location).await?;
        self.table(location, Arc::new(metadata))
    }

    pub(super) fn load(&self) -> IcebergResult<Table> {
        let (location, metadata) = self.current.lock().unwrap().clone();
        self.table(location, metadata)
    }

    fn table(&self, location: String, metadata: TableMetadataRef) -> IcebergResult<Table> {
        Table::builder()
            .file_io(self.io.clone())
            .identifier(self.table.clone())
            .metadata(metadata)
            .metadata_location(location)
            .runtime(Runtime::try_current()?)
            .build()
    }

    /// Writes the metadata, as SQL catalogs have their clients do; `None` if the table is not as it was read.
    async fn stage(&self, (base, requirements, updates): Sending) -> Result<Option<Staged>> {
        let holds = |it: &TableRequirement| it.check(Some(base.metadata())).is_ok();
        if !requirements.iter().all(holds) {
            return Ok(None);
        }
        let old = base.metadata_location().unwrap().to_owned();
        let metadata = staged(&base, updates)?;
        let new = next_location(&old, &metadata)?;
        let written = metadata.write_to(&self.io, &new).await;
        written.map_err(Error::iceberg("write table metadata"))?;
        let new = new.to_string();
        let table = with_metadata(&base, metadata, Some(&new))?;
        Ok(Some(Staged { old, new, table }))
    }

    fn swap(&self, staged: &Staged) -> Outcome {
        let mut current = self.current.lock().unwrap();
        if current.0 != staged.old {
            let wrote = Some(staged.new.clone());
            return Outcome::Conflict { wrote };
        }
        *current = (staged.new.clone(), staged.table.metadata_ref());
        Outcome::Committed(Box::new(staged.table.clone()))
    }

    fn swap_later(self: &Arc<Self>, staged: Staged) {
        let world = Arc::clone(self);
        tokio::spawn(async move {
            world.wait(30.0).await;
            drop(world.swap(&staged));
        });
    }

    /// A commit over a connection like those that tests of outages have, only worse.
    async fn commit(self: Arc<Self>, sending: Sending) -> Result<Outcome> {
        self.wait(0.5).await;
        let Some(staged) = self.stage(sending).await? else {
            return Ok(Outcome::Conflict { wrote: None });
        };
        let unknown = Outcome::Unknown {
            cause: "connection reset".to_owned(),
            wrote: Some(staged.new.clone()),
        };
        if self.fails(0.1) {
            return Err(Error::CatalogUnavailable {
                catalog: "default".to_owned(),
                message: "connection refused".to_owned(),
            });
        }
        if self.fails(0.1) {
            return Ok(unknown);
        }
        if self.fails(0.1) {
            self.swap_later(staged);
            return Ok(unknown);
        }
        if self.fails(0.05) {
            // Refused while the catalog is at it.
            let wrote = Some(staged.new.clone());
            self.swap_later(staged);
            return Ok(Outcome::Conflict { wrote });
        }
        let outcome = self.swap(&staged);
        if self.fails(0.1) {
            // What lies between sends it twice, and the second answer is heard.
            return Ok(self.swap(&staged));
        }
        self.wait(0.5).await;
        Ok(match outcome {
            Outcome::Committed(_) if self.fails(0.2) => unknown,
            other => other,
        })
    }
}

/// The next state of the table, not yet that of the catalog.
struct Staged {
    old: String,
    new: String,
    table: Table,
}

fn metadata(folder: &str) -> TableMetadata {
    let id = NestedField::optional(1, "id", Type::Primitive(PrimitiveType::Long));
    let schema = Schema::builder().with_fields([Arc::new(id)]).build();
    TableMetadataBuilder::new(
        schema.unwrap(),
        PartitionSpec::unpartition_spec().into_unbound(),
        SortOrder::unsorted_order(),
        folder.to_owned(),
        FormatVersion::V2,
        HashMap::new(),
    )
    .unwrap()
    .build()
    .unwrap()
    .metadata
}

/// A server's way to the catalog. Once the server is dead, nothing that it asks for is answered any more.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) world: Arc<World>,
    pub(super) alive: watch::Receiver<bool>,
}

impl Door {
    async fn pass(&self) {
        if !*self.alive.borrow() {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl TableCommitter for Door {
    async fn commit(
        &self,
        base: &Table,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Outcome> {
        self.pass().await;
        // What was sent goes on, whatever becomes of the server.
        let sending = (base.clone(), requirements, updates);
        let sent = tokio::spawn(Arc::clone(&self.world).commit(sending)).await;
        self.pass().await;
        sent.unwrap()
    }

    async fn drop_unchanged(&self, _: &Table) -> Result<bool> {
        Ok(false)
    }
}

fn no<T>() -> IcebergResult<T> {
    let message = "the simulation has one table";
    Err(IcebergError::new(ErrorKind::FeatureUnsupported, message))
}

#[async_trait]
impl Catalog for Door {
    async fn load_table(&self, _: &TableIdent) -> IcebergResult<Table> {
        self.pass().await;
        self.world.wait(0.2).await;
        let loaded = self.world.load();
        self.pass().await;
        loaded
    }

    async fn list_namespaces(
        &self,
        _: Option<&NamespaceIdent>,
    ) -> IcebergResult<Vec<NamespaceIdent>> {
        no()
    }

    async fn create_namespace(
        &self,
        _: &NamespaceIdent,
        _: HashMap<String, String>,
    ) -> IcebergResult<Namespace> {
        no()
    }

    async fn get_namespace(&self, _: &NamespaceIdent) -> IcebergResult<Namespace> {
        no()
    }

    async fn namespace_exists(&self, _: &NamespaceIdent) -> IcebergResult<bool> {
        no()
    }

    async fn update_namespace(
        &self,
        _: &NamespaceIdent,
        _: HashMap<String, String>,
    ) -> IcebergResult<()> {
        no()
    }

    async fn drop_namespace(&self, _: &NamespaceIdent) -> IcebergResult<()> {
        no()
    }

    async fn list_tables(&self, _: &NamespaceIdent) -> IcebergResult<Vec<TableIdent>> {
        no()
    }

    async fn create_table(&self, _: &NamespaceIdent, _: TableCreation) -> IcebergResult<Table> {
        no()
    }

    async fn drop_table(&self, _: &TableIdent) -> IcebergResult<()> {
        no()
    }

    async fn purge_table(&self, _: &TableIdent) -> IcebergResult<()> {
        no()
    }

    async fn table_exists(&self, _: &TableIdent) -> IcebergResult<bool> {
        no()
    }

    async fn rename_table(&self, _: &TableIdent, _: &TableIdent) -> IcebergResult<()> {
        no()
    }

    async fn register_table(&self, _: &TableIdent, _: String) -> IcebergResult<Table> {
        no()
    }

    async fn update_table(&self, _: TableCommit) -> IcebergResult<Table> {
        no()
    }
}
