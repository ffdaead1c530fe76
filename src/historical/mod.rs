//! A historical request becomes a plan: definitions are resolved, tables pinned, scans pruned, and one
//! point-in-time join ties them to the entity dataframe.

mod bind;
mod frame;
mod plan;
mod range;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_plan::ExecutionPlan;
use futures::future::try_join_all;

use bind::{BoundView, check_collisions, schema_of};
use frame::Spine;
pub use frame::{EVENT_TIMESTAMP, EntityFrame};
use plan::PlannedView;
pub use plan::{HistoricalPlan, ViewReport};
use range::{RangeSpine, with_view_keys};

use crate::engine::pit_join::{PitJoinExec, PitView};
use crate::engine::{Engine, FeatureScanExec, TableFetch};
use crate::error::{Error, Result};
use crate::model::{
    EntitySource, FeatureSelection, HistoricalRequest, Pins, Principal, SourceLocation, TableName,
    TimeRange, UploadId,
};
use crate::registry::{Registry, RegistryReader, ResolvedView};
use crate::staging::Staging;
use crate::table::read::{ScanSpec, TableScan};
use crate::table::{FooterCache, PinnedTable, ScanFilter, Tables};

/// Plans historical requests.
#[derive(Debug)]
pub struct Historical {
    registry: Arc<dyn RegistryReader>,
    tables: Arc<Tables>,
    staging: Arc<Staging>,
    engine: Arc<Engine>,
    footers: Arc<FooterCache>,
}

impl Historical {
    /// A planner over these parts.
    pub fn new(
        registry: Arc<dyn RegistryReader>,
        tables: Arc<Tables>,
        staging: Arc<Staging>,
        engine: Arc<Engine>,
        footers: Arc<FooterCache>,
    ) -> Self {
        Self {
            registry,
            tables,
            staging,
            engine,
            footers,
        }
    }

    /// Plans a request without running it. `attached` is the entity dataframe that came with the call or inside the
    /// request, decoded; a staged one is opened here.
    ///
    /// # Errors
    /// Everything that can be wrong with a request: unknown names, missing or mistyped columns, unknown uploads,
    /// missing tables, unreachable catalogs.
    pub async fn plan(
        &self,
        principal: &Principal,
        request: &HistoricalRequest,
        attached: Option<EntityFrame>,
    ) -> Result<HistoricalPlan> {
        let registry = self.registry.current().await?;
        check_project(&registry, request)?;
        let views = self.bind(&registry, request).await?;
        match (&request.entity, attached) {
            (EntitySource::Range(range), _) => self.plan_range(views, *range),
            (_, Some(frame)) => self.plan_frame(views, &frame),
            (EntitySource::Staged(id), None) => {
                self.plan_frame(views, &self.open(principal, id).await?)
            }
            (EntitySource::Inline(_) | EntitySource::Attached, None) => Err(Error::invalid(
                "historical.entity",
                "expected an upload, an inline dataframe, a range, or a dataframe sent by DoExchange",
            )),
        }
    }

    /// The columns of a feature view as its table has them now: keys, event timestamp, features.
    ///
    /// # Errors
    /// [`Error::FeatureViewNotFound`] with the nearest names, and errors of opening the table.
    pub async fn view_schema(&self, view: &str) -> Result<SchemaRef> {
        let registry = self.registry.current().await?;
        let resolved = registry.resolve_view(view)?;
        let name = table_of(&resolved);
        let bound = BoundView::try_new(&resolved, self.tables.pin(name, None).await?, false)?;
        let columns = bound
            .keys
            .iter()
            .chain([&bound.timestamp])
            .chain(&bound.features);
        Ok(schema_of(columns.map(|column| column.field.clone())))
    }

    /// Names of the feature views in the current definitions.
    ///
    /// # Errors
    /// [`Error::InvalidDefinitions`] if none could be loaded yet.
    pub async fn view_names(&self) -> Result<Vec<String>> {
        let registry = self.registry.current().await?;
        Ok(registry
            .feature_views()
            .map(|view| view.name.clone())
            .collect())
    }

    async fn open(&self, principal: &Principal, id: &UploadId) -> Result<EntityFrame> {
        let staged = self.staging.open(principal, id).await?;
        Ok(EntityFrame::new(staged.schema, staged.batches))
    }

    async fn bind(
        &self,
        registry: &Registry,
        request: &HistoricalRequest,
    ) -> Result<Vec<BoundView>> {
        let resolved = registry.resolve(&request.features)?;
        let tables = self.pin(&resolved, request.pins.as_ref()).await?;
        let bind = |view: &ResolvedView| {
            let table = tables.get(table_of(view)).cloned();
            let table = table.ok_or_else(|| Error::internal("plan", "a table was not pinned"))?;
            BoundView::try_new(view, table, request.full_feature_names)
        };
        let views = resolved.iter().map(bind).collect::<Result<Vec<_>>>()?;
        match views.iter().all(|view| view.features.is_empty()) {
            true => Err(Error::invalid(
                "historical.features",
                no_features(&request.features),
            )),
            false => Ok(views),
        }
    }

    /// Pins each table once, all at the same time.
    async fn pin(
        &self,
        views: &[ResolvedView],
        pins: Option<&Pins>,
    ) -> Result<BTreeMap<TableName, PinnedTable>> {
        let names: BTreeSet<&TableName> = views.iter().map(table_of).collect();
        let pinned = names.into_iter().map(|name| async move {
            let pin = pins.and_then(|pins| pins.tables.get(name).copied());
            Ok::<_, Error>((name.clone(), self.tables.pin(name, pin).await?))
        });
        Ok(try_join_all(pinned).await?.into_iter().collect())
    }

    fn plan_frame(&self, views: Vec<BoundView>, frame: &EntityFrame) -> Result<HistoricalPlan> {
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

    fn plan_range(&self, views: Vec<BoundView>, range: TimeRange) -> Result<HistoricalPlan> {
        let spine = RangeSpine::try_new(&views, range)?;
        let schema = spine.schema();
        let fields = schema.fields().iter().map(AsRef::as_ref);
        check_collisions(
            fields
                .chain(features(&views))
                .map(|field| field.name().as_str()),
        )?;
        let filters = views.iter().map(|view| spine.filter(view)).collect();
        let source = spine.plan(&views, &self.footers, self.engine.partitions())?;
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
        Ok(HistoricalPlan {
            engine: Arc::clone(&self.engine),
            plan: self.engine.optimize(Arc::new(exec))?,
            views: planned,
            rows: join.rows,
            ordered: join.rows.is_some(),
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

fn check_project(registry: &Registry, request: &HistoricalRequest) -> Result<()> {
    match &request.project {
        Some(project) if project != registry.project() => Err(Error::ProjectNotFound {
            project: project.clone(),
            served: registry.project().to_owned(),
        }),
        _ => Ok(()),
    }
}

fn no_features(selection: &FeatureSelection) -> String {
    match selection {
        FeatureSelection::Service(name) => format!("feature service `{name}` has no features"),
        FeatureSelection::Refs(_) => "expected at least one `view:feature`".to_owned(),
    }
}

fn table_of(view: &ResolvedView) -> &TableName {
    let SourceLocation::Iceberg(name) = &view.view.source.location;
    name
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
