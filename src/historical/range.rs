//! The spine of a request that has no entity dataframe: every distinct key and time in a range.
//!
//! Taken from those of the requested views that have all join keys of the request, so that each spine row is a
//! moment at which something was recorded about a whole entity. Where no view has all, each view gives the moments of
//! its own entities, the other keys null. Both ends of the range count; rows with a null key in the table do not, since
//! they describe nobody.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Literal, TryCastExpr, col};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;

use super::bind::{BoundView, hidden_key, schema_of};
use super::bounds::Bounds;
use super::frame::EVENT_TIMESTAMP;
use super::operators::{all_of, distinct, filtered, is_not_null};
use crate::engine::FeatureScanExec;
use crate::error::{Error, Result};
use crate::model::{TimeRange, TimeWindow};
use crate::table::FileCache;
use crate::table::ScanFilter;
use crate::table::read::{ScanSpec, TableScan};

/// The columns of a range spine: the keys in order of first appearance, then the event timestamp.
#[derive(Debug)]
pub(super) struct RangeSpine {
    keys: Vec<(String, DataType)>,
    unit: TimeUnit,
    range: TimeRange,
}

impl RangeSpine {
    /// # Errors
    /// [`Error::InvalidRequest`] without views, [`Error::SchemaMismatch`] if views disagree on a type.
    pub(super) fn try_new(views: &[BoundView], range: TimeRange) -> Result<Self> {
        let mut keys: Vec<(String, DataType)> = Vec::new();
        for key in views.iter().flat_map(|view| &view.keys) {
            let (name, data_type) = (key.field.name(), key.field.data_type());
            match keys.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = common_type(name, known, data_type)?,
                None => keys.push((name.clone(), data_type.clone())),
            }
        }
        let unit = views
            .iter()
            .map(|view| unit_of(view.timestamp.field.data_type()))
            .max()
            .unwrap_or(TimeUnit::Microsecond);
        let spine = Self { keys, unit, range };
        match views.is_empty() {
            true => Err(Error::invalid(
                "historical.entity.range",
                "expected a feature view to take rows from; send an entity dataframe",
            )),
            false => Ok(spine),
        }
    }

    /// The views that the spine's rows come from: those that have all join keys or, where none has, all that have any.
    fn sources<'a>(&'a self, views: &'a [BoundView]) -> impl Iterator<Item = &'a BoundView> {
        let is_whole = |view: &BoundView| view.keys.len() == self.keys.len();
        let has_whole = views.iter().any(is_whole);
        views.iter().filter(move |view| match has_whole {
            true => is_whole(view),
            false => !view.keys.is_empty(),
        })
    }

    /// Result columns of the spine.
    pub(super) fn schema(&self) -> SchemaRef {
        let keys = self
            .keys
            .iter()
            .map(|(name, data_type)| Field::new(name, data_type.clone(), true));
        schema_of(keys.chain([Field::new(EVENT_TIMESTAMP, self.instant_type(), true)]))
    }

    fn instant_type(&self) -> DataType {
        DataType::Timestamp(self.unit, Some("UTC".into()))
    }

    /// Event times that the scan of a view must cover for the join with this spine.
    pub(super) fn filter(&self, view: &BoundView) -> ScanFilter {
        let TimeWindow { start_us, end_us } = Bounds::from(self.range).window();
        let (oldest, newest) = (start_us.unwrap_or(i64::MIN), end_us.unwrap_or(i64::MAX));
        let window = view.window(oldest, newest);
        ScanFilter {
            timestamp: Some((view.timestamp.field_id, window)),
            keys: Vec::new(),
        }
    }

    /// Reads, filters and deduplicates the spine's rows.
    pub(super) fn plan(
        &self,
        views: &[BoundView],
        cache: &Arc<FileCache>,
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let inputs = self
            .sources(views)
            .map(|view| self.plan_view(view, cache, partitions))
            .collect::<Result<Vec<_>>>()?;
        distinct(UnionExec::try_new(inputs)?)
    }

    fn plan_view(
        &self,
        view: &BoundView,
        cache: &Arc<FileCache>,
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let window = Bounds::from(self.range).window();
        let spec = ScanSpec {
            columns: view
                .keys
                .iter()
                .map(|key| key.field_id)
                .chain([view.timestamp.field_id])
                .collect(),
            filter: ScanFilter {
                timestamp: Some((view.timestamp.field_id, window)),
                keys: Vec::new(),
            },
            with_addresses: false,
        };
        let scan = Arc::new(TableScan::try_new(
            view.table.clone(),
            spec,
            Arc::clone(cache),
        )?);
        let scan: Arc<dyn ExecutionPlan> = Arc::new(FeatureScanExec::new(
            format!("{} (spine)", view.name),
            scan,
            partitions,
        ));
        let projected = self.project(view, scan)?;
        let predicate = self.predicate(view, &projected)?;
        filtered(projected, predicate)
    }

    /// Brings a view's columns to the spine's names and types.
    fn project(
        &self,
        view: &BoundView,
        scan: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let source = |position: usize| -> Arc<dyn PhysicalExpr> {
            let schema = scan.schema();
            Arc::new(datafusion::physical_expr::expressions::Column::new(
                schema.field(position).name(),
                position,
            ))
        };
        let mut columns = Vec::new();
        for (name, data_type) in &self.keys {
            let key = match view.keys.iter().position(|key| key.field.name() == name) {
                Some(position) => converted(source(position), &scan.schema(), data_type)?,
                None => Arc::new(Literal::new(ScalarValue::try_from(data_type)?)),
            };
            columns.push(ProjectionExpr::new(key, name));
        }
        let instant = converted(
            source(view.keys.len()),
            &scan.schema(),
            &self.instant_type(),
        )?;
        columns.push(ProjectionExpr::new(instant, EVENT_TIMESTAMP));
        Ok(Arc::new(ProjectionExec::try_new(columns, scan)?))
    }

    fn predicate(
        &self,
        view: &BoundView,
        input: &Arc<dyn ExecutionPlan>,
    ) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let schema = input.schema();
        let instant = col(EVENT_TIMESTAMP, &schema)?;
        let in_range = Bounds::from(self.range).predicate(&instant, &self.instant_type());
        let keys = view
            .keys
            .iter()
            .map(|key| Ok(is_not_null(col(key.field.name(), &schema)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(all_of(in_range.into_iter().chain(keys)))
    }
}

/// Per view, the spine's columns that hold its join keys.
type KeyPositions = Vec<Vec<usize>>;

/// Adds, for each view, its join keys in the types of its table; answers the columns' positions per view.
pub(super) fn with_view_keys(
    spine: Arc<dyn ExecutionPlan>,
    views: &[BoundView],
) -> Result<(Arc<dyn ExecutionPlan>, KeyPositions)> {
    let schema = spine.schema();
    let mut columns: Vec<ProjectionExpr> = Vec::new();
    for field in schema.fields() {
        columns.push(ProjectionExpr::new(
            col(field.name(), &schema)?,
            field.name(),
        ));
    }
    let mut positions = Vec::new();
    for view in views {
        let mut keys = Vec::new();
        for key in &view.keys {
            keys.push(key_position(&mut columns, &schema, &key.field)?);
        }
        positions.push(keys);
    }
    Ok((
        Arc::new(ProjectionExec::try_new(columns, spine)?),
        positions,
    ))
}

fn key_position(
    columns: &mut Vec<ProjectionExpr>,
    schema: &SchemaRef,
    key: &Field,
) -> Result<usize> {
    if schema
        .field_with_name(key.name())
        .is_ok_and(|field| field.data_type() == key.data_type())
    {
        let position = schema.index_of(key.name());
        return position.map_err(Error::arrow("plan a range spine"));
    }
    let alias = hidden_key(key);
    if let Some(made) = columns.iter().position(|column| column.alias == alias) {
        return Ok(made);
    }
    let cast: Arc<dyn PhysicalExpr> = Arc::new(TryCastExpr::new(
        col(key.name(), schema)?,
        key.data_type().clone(),
    ));
    columns.push(ProjectionExpr::new(cast, alias));
    Ok(columns.len() - 1)
}

fn converted(
    column: Arc<dyn PhysicalExpr>,
    schema: &SchemaRef,
    target: &DataType,
) -> Result<Arc<dyn PhysicalExpr>> {
    if column.data_type(schema)? == *target {
        return Ok(column);
    }
    Ok(Arc::new(TryCastExpr::new(column, target.clone())))
}

fn unit_of(data_type: &DataType) -> TimeUnit {
    match data_type {
        DataType::Timestamp(unit, _) => *unit,
        _ => TimeUnit::Microsecond,
    }
}

/// One type for a key that several views spell differently.
fn common_type(name: &str, left: &DataType, right: &DataType) -> Result<DataType> {
    match (left, right) {
        _ if left == right => Ok(left.clone()),
        (DataType::Int32, DataType::Int64) | (DataType::Int64, DataType::Int32) => {
            Ok(DataType::Int64)
        }
        (DataType::Timestamp(a, _), DataType::Timestamp(b, _)) => {
            Ok(DataType::Timestamp(*a.max(b), Some("UTC".into())))
        }
        _ => Err(Error::SchemaMismatch {
            column: name.to_owned(),
            expected: format!("one type in all feature views, {left} as in the first"),
            found: right.to_string(),
        }),
    }
}
