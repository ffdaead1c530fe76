//! Arrow Flight: decodes requests, hands them to the floors below, encodes their answers. Decides nothing.
//!
//! - `flight`: the service, one line per RPC; `do_get`, `do_put`, `do_exchange`, `do_action`, `info` are its families.
//! - `ticket`: requests on the wire, and the routing between the dialects that share the port.
//! - `feast`: the dialect of Feast's remote offline store.
//! - `descriptor`, `historical`, `online`: what the families have in common.
//! - `ipc_guard`: the only door for Arrow data from outside. `encode`: the only one for Arrow data going out.
//! - `rpc`, `status`: a call's span and identity, and its errors on the wire.
//! - `listen`: sockets, transport settings and the drain.

#![expect(clippy::disallowed_types, reason = "gRPC is known here and below")]

mod descriptor;
mod do_action;
mod do_exchange;
mod do_get;
mod do_put;
pub mod encode;
mod feast;
mod flight;
mod historical;
mod info;
pub mod ipc_guard;
mod listen;
mod online;
mod rpc;
mod status;
mod ticket;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::catalog::{CatalogHandle, Catalogs};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, RegistryType, ServerConfig, TablesConfig};
use crate::engine::Engine;
use crate::error::Result;
use crate::historical::Historical;
use crate::ingest::Ingest;
use crate::maintenance::{self, Maintenance, Schedule, ScheduleSources};
use crate::on_demand::Evaluator;
use crate::online::{OnlineReader, OnlineSources};
use crate::registry::RegistryReader;
use crate::source_rules::SourceRules;
use crate::staging::{Staging, Sweeper};
use crate::table::commit::CommitHook;
use crate::table::online::OnlineLayout;
use crate::table::{FileCache, TableCacheConfig, Tables};
use ipc_guard::IpcLimits;

/// Time that maintenance gets to end when the server has.
const MAINTENANCE_LIMIT: Duration = Duration::from_secs(10);

/// What the RPCs call.
#[derive(Debug)]
struct Services {
    historical: Historical,
    staging: Arc<Staging>,
    registry: Arc<dyn RegistryReader>,
    clock: Arc<dyn Clock>,
    engine: Arc<Engine>,
    tables: Arc<Tables>,
    ingest: Ingest,
    online: Arc<OnlineReader>,
    rules: SourceRules,
    limits: IpcLimits,
    /// True when the server drains: channels have no end of their own, and end then.
    draining: watch::Sender<bool>,
    _sweeper: Sweeper,
    _follower: AbortOnDrop,
    _online_catalog: Option<CatalogHandle>,
}

/// A task that ends with the server.
#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a test puts in the place of the real thing.
#[derive(Debug, Default)]
pub struct Overrides {
    /// Source of time; the machine's clock where absent.
    pub clock: Option<Arc<dyn Clock>>,
}

/// A server that is ready to be started.
#[derive(Debug)]
pub struct App {
    services: Arc<Services>,
    config: ServerConfig,
    schedule: Option<Arc<Schedule>>,
}

