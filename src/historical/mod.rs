//! A historical request becomes a plan: definitions are resolved, tables pinned, scans pruned, and one
//! point-in-time join ties them to the entity dataframe.

mod bind;
mod bounds;
mod frame;
mod latest;
mod operators;
mod parts;
mod plan;
mod planned;
mod planner;
mod range;
mod shared;
mod source;
mod sql;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::future::try_join_all;

use bind::{BoundView, schema_of};
use bounds::Bounds;
pub use frame::{EVENT_TIMESTAMP, EntityFrame};
use parts::Delivery;
pub use plan::{HistoricalPlan, ViewReport};
use planner::Planner;
use source::BoundSource;
use sql::EntitySql;

use crate::clock::Clock;
use crate::config::{EntitySqlConfig, OnDemandConfig};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::{
    EntitySource, FeatureSelection, HistoricalRequest, Pins, Principal, SourceLocation,
    SourceRequest, UploadId,
};
use crate::on_demand::Evaluator;
use crate::registry::{Registry, RegistryReader, Resolved, ResolvedView};
use crate::staging::Staging;
use crate::table::{FileCache, PinnedTable, Tables};

/// Plans historical requests.
#[derive(Debug)]
pub struct Historical {
    registry: Arc<dyn RegistryReader>,
    tables: Arc<Tables>,
    staging: Arc<Staging>,
    planner: Planner,
    entity_sql: Option<EntitySql>,
    evaluator: Arc<Evaluator>,
}

impl Historical {
    /// A planner over these parts, which refuses queries for entity dataframes.
    pub fn new(
        registry: Arc<dyn RegistryReader>,
        tables: Arc<Tables>,
        staging: Arc<Staging>,
        engine: Arc<Engine>,
        cache: Arc<FileCache>,
    ) -> Self {
        Self {
            registry,
            tables,
            staging,
            planner: Planner { engine, cache },
            entity_sql: None,
            evaluator: Arc::new(Evaluator::new(OnDemandConfig::default())),
        }
    }

    /// The same with entity dataframes as SQL, as far as `config` allows them.
    pub fn with_entity_sql(mut self, config: EntitySqlConfig, clock: Arc<dyn Clock>) -> Self {
        self.entity_sql = Some(EntitySql::new(config, clock));
        self
    }

    /// The same with this evaluator of on-demand feature views; without, requests that name one are refused.
    pub fn with_evaluator(mut self, evaluator: Arc<Evaluator>) -> Self {
        self.evaluator = evaluator;
        self
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
        registry.check_project(request.project.as_deref())?;
        let resolved = registry.resolve(&request.features)?;
        self.evaluator.check_configured(&resolved.on_demand)?;
        let plan = self
            .plan_join(&registry, principal, request, &resolved, attached)
            .await?;
        plan.with_on_demand(
            &self.evaluator,
            &resolved.on_demand,
            request.full_feature_names,
        )
    }

    /// Everything but the on-demand feature views.
    async fn plan_join(
        &self,
        registry: &Registry,
        principal: &Principal,
        request: &HistoricalRequest,
        resolved: &Resolved,
        attached: Option<EntityFrame>,
    ) -> Result<HistoricalPlan> {
        let views = self.bind(resolved, request).await?;
        let (planner, delivery) = (self.planner.clone(), Delivery::from(request));
        let frame = match (&request.entity, attached) {
            (EntitySource::Range(_), _) if !delivery.part.is_whole() => {
                return Err(parts::changed(&delivery.part, "one part"));
            }
            (EntitySource::Range(range), _) => return planner.plan_range(&views, *range),
            (EntitySource::Sql(query), _) => self.query(registry, query).await?,
            (_, Some(frame)) => frame,
            (EntitySource::Staged(id), None) => self.open(principal, id).await?,
            (EntitySource::Inline(_) | EntitySource::Attached, None) => {
                return Err(Error::invalid(
                    "historical.entity",
                    "expected an upload, an inline dataframe, a range, or a dataframe sent by DoExchange",
                ));
            }
        };
        let engine = Arc::clone(&self.planner.engine);
        engine
            .compute(move || planner.plan_frame(&views, &frame, &delivery))
            .await
    }

