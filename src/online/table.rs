//! One online table in use: its newest known state, and the steps from one state to the next.

use std::sync::Arc;

use arc_swap::ArcSwap;
use iceberg::table::Table;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Semaphore};

use super::by_key::{Asked, KeyReads};
use super::follow::follow;
use super::load::Loader;
use super::part::{Columns, Part};
use super::slot::Slot;
use super::state::State;
use crate::error::{Error, Result};
use crate::model::{TableName, WriteToken};
use crate::table::Tables;

/// Loads that run at a time, all tables together.
const LOADS: usize = 4;
/// Reads by key that run at a time; they hold little and wait for storage.
const KEY_READS: usize = 64;

/// What the tables of one reader have in common.
#[derive(Clone, Debug)]
pub(super) struct Means {
    pub(super) tables: Arc<Tables>,
    pub(super) loader: Loader,
    /// Where files are read and decoded: not on the threads that answer.
    pub(super) runtime: Handle,
    pub(super) key_reads: Arc<KeyReads>,
    loads: Arc<Semaphore>,
    reads_by_key: Arc<Semaphore>,
}

impl Means {
    pub(super) fn new(tables: Arc<Tables>, loader: Loader, runtime: Handle) -> Self {
        Self {
            tables,
            loader,
            runtime,
            key_reads: Arc::default(),
            loads: Arc::new(Semaphore::new(LOADS)),
            reads_by_key: Arc::new(Semaphore::new(KEY_READS)),
        }
    }
}

/// See the module's text.
pub(super) struct OnlineTable {
    name: TableName,
    means: Means,
    state: ArcSwap<State>,
    /// Held by whoever makes the next state.
    stepping: Mutex<()>,
    /// Held by whoever asks the catalog because a token demands it.
    catching_up: Mutex<()>,
}

/// Does `work` to its end, also when the caller stops waiting: what it leaves behind is found by who tries again.
///
/// # Errors
/// Those of `work`.
pub(super) async fn to_its_end<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let done = runtime.spawn(work).await;
    done.map_err(|error| Error::internal("read online rows", error))?
}

impl OnlineTable {
    /// The table as its catalog knows it now.
    ///
    /// # Errors
    /// As [`Tables::pin`]; [`Error::AlreadyExists`](crate::error::Error::AlreadyExists) for a table that is no online table.
    pub(super) async fn open(name: TableName, means: Means) -> Result<Self> {
        let table = means.tables.catalogs().load_table(&name).await?;
        let state = state_of(&name, &means, &table).await?;
        Ok(Self {
            name,
            means,
            state: ArcSwap::from_pointee(state),
            stepping: Mutex::default(),
            catching_up: Mutex::default(),
        })
    }

    pub(super) fn name(&self) -> &TableName {
        &self.name
    }

    pub(super) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// A state that has the rows of a write; asks the catalog if the one at hand does not.
    ///
    /// # Errors
    /// Of the catalog or the storage; [`Error::CatalogUnavailable`] if the table that the catalog shows lacks the write.
    pub(super) async fn state_with(self: &Arc<Self>, token: &WriteToken) -> Result<Arc<State>> {
        if !self.state().covers(token) {
            let (table, token) = (Arc::clone(self), token.clone());
            let catch_up = async move { table.catch_up(&token).await };
            to_its_end(&self.means.runtime, catch_up).await?;
        }
        let state = self.state();
        match state.covers(token) {
            true => Ok(state),
            false => Err(Error::CatalogUnavailable {
                catalog: self.name.catalog.clone(),
                message: format!("table `{}` does not show the token's write yet", self.name),
            }),
        }
    }

    async fn catch_up(&self, token: &WriteToken) -> Result<()> {
        let _turn = self.catching_up.lock().await;
        match self.state().covers(token) {
            true => Ok(()),
            false => self.refresh().await,
        }
    }

    /// `planned`, or a later state, with parts that have these columns of `planned`.
    pub(super) async fn with_columns(&self, planned: &Arc<State>, columns: &Columns) -> Arc<State> {
        let _turn = self.stepping.lock().await;
        let state = self.state();
        if !state.knows(planned, columns) {
            // The table has become another one meanwhile, which this read has no use for.
            return Arc::new(planned.with_columns(columns));
        }
        if state.has_columns(columns) {
            return state;
        }
        let wider = Arc::new(state.with_columns(columns));
        self.state.store(Arc::clone(&wider));
        wider
    }

