//! The sections of the configuration and their defaults. `deploy/murre.toml` is their documentation for users.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serialize};

use super::machine;
use crate::model::PartitionStrategy;

/// `[server]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ServerConfig {
    /// Address and port of the Flight service; port 0 takes a free one.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Largest inbound gRPC message.
    pub max_message_size: ByteSize,
    /// Listen beyond loopback although there is neither TLS nor authentication.
    pub insecure_allow_remote: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8815)),
            max_message_size: ByteSize::gib(1),
            insecure_allow_remote: false,
        }
    }
}

/// `[registry]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RegistryConfig {
    /// What kind of registry it is.
    #[serde(rename = "type")]
    pub kind: RegistryType,
    /// The definitions file.
    pub path: PathBuf,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            kind: RegistryType::default(),
            path: PathBuf::from("features.toml"),
        }
    }
}

/// Where definitions can come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistryType {
    /// A TOML file of Murre's own format.
    #[default]
    Toml,
    /// A Feast feature repository: its `feature_store.yaml` says where the registry is.
    Feast,
}

/// `[sources]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct SourcesConfig {
    /// Folders and `s3://` prefixes below which Parquet files may be read and written.
    pub file_roots: Vec<String>,
    /// Catalog URIs that a definition sent by a client may name.
    pub catalog_uris: Vec<String>,
    /// Variables of the server's environment that a definition sent by a client may take a token from.
    pub environment: Vec<String>,
    /// Namespaces that saved datasets may be written to as Iceberg tables.
    pub dataset_namespaces: Vec<String>,
}

/// `[entity_sql]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct EntitySqlConfig {
    /// Whether a request may give its entity dataframe as a SELECT.
    pub enabled: bool,
    /// How long it may run.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for EntitySqlConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            timeout: Duration::from_secs(60),
        }
    }
}

/// `[on_demand]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct OnDemandConfig {
    /// Python interpreter that runs the code of on-demand feature views, with the package `feast-murre` installed; empty
    /// runs none.
    pub python: String,
    /// How long the evaluation of one batch may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for OnDemandConfig {
    fn default() -> Self {
        Self {
            python: String::new(),
            timeout: Duration::from_secs(60),
        }
    }
}

/// `[engine]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct EngineConfig {
    /// Memory of all running requests together; zero stands for [`EngineConfig::memory_limit_bytes`]'s default.
    pub memory_limit: ByteSize,
    /// Threads that compute; zero is one a core.
    pub threads: usize,
    /// Rows in a batch of the result.
    pub batch_size: usize,
    /// Requests that run at once; zero is two a thread.
    pub max_running: usize,
    /// Requests that may wait for that.
    pub max_waiting: usize,
    /// How long they wait.
    #[serde(with = "humantime_serde")]
    pub wait_timeout: Duration,
}

impl EngineConfig {
    /// The memory limit; by default 60 % of what the container or machine has.
    pub fn memory_limit_bytes(&self) -> u64 {
        match self.memory_limit.as_u64() {
            0 => machine::memory_bytes() / 10 * 6,
            bytes => bytes,
        }
    }

    /// Number of threads; by default as many as this process has cores.
    pub fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            threads => threads,
        }
    }

    /// Requests that run at once; by default two a thread, so that one computes while another waits for bytes.
    pub fn running_limit(&self) -> usize {
        match self.max_running {
            0 => self.thread_count() * 2,
            limit => limit,
        }
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            memory_limit: ByteSize::b(0),
            threads: 0,
            batch_size: 8192,
            max_running: 0,
            max_waiting: 64,
            wait_timeout: Duration::from_secs(30),
        }
    }
}

/// `[tables]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct TablesConfig {
    /// Table metadata, manifests and file indexes that are kept.
    pub metadata_cache: ByteSize,
    /// Parquet footers that are kept.
    pub footer_cache: ByteSize,
    /// Decoded columns that are kept for later requests; zero keeps none.
    pub column_cache: ByteSize,
}

impl Default for TablesConfig {
    fn default() -> Self {
        Self {
            metadata_cache: ByteSize::mib(256),
            footer_cache: ByteSize::mib(256),
            column_cache: ByteSize::mib(512),
        }
    }
}

/// More buckets than this are files without rows.
const MOST_BUCKETS: u32 = 65_536;

/// `[online]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct OnlineConfig {
    /// Catalog of the online tables; empty stands for `default`, or for what a Feast repository says.
    pub catalog: String,
    /// Namespace of the online tables.
    pub namespace: String,
    /// How large files of new online tables are partitioned.
    pub partition_strategy: PartitionStrategy,
    /// Hash buckets of a new online table.
    pub partition_count: u32,
    /// How long a read may take.
    pub read_timeout_ms: u64,
    /// Latest rows that are kept in memory, of all online tables together.
    pub cache_size: ByteSize,
    /// How often the catalog is asked for writes of others.
    #[serde(with = "humantime_serde")]
    pub refresh_interval: Duration,
}

