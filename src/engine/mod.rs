//! The query engine: DataFusion with a memory limit, on a runtime of its own.
//!
//! Joins and decoding are CPU work; run on the runtime that answers the network, a heavy request would stall every
//! other client. [`Engine::execute`] therefore drives plans on separate worker threads and hands batches over
//! through a channel two batches deep, which is also the back-pressure: an unread client stops the scan. Dropping
//! the stream aborts the plan's task.

mod admission;
pub mod coerce;
pub mod pit_join;
mod scan_exec;
pub mod select;

use std::sync::Arc;
use std::time::SystemTime;

use arrow::datatypes::SchemaRef;
use datafusion::execution::context::ExecutionProps;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryConsumer, MemoryReservation, TrackConsumersPool,
};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_planner::DefaultPhysicalPlanner;
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use tokio::runtime::{Builder, Runtime};

pub use scan_exec::{FeatureScanExec, TableFetch};

use admission::Admission;

use crate::config::EngineConfig;
use crate::error::{Error, Result};

/// Batches that may wait between the engine and the network.
const BATCHES_AHEAD: usize = 2;
/// Stack of a thread, in bytes: plans and expressions are recursive, and those of queries can be deep.
const STACK_BYTES: usize = 64 << 20;
/// Consumers that an out-of-memory message lists.
const TOP_CONSUMERS: std::num::NonZeroUsize =
    std::num::NonZeroUsize::new(5).expect("five is not zero");

/// A plan whose turn comes.
#[derive(Debug)]
pub struct Turn {
    /// What runs.
    pub plan: Arc<dyn ExecutionPlan>,
    /// Charged for what the plan holds until it starts; from then on it charges that itself.
    pub memory: Option<Arc<MemoryReservation>>,
}

/// DataFusion, configured; see the module's text.
#[derive(Debug)]
pub struct Engine {
    session: SessionState,
    admission: Admission,
    runtime: Option<Runtime>,
}

impl Engine {
    /// Starts the worker threads.
    ///
    /// # Errors
    /// [`Error::Io`] if threads cannot be started, [`Error::Engine`] if DataFusion refuses the configuration.
    pub fn try_new(config: &EngineConfig) -> Result<Self> {
        let threads = config.thread_count();
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("murre-engine")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|source| Error::Io {
                action: "start the engine's threads".to_owned(),
                source,
            })?;
        Ok(Self {
            session: session(config, threads)?,
            admission: Admission::new(config),
            runtime: Some(runtime),
        })
    }

    /// Makes a plan executable: adds the exchanges that its operators require.
    ///
    /// # Errors
    /// [`Error::Engine`] for a plan that cannot be made executable.
    pub fn optimize(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::default();
        Ok(planner.optimize_physical_plan(plan, &self.session, |_, _| {})?)
    }

    /// Runs a plan on the engine's threads, once there is room for it. Dropping the stream stops the work.
    ///
    /// # Errors
    /// None yet: all come in the stream, [`Error::Busy`] among them.
    pub fn execute(&self, plan: Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream> {
        let schema = plan.schema();
        self.execute_in_turn(schema, vec![Turn { plan, memory: None }])
    }

    /// Runs plans of one schema as [`Self::execute`] runs one, each when the one before it has ended.
    ///
    /// # Errors
    /// None yet: all come in the stream.
    pub fn execute_in_turn(
        &self,
        schema: SchemaRef,
        turns: Vec<Turn>,
    ) -> Result<SendableRecordBatchStream> {
        let (context, admission) = (self.session.task_ctx(), self.admission.clone());
        let mut builder = RecordBatchReceiverStreamBuilder::new(schema, BATCHES_AHEAD);
        let sender = builder.tx();
        let drive = async move {
            let _permit = admission.enter().await?;
            for Turn { plan, memory } in turns {
                drop(memory);
                let mut batches = execute_stream(plan, Arc::clone(&context))?;
                while let Some(batch) = batches.next().await {
                    let failed = batch.is_err();
                    if sender.send(batch).await.is_err() || failed {
                        return Ok(());
                    }
                }
            }
            Ok(())
        };
        builder.spawn_on(drive, self.runtime().handle());
        Ok(builder.build())
    }

    /// Does CPU work on the engine's threads.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Internal`] if it panics.
    pub async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let done = self.runtime().handle().spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(Error::internal("plan a request", error)))
    }

    /// A claim on the engine's memory for data held outside of plans, empty yet.
    pub fn reserve(&self, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(&self.session.runtime_env().memory_pool)
    }

    /// Partitions that scans are split into.
    pub fn partitions(&self) -> usize {
        self.session.config().target_partitions()
    }

    /// A session of its own for one query: the engine's memory, and `now` as the time.
    fn select_session(&self, now: SystemTime) -> SessionState {
        let props = ExecutionProps::new().with_query_execution_start_time(now.into());
        SessionStateBuilder::new_from_existing(self.session.clone())
            .with_execution_props(props)
            .build()
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("taken only on drop")
    }
}

/// A runtime must not be dropped where blocking is forbidden, and an engine may be.
impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn session(config: &EngineConfig, threads: usize) -> Result<SessionState> {
    let limit = usize::try_from(config.memory_limit_bytes()).unwrap_or(usize::MAX);
    let pool = TrackConsumersPool::new(GreedyMemoryPool::new(limit), TOP_CONSUMERS);
    let runtime_env = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(
            DiskManagerBuilder::default().with_mode(DiskManagerMode::OsTmpDirectory),
        )
        .build_arc()?;
    let session_config = SessionConfig::new()
        .with_target_partitions(threads)
        .with_batch_size(config.batch_size);
    Ok(SessionStateBuilder::new()
        .with_config(session_config)
        .with_runtime_env(runtime_env)
        .with_default_features()
        .build())
}
