//! Online reads: the latest value of each feature for the keys of a request.
//!
//! ```text
//! plan      names -> tables, columns, keys, ttl                        plan
//! state     the table's newest known snapshot: bucket -> files        state, follow, table
//! parts     latest rows of a bucket, or of files of any key           slot, part, layer, load
//! look up   key -> hash -> part -> row, gather, ttl, statuses         read, assemble
//! ```
//! A warm read asks no catalog, opens no file and waits for no lock. States and layers are immutable: a commit makes the
//! next state beside reads, from what the last one had and the files that are new. What is missing is loaded by one
//! loader, on threads of their own, which finishes what it began also when nobody waits any more. Tables larger than the
//! memory are read by key, from the pages that can hold it, and so are the first few keys of a bucket.

mod assemble;
mod budget;
mod by_key;
mod column;
mod explain;
mod follow;
mod keys;
mod layer;
mod load;
mod packed;
mod part;
mod plan;
mod read;
mod request_keys;
mod slot;
mod state;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use iceberg::table::Table;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

pub use plan::ReadPlan;
pub use request_keys::key_batch;

use crate::clock::{self, Clock};
use crate::config::OnlineConfig;
use crate::error::{Error, Result};
use crate::model::{TableName, ViewVersion};
use crate::registry::{Registry, RegistryReader};
use crate::table::online::{OnlineLayout, OnlineProperties};
use crate::table::{FileCache, Tables};
use budget::Budget;
use load::Loader;
use read::{ViewRows, view_rows};
use slot::Slot;
use table::{Means, OnlineTable, to_its_end};

/// Footers kept for reads by key.
const FOOTERS_BYTES: u64 = 32 << 20;

/// Answers online requests; see the module's text.
pub struct OnlineReader {
    registry: Arc<dyn RegistryReader>,
    /// What the registry answered when it was last asked; none in it where it had no definitions.
    definitions: ArcSwapOption<Option<Arc<Registry>>>,
    layout: OnlineLayout,
    means: Means,
    clock: Arc<dyn Clock>,
    time_limit: Duration,
    refresh_interval: Duration,
    known: RwLock<HashMap<TableName, Arc<Slot<OnlineTable>>>>,
    runtime: Option<Runtime>,
}

/// What a reader works with.
#[derive(Debug)]
pub struct OnlineSources {
    /// Definitions.
    pub registry: Arc<dyn RegistryReader>,
    /// Tables of all catalogs.
    pub tables: Arc<Tables>,
    /// Where online tables are.
    pub layout: OnlineLayout,
    /// The time that ttl is measured against.
    pub clock: Arc<dyn Clock>,
}

impl OnlineReader {
    /// A reader with an empty index. Starts the threads that load.
    ///
    /// # Errors
    /// [`Error::Io`] if threads cannot be started.
    pub fn try_new(config: &OnlineConfig, sources: OnlineSources) -> Result<Arc<Self>> {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("murre-online")
            .enable_all()
            .build()
            .map_err(|source| Error::Io {
                action: "start the threads of online reads".to_owned(),
                source,
            })?;
        let loader = Loader {
            cache: Arc::new(FileCache::footers_only(FOOTERS_BYTES)),
            budget: Budget::new(config.cache_size.as_u64()),
        };
        Ok(Arc::new(Self {
            registry: sources.registry,
            definitions: ArcSwapOption::empty(),
            layout: sources.layout,
            means: Means::new(sources.tables, loader, runtime.handle().clone()),
            clock: sources.clock,
            time_limit: Duration::from_millis(config.read_timeout_ms),
            refresh_interval: config.refresh_interval,
            known: RwLock::default(),
            runtime: Some(runtime),
        }))
    }

    /// Where online tables are, and what new ones look like.
    pub fn layout(&self) -> &OnlineLayout {
        &self.layout
    }

