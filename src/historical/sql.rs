//! An entity dataframe as the rows of a SELECT: off unless configured, over the project's Iceberg tables only, bounded in
//! time and memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use futures::TryStreamExt;
use futures::future::try_join_all;

use super::frame::EntityFrame;
use super::planner::Planner;
use crate::clock::{self, Clock};
use crate::config::EntitySqlConfig;
use crate::engine::select::{PinnedTableProvider, refused};
use crate::error::{Error, Result, nearest};
use crate::model::{SourceLocation, TableName};
use crate::registry::Registry;
use crate::table::Tables;

const WHAT: &str = "an entity dataframe as SQL";

/// Runs queries for entity dataframes, as far as the configuration allows.
#[derive(Debug)]
pub(super) struct EntitySql {
    config: EntitySqlConfig,
    clock: Arc<dyn Clock>,
}

impl EntitySql {
    pub(super) fn new(config: EntitySqlConfig, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock }
    }

    /// The rows of `query`, charged to the engine's memory. Dropping the call stops the query.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] unless the configuration allows queries; [`Error::TimedOut`]; [`Error::MemoryExhausted`];
    /// [`Error::InvalidRequest`] for anything but one SELECT over tables of the project.
    pub(super) async fn frame(
        &self,
        query: &str,
        registry: &Registry,
        tables: &Tables,
        planner: &Planner,
    ) -> Result<EntityFrame> {
        if !self.config.enabled {
            return Err(not_allowed());
        }
        let run = async {
            let plan = self.plan(query, registry, tables, planner).await?;
            gather(planner, plan).await
        };
        tokio::select! {
            frame = run => frame,
            () = clock::sleep(self.config.timeout) => Err(self.timed_out()),
        }
    }

    async fn plan(
        &self,
        query: &str,
        registry: &Registry,
        tables: &Tables,
        planner: &Planner,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let select = planner.engine.parse_select(query.to_owned()).await?;
        let known = NamedTables::of(registry);
        let names = select.tables().iter();
        let names = names
            .map(|name| Ok((name.clone(), known.find(name)?)))
            .collect::<Result<BTreeMap<_, _>>>()?;
        let distinct: BTreeSet<&TableName> = names.values().copied().collect();
        let pinned = try_join_all(
            distinct
                .into_iter()
                .map(|name| async move { Ok::<_, Error>((name, tables.pin(name, None).await?)) }),
        );
        let pinned: BTreeMap<_, _> = pinned.await?.into_iter().collect();
        let provider = |name: &TableName| -> Arc<dyn TableProvider> {
            let cache = Arc::clone(&planner.cache);
            Arc::new(PinnedTableProvider::new(pinned[name].clone(), cache))
        };
        let given = names
            .iter()
            .map(|(key, name)| (key.clone(), provider(name)));
        let given = given.collect();
        planner
            .engine
            .plan_select(select, given, self.clock.now())
            .await
    }

    fn timed_out(&self) -> Error {
        Error::TimedOut {
            what: WHAT.to_owned(),
            limit_ms: u64::try_from(self.config.timeout.as_millis()).unwrap_or(u64::MAX),
            hint: "narrow the query, upload the rows instead, or raise entity_sql.timeout",
        }
    }
}

/// The refusal where the configuration does not allow queries.
pub(super) fn not_allowed() -> Error {
    Error::NotAllowed {
        what: WHAT.to_owned(),
        remedy: "send a dataframe, or set entity_sql.enabled on the server".to_owned(),
    }
}

/// Runs a plan into memory that the engine counts.
async fn gather(planner: &Planner, plan: Arc<dyn ExecutionPlan>) -> Result<EntityFrame> {
    let memory = planner.engine.reserve(WHAT);
    let mut rows = planner.engine.execute(plan).map_err(refused)?;
    let schema = rows.schema();
    let mut batches = Vec::new();
    while let Some(batch) = rows
        .try_next()
        .await
        .map_err(|error| refused(error.into()))?
    {
        memory.try_grow(get_record_batch_memory_size(&batch))?;
        batches.push(batch);
    }
    Ok(EntityFrame::new(schema, batches).charged_to(memory))
}

/// What a query can call the project's tables.
struct NamedTables<'a>(BTreeMap<String, BTreeSet<&'a SourceLocation>>);

impl<'a> NamedTables<'a> {
    fn of(registry: &'a Registry) -> Self {
        let sources = registry.data_sources();
        let sources = sources.map(|(name, source)| (name, &source.location));
        let views = registry.feature_views();
        let views = views.map(|view| (view.name.as_str(), &view.source.location));
        let mut names: BTreeMap<String, BTreeSet<&SourceLocation>> = BTreeMap::new();
        for (name, location) in sources.chain(views) {
            names.entry(name.to_owned()).or_default().insert(location);
            if let SourceLocation::Iceberg(table) = location {
                names.entry(table.to_string()).or_default().insert(location);
            }
        }
        Self(names)
    }

    fn find(&self, name: &str) -> Result<&'a TableName> {
        let locations = self.0.get(name).into_iter().flatten();
        match locations.collect::<Vec<_>>()[..] {
            [SourceLocation::Iceberg(table)] => Ok(table),
            [] => Err(Error::DataSourceNotFound {
                source_name: name.to_owned(),
                nearest: nearest(name, self.0.keys().map(String::as_str)),
            }),
            [_] => Err(Error::invalid(
                "entity.sql",
                format!("`{name}` is not an Iceberg table; queries read no others"),
            )),
            _ => Err(Error::invalid(
                "entity.sql",
                format!("`{name}` names several tables; use `namespace.table`"),
            )),
        }
    }
}
