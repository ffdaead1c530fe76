//! Runs the join: buffer the spine, then, for it or for each slice of it, join view after view and emit.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Fields, SchemaRef};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::BaselineMetrics;
use futures::stream::BoxStream;
use futures::{Stream, TryStreamExt};

use super::PitView;
use super::candidates::{Candidates, Created};
use super::metrics::ViewMetrics;
use super::output::Output;
use super::probe::Probe;
use super::slices::Slices;
use super::spine::{Spine, SpineIndex, time_unit};
use super::ties;
use super::values::ViewValues;
use super::window::Windows;
use super::winners::Winners;

/// One execution of the join.
pub(super) struct Job {
    pub(super) spine: Arc<dyn ExecutionPlan>,
    pub(super) spine_timestamp: usize,
    pub(super) spine_output: usize,
    pub(super) views: Vec<ViewJob>,
    pub(super) schema: SchemaRef,
    pub(super) context: Arc<TaskContext>,
    pub(super) metrics: BaselineMetrics,
}

/// One view of an execution.
pub(super) struct ViewJob {
    pub(super) scan: Arc<dyn ExecutionPlan>,
    pub(super) view: PitView,
    pub(super) metrics: ViewMetrics,
}

impl Job {
    /// The joined rows. Whatever of a slice can fail, fails before its first row leaves.
    pub(super) fn run(self) -> impl Stream<Item = Result<RecordBatch>> {
        let slices = futures::stream::once(self.start());
        slices
            .map_ok(|slices| futures::stream::try_unfold(slices, Slices::next))
            .try_flatten()
            .try_flatten()
    }

    async fn start(self) -> Result<Slices> {
        let pool = MemoryConsumer::new("PitJoinExec").register(self.context.memory_pool());
        let input = self.spine.execute(0, Arc::clone(&self.context))?;
        let spine = Spine::collect(input, pool.new_empty()).await?;
        Ok(Slices::new(self, spine, pool))
    }

    /// What leaves for the rows in `batches`, which are charged to `memory`.
    pub(super) fn output(
        &self,
        batches: Vec<RecordBatch>,
        values: Vec<ViewValues>,
        memory: MemoryReservation,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let output = Output {
            values,
            schema: Arc::clone(&self.schema),
            metrics: self.metrics.clone(),
            _memory: memory,
        };
        output.stream(batches, self.context.session_config().batch_size().max(1))
    }

    /// The values of every view, in order of views; views with the same keys are joined on one index.
    pub(super) async fn join(
        &self,
        spine: &Spine,
        pool: &MemoryReservation,
    ) -> Result<Vec<ViewValues>> {
        let mut joined: Vec<Option<ViewValues>> = self.views.iter().map(|_| None).collect();
        for first in 0..self.views.len() {
            if joined[first].is_some() {
                continue;
            }
            let keys = &self.views[first].view.keys;
            let index = self.index(spine, &self.views[first], pool)?;
            for (at, view) in self
                .views
                .iter()
                .enumerate()
                .skip(first)
                .filter(|(_, other)| other.view.keys == *keys)
            {
                joined[at] = Some(view.join(&index, &self.context, pool).await?);
            }
        }
        Ok(joined.into_iter().flatten().collect())
    }

    fn index(
        &self,
        spine: &Spine,
        view: &ViewJob,
        pool: &MemoryReservation,
    ) -> Result<Arc<SpineIndex>> {
        let _timer = view.metrics.index_time.timer();
        Ok(Arc::new(SpineIndex::build(
            spine,
            &view.view.keys,
            self.spine_timestamp,
            pool,
        )?))
    }
}

impl ViewJob {
    async fn join(
        &self,
        index: &Arc<SpineIndex>,
        context: &Arc<TaskContext>,
        pool: &MemoryReservation,
    ) -> Result<ViewValues> {
        let features: Fields = self.view.features.iter().cloned().collect();
        if features.is_empty() || index.instants().is_empty() {
            return Ok(ViewValues::nothing(features, self.metrics.clone()));
        }
        let winners = match self.view.has_created {
            true => self.find_winners::<i64>(index, context, pool).await?,
            false => self.find_winners::<()>(index, context, pool).await?,
        };
        self.metrics.candidates.add(winners.addresses.len());
        if winners.addresses.is_empty() {
            return Ok(ViewValues::nothing(features, self.metrics.clone()));
        }
        let _timer = self.metrics.fetch_time.timer();
        let slots = Arc::clone(index.slots());
        let (source, metrics) = (&self.view.fetch, self.metrics.clone());
        ViewValues::fetch(winners, slots, features, source, metrics).await
    }

    async fn find_winners<C: Created>(
        &self,
        index: &Arc<SpineIndex>,
        context: &Arc<TaskContext>,
        pool: &MemoryReservation,
    ) -> Result<Winners> {
        let _timer = self.metrics.scan_time.timer();
        let keys = self.view.keys.len();
        let unit = time_unit(Some(self.scan.schema().field(keys).data_type()));
        let probe = Arc::new(Probe::<C> {
            index: Arc::clone(index),
            windows: Windows::try_new(index, unit, self.view.bound(), pool.new_empty())?,
            candidates: Candidates::try_new(index.instants().len(), pool.new_empty())?,
            keys,
            rows_scanned: self.metrics.rows_scanned.clone(),
        });
        probe.run(&self.scan, context, pool).await?;
        let (mut survivors, tied) = probe.candidates.finish();
        let ties = ties::resolve(&mut survivors, tied, &self.view.fetch, pool.new_empty()).await?;
        self.metrics.ties.add(ties);
        Winners::new(survivors, index, &probe.windows, pool.new_empty())
    }
}