    /// Plans the rows of one source without running it. The result has the join keys, the chosen columns, the event
    /// timestamp and the created timestamp; without join keys also a column `__dummy_id` of empty strings.
    ///
    /// # Errors
    /// [`Error::DataSourceNotFound`], [`Error::UnsupportedSource`], missing columns, and errors of opening the source.
    pub async fn plan_source(&self, request: &SourceRequest) -> Result<HistoricalPlan> {
        let registry = self.registry.current().await?;
        let source = registry.data_source(&request.source)?;
        let pinned = self.tables.pin_source(&source.location, None).await;
        let table = pinned.map_err(|error| error.named(&request.source))?;
        let bound = BoundSource::try_new(request, &source, table)?;
        self.planner
            .plan_source(&bound, request.rows, Bounds::from(request))
    }

    /// The columns of a feature view as its table has them now: keys, event timestamp, features.
    ///
    /// # Errors
    /// [`Error::FeatureViewNotFound`] with the nearest names, and errors of opening the table.
    pub async fn view_schema(&self, view: &str) -> Result<SchemaRef> {
        let registry = self.registry.current().await?;
        let resolved = registry.resolve_view(view)?;
        let pinned = self.tables.pin_source(location_of(&resolved), None).await;
        let table = pinned.map_err(|error| error.named(view))?;
        let bound = BoundView::try_new(&resolved, table, false)?;
        let columns = bound
            .keys
            .iter()
            .chain([&bound.timestamp])
            .chain(&bound.features);
        Ok(schema_of(columns.map(|column| column.field.clone())))
    }

    async fn query(&self, registry: &Registry, query: &str) -> Result<EntityFrame> {
        match &self.entity_sql {
            Some(sql) => {
                sql.frame(query, registry, &self.tables, &self.planner)
                    .await
            }
            None => Err(sql::not_allowed()),
        }
    }

    async fn open(&self, principal: &Principal, id: &UploadId) -> Result<EntityFrame> {
        let staged = self.staging.open(principal, id).await?;
        Ok(EntityFrame::new(staged.schema, staged.batches))
    }

    async fn bind(
        &self,
        resolved: &Resolved,
        request: &HistoricalRequest,
    ) -> Result<Vec<BoundView>> {
        let tables = self.pin(&resolved.views, request.pins.as_ref()).await?;
        let bind = |view: &ResolvedView| {
            let table = tables.get(location_of(view)).cloned();
            let table = table.ok_or_else(|| Error::internal("plan", "a table was not pinned"))?;
            BoundView::try_new(view, table, request.full_feature_names)
        };
        let views = resolved.views.iter().map(bind);
        let views = views.collect::<Result<Vec<_>>>()?;
        let joins_nothing = views.iter().all(|view| view.features.is_empty());
        match joins_nothing && resolved.on_demand.is_empty() {
            true => Err(Error::invalid(
                "historical.features",
                no_features(&request.features),
            )),
            false => Ok(views),
        }
    }

    /// Pins each source once, all at the same time.
    async fn pin(
        &self,
        views: &[ResolvedView],
        pins: Option<&Pins>,
    ) -> Result<BTreeMap<SourceLocation, PinnedTable>> {
        let locations: BTreeSet<&SourceLocation> = views.iter().map(location_of).collect();
        let pinned = locations.into_iter().map(|location| async move {
            let name = location.table_name();
            let pin = pins.and_then(|pins| pins.tables.get(&name).copied());
            let pinned = self.tables.pin_source(location, pin).await;
            let table = pinned.map_err(|error| error.named(view_of(views, location)))?;
            Ok::<_, Error>((location.clone(), table))
        });
        Ok(try_join_all(pinned).await?.into_iter().collect())
    }
}

fn no_features(selection: &FeatureSelection) -> String {
    match selection {
        FeatureSelection::Service(name) => format!("feature service `{name}` has no features"),
        FeatureSelection::Refs(_) | FeatureSelection::Views(_) => {
            "expected at least one `view:feature`".to_owned()
        }
    }
}

/// The first view of a source.
fn view_of<'a>(views: &'a [ResolvedView], location: &SourceLocation) -> &'a str {
    let mut views = views.iter();
    views
        .find(|view| location_of(view) == location)
        .map_or("", |view| &view.name)
}

fn location_of(view: &ResolvedView) -> &SourceLocation {
    &view.view.source.location
}
