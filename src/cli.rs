//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use murre::config::{Config, Flags, LoadedConfig, environment};
use murre::demo::DemoOptions;
use murre::error::Result;
use murre::import::ImportOptions;
use murre::maintenance::{ExpireArgs, GcArgs, TableOptions, Verb};

const EXAMPLES: &str = "Examples:
  murre demo                                       make sample tables, query them, show how
  murre serve                                      serve features.toml at 127.0.0.1:8815
  murre serve --feast-repo feature_repo            serve the definitions of a Feast repository
  murre serve --config murre.toml --log debug
  murre import stats/*.parquet --feature-view driver_stats
  murre maintain status                            what tables are made of, and what is due
  murre maintain compact                           merge small files, drop superseded rows
  murre check-config --config murre.toml           show every setting, or everything that is wrong
  MURRE__ENGINE__THREADS=4 murre serve             any setting as a variable: MURRE__SECTION__KEY";

const IMPORT_EXAMPLES: &str = "A table that is missing is made: a batch source bucketed by key and sorted by key and time, an online table as the section
[online] says. Columns go by the source's names or by the view's; with --to online by the view's, event_timestamp and
created_timestamp, and every other column becomes a feature. All files become visible at once, or none does; where the batch
source is a folder of Parquet files, each by itself.

Examples:
  murre import driver_stats.parquet --feature-view driver_stats
  murre import latest.parquet --feature-view driver_stats --to online
  murre import s3://bucket/stats/ more.parquet --feature-view driver_stats --feast-repo feature_repo";

const COMPACT_EXAMPLES: &str = "Small files are merged and sorted, and deleted rows leave them. Of an online table only the latest row of each entity
key stays: the one with the greatest event timestamp, then created timestamp, then order of writes. Reads and writes go on
meanwhile; files that are no longer needed stay for readers of old snapshots, until these expire.

Examples:
  murre maintain compact --dry-run                 only say what would be done
  murre maintain compact --feast-repo feature_repo --feature-view driver_stats
  murre maintain compact --table lake/demo.trips   any Iceberg table, of the catalog `lake`";

const EXPIRE_EXAMPLES: &str = "Branches, tags and what was current within the last hour stay. Files go that only expired snapshots have.

Examples:
  murre maintain expire --dry-run
  murre maintain expire --older-than 2d --keep-last 10";

const GC_EXAMPLES: &str = "Files in a table's folder go if they are old and nothing that the table's metadata knows refers to them. Let nothing else
keep files in there.

Examples:
  murre maintain gc --dry-run                      list what would be deleted
  murre maintain gc --older-than 7d --table demo.trips";

/// Arrow Flight server for feature stores over Apache Iceberg
#[derive(Parser)]
#[command(version, about, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve features until SIGINT or SIGTERM, then let running calls end
    Serve(Settings),
    /// Make a sample feature store and run a point-in-time join over it
    Demo(DemoOptions),
    /// Load Parquet files into a feature view's batch source or online table
    #[command(after_help = IMPORT_EXAMPLES)]
    Import {
        #[command(flatten)]
        options: ImportOptions,
        #[command(flatten)]
        place: Place,
    },
    /// Keep tables in shape: online tables, batch sources, or any Iceberg table
    #[command(subcommand)]
    Maintain(Maintain),
    /// Check configuration and feature definitions, and print the settings in force
    CheckConfig(Settings),
}

#[derive(Subcommand)]
pub(crate) enum Maintain {
    /// Merge small files and manifests, apply deletes, drop superseded rows of online tables
    #[command(after_help = COMPACT_EXAMPLES)]
    Compact {
        #[command(flatten)]
        upkeep: Upkeep,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Forget old snapshots, and delete the files that only they have
    #[command(after_help = EXPIRE_EXAMPLES)]
    Expire {
        #[command(flatten)]
        upkeep: Upkeep,
        #[command(flatten)]
        args: ExpireArgs,
    },
    /// Delete files that no snapshot has
    #[command(after_help = GC_EXAMPLES)]
    Gc {
        #[command(flatten)]
        upkeep: Upkeep,
        #[command(flatten)]
        args: GcArgs,
    },
    /// Show what tables are made of, what is due, and who maintains them
    Status {
        #[command(flatten)]
        upkeep: Upkeep,
    },
}

/// What every verb has.
#[derive(Args)]
pub(crate) struct Upkeep {
    #[command(flatten)]
    pub(crate) tables: TableOptions,
    #[command(flatten)]
    pub(crate) place: Place,
}

impl Maintain {
    pub(crate) fn into_parts(self) -> (Verb, Upkeep) {
        match self {
            Self::Compact { upkeep, dry_run } => (Verb::Compact { dry_run }, upkeep),
            Self::Expire { upkeep, args } => (Verb::Expire(args), upkeep),
            Self::Gc { upkeep, args } => (Verb::Gc(args), upkeep),
            Self::Status { upkeep } => (Verb::Status, upkeep),
        }
    }
}

/// Where the tables are and what they mean.
#[derive(Args)]
pub(crate) struct Place {
    /// Configuration file; defaults and variables alone without it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Feast feature repository: the folder of a feature_store.yaml [registry.path]
    #[arg(long, value_name = "DIR")]
    feast_repo: Option<PathBuf>,
}

impl Place {
    pub(crate) fn load(self) -> Result<LoadedConfig> {
        let flags = Flags {
            feast_repo: self.feast_repo,
            ..Flags::default()
        };
        Config::load(self.config.as_deref(), environment(), &flags)
    }
}

#[derive(Args)]
pub(crate) struct Settings {
    #[command(flatten)]
    place: Place,
    /// Address and port to listen on [server.listen]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// What to log: a level, or module=level pairs separated by commas [telemetry.log]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Listen beyond this machine without TLS and authentication [server.insecure_allow_remote]
    #[arg(long)]
    insecure_allow_remote: bool,
}

impl Settings {
    pub(crate) fn load(self) -> Result<LoadedConfig> {
        let flags = Flags {
            listen: self.listen,
            feast_repo: self.place.feast_repo,
            log: self.log,
            insecure_allow_remote: self.insecure_allow_remote,
        };
        Config::load(self.place.config.as_deref(), environment(), &flags)
    }
}
