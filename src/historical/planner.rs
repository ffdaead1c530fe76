//! From bound views and an entity dataframe to a plan. CPU work without I/O: coercing keys and sorting them to prune
//! by takes a while for millions of rows, so it runs on the engine's threads.

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_plan::ExecutionPlan;

use super::bind::{BoundView, check_collisions};
use super::frame::{EntityFrame, Spine};
use super::plan::{HistoricalPlan, PlannedView};
use super::range::{RangeSpine, with_view_keys};
use crate::engine::pit_join::{PitJoinExec, PitView};
use crate::engine::{Engine, FeatureScanExec, TableFetch};
use crate::error::Result;
use crate::model::TimeRange;
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
        views: Vec<BoundView>,
        frame: &EntityFrame,
    ) -> Result<HistoricalPlan> {
        let spine = Spine::try_new(frame, &views)?;
        check_collisions(
            spine
                .output_fields()
                .chain(features(&views))
                .map(|field| field.name().as_str()),
        )?;
        let filters = views
            .iter()
            .enumerate()
            .map(|(i, view)| spine.filter(i, view))
            .collect::<Result<Vec<_>>>()?;
        let rows = spine.rows();
        let (timestamp, output, keys) = (spine.timestamp, spine.output, spine.keys);
        let source = MemorySourceConfig::try_new_exec(&[spine.batches], spine.schema, None)?;
        let mut plan = self.plan_join(Join {
            spine: source,
            timestamp,
            output,
            keys,
            views,
            filters,
            rows: Some(rows),
        })?;
        plan.charged = frame.charge();
        Ok(plan)
    }

    pub(super) fn plan_range(
        &self,
        views: Vec<BoundView>,
        range: TimeRange,
    ) -> Result<HistoricalPlan> {
        let spine = RangeSpine::try_new(&views, range)?;
        let schema = spine.schema();
        let fields = schema.fields().iter().map(AsRef::as_ref);
        check_collisions(
            fields
                .chain(features(&views))
                .map(|field| field.name().as_str()),
        )?;
        let filters = views.iter().map(|view| spine.filter(view)).collect();
        let source = spine.plan(&views, &self.cache, self.engine.partitions())?;
        let (source, keys) = with_view_keys(source, &views)?;
        let output = schema.fields().len();
        self.plan_join(Join {
            spine: source,
            timestamp: output - 1,
            output,
            keys,
            views,
            filters,
            rows: None,
        })
    }

    fn plan_join(&self, join: Join) -> Result<HistoricalPlan> {
        let mut inputs: Vec<(Arc<dyn ExecutionPlan>, PitView)> = Vec::new();
        let mut planned = Vec::new();
        for ((view, filter), keys) in join.views.iter().zip(join.filters).zip(join.keys) {
            let scan = Arc::new(TableScan::try_new(
                view.table.clone(),
                scan_spec(view, filter),
                Arc::clone(&self.cache),
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
        self.plan_of(Arc::new(exec), planned, join.rows)
    }

    /// Makes a plan ready to run; `rows` is known where the result keeps the rows of an entity dataframe.
    pub(super) fn plan_of(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        views: Vec<PlannedView>,
        rows: Option<u64>,
    ) -> Result<HistoricalPlan> {
        Ok(HistoricalPlan {
            engine: Arc::clone(&self.engine),
            plan: self.engine.optimize(plan)?,
            views,
            rows,
            ordered: rows.is_some(),
            charged: None,
        })
    }
}

/// Everything that the join is made of.
struct Join {
    spine: Arc<dyn ExecutionPlan>,
    timestamp: usize,
    output: usize,
    keys: Vec<Vec<usize>>,
    views: Vec<BoundView>,
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
