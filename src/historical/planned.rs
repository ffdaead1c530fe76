//! One part of a plan: its operators, the scans below them, and its turn among the other parts.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::Result as DataFusionResult;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use futures::stream::{self, Stream, TryStreamExt};

use super::plan::ViewReport;
use crate::engine::Engine;
use crate::engine::pit_join::PitJoinExec;
use crate::model::{FlightPart, TableName, TablePin};
use crate::table::read::TableScan;

/// The scan of one view, kept to report on.
#[derive(Debug)]
pub(super) struct PlannedView {
    pub(super) name: String,
    pub(super) table: TableName,
    pub(super) pin: TablePin,
    pub(super) scan: Arc<TableScan>,
}

/// A part that is ready to run.
#[derive(Debug)]
pub(super) struct PlannedPart {
    pub(super) part: FlightPart,
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) views: Vec<PlannedView>,
    /// Known where the result keeps the rows of an entity dataframe.
    pub(super) rows: Option<u64>,
    /// Memory of its rows until its turn comes; from then on its join accounts for them.
    pub(super) memory: Option<Arc<MemoryReservation>>,
}

/// A part whose turn has not come.
#[derive(Debug)]
pub(super) struct WaitingPart {
    plan: Arc<dyn ExecutionPlan>,
    _memory: Option<Arc<MemoryReservation>>,
}

impl PlannedPart {
    pub(super) fn waiting(&self) -> WaitingPart {
        WaitingPart {
            plan: Arc::clone(&self.plan),
            _memory: self.memory.clone(),
        }
    }

    /// What has been read so far, per view.
    pub(super) fn reports(&self) -> Vec<ViewReport> {
        let matched = match find_join(&self.plan) {
            Some(join) => join.view_metrics(),
            None => Vec::new(),
        };
        let report = |(i, view): (usize, &PlannedView)| ViewReport {
            view: view.name.clone(),
            table: view.table.clone(),
            pin: view.pin,
            scan: view.scan.report(),
            rows_matched: matched.get(i).map_or(0, |(_, join)| join.rows_matched),
        };
        self.views.iter().enumerate().map(report).collect()
    }

    /// The plan and what it read, after a run whose result had `rows_in_all` rows.
    pub(super) fn explain(&self, rows_in_all: u64) -> String {
        let rows = self.rows.unwrap_or(rows_in_all);
        let plan = displayable(self.plan.as_ref()).indent(false).to_string();
        let mut text = match self.part.is_whole() {
            true => String::new(),
            false => format!("{}: {rows} rows\n", self.part),
        };
        let _ = write!(text, "plan:\n{}", indent(&plan));
        for view in self.reports() {
            let snapshot = view.pin.snapshot;
            let snapshot = snapshot.map_or("none".to_owned(), |id| id.to_string());
            let _ = write!(
                text,
                "view {}: table {}, snapshot {snapshot}\n  {}\n  matched: {} of {rows} rows\n",
                view.view, view.table, view.scan, view.rows_matched
            );
        }
        text
    }
}

/// The batches of a part that runs and then of those that wait; each starts when the one before it has ended.
pub(super) fn in_turn(
    engine: Arc<Engine>,
    running: SendableRecordBatchStream,
    waiting: VecDeque<WaitingPart>,
) -> impl Stream<Item = DataFusionResult<RecordBatch>> + Send {
    let state = (engine, running, waiting);
    stream::try_unfold(state, async |(engine, mut running, mut waiting)| {
        loop {
            if let Some(batch) = running.try_next().await? {
                return Ok(Some((batch, (engine, running, waiting))));
            }
            let Some(next) = waiting.pop_front() else {
                return Ok::<_, DataFusionError>(None);
            };
            running = engine.execute(next.plan).map_err(DataFusionError::from)?;
        }
    })
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn find_join(plan: &Arc<dyn ExecutionPlan>) -> Option<&PitJoinExec> {
    let node: &dyn Any = plan.as_ref();
    node.downcast_ref::<PitJoinExec>()
        .or_else(|| plan.children().into_iter().find_map(find_join))
}
