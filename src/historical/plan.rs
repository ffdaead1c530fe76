//! A planned historical request: schema and pins are known, nothing has run.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::displayable;
use futures::TryStreamExt;

use crate::engine::Engine;
use crate::engine::pit_join::PitJoinExec;
use crate::error::Result;
use crate::model::{ScanReport, TableName, TablePin};
use crate::on_demand::{Evaluator, OnDemandExec};
use crate::registry::ResolvedOnDemand;
use crate::table::read::TableScan;

/// The scan of one view, kept to report on.
#[derive(Debug)]
pub(super) struct PlannedView {
    pub(super) name: String,
    pub(super) table: TableName,
    pub(super) pin: TablePin,
    pub(super) scan: Arc<TableScan>,
}

/// What a request comes to; made by [`super::Historical::plan`].
#[derive(Debug)]
pub struct HistoricalPlan {
    pub(super) engine: Arc<Engine>,
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) views: Vec<PlannedView>,
    pub(super) rows: Option<u64>,
    pub(super) ordered: bool,
}

/// What running a plan has read so far, for one feature view.
#[derive(Clone, Debug)]
pub struct ViewReport {
    /// Alias or name of the view.
    pub view: String,
    /// Its table.
    pub table: TableName,
    /// The table's pinned state.
    pub pin: TablePin,
    /// What was read and pruned.
    pub scan: ScanReport,
    /// Spine rows that found a feature row.
    pub rows_matched: u64,
}

impl HistoricalPlan {
    /// The same with the features of on-demand views appended, if there are any.
    pub(super) fn with_on_demand(
        mut self,
        evaluator: &Arc<Evaluator>,
        views: Vec<ResolvedOnDemand>,
        full_feature_names: bool,
    ) -> Result<Self> {
        if !views.is_empty() {
            let (input, evaluator) = (Arc::clone(&self.plan), Arc::clone(evaluator));
            let exec = OnDemandExec::try_new(input, evaluator, views, full_feature_names)?;
            self.plan = Arc::new(exec);
        }
        Ok(self)
    }

    /// Columns of the result: the entity dataframe's, then the features.
    pub fn schema(&self) -> SchemaRef {
        self.plan.schema()
    }

    /// Number of rows of the result, where it is known without running.
    pub fn rows(&self) -> Option<u64> {
        self.rows
    }

    /// Whether rows come back in the order of the entity dataframe.
    pub fn ordered(&self) -> bool {
        self.ordered
    }

    /// The state of each table that the plan reads.
    pub fn tables(&self) -> BTreeMap<TableName, TablePin> {
        self.views
            .iter()
            .map(|view| (view.table.clone(), view.pin))
            .collect()
    }

    /// Runs the plan. Dropping the stream stops the work.
    ///
    /// # Errors
    /// Errors of starting; later ones come in the stream.
    pub fn execute(&self) -> Result<SendableRecordBatchStream> {
        self.engine.execute(Arc::clone(&self.plan))
    }

    /// What has been read so far, per view.
    pub fn reports(&self) -> Vec<ViewReport> {
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

    /// Runs the request, discards its rows, and describes the plan and what it read.
    ///
    /// # Errors
    /// Any error of running the request.
    pub async fn explain(&self) -> Result<String> {
        let count = |total: u64, batch: arrow::array::RecordBatch| async move {
            Ok(total + batch.num_rows() as u64)
        };
        let rows = self.execute()?.try_fold(0, count).await?;
        let plan = displayable(self.plan.as_ref()).indent(false).to_string();
        let mut text = format!("plan:\n{}", indent(&plan));
        for view in self.reports() {
            let snapshot = view
                .pin
                .snapshot
                .map_or("none".to_owned(), |id| id.to_string());
            let _ = write!(
                text,
                "view {}: table {}, snapshot {snapshot}\n  {}\n  matched: {} of {rows} rows\n",
                view.view, view.table, view.scan, view.rows_matched
            );
        }
        Ok(text)
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
