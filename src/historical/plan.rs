//! A planned historical request: schema and pins are known, nothing has run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;

use super::planned::PlannedPart;
use crate::engine::Engine;
use crate::error::Result;
use crate::model::{FlightPart, ScanReport, TableName, TablePin};
use crate::on_demand::{Evaluator, OnDemandExec};
use crate::registry::ResolvedOnDemand;

/// What a request comes to; made by [`super::Historical::plan`].
#[derive(Debug)]
pub struct HistoricalPlan {
    pub(super) engine: Arc<Engine>,
    /// At least one; they run one after the other.
    pub(super) parts: Vec<PlannedPart>,
    pub(super) ordered: bool,
}

/// What running a plan has read so far, for one feature view in one part.
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
        views: &[ResolvedOnDemand],
        full_feature_names: bool,
    ) -> Result<Self> {
        if views.is_empty() {
            return Ok(self);
        }
        for part in &mut self.parts {
            let (input, evaluator) = (Arc::clone(&part.plan), Arc::clone(evaluator));
            let views = views.to_vec();
            let exec = OnDemandExec::try_new(input, evaluator, views, full_feature_names)?;
            part.plan = Arc::new(exec);
        }
        Ok(self)
    }

    /// Columns of the result: the entity dataframe's, then the features.
    pub fn schema(&self) -> SchemaRef {
        self.parts
            .first()
            .expect("a plan has at least one part")
            .plan
            .schema()
    }

    /// Number of rows of the result, where it is known without running.
    pub fn rows(&self) -> Option<u64> {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// Whether rows come back in the order of the entity dataframe.
    pub fn ordered(&self) -> bool {
        self.ordered
    }

    /// The parts that the rows leave in, one after the other.
    pub fn parts(&self) -> Vec<FlightPart> {
        self.parts.iter().map(|part| part.part.clone()).collect()
    }

    /// The state of each table that the plan reads.
    pub fn tables(&self) -> BTreeMap<TableName, TablePin> {
        self.parts
            .iter()
            .flat_map(|part| &part.views)
            .map(|view| (view.table.clone(), view.pin))
            .collect()
    }

    /// Runs the plan. Dropping the stream stops the work.
    ///
    /// # Errors
    /// Errors of starting; later ones come in the stream.
    pub fn execute(&self) -> Result<SendableRecordBatchStream> {
        let turns = self.parts.iter().map(PlannedPart::turn).collect();
        self.engine.execute_in_turn(self.schema(), turns)
    }

    /// What has been read so far, per part and view.
    pub fn reports(&self) -> Vec<ViewReport> {
        self.parts.iter().flat_map(PlannedPart::reports).collect()
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
        let mut text = String::new();
        for part in &self.parts {
            let _ = write!(text, "{}", part.explain(rows));
        }
        Ok(text)
    }
}
