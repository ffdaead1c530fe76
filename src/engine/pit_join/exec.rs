//! The plan node of the point-in-time join.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::internal_err;
use datafusion::error::Result as EngineResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PlanProperties,
};
use futures::StreamExt;

use super::keys::KeyIndex;
use super::metrics::ViewMetrics;
use super::stream::{Job, ViewJob};
use super::{PitView, PitViewReport};
use crate::error::{Error, Result};
use crate::model::RowAddress;

/// Joins a spine with the scans of feature views; see the [module](super) for its contract.
#[derive(Debug)]
pub struct PitJoinExec {
    spine: Arc<dyn ExecutionPlan>,
    spine_timestamp: usize,
    spine_output: usize,
    views: Vec<(Arc<dyn ExecutionPlan>, PitView)>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    view_metrics: Vec<ViewMetrics>,
}

impl PitJoinExec {
    /// Joins `spine`, whose instants stand in column `spine_timestamp` and whose first `spine_output` columns are
    /// output, with `views`, each with its scan.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] where a scan's columns are not what [`PitView`] says or a key column's type differs
    /// from the spine's; [`Error::Unsupported`] for key types without order.
    pub fn try_new(
        spine: Arc<dyn ExecutionPlan>,
        spine_timestamp: usize,
        spine_output: usize,
        views: Vec<(Arc<dyn ExecutionPlan>, PitView)>,
    ) -> Result<Self> {
        let spine_schema = spine.schema();
        if spine_output > spine_schema.fields().len() {
            return Err(Error::internal(
                "plan point-in-time join",
                "more spine columns in the output than there are",
            ));
        }
        expect_timestamp(&spine_schema, spine_timestamp)?;
        for (scan, view) in &views {
            check_scan(&spine_schema, &scan.schema(), view)?;
        }
        let schema = output_schema(
            &spine_schema,
            spine_output,
            views.iter().map(|(_, view)| view),
        );
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        let view_metrics = views
            .iter()
            .map(|(_, view)| ViewMetrics::new(&metrics, &view.name))
            .collect();
        let properties = Arc::new(properties);
        Ok(Self {
            spine,
            spine_timestamp,
            spine_output,
            views,
            properties,
            metrics,
            view_metrics,
        })
    }

    /// Name and counters of each view; final once the output stream has ended.
    pub fn view_metrics(&self) -> Vec<(String, PitViewReport)> {
        let names = self.views.iter().map(|(_, view)| view.name.clone());
        names
            .zip(self.view_metrics.iter().map(ViewMetrics::report))
            .collect()
    }
}

/// Checks that the scan has the columns that the view promises.
fn check_scan(spine: &Schema, scan: &Schema, view: &PitView) -> Result<()> {
    let columns = view.keys.len() + 2 + usize::from(view.has_created);
    if scan.fields().len() != columns {
        let message = format!(
            "the scan of {} has {} columns instead of {columns}",
            view.name,
            scan.fields().len()
        );
        return Err(Error::internal("plan point-in-time join", message));
    }
    for (key, field) in view.keys.iter().zip(scan.fields()) {
        let spine_type = column(spine, *key)?.data_type();
        if spine_type != field.data_type() {
            return Err(mismatch(
                column(spine, *key)?,
                &format!("{} (as in {})", field.data_type(), view.name),
            ));
        }
    }
    let types: Vec<DataType> = scan.fields()[..view.keys.len()]
        .iter()
        .map(|f| f.data_type().clone())
        .collect();
    if !KeyIndex::supports(&types) {
        return Err(Error::Unsupported {
            what: format!("joining {} on keys of {types:?}", view.name),
        });
    }
    (view.keys.len()..columns - 1).try_for_each(|at| expect_timestamp(scan, at))?;
    let address = scan.field(columns - 1);
    match address.name() == RowAddress::COLUMN && *address.data_type() == DataType::UInt64 {
        true => Ok(()),
        false => Err(mismatch(
            address,
            &format!("{} of UInt64", RowAddress::COLUMN),
        )),
    }
}

fn column(schema: &Schema, at: usize) -> Result<&Field> {
    let missing = || {
        Error::internal(
            "plan point-in-time join",
            format!("there is no column {at}"),
        )
    };
    schema
        .fields()
        .get(at)
        .map(AsRef::as_ref)
        .ok_or_else(missing)
}

