//! From bound views and an entity dataframe to a plan. CPU work without I/O: coercing keys and sorting them to prune
//! by takes a while for millions of rows, so it runs on the engine's threads.

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::bind::{BoundView, check_collisions};
use super::frame::{EntityFrame, Spine};
use super::parts::{Delivery, Parts};
use super::plan::HistoricalPlan;
use super::planned::{PlannedPart, PlannedView};
use super::range::{RangeSpine, with_view_keys};
use super::shared::{JoinedViews, feature_places};
use crate::engine::pit_join::{PitJoinExec, PitView};
use crate::engine::{Engine, FeatureScanExec, TableFetch};
use crate::error::Result;
use crate::model::{FlightPart, TimeRange};
use crate::table::read::{ScanSpec, TableScan};
use crate::table::{FileCache, ScanFilter};

/// Makes plans for one engine.
#[derive(Clone, Debug)]
pub(super) struct Planner {
    pub(super) engine: Arc<Engine>,
    pub(super) cache: Arc<FileCache>,
}

impl Planner {
    pub(super) fn plan_frame(
        &self,
        views: &[BoundView],
        frame: &EntityFrame,
        delivery: &Delivery,
    ) -> Result<HistoricalPlan> {
        let spine = Spine::try_new(frame, views)?;
        check_collisions(
            spine
                .output_fields()
                .chain(features(views))
                .map(|field| field.name().as_str()),
        )?;
        let parts = match delivery.ordered {
            true => Parts::whole(spine),
            false => Parts::by_bucket(spine, views),
        };
        Ok(HistoricalPlan {
            engine: Arc::clone(&self.engine),
            parts: self.plan_parts(parts.of_ticket(&delivery.part)?, views, frame)?,
            ordered: delivery.ordered,
        })
    }

    fn plan_parts(
        &self,
        parts: Vec<(FlightPart, Spine)>,
        views: &[BoundView],
        frame: &EntityFrame,
    ) -> Result<Vec<PlannedPart>> {
        let wait = parts.len() > 1;
        let plan = |(part, spine): (FlightPart, Spine)| {
            let memory = match wait {
                true => Some(self.charge(&spine)?),
                false => frame.charge(),
            };
            Ok(PlannedPart {
                part,
                memory,
                ..self.plan_spine(spine, views)?
            })
        };
        parts.into_iter().map(plan).collect()
    }

    fn charge(&self, spine: &Spine) -> Result<Arc<MemoryReservation>> {
        let memory = self.engine.reserve("part of an entity dataframe");
        memory.try_grow(spine.bytes())?;
        Ok(Arc::new(memory))
    }

    fn plan_spine(&self, spine: Spine, views: &[BoundView]) -> Result<PlannedPart> {
        let filters = views
            .iter()
            .enumerate()
            .map(|(i, view)| spine.filter(i, view))
            .collect::<Result<Vec<_>>>()?;
        let rows = spine.rows();
        let (timestamp, output, keys) = (spine.timestamp, spine.output, spine.keys);
        let source = MemorySourceConfig::try_new_exec(&[spine.batches], spine.schema, None)?;
        self.plan_join(Join {
            spine: source,
            timestamp,
            output,
            keys,
            views,
            filters,
            rows: Some(rows),
        })
    }

    pub(super) fn plan_range(
        &self,
        views: &[BoundView],
        range: TimeRange,
    ) -> Result<HistoricalPlan> {
        let spine = RangeSpine::try_new(views, range)?;
        let schema = spine.schema();
        let fields = schema.fields().iter().map(AsRef::as_ref);
        check_collisions(
            fields
                .chain(features(views))
                .map(|field| field.name().as_str()),
        )?;
        let filters = views.iter().map(|view| spine.filter(view)).collect();
        let source = spine.plan(views, &self.cache, self.engine.partitions())?;
        let (source, keys) = with_view_keys(source, views)?;
        let output = schema.fields().len();
        let part = self.plan_join(Join {
            spine: source,
            timestamp: output - 1,
            output,
            keys,
            views,
            filters,
            rows: None,
        })?;
        Ok(self.unordered(part))
    }

