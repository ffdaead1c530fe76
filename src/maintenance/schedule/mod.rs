//! The server's own upkeep: every now and then a look at each table that says it may be, and what is due is done, a few
//! tables at a time, under the table's lease.
//!
//! A job that fails is tried again later and later, and stops no other job and no other table; one that panics has failed.

mod jobs;
mod memory;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use iceberg::table::Table;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::{Maintainer, Maintenance, Selection, Take, lease};
use crate::clock::{self, Clock};
use crate::config::MaintenanceConfig;
use crate::error::{Error, Result};
use crate::model::TableName;
use crate::registry::{Registry, RegistryReader};
use crate::table::commit::{CommitHook, MAINTENANCE, ON};
use crate::table::online::OnlineLayout;
use memory::Memory;

pub(super) use jobs::GC_AT;
pub use jobs::Job;

/// What a schedule works with.
pub struct ScheduleSources {
    /// Definitions, whose batch sources are looked after.
    pub registry: Arc<dyn RegistryReader>,
    /// Where online tables are.
    pub layout: OnlineLayout,
    /// What ages are measured by.
    pub clock: Arc<dyn Clock>,
    /// Told each new state of a table.
    pub hook: CommitHook,
}

/// Looks after tables.
pub struct Schedule {
    maintenance: Maintenance,
    maintainer: Maintainer,
    config: MaintenanceConfig,
    sources: ScheduleSources,
    memory: Memory,
}

impl Schedule {
    /// A schedule that has done nothing yet.
    pub fn new(
        config: MaintenanceConfig,
        maintenance: Maintenance,
        sources: ScheduleSources,
    ) -> Self {
        let catalogs = maintenance.tables.catalogs().clone();
        Self {
            maintainer: Maintainer::new(catalogs, Arc::clone(&sources.clock)),
            maintenance,
            memory: Memory::new(config.interval),
            config,
            sources,
        }
    }

    /// Works until `stop` says `true` or its sender is gone; the handle is done soon after that.
    pub fn start(self: &Arc<Self>, mut stop: watch::Receiver<bool>) -> JoinHandle<()> {
        let schedule = Arc::clone(self);
        tokio::spawn(async move {
            while schedule.paused(&mut stop).await {
                schedule.round(&stop).await;
            }
        })
    }

    /// Waits for the next round, never twice as long, so that servers that started together do not stay together. Answers
    /// whether there is one.
    async fn paused(&self, stop: &mut watch::Receiver<bool>) -> bool {
        let pause = self.config.interval.mul_f64(rand::random_range(0.5..1.5));
        tokio::select! {
            () = clock::sleep(pause) => !*stop.borrow(),
            () = stopped(stop) => false,
        }
    }

    /// Looks at every table once, after it has cleaned up after attempts at commits that died.
    pub async fn round(self: &Arc<Self>, stop: &watch::Receiver<bool>) {
        if let Err(error) = self.maintenance.recover().boxed().await {
            tracing::warn!(%error, "cannot clean up after attempts that died");
        }
        // Held until the end: catalogs that the definitions describe stay open.
        let definitions = self.definitions().await;
        let meant = Selection::default();
        let layout = &self.sources.layout;
        let chosen = self
            .maintenance
            .select(layout, definitions.as_deref(), &meant);
        let chosen = match chosen.boxed().await {
            Ok(chosen) => chosen,
            Err(error) => {
                tracing::warn!(%error, "cannot list the tables to maintain");
                return;
            }
        };
        self.memory.keep(&chosen);
        let turn = |name: TableName| {
            let (schedule, stop) = (Arc::clone(self), stop.clone());
            alone(
                format!("maintain table `{name}`"),
                schedule.turn(name, stop),
            )
        };
        let turns = futures::stream::iter(chosen).map(turn);
        let mut turns = turns.buffer_unordered(self.config.max_running);
        while let Some(done) = turns.next().await {
            if let Err(error) = done {
                tracing::warn!(%error, "maintenance failed");
            }
        }
    }

    async fn definitions(&self) -> Option<Arc<Registry>> {
        let read = self.sources.registry.current().await;
        read.inspect_err(|error| {
            tracing::debug!(%error, "no batch sources are maintained, since there are no definitions");
        })
        .ok()
    }

    /// Does what is due for one table.
    async fn turn(self: Arc<Self>, name: TableName, mut stop: watch::Receiver<bool>) -> Result<()> {
        if *stop.borrow() {
            return Ok(());
        }
        let Some(table) = self.mine(&name).await? else {
            return Ok(());
        };
        let jobs = self.due(&name, &table).await;
        if jobs.is_empty() {
            return Ok(());
        }
        let Take::Ours(lease) = self.maintainer.take(&name).await? else {
            return Ok(());
        };
        let marks = tokio::select! {
            marks = lease.during(self.work(&name, &jobs)) => marks,
            () = stopped(&mut stop) => HashMap::new(),
        };
        let table = lease.release(marks).await?;
        (self.sources.hook)(&name, Some(&table));
        Ok(())
    }

    /// The table, if this server is to look after it now.
    async fn mine(&self, name: &TableName) -> Result<Option<Table>> {
        let table = match self.maintenance.tables.catalogs().load_table(name).await {
            Err(Error::TableNotFound { .. }) => return Ok(None),
            table => table?,
        };
        let is_on = table
            .metadata()
            .properties()
            .get(MAINTENANCE)
            .map(String::as_str)
            == Some(ON);
        let is_held = self.maintainer.other(table.metadata()).is_some();
        Ok((is_on && !is_held).then_some(table))
    }

    /// Does the jobs one after the other; answers what the table is to remember.
    async fn work(self: &Arc<Self>, name: &TableName, jobs: &[Job]) -> HashMap<String, String> {
        let mut marks = HashMap::new();
        for job in jobs {
            let action = format!("{job} table `{name}`");
            let done = alone(action, Arc::clone(self).job(name.clone(), *job)).await;
            if done.is_ok() && *job == Job::Gc {
                let now = lease::millis(self.sources.clock.now());
                marks.insert(GC_AT.to_owned(), now.to_string());
            }
            self.note(name, *job, done);
        }
        marks
    }

    /// Remembers what became of a job: after how long it may be looked at again.
    fn note(&self, name: &TableName, job: Job, done: Result<Duration>) {
        let now = self.sources.clock.now();
        match done {
            Ok(pause) => self.memory.succeeded(name, job, now + pause),
            Err(error) => {
                let pause = self.memory.failed(name, job, now);
                let pause = humantime::format_duration(pause);
                tracing::warn!(table = %name, %error, "cannot {job} a table; trying again in {pause}");
            }
        }
    }
}

/// Runs work as a task of its own, which ends with the caller; a panic is an error.
async fn alone<T: Send + 'static>(
    action: String,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    match tasks.join_next().await {
        Some(Ok(done)) => done,
        Some(Err(panicked)) => Err(Error::internal(action, panicked)),
        None => Err(Error::internal(action, "the task is gone")),
    }
}

/// Resolves when work is to end.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone is a server that is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("config", &self.config)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ScheduleSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScheduleSources")
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
