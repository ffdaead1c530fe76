//! The newest row per join key, as a point-in-time join with itself: the distinct keys in the range are the spine, each
//! asking for what was known at the end of all time among the rows of the range.
//!
//! So ties are broken as for training, keys and times alone are read for rows that lose, and memory is that of the join.

use std::sync::Arc;

use arrow::array::{RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Field;
use datafusion::common::ScalarValue;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_expr::expressions::{Literal, col};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExpr;

use super::bind::BoundColumn;
use super::bounds::Bounds;
use super::operators::{all_of, distinct, filtered, is_not_null, projected};
use super::planner::Planner;
use super::source::{BoundSource, ScannedRows};
use crate::engine::TableFetch;
use crate::engine::pit_join::{PitJoinExec, PitView};
use crate::error::{Error, Result};
use crate::table::read::{ScanSpec, TableScan};

/// The spine's instants: later than every row.
const END_OF_TIME: &str = "__end_of_time";

impl Planner {
    pub(super) fn latest_rows(&self, source: &BoundSource, bounds: Bounds) -> Result<ScannedRows> {
        let ranked = source
            .keys
            .iter()
            .chain([&source.timestamp])
            .chain(&source.created);
        let spec = ScanSpec {
            columns: ids(ranked),
            filter: source.filter(bounds),
            with_addresses: true,
        };
        let (rows, scan) = self.scan_source(source, &source.name, spec)?;
        let rows = source.within(bounds, rows)?;
        let keys = source.keys.len();
        let spine = self.spine(source, bounds)?;
        let join = PitJoinExec::try_new(spine, keys, keys, vec![(rows, view(source, &scan))])?;
        Ok((matched(source, Arc::new(join))?, scan))
    }

    fn spine(&self, source: &BoundSource, bounds: Bounds) -> Result<Arc<dyn ExecutionPlan>> {
        if source.keys.is_empty() {
            return one_row();
        }
        let spec = ScanSpec {
            columns: ids(source.keys.iter().chain([&source.timestamp])),
            filter: source.filter(bounds),
            with_addresses: false,
        };
        let (rows, _) = self.scan_source(source, &format!("{} (spine)", source.name), spec)?;
        let rows = source.within(bounds, rows)?;
        let schema = rows.schema();
        let known = source.keys.iter().chain([&source.timestamp]);
        let known = known
            .map(|column| Ok(is_not_null(col(column.field.name(), &schema)?)))
            .collect::<Result<Vec<_>>>()?;
        let names = || source.keys.iter().map(|key| key.field.name().as_str());
        let keys = projected(filtered(rows, all_of(known))?, names(), None)?;
        let end = Arc::new(Literal::new(ScalarValue::TimestampMicrosecond(
            Some(i64::MAX),
            Some("UTC".into()),
        )));
        let end = ProjectionExpr::new(end, END_OF_TIME);
        projected(distinct(keys)?, names(), Some(end))
    }
}

/// The spine of a source without join keys.
fn one_row() -> Result<Arc<dyn ExecutionPlan>> {
    let end = TimestampMicrosecondArray::from(vec![i64::MAX]).with_timezone("UTC");
    let row = RecordBatch::try_from_iter([(END_OF_TIME, Arc::new(end) as _)])
        .map_err(Error::arrow("plan the newest row"))?;
    let schema = row.schema();
    Ok(MemorySourceConfig::try_new_exec(
        &[vec![row]],
        schema,
        None,
    )?)
}

/// The winners' values: everything of the result that the spine does not have.
fn view(source: &BoundSource, scan: &Arc<TableScan>) -> PitView {
    let is_key = |column: &BoundColumn| {
        let mut keys = source.keys.iter();
        keys.any(|key| key.field_id == column.field_id)
    };
    let values: Vec<&BoundColumn> = source
        .output
        .iter()
        .filter(|column| !is_key(column))
        .collect();
    let fields = source.table.schema().as_struct().fields();
    let mut whole_row: Vec<i32> = fields.iter().map(|field| field.id).collect();
    whole_row.sort_unstable();
    PitView {
        name: source.name.clone(),
        keys: (0..source.keys.len()).collect(),
        ttl: None,
        has_created: source.created.is_some(),
        fetch: Arc::new(TableFetch::new(
            Arc::clone(scan),
            ids(values.iter().copied()),
            whole_row,
        )),
        features: values
            .into_iter()
            .map(|column| column.field.clone().with_nullable(true))
            .collect(),
    }
}

/// Only rows that were found: without join keys the spine has its row even where the range has none.
fn matched(source: &BoundSource, join: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let timestamp: &Field = &source.timestamp.field;
    let found = is_not_null(col(timestamp.name(), &join.schema())?);
    filtered(join, Some(found))
}

fn ids<'a>(columns: impl IntoIterator<Item = &'a BoundColumn>) -> Vec<i32> {
    columns.into_iter().map(|column| column.field_id).collect()
}
