//! Operators and expressions that several plans of this module are made of.

use std::sync::Arc;

use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, IsNotNullExpr, col};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use crate::error::Result;

pub(super) fn binary(
    left: Arc<dyn PhysicalExpr>,
    operator: Operator,
    right: Arc<dyn PhysicalExpr>,
) -> Arc<dyn PhysicalExpr> {
    Arc::new(BinaryExpr::new(left, operator, right))
}

pub(super) fn is_not_null(operand: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    Arc::new(IsNotNullExpr::new(operand))
}

/// The conjunction of `predicates`; `None` of none.
pub(super) fn all_of(
    predicates: impl IntoIterator<Item = Arc<dyn PhysicalExpr>>,
) -> Option<Arc<dyn PhysicalExpr>> {
    predicates
        .into_iter()
        .reduce(|left, right| binary(left, Operator::And, right))
}

/// The rows of `input` that fulfil `predicate`; all without one.
pub(super) fn filtered(
    input: Arc<dyn ExecutionPlan>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    match predicate {
        Some(predicate) => Ok(Arc::new(FilterExec::try_new(predicate, input)?)),
        None => Ok(input),
    }
}

/// Columns of `input` by name, and then `computed` ones.
pub(super) fn projected<'a>(
    input: Arc<dyn ExecutionPlan>,
    names: impl IntoIterator<Item = &'a str>,
    computed: impl IntoIterator<Item = ProjectionExpr>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = input.schema();
    let mut columns = names
        .into_iter()
        .map(|name| Ok(ProjectionExpr::new(col(name, &schema)?, name)))
        .collect::<Result<Vec<_>>>()?;
    columns.extend(computed);
    Ok(Arc::new(ProjectionExec::try_new(columns, input)?))
}

/// The distinct rows of `input`, in one partition.
pub(super) fn distinct(input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let partial = grouped(AggregateMode::Partial, input)?;
    grouped(
        AggregateMode::Final,
        Arc::new(CoalescePartitionsExec::new(partial)),
    )
}

fn grouped(mode: AggregateMode, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = input.schema();
    let columns = schema
        .fields()
        .iter()
        .map(|field| Ok((col(field.name(), &schema)?, field.name().clone())))
        .collect::<Result<Vec<_>>>()?;
    let group = PhysicalGroupBy::new_single(columns);
    Ok(Arc::new(AggregateExec::try_new(
        mode,
        group,
        vec![],
        vec![],
        input,
        schema,
    )?))
}