impl OnlineConfig {
    /// What types cannot say about the settings: each faulty key with what is wrong with it.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, String)> {
        let checks = [
            (
                self.namespace.split('.').any(str::is_empty),
                "namespace",
                "expected a namespace such as \"online\" or \"team.online\"".to_owned(),
            ),
            (
                !(1..=MOST_BUCKETS).contains(&self.partition_count),
                "partition_count",
                format!("must be from 1 to {MOST_BUCKETS}"),
            ),
            (
                self.read_timeout_ms == 0,
                "read_timeout_ms",
                "must be more than 0, or every read would take too long".to_owned(),
            ),
            (
                self.refresh_interval.is_zero(),
                "refresh_interval",
                "must be more than 0, or the catalog would be asked without a pause".to_owned(),
            ),
        ];
        let wrong = checks.into_iter().filter(|(wrong, ..)| *wrong);
        wrong.map(|(_, key, message)| (key, message))
    }

    /// Levels of the namespace.
    pub fn namespace_levels(&self) -> Vec<String> {
        self.namespace.split('.').map(str::to_owned).collect()
    }
}

impl Default for OnlineConfig {
    fn default() -> Self {
        Self {
            catalog: String::new(),
            namespace: "online".to_owned(),
            partition_strategy: PartitionStrategy::default(),
            partition_count: 256,
            read_timeout_ms: 100,
            cache_size: ByteSize::mib(512),
            refresh_interval: Duration::from_secs(1),
        }
    }
}

/// Snapshots stay for as long as somebody may read them, at least.
const LEAST_SNAPSHOT_AGE: Duration = Duration::from_secs(60 * 60);
/// Files of writes that go on are younger.
const LEAST_ORPHAN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// `[maintenance]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct MaintenanceConfig {
    /// Whether the server looks after tables; commands do in any case.
    pub enabled: bool,
    /// Between two looks at all tables.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Tables that are maintained at a time.
    pub max_running: usize,
    /// Memory of all maintenance together.
    pub memory_limit: ByteSize,
    /// How long superseded rows of online tables stay, by their event time.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// Snapshots that are older expire, where the table does not say otherwise.
    #[serde(with = "humantime_serde")]
    pub snapshot_age: Duration,
    /// Snapshots of each branch that stay whatever their age, where the table does not say otherwise.
    pub keep_last: usize,
    /// How long an idempotency key is known after its commit, though its snapshot has expired.
    #[serde(with = "humantime_serde")]
    pub key_retention: Duration,
    /// Files that nothing refers to are removed once they are older.
    #[serde(with = "humantime_serde")]
    pub orphan_age: Duration,
    /// Between two searches of one table for such files; zero searches for none.
    #[serde(with = "humantime_serde")]
    pub gc_interval: Duration,
    /// Folder of this machine where attempts at commits are noted; empty notes none.
    pub journal: PathBuf,
}

impl MaintenanceConfig {
    /// What types cannot say about the settings: each faulty key with what is wrong with it.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, String)> {
        let checks = [
            (
                self.interval.is_zero(),
                "interval",
                "must be more than 0, or tables would be looked at without a pause; enabled = false turns it off",
            ),
            (
                !(1..=64).contains(&self.max_running),
                "max_running",
                "must be from 1 to 64",
            ),
            (
                self.memory_limit < ByteSize::mib(16),
                "memory_limit",
                "must be 16 MiB at least",
            ),
            (
                self.snapshot_age < LEAST_SNAPSHOT_AGE,
                "snapshot_age",
                "must be 1 hour at least, since readers may need a snapshot for so long",
            ),
            (self.keep_last == 0, "keep_last", "must be 1 at least"),
            (
                self.orphan_age < LEAST_ORPHAN_AGE,
                "orphan_age",
                "must be 1 day at least, since younger files may belong to a write that goes on",
            ),
        ];
        let wrong = checks.into_iter().filter(|(wrong, ..)| *wrong);
        wrong.map(|(_, key, message)| (key, message.to_owned()))
    }
}

impl Default for MaintenanceConfig {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
        Self {
            enabled: true,
            interval: Duration::from_secs(300),
            max_running: 1,
            memory_limit: ByteSize::gib(1),
            grace: Duration::ZERO,
            snapshot_age: hours(5 * 24),
            keep_last: 1,
            key_retention: hours(24),
            orphan_age: hours(3 * 24),
            gc_interval: hours(24),
            journal: PathBuf::from("data/journal"),
        }
    }
}

/// `[telemetry]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct TelemetryConfig {
    /// What is logged, as directives of `tracing`: a level, or `target=level` separated by commas.
    pub log: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log: "info".to_owned(),
            format: LogFormat::default(),
        }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The name `localhost` is this machine's own address, whatever a name service says.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let own = text.strip_prefix("localhost:");
    let numeric = own.map_or_else(
        || text.clone(),
        |port| format!("{}:{port}", Ipv4Addr::LOCALHOST),
    );
    numeric.parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "expected an IP address and port such as \"127.0.0.1:8815\", found \"{text}\""
        ))
    })
}
