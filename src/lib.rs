//! Murre: an Arrow Flight data server for feature stores over Apache Iceberg.
//!
//! ```text
//!   server/      wire: tonic, Flight, proto                        knows everything below, decides nothing
//!      │  model::Request, streams of RecordBatch
//!   historical · online/ · ingest · staging · maintenance · demo   what the product does; no tonic, no proto
//!      │  ScanSpec, PinnedTable, ExecutionPlan
//!   engine/ · table/ · registry/ · catalog/                        how: DataFusion, Iceberg, definitions
//!      │
//!   model/ · error · clock · config · telemetry                    vocabulary; no I/O (config reads one file)
//! ```
//! An arrow only ever points down; `clippy.toml` fences the floors.
//!
//! - [`model`]: names, definitions, requests.
//! - [`error`]: every failure and its kind.
//! - [`clock`]: the only source of time.
//! - [`config`]: one tree of settings, validated before anything starts.
//! - [`telemetry`]: logging set-up.
//! - [`registry`]: feature definitions, refreshed while serving.
//! - [`source_rules`]: what definitions and clients may make the server reach.
//! - `aws`: Amazon's SDK by pyiceberg's properties.
//! - [`storage`]: object stores by location.
//! - [`catalog`]: catalogs by name; the only module that knows SQL, REST or Glue.
//! - [`table`]: pinned Iceberg tables: file index, pruning, reading, writing.
//! - [`engine`]: DataFusion, the feature scan and the point-in-time join.
//! - [`historical`]: a historical request becomes an execution plan.
//! - [`online`]: latest rows per entity, from an index in memory that follows commits.
//! - [`on_demand`]: features computed by code in the definitions.
//! - [`ingest`]: rows that clients send become rows of tables and files.
//! - [`maintenance`]: upkeep of online tables: compaction.
//! - [`import`]: Parquet files become rows of a feature view, by one command.
//! - [`staging`]: uploaded entity dataframes.
//! - [`server`]: Arrow Flight.
//! - [`demo`]: a sample feature store, made and queried by one command.
//! - [`proto`]: generated wire messages.

mod aws;
pub mod catalog;
pub mod clock;
pub mod config;
pub mod demo;
pub mod engine;
pub mod error;
pub mod historical;
pub mod import;
pub mod ingest;
pub mod maintenance;
pub mod model;
pub mod on_demand;
pub mod online;
pub mod proto;
pub mod registry;
pub mod server;
pub mod source_rules;
pub mod staging;
pub mod storage;
mod strict_toml;
pub mod table;
pub mod telemetry;
