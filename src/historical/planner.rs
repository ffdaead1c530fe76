//! From bound views and an entity dataframe to a plan. CPU work without I/O: coercing keys and sorting them to prune
//! by takes a while for millions of rows, so it runs on the engine's threads.

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::ExecutionPlan;

use super::bind::{BoundView, check_collisions};
use super::frame::{EntityFrame, Spine};
use super::parts::{Delivery, Parts};
use super::plan::HistoricalPlan;
use super::planned::{PlannedPart, PlannedView};
use super::range::{RangeSpine, with_view_keys};
use crate::engine::pit_join::{PitJoinExec, PitView};
use crate::engine::{Engine, FeatureScanExec, TableFetch};
use crate::error::Result;
use crate::model::{FlightPart, TimeRange};
use crate::table::read::{ScanSpec, TableScan};
use crate::table::{FooterCache, ScanFilter};

/// Makes plans for one engine.
#[derive(Clone, Debug)]
pub(super) struct Planner {
    pub(super) engine: Arc<Engine>,
    pub(super) footers: Arc<FooterCache>,
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
        let source = spine.plan(views, &self.footers, self.engine.partitions())?;
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
        let mut inputs: Vec<(Arc<dyn ExecutionPlan>, PitView)> = Vec::new();
        let mut planned = Vec::new();
        for ((view, filter), keys) in join.views.iter().zip(join.filters).zip(join.keys) {
            let scan = Arc::new(TableScan::try_new(
                view.table.clone(),
                scan_spec(view, filter),
                Arc::clone(&self.footers),
            )?);
            inputs.push((
                Arc::new(FeatureScanExec::new(
                    &view.name,
                    Arc::clone(&scan),
                    self.engine.partitions(),
                )),
                pit_view(view, keys, &scan),
            ));
            let (name, table, pin) = (
                view.name.clone(),
                view.table.name().clone(),
                view.table.pin(),
            );
            planned.push(PlannedView {
                name,
                table,
                pin,
                scan,
            });
        }
        let exec = PitJoinExec::try_new(join.spine, join.timestamp, join.output, inputs)?;
        self.part_of(Arc::new(exec), planned, join.rows)
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