impl App {
    /// Opens everything that the configuration names; listens to nothing yet.
    ///
    /// # Errors
    /// What opening the catalogs, definitions and staging area may fail with.
    pub async fn build(config: Config, overrides: Overrides) -> Result<Self> {
        let clock = overrides.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let catalogs = Catalogs::connect(&config.catalogs)?;
        let registry = crate::registry::open(&config.registry, &catalogs)?;
        let (online_config, online_catalog) = crate::registry::online_place(&config, &catalogs)?;
        let staging = Arc::new(Staging::try_new(&config.staging, Arc::clone(&clock))?);
        let sweeper = staging.sweep_in_background();
        let caches = TableCacheConfig::new(&config.tables);
        let rules = source_rules(&config);
        let tables = Arc::new(Tables::new(catalogs, caches).with_rules(rules.clone()));
        let engine = Arc::new(Engine::try_new(&config.engine)?);
        let historical = Historical::new(
            Arc::clone(&registry),
            Arc::clone(&tables),
            Arc::clone(&staging),
            Arc::clone(&engine),
            Arc::new(file_cache(&config.tables)),
        )
        .with_entity_sql(config.entity_sql.clone(), Arc::clone(&clock))
        .with_evaluator(Arc::new(Evaluator::new(config.on_demand.clone())));
        let online = OnlineReader::try_new(
            &online_config,
            OnlineSources {
                registry: Arc::clone(&registry),
                tables: Arc::clone(&tables),
                layout: OnlineLayout::new(&online_config),
                clock: Arc::clone(&clock),
            },
        )?;
        let follower = AbortOnDrop(online.follow_in_background());
        let journal = maintenance::journal(&config.maintenance);
        let mut ingest = Ingest::new(Arc::clone(&tables), rules.clone())
            .with_features(Arc::clone(&registry), online.layout().clone())
            .with_commit_hook(followed_by(&online));
        let mut upkeep = Maintenance::new(Arc::clone(&tables))
            .with_clock(Arc::clone(&clock))
            .with_config(&config.maintenance);
        if let Some(journal) = journal {
            ingest = ingest.with_journal(Arc::clone(&journal));
            upkeep = upkeep.with_journal(journal);
        }
        let sources = ScheduleSources {
            registry: Arc::clone(&registry),
            layout: online.layout().clone(),
            clock: Arc::clone(&clock),
            hook: followed_by(&online),
        };
        let schedule = config
            .maintenance
            .enabled
            .then(|| Arc::new(Schedule::new(config.maintenance.clone(), upkeep, sources)));
        let limits = IpcLimits {
            max_message_bytes: config.server.max_message_size.as_u64(),
            max_decoded_bytes: config.engine.memory_limit_bytes(),
            ..IpcLimits::default()
        };
        let services = Arc::new(Services {
            historical,
            staging,
            registry,
            clock,
            engine,
            tables,
            ingest,
            online,
            rules,
            limits,
            draining: watch::Sender::new(false),
            _sweeper: sweeper,
            _follower: follower,
            _online_catalog: online_catalog,
        });
        Ok(Self {
            services,
            config: config.server,
            schedule,
        })
    }

    /// Binds the configured address.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::error::Error::InvalidConfig) if the address is reachable from other
    /// machines without `server.insecure_allow_remote`; [`Error::Io`](crate::error::Error::Io) if it is taken.
    pub async fn bind(&self) -> Result<TcpListener> {
        listen::bind(&self.config).await
    }

    /// Serves until `shutdown` resolves; then takes no new calls and gives running ones 30 seconds to end.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::error::Error::InvalidConfig) if the listener may be reached from other machines
    /// without `server.insecure_allow_remote`; [`Error::Internal`](crate::error::Error::Internal) if the transport fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<()> {
        let services = Arc::clone(&self.services);
        let shutdown = async move {
            shutdown.await;
            services.draining.send_replace(true);
        };
        let schedule = self.schedule.as_ref();
        let maintaining = schedule.map(|it| it.start(self.services.draining.subscribe()));
        let flight = flight::FlightServer::new(Arc::clone(&self.services));
        let served = listen::serve(&self.config, flight, listener, shutdown).await;
        self.services.draining.send_replace(true);
        if let Some(maintaining) = maintaining {
            // Work that does not end in time is cut off, as calls are.
            let _ = tokio::time::timeout(MAINTENANCE_LIMIT, maintaining).await;
        }
        served
    }
}

/// Has a reader follow the commits of this server at once.
fn followed_by(online: &Arc<OnlineReader>) -> CommitHook {
    let reader = Arc::clone(online);
    Arc::new(move |name, table| match table {
        Some(table) => reader.committed(name, table),
        None => reader.dropped(name),
    })
}

fn file_cache(config: &TablesConfig) -> FileCache {
    FileCache::new(config.footer_cache.as_u64(), config.column_cache.as_u64())
}

/// What definitions and clients may make this server reach.
fn source_rules(config: &Config) -> SourceRules {
    let loopback_only = config.server.listen.ip().to_canonical().is_loopback();
    let repo = match config.registry.kind {
        RegistryType::Feast => Some(config.registry.path.clone()),
        RegistryType::Toml => None,
    };
    SourceRules::new(config.sources.clone(), loopback_only, repo)
}