    /// Follows the catalog.
    ///
    /// # Errors
    /// Of the catalog or the storage; the state stays as it was.
    pub(super) async fn refresh(&self) -> Result<()> {
        let table = self.means.tables.catalogs().load_table(&self.name).await?;
        self.advance(&table).await
    }

    /// [`OnlineTable::refresh`], which goes on when the caller stops waiting.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn refreshed(self: &Arc<Self>) -> Result<()> {
        let table = Arc::clone(self);
        let refresh = async move {
            let _turn = table.catching_up.lock().await;
            table.refresh().await
        };
        to_its_end(&self.means.runtime, refresh).await
    }

    /// Follows the table as the catalog or a commit has just shown it.
    ///
    /// # Errors
    /// Of the storage; the state stays as it was.
    pub(super) async fn advance(&self, table: &Table) -> Result<()> {
        let _turn = self.stepping.lock().await;
        let old = self.state();
        let seen = table.metadata();
        let newer = seen.uuid() != old.metadata.uuid()
            || (seen.last_sequence_number(), seen.last_updated_ms())
                >= (
                    old.metadata.last_sequence_number(),
                    old.metadata.last_updated_ms(),
                );
        let same = table.metadata_location() == old.metadata_location.as_deref();
        if same || !newer {
            return Ok(());
        }
        let new = state_of(&self.name, &self.means, table).await?;
        let new = follow(&old, new, &self.means.loader).await?;
        tracing::debug!(table = %self.name, snapshot = ?new.pinned.pin().snapshot, "online table followed");
        self.state.store(Arc::new(new));
        Ok(())
    }

    /// The latest rows of a bucket's own files.
    pub(super) async fn bucket(&self, state: &Arc<State>, bucket: usize) -> Result<Arc<Part>> {
        let files = state.files.by_bucket[bucket].clone();
        self.part(state, &state.buckets[bucket], files).await
    }

    /// The latest rows of the files that may hold any key.
    pub(super) async fn shared(&self, state: &Arc<State>) -> Result<Arc<Part>> {
        self.part(state, &state.shared, state.files.shared.clone())
            .await
    }

    /// The latest rows of some keys, from files whose rows are not in memory.
    pub(super) async fn keys(&self, state: &Arc<State>, asked: Asked) -> Result<Arc<Part>> {
        let load = || {
            let (means, state, asked) = (self.means.clone(), Arc::clone(state), asked.clone());
            async move {
                let _permit = means.reads_by_key.acquire().await;
                means.loader.keys(&state, asked).await
            }
        };
        let slot = self.means.key_reads.slot(&asked);
        slot.get_or_load(&self.means.runtime, load).await
    }

    pub(super) fn keeps_shared(&self, state: &State) -> bool {
        state.keeps_shared(self.means.loader.budget.limit())
    }

    pub(super) fn keeps_buckets(&self, state: &State) -> bool {
        state.keeps_buckets(self.means.loader.budget.limit())
    }

    async fn part(
        &self,
        state: &Arc<State>,
        slot: &Arc<Slot>,
        files: Vec<Arc<crate::table::files::FileEntry>>,
    ) -> Result<Arc<Part>> {
        let load = || {
            let (means, state) = (self.means.clone(), Arc::clone(state));
            async move {
                let _permit = means.loads.acquire().await;
                means.loader.part(&state, files).await
            }
        };
        slot.get_or_load(&self.means.runtime, load).await
    }

    pub(super) fn means(&self) -> &Means {
        &self.means
    }

    /// Every resident part with its place.
    pub(super) fn residents(&self) -> Vec<(Arc<Slot>, Arc<Part>)> {
        let state = self.state();
        let slots = state.buckets.iter().chain([&state.shared]);
        slots
            .filter_map(|slot| Some((Arc::clone(slot), slot.resident()?)))
            .collect()
    }
}

async fn state_of(name: &TableName, means: &Means, table: &Table) -> Result<State> {
    let pinned = means.tables.pin_loaded(name, table, None).await?;
    State::new(pinned, table)
}
