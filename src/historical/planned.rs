//! One part of a plan: its operators and the scans below them.

use std::any::Any;
use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::{ExecutionPlan, displayable};

use super::plan::ViewReport;
use crate::engine::Turn;
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
    /// Which view of the join it is; views of one join share a scan.
    pub(super) join: usize,
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

impl PlannedPart {
    pub(super) fn turn(&self) -> Turn {
        Turn {
            plan: Arc::clone(&self.plan),
            memory: self.memory.clone(),
        }
    }

    /// What has been read so far, per view.
    pub(super) fn reports(&self) -> Vec<ViewReport> {
        let matched = match find_join(&self.plan) {
            Some(join) => join.view_metrics(),
            None => Vec::new(),
        };
        let report = |view: &PlannedView| ViewReport {
            view: view.name.clone(),
            table: view.table.clone(),
            pin: view.pin,
            scan: view.scan.report(),
            rows_matched: matched
                .get(view.join)
                .map_or(0, |(_, join)| join.rows_matched),
        };
        self.views.iter().map(report).collect()
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

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn find_join(plan: &Arc<dyn ExecutionPlan>) -> Option<&PitJoinExec> {
    let node: &dyn Any = plan.as_ref();
    node.downcast_ref::<PitJoinExec>()
        .or_else(|| plan.children().into_iter().find_map(find_join))
}
