//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use murre::config::{Config, Flags, LoadedConfig, environment};
use murre::demo::DemoOptions;
use murre::error::Result;

const EXAMPLES: &str = "Examples:
  murre demo                                       make sample tables, query them, show how
  murre serve                                      serve features.toml at 127.0.0.1:8815
  murre serve --feast-repo feature_repo            serve the definitions of a Feast repository
  murre serve --config murre.toml --log debug
  murre check-config --config murre.toml           show every setting, or everything that is wrong
  MURRE__ENGINE__THREADS=4 murre serve             any setting as a variable: MURRE__SECTION__KEY";

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
    /// Check configuration and feature definitions, and print the settings in force
    CheckConfig(Settings),
}

#[derive(Args)]
pub(crate) struct Settings {
    /// Configuration file; defaults and variables alone without it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Feast feature repository: the folder of a feature_store.yaml [registry.path]
    #[arg(long, value_name = "DIR")]
    feast_repo: Option<PathBuf>,
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
            feast_repo: self.feast_repo,
            log: self.log,
            insecure_allow_remote: self.insecure_allow_remote,
        };
        Config::load(self.config.as_deref(), environment(), &flags)
    }
}
