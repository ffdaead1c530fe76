//! The plan node that evaluates on-demand feature views on the rows below it.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::{Result as DataFusionResult, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};

use super::{Evaluator, schema_with};
use crate::error::{Error, Result};
use crate::registry::ResolvedOnDemand;

/// Appends the features of on-demand feature views to its input, rows in input order.
#[derive(Debug)]
pub struct OnDemandExec {
    input: Arc<dyn ExecutionPlan>,
    evaluator: Arc<Evaluator>,
    views: Vec<ResolvedOnDemand>,
    full_feature_names: bool,
    properties: Arc<PlanProperties>,
}

impl OnDemandExec {
    /// Evaluates `views` on the rows of `input`.
    ///
    /// # Errors
    /// [`Error::OnDemandFailed`] if the evaluator is not configured, [`Error::ColumnCollision`] if a feature has the name
    /// of another column.
    pub fn try_new(
        input: Arc<dyn ExecutionPlan>,
        evaluator: Arc<Evaluator>,
        views: Vec<ResolvedOnDemand>,
        full_feature_names: bool,
    ) -> Result<Self> {
        evaluator.check_configured(&views)?;
        let columns = Evaluator::columns(&views, full_feature_names);
        let schema = schema_with(&input.schema(), &columns);
        check_collisions(&schema)?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            input.output_partitioning().clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            input,
            evaluator,
            views,
            full_feature_names,
            properties: Arc::new(properties),
        })
    }
}

fn check_collisions(schema: &SchemaRef) -> Result<()> {
    let repeated = |(i, field): &(usize, &Arc<arrow::datatypes::Field>)| {
        schema.index_of(field.name()).is_ok_and(|first| first != *i)
    };
    match schema.fields().iter().enumerate().find(repeated) {
        Some((_, field)) => Err(Error::ColumnCollision {
            column: field.name().clone(),
        }),
        None => Ok(()),
    }
}

impl DisplayAs for OnDemandExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let views = self.views.iter();
        let views: Vec<String> = views
            .map(|view| format!("{}: [{}]", view.name, view.features.join(", ")))
            .collect();
        write!(f, "OnDemandExec: {}", views.join(", "))
    }
}

impl ExecutionPlan for OnDemandExec {
    fn name(&self) -> &'static str {
        "OnDemandExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::try_new(
                input,
                Arc::clone(&self.evaluator),
                self.views.clone(),
                self.full_feature_names,
            )?)),
            _ => internal_err!("OnDemandExec has one input"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        let views = &self.views;
        Ok(self
            .evaluator
            .evaluate(rows, views, self.full_feature_names)?)
    }
}
