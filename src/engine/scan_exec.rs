//! A pinned table's scan as a DataFusion leaf, and the late fetch that goes with it.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::Result as DataFusionResult;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::TryStreamExt;
use futures::stream::BoxStream;

use super::pit_join::{FetchColumns, FetchRows};
use crate::error::Result;
use crate::model::RowAddress;
use crate::table::Keep;
use crate::table::read::{ScanUnit, TableScan};

/// Reads a [`TableScan`] in several partitions of about equal bytes, rows in no particular order.
#[derive(Debug)]
pub struct FeatureScanExec {
    name: String,
    scan: Arc<TableScan>,
    partitions: Vec<Vec<ScanUnit>>,
    properties: Arc<PlanProperties>,
}

impl FeatureScanExec {
    /// A scan named `name` in plans, over at most `partitions` partitions.
    pub fn new(name: impl Into<String>, scan: Arc<TableScan>, partitions: usize) -> Self {
        let mut partitions = scan.partitions(partitions);
        if partitions.is_empty() {
            partitions.push(Vec::new());
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(scan.schema()),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            name: name.into(),
            scan,
            partitions,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for FeatureScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.scan.schema();
        let columns: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let report = self.scan.report();
        write!(
            f,
            "FeatureScanExec: {}, partitions={}, files={} of {}, columns=[{}]",
            self.name,
            self.partitions.len(),
            report.files - report.files_pruned.total(),
            report.files,
            columns.join(", ")
        )
    }
}

impl ExecutionPlan for FeatureScanExec {
    fn name(&self) -> &'static str {
        "FeatureScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let units = self.partitions[partition].clone();
        let batches = self
            .scan
            .read(units, context.session_config().batch_size())
            .map_err(DataFusionError::from);
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.scan.schema(),
            batches,
        )))
    }
}

/// Fetches rows of a scan by address: the requested features, or whole rows to break ties by.
#[derive(Debug)]
pub struct TableFetch {
    scan: Arc<TableScan>,
    requested: Vec<i32>,
    whole_row: Vec<i32>,
}

impl TableFetch {
    /// Fetches the columns with field ids `requested`, or `whole_row` for ties.
    pub fn new(scan: Arc<TableScan>, requested: Vec<i32>, whole_row: Vec<i32>) -> Self {
        Self {
            scan,
            requested,
            whole_row,
        }
    }
}

impl FetchRows for TableFetch {
    fn fetch(
        &self,
        addresses: Vec<RowAddress>,
        columns: FetchColumns,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let (field_ids, keep) = match columns {
            FetchColumns::Requested => (&self.requested, Keep::AskedTwice),
            FetchColumns::TieBreak => (&self.whole_row, Keep::No),
        };
        self.scan.fetch(addresses, field_ids, keep)
    }
}
