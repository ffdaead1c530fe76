//! Runs the join: buffer the spine, join view after view, then emit.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Fields, SchemaRef};
use arrow::error::ArrowError;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::Stream;

use super::PitView;
use super::candidates::{Candidates, Created};
use super::metrics::ViewMetrics;
use super::probe::Probe;
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
    /// Does all but the output; whatever fails, fails here.
    pub(super) async fn run(self) -> Result<impl Stream<Item = Result<RecordBatch>>> {
        let pool = MemoryConsumer::new("PitJoinExec").register(self.context.memory_pool());
        let input = self.spine.execute(0, Arc::clone(&self.context))?;
        let mut spine = Spine::collect(input, pool.new_empty()).await?;
        let values = if spine.rows() == 0 {
            Vec::new()
        } else {
            self.join(&spine, &pool).await?
        };
        spine.truncate(self.spine_output)?;
        let (batches, reservation) = spine.into_batches();
        Ok(futures::stream::iter(Output {
            batches: batches.into(),
            next_row: 0,
            values,
            schema: self.schema,
            batch_size: self.context.session_config().batch_size().max(1),
            metrics: self.metrics,
            _reservation: reservation,
        }))
    }

    /// The values of every view, in order of views; views with the same keys are joined on one index.
    async fn join(&self, spine: &Spine, pool: &MemoryReservation) -> Result<Vec<ViewValues>> {
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
        let parallelism = self.scan.output_partitioning().partition_count();
        let slots = Arc::clone(index.slots());
        ViewValues::fetch(
            winners,
            slots,
            features,
            &self.view.fetch,
            parallelism,
            self.metrics.clone(),
        )
        .await
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

/// The joined rows, batch by batch.
struct Output {
    batches: VecDeque<RecordBatch>,
    next_row: usize,
    values: Vec<ViewValues>,
    schema: SchemaRef,
    batch_size: usize,
    metrics: BaselineMetrics,
    _reservation: MemoryReservation,
}

impl Iterator for Output {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let elapsed = self.metrics.elapsed_compute().clone();
        let _timer = elapsed.timer();
        let spine = self.batches.pop_front()?;
        let (rows, batch) = match self.widest(&spine) {
            Ok(made) => made,
            Err(error) => {
                self.batches.clear();
                return Some(Err(error.into()));
            }
        };
        if rows < spine.num_rows() {
            self.batches
                .push_front(spine.slice(rows, spine.num_rows() - rows));
        }
        self.next_row += rows;
        self.metrics.record_output(rows);
        Some(Ok(batch))
    }
}

impl Output {
    /// Joins the first rows of `spine`: a full batch, or as many as fit into the offsets of their types.
    fn widest(&self, spine: &RecordBatch) -> Result<(usize, RecordBatch), ArrowError> {
        let mut rows = spine.num_rows().min(self.batch_size);
        loop {
            match self.assemble(&spine.slice(0, rows)) {
                Err(ArrowError::OffsetOverflowError(_)) if rows > 1 => rows = rows.div_ceil(2),
                made => return made.map(|batch| (rows, batch)),
            }
        }
    }

    fn assemble(&self, spine: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let mut columns: Vec<ArrayRef> = spine.columns().to_vec();
        for view in &self.values {
            columns.extend(view.gather(self.next_row..self.next_row + spine.num_rows())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(spine.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }
}