fn expect_timestamp(schema: &Schema, at: usize) -> Result<()> {
    let field = column(schema, at)?;
    match field.data_type() {
        DataType::Timestamp(_, _) => Ok(()),
        _ => Err(mismatch(field, "a timestamp")),
    }
}

fn mismatch(field: &Field, expected: &str) -> Error {
    let (expected, found) = (expected.to_owned(), field.data_type().to_string());
    Error::SchemaMismatch {
        column: field.name().clone(),
        expected,
        found,
    }
}

fn output_schema<'a>(
    spine: &Schema,
    kept: usize,
    views: impl Iterator<Item = &'a PitView>,
) -> SchemaRef {
    let features = views
        .flat_map(|view| &view.features)
        .map(|field| Arc::new(field.clone().with_nullable(true)));
    Arc::new(Schema::new(
        spine.fields()[..kept]
            .iter()
            .cloned()
            .chain(features)
            .collect::<Vec<_>>(),
    ))
}

impl DisplayAs for PitJoinExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spine = self.spine.schema();
        let views = self.views.iter().map(|(_, view)| describe(view, &spine));
        let timestamp = format!(
            "{}@{}",
            spine.field(self.spine_timestamp).name(),
            self.spine_timestamp
        );
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                let views = views.collect::<Vec<_>>().join(", ");
                write!(f, "PitJoinExec: timestamp={timestamp}, views=[{views}]")
            }
            DisplayFormatType::TreeRender => {
                writeln!(f, "timestamp={timestamp}")?;
                views.into_iter().try_for_each(|view| writeln!(f, "{view}"))
            }
        }
    }
}

fn describe(view: &PitView, spine: &Schema) -> String {
    let keys: Vec<String> = view
        .keys
        .iter()
        .map(|key| format!("{}@{key}", spine.field(*key).name()))
        .collect();
    let ttl = view.bound().map_or_else(
        || "none".to_owned(),
        |ttl| humantime::format_duration(ttl).to_string(),
    );
    let features: Vec<&str> = view
        .features
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let created = if view.has_created { ", created" } else { "" };
    format!(
        "{}(keys=[{}], ttl={ttl}{created}, features=[{}])",
        view.name,
        keys.join(", "),
        features.join(", ")
    )
}

impl ExecutionPlan for PitJoinExec {
    fn name(&self) -> &str {
        "PitJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        let scans = self
            .views
            .iter()
            .map(|_| Distribution::UnspecifiedDistribution);
        [Distribution::SinglePartition]
            .into_iter()
            .chain(scans)
            .collect()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        [true]
            .into_iter()
            .chain(self.views.iter().map(|_| false))
            .collect()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; 1 + self.views.len()]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        [&self.spine]
            .into_iter()
            .chain(self.views.iter().map(|(scan, _)| scan))
            .collect()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let mut children = children.into_iter();
        let (Some(spine), true) = (children.next(), children.len() == self.views.len()) else {
            return internal_err!("PitJoinExec has a spine and {} scans", self.views.len());
        };
        let views = children
            .zip(self.views.iter().map(|(_, view)| view.clone()))
            .collect();
        Ok(Arc::new(Self::try_new(
            spine,
            self.spine_timestamp,
            self.spine_output,
            views,
        )?))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> EngineResult<SendableRecordBatchStream> {
        let spine_partitions = self.spine.output_partitioning().partition_count();
        if partition != 0 || spine_partitions != 1 {
            return internal_err!(
                "PitJoinExec runs as partition 0 on one spine partition, not {partition} on {spine_partitions}"
            );
        }
        let views = self.views.iter().zip(&self.view_metrics);
        let view =
            |((scan, view), metrics): (&(Arc<dyn ExecutionPlan>, PitView), &ViewMetrics)| ViewJob {
                scan: Arc::clone(scan),
                view: view.clone(),
                metrics: metrics.clone(),
            };
        let job = Job {
            spine: Arc::clone(&self.spine),
            spine_timestamp: self.spine_timestamp,
            spine_output: self.spine_output,
            views: views.map(view).collect(),
            schema: self.schema(),
            context,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        let output = job.run().boxed();
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            output,
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