    fn plan_join(&self, join: Join<'_>) -> Result<PlannedPart> {
        let groups = JoinedViews::of(join.views, &join.keys);
        let scans = groups
            .iter()
            .map(|group| self.scan(&group.view, group.first_of(&join.filters)))
            .collect::<Result<Vec<_>>>()?;
        let inputs = groups.iter().zip(&scans).map(|(group, scan)| {
            let name = &group.view.name;
            let exec = FeatureScanExec::new(name, Arc::clone(scan), self.engine.partitions());
            let view = pit_view(&group.view, group.first_of(&join.keys), scan);
            (Arc::new(exec) as Arc<dyn ExecutionPlan>, view)
        });
        let (timestamp, output) = (join.timestamp, join.output);
        let exec = PitJoinExec::try_new(join.spine, timestamp, output, inputs.collect())?;
        let plan = reordered(Arc::new(exec), output, feature_places(join.views, &groups))?;
        let planned = planned_views(join.views, &groups, &scans);
        self.part_of(plan, planned, join.rows)
    }

    fn scan(&self, view: &BoundView, filter: ScanFilter) -> Result<Arc<TableScan>> {
        let (table, spec) = (view.table.clone(), scan_spec(view, filter));
        Ok(Arc::new(TableScan::try_new(
            table,
            spec,
            Arc::clone(&self.cache),
        )?))
    }

    /// Makes a plan of rows in no order ready to run.
    pub(super) fn plan_of(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        views: Vec<PlannedView>,
    ) -> Result<HistoricalPlan> {
        let part = self.part_of(plan, views, None)?;
        Ok(self.unordered(part))
    }

    fn unordered(&self, part: PlannedPart) -> HistoricalPlan {
        HistoricalPlan {
            engine: Arc::clone(&self.engine),
            parts: vec![part],
            ordered: false,
        }
    }

    fn part_of(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        views: Vec<PlannedView>,
        rows: Option<u64>,
    ) -> Result<PlannedPart> {
        Ok(PlannedPart {
            part: FlightPart::whole(),
            plan: self.engine.optimize(plan)?,
            views,
            rows,
            memory: None,
        })
    }
}

/// Everything that the join is made of.
struct Join<'a> {
    spine: Arc<dyn ExecutionPlan>,
    timestamp: usize,
    output: usize,
    keys: Vec<Vec<usize>>,
    views: &'a [BoundView],
    filters: Vec<ScanFilter>,
    rows: Option<u64>,
}

fn features(views: &[BoundView]) -> impl Iterator<Item = &Field> {
    views
        .iter()
        .flat_map(|view| &view.features)
        .map(|column| &column.field)
}

/// `join` with its features in other places: column `output + i` of the result is its feature `places[i]`.
fn reordered(
    join: Arc<dyn ExecutionPlan>,
    output: usize,
    places: Vec<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if places.is_sorted() {
        return Ok(join);
    }
    let schema = join.schema();
    let places = places.into_iter().map(|place| output + place);
    let column = |place: usize| {
        let name = schema.field(place).name();
        ProjectionExpr::new(Arc::new(Column::new(name, place)), name)
    };
    let columns = (0..output).chain(places).map(column);
    Ok(Arc::new(ProjectionExec::try_new(columns, join)?))
}

/// What each view of the request reads and where its join is reported.
fn planned_views(
    views: &[BoundView],
    groups: &[JoinedViews],
    scans: &[Arc<TableScan>],
) -> Vec<PlannedView> {
    let joins = groups.iter().zip(scans).enumerate();
    let planned = joins.flat_map(|(join, (group, scan))| {
        let members = group.members.iter();
        members.filter_map(move |member| Some((*member, views.get(*member)?, join, scan)))
    });
    let mut planned: Vec<_> = planned.collect();
    planned.sort_unstable_by_key(|(member, ..)| *member);
    let view = |(_, view, join, scan): (usize, &BoundView, usize, &Arc<TableScan>)| PlannedView {
        name: view.name.clone(),
        table: view.table.name().clone(),
        pin: view.table.pin(),
        scan: Arc::clone(scan),
        join,
    };
    planned.into_iter().map(view).collect()
}

/// Keys and timestamps only; values of the rows that win are fetched later.
fn scan_spec(view: &BoundView, filter: ScanFilter) -> ScanSpec {
    let columns = view
        .keys
        .iter()
        .chain([&view.timestamp])
        .chain(&view.created)
        .map(|column| column.field_id);
    ScanSpec {
        columns: columns.collect(),
        filter,
        with_addresses: true,
    }
}

fn pit_view(view: &BoundView, keys: Vec<usize>, scan: &Arc<TableScan>) -> PitView {
    let requested = view.features.iter().map(|column| column.field_id).collect();
    PitView {
        name: view.name.clone(),
        keys,
        ttl: view.ttl.limit(),
        has_created: view.created.is_some(),
        fetch: Arc::new(TableFetch::new(
            Arc::clone(scan),
            requested,
            view.whole_row.clone(),
        )),
        features: view
            .features
            .iter()
            .map(|column| column.field.clone())
            .collect(),
    }
}
