//! The `murre` command: arguments, configuration, logging, runtime; then the library's work until a signal.

mod cli;

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use murre::catalog::Catalogs;
use murre::config::{Config, LoadedConfig, TelemetryConfig};
use murre::demo;
use murre::error::{Error, Result};
use murre::server::{App, Overrides, ipc_guard};
use murre::{import, maintenance, registry, telemetry};
use tokio::signal::unix::{SignalKind, signal};

use cli::{Cli, Command, Upkeep};

/// Gives freed memory back to the system, in the background too. The C library's keeps what large uploads took.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// `EX_USAGE`: the command line, the configuration or the definitions are wrong.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    ipc_guard::quiet_caught_panics();
    let done = match Cli::try_parse() {
        Ok(cli) => run(cli.command),
        Err(usage) => {
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { USAGE } else { 0 });
        }
    };
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    let _ = writeln!(std::io::stderr(), "murre: {error}");
    ExitCode::from(match error {
        Error::InvalidConfig { .. } | Error::InvalidDefinitions { .. } => USAGE,
        _ => 1,
    })
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Serve(settings) => {
            let config = settings.load()?.into_config();
            telemetry::init(&config.telemetry)?;
            block_on(serve(config))
        }
        Command::Demo(options) => {
            quiet()?;
            block_on(async { demo::run(options, stop_signal()?).await })
        }
        Command::Import { options, place } => {
            let config = place.load()?.into_config();
            quiet()?;
            block_on(async { print(import::run(&config, &options).await?) })
        }
        Command::Maintain(maintain) => {
            let (verb, Upkeep { tables, place }) = maintain.into_parts();
            let config = place.load()?.into_config();
            quiet()?;
            block_on(async {
                maintenance::run(&config, verb, &tables, stop_signal()?, print).await
            })
        }
        Command::CheckConfig(settings) => block_on(check(settings.load()?)),
    }
}

/// Commands that show progress log nothing but warnings.
fn quiet() -> Result<()> {
    telemetry::init(&TelemetryConfig {
        log: "warn".to_owned(),
        ..TelemetryConfig::default()
    })
}

fn print(line: impl std::fmt::Display) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").map_err(|source| Error::Io {
        action: "print".to_owned(),
        source,
    })
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime
        .map_err(|source| Error::Io {
            action: "start the runtime".to_owned(),
            source,
        })?
        .block_on(work)
}

async fn serve(config: Config) -> Result<()> {
    let stop = stop_signal()?;
    let app = App::build(config, Overrides::default()).await?;
    let listener = app.bind().await?;
    app.serve(listener, stop).await
}

/// Completes on SIGINT or SIGTERM; listens from now on.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|source| Error::Io {
        action: "listen for signals".to_owned(),
        source,
    })?;
    Ok(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    })
}

async fn check(loaded: LoadedConfig) -> Result<()> {
    let config = loaded.config();
    let catalogs = Catalogs::connect(&config.catalogs)?;
    let definitions = registry::check(&config.registry, &catalogs).await?;
    registry::online_place(config, &catalogs)?;
    let views = definitions.feature_views().count();
    let text = format!(
        "{}configuration is valid; {views} feature views are defined",
        loaded.describe()
    );
    print(text)
}