    /// Does `work` within the time that a read may take.
    ///
    /// # Errors
    /// [`Error::ReadTimedOut`]; those of `work`.
    pub async fn in_time<T>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let limit_ms = u64::try_from(self.time_limit.as_millis()).unwrap_or(u64::MAX);
        let done = tokio::time::timeout(self.time_limit, work).await;
        done.unwrap_or(Err(Error::ReadTimedOut { limit_ms }))
    }

    /// The schema of answers to keys of this schema.
    ///
    /// # Errors
    /// [`Error::ColumnCollision`] for a key column that has the name of a feature.
    pub fn schema(&self, plan: &ReadPlan, keys: &Schema) -> Result<SchemaRef> {
        assemble::schema(plan, keys)
    }

    /// The answer to a batch of keys, one row for each of its rows.
    ///
    /// # Errors
    /// [`Error::MissingEntityColumn`] or [`Error::SchemaMismatch`] for the keys; those of catalog and storage.
    pub async fn read(&self, plan: &ReadPlan, keys: &RecordBatch) -> Result<RecordBatch> {
        let rows = self.rows(plan, keys).await?;
        assemble::assemble(plan, keys, &rows, self.clock.now())
    }

    /// The same under the schema that a channel began with.
    ///
    /// # Errors
    /// As [`OnlineReader::read`]; [`Error::InvalidRequest`] if features changed in a way that the schema cannot show.
    pub async fn read_as(
        &self,
        plan: &ReadPlan,
        keys: &RecordBatch,
        begun: &SchemaRef,
    ) -> Result<RecordBatch> {
        assemble::as_begun(&self.read(plan, keys).await?, begun)
    }

    /// Reads and tells what that touched.
    ///
    /// # Errors
    /// As [`OnlineReader::read`].
    pub async fn explain(&self, plan: &ReadPlan, keys: &RecordBatch) -> Result<String> {
        explain::explain(plan, &self.rows(plan, keys).await?)
    }

    async fn rows(&self, plan: &ReadPlan, keys: &RecordBatch) -> Result<Vec<ViewRows>> {
        let reads = plan.views.iter().map(|view| view_rows(view, keys));
        let rows = futures::future::try_join_all(reads).await?;
        if rows.iter().any(|rows| rows.trace.has_read()) {
            self.make_room();
            self.log(plan, &rows);
        }
        Ok(rows)
    }

    fn log(&self, plan: &ReadPlan, rows: &[ViewRows]) {
        if tracing::enabled!(tracing::Level::DEBUG)
            && let Ok(text) = explain::explain(plan, rows)
        {
            tracing::debug!(read = text, "online rows loaded");
        }
    }

    /// The definitions of a project, if the registry has them. Asked for once, then again at each refresh.
    async fn definitions(&self, project: Option<&str>) -> Result<Option<Arc<Registry>>> {
        let known = match self.definitions.load_full() {
            Some(known) => known.as_ref().clone(),
            None => self.read_definitions().await?,
        };
        let of_project =
            |registry: &Arc<Registry>| project.is_none_or(|project| project == registry.project());
        Ok(known.filter(of_project))
    }

    /// None where there are no definitions: views can be read by what their tables say. Those that are known stay while
    /// the registry cannot be read.
    async fn read_definitions(&self) -> Result<Option<Arc<Registry>>> {
        let registry = Arc::clone(&self.registry);
        let current = async move { registry.current().await };
        let found = match to_its_end(&self.means.runtime, current).await {
            Ok(registry) => Some(registry),
            Err(error) if matches!(error.root(), Error::InvalidDefinitions { .. }) => self
                .definitions
                .load_full()
                .and_then(|known| known.as_ref().clone()),
            Err(error) => return Err(error),
        };
        self.definitions.store(Some(Arc::new(found.clone())));
        Ok(found)
    }

    /// A view's table, opened now if it was not in use.
    async fn table(&self, project: &str, view: &ViewVersion) -> Result<Arc<OnlineTable>> {
        let name = self.layout.table_name(project, view);
        let slot = self.slot(&name);
        let open = || OnlineTable::open(name.clone(), self.means.clone());
        let opened = slot.get_or_load(&self.means.runtime, open).await;
        let table = opened.map_err(|error| match error.root() {
            Error::TableNotFound { .. } => Error::OnlineTableNotFound {
                view: view.to_string(),
                project: project.to_owned(),
            },
            _ => error,
        })?;
        let state = table.state();
        if (state.properties.project.as_str(), &state.properties.view) != (project, view) {
            OnlineProperties::of_view(&name, &state.metadata, project, view)?;
        }
        Ok(table)
    }

    /// The place of a table; an empty one is let go at the next refresh.
    fn slot(&self, name: &TableName) -> Arc<Slot<OnlineTable>> {
        if let Some(slot) = self.lock().get(name) {
            return Arc::clone(slot);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(name.clone()).or_default())
    }

    /// Follows a commit of this server's own at once.
    pub fn committed(self: &Arc<Self>, name: &TableName, table: &Table) {
        let Some(slot) = self.lock().get(name).cloned() else {
            return;
        };
        let (reader, table) = (Arc::clone(self), table.clone());
        self.means.runtime.spawn(async move {
            slot.settled().await;
            let Some(known) = slot.resident() else {
                return;
            };
            if let Err(error) = known.advance(&table).await {
                tracing::warn!(table = %known.name(), %error, "cannot follow a commit; trying again later");
            }
            reader.make_room();
        });
    }

    /// Forgets a table that was dropped.
    pub fn dropped(&self, name: &TableName) {
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    /// Follows the writes of others until the handle is aborted.
    pub fn follow_in_background(self: &Arc<Self>) -> JoinHandle<()> {
        let reader = Arc::clone(self);
        self.means.runtime.spawn(async move {
            loop {
                clock::sleep(reader.refresh_interval).await;
                reader.refresh().await;
            }
        })
    }

    /// Asks the catalog for news of every table in use, and the registry for news of the definitions.
    pub async fn refresh(&self) {
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, slot| !slot.is_idle());
        let tables = self.tables();
        for table in &tables {
            match table.refresh().await {
                Ok(()) => {}
                Err(Error::TableNotFound { .. }) => self.dropped(table.name()),
                Err(error) => {
                    tracing::warn!(table = %table.name(), %error, "cannot follow an online table");
                }
            }
        }
        if self.definitions.load().is_some()
            && let Err(error) = self.read_definitions().await
        {
            tracing::warn!(%error, "cannot follow the definitions");
        }
        self.make_room();
    }

    /// Lets go of the parts that were not read for longest, until the memory suffices.
    fn make_room(&self) {
        let excess = self.means.loader.budget.excess();
        if excess == 0 {
            return;
        }
        self.means.key_reads.forget();
        let excess = self.means.loader.budget.excess();
        let tables = self.tables();
        let mut residents: Vec<_> = tables.iter().flat_map(|table| table.residents()).collect();
        residents.sort_by_key(|(_, part)| part.used_at());
        let mut freed = 0;
        for (slot, part) in residents {
            if freed >= excess {
                break;
            }
            freed += part.bytes();
            slot.evict();
        }
    }

    fn tables(&self) -> Vec<Arc<OnlineTable>> {
        let known = self.lock();
        known.values().filter_map(|slot| slot.resident()).collect()
    }

    fn lock(&self) -> std::sync::RwLockReadGuard<'_, HashMap<TableName, Arc<Slot<OnlineTable>>>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for OnlineReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnlineReader")
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

/// A runtime must not be dropped where blocking is forbidden.
impl Drop for OnlineReader {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
