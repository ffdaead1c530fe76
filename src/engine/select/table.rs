//! A pinned table as a query sees it: its columns by their own names, pruned by comparisons of one timestamp column.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType,
};
use datafusion::physical_plan::ExecutionPlan;

use crate::engine::FeatureScanExec;
use crate::model::TimeWindow;
use crate::table::read::{ScanSpec, TableScan, arrow_field};
use crate::table::{FileCache, PinnedTable, ScanFilter};

/// Reads a pinned table for a query.
#[derive(Debug)]
pub struct PinnedTableProvider {
    table: PinnedTable,
    /// Field ids of the schema's columns.
    field_ids: Vec<i32>,
    schema: SchemaRef,
    cache: Arc<FileCache>,
}

impl PinnedTableProvider {
    /// Offers the columns of `table` that have an Arrow type.
    pub fn new(table: PinnedTable, cache: Arc<FileCache>) -> Self {
        let columns = table.schema().as_struct().fields().iter();
        let columns = columns.filter_map(|field| Some((field.id, arrow_field(field).ok()?)));
        let (field_ids, fields): (Vec<i32>, Vec<Field>) = columns.unzip();
        Self {
            field_ids,
            schema: Arc::new(Schema::new(fields)),
            cache,
            table,
        }
    }

    /// The instants that `filters` leave of the first timestamp column that they compare.
    fn filter(&self, filters: &[Expr]) -> ScanFilter {
        let mut windows = filters.iter().filter_map(comparison);
        let Some((column, mut window)) = windows.next() else {
            return ScanFilter::default();
        };
        for (_, other) in windows.filter(|(other, _)| *other == column) {
            window = TimeWindow {
                start_us: window.start_us.max(other.start_us),
                end_us: window.end_us.into_iter().chain(other.end_us).min(),
            };
        }
        let field_id = self
            .schema
            .index_of(column)
            .ok()
            .map(|at| self.field_ids[at]);
        ScanFilter {
            timestamp: field_id.map(|id| (id, window)),
            keys: Vec::new(),
        }
    }
}

#[async_trait]
impl TableProvider for PinnedTableProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match comparison(filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = match projection {
            Some(positions) => positions.iter().map(|at| self.field_ids[*at]).collect(),
            None => self.field_ids.clone(),
        };
        let spec = ScanSpec {
            columns,
            filter: self.filter(filters),
            with_addresses: false,
        };
        let scan = TableScan::try_new(self.table.clone(), spec, Arc::clone(&self.cache))?;
        let name = self.table.name().to_string();
        let partitions = session.config().target_partitions();
        Ok(Arc::new(FeatureScanExec::new(
            name,
            Arc::new(scan),
            partitions,
        )))
    }
}

/// The column that a filter compares with an instant, and a window around what fulfils it.
fn comparison(filter: &Expr) -> Option<(&str, TimeWindow)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else {
        return None;
    };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(value, _)) => {
            Some((&column.name, window(*op, value)?))
        }
        (Expr::Literal(value, _), Expr::Column(column)) => {
            Some((&column.name, window(op.swap()?, value)?))
        }
        _ => None,
    }
}

fn window(operator: Operator, value: &ScalarValue) -> Option<TimeWindow> {
    let (floor, ceil) = microseconds(value)?;
    let (start_us, end_us) = match operator {
        Operator::Gt | Operator::GtEq => (Some(floor), None),
        Operator::Lt | Operator::LtEq => (None, Some(ceil)),
        Operator::Eq => (Some(floor), Some(ceil)),
        _ => return None,
    };
    Some(TimeWindow { start_us, end_us })
}

/// The whole microseconds around an instant.
fn microseconds(value: &ScalarValue) -> Option<(i64, i64)> {
    let exact = |us: i64| Some((us, us));
    match value {
        ScalarValue::TimestampSecond(Some(s), _) => exact(s.checked_mul(1_000_000)?),
        ScalarValue::TimestampMillisecond(Some(ms), _) => exact(ms.checked_mul(1_000)?),
        ScalarValue::TimestampMicrosecond(Some(us), _) => exact(*us),
        ScalarValue::TimestampNanosecond(Some(ns), _) => {
            let floor = ns.div_euclid(1_000);
            Some((floor, floor + i64::from(ns.rem_euclid(1_000) != 0)))
        }
        _ => None,
    }
}
