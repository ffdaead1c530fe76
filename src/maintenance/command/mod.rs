//! `murre maintain`: one verb over the tables that are meant, a line for each and one for all of them. A table that fails
//! stops no other.

mod line;
mod options;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};

use super::schedule::GC_AT;
use super::status::text_table;
use super::{ExpireOptions, GcOptions, Maintainer, Maintenance, Selection, Take, lease};
use crate::catalog::Catalogs;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, MaintenanceConfig, RegistryConfig, RegistryType};
use crate::error::Result;
use crate::model::TableName;
use crate::registry::{self, Registry};
use crate::table::online::OnlineLayout;
use crate::table::{TableCacheConfig, Tables};
use line::{Compacted, Line, Listed, Tally};

pub use options::{ExpireArgs, Format, GcArgs, TableOptions, Verb};

/// Does to the tables that are meant what the verb says, and calls `say` with each line. Ends early, and lets go of the table
/// that it works on, when `stop` resolves.
///
/// # Errors
/// Those of [`Maintenance::select`], before anything was done; [`crate::error::Error::Internal`] with the number of tables that failed.
pub async fn run(
    config: &Config,
    verb: Verb,
    options: &TableOptions,
    stop: impl Future<Output = ()> + Send,
    mut say: impl FnMut(String) -> Result<()> + Send,
) -> Result<()> {
    let catalogs = Catalogs::connect(&config.catalogs)?;
    let (online, _catalog) = registry::online_place(config, &catalogs)?;
    let meant = options.selection(&catalogs)?;
    let definitions = definitions(&config.registry, &catalogs, &meant).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let caches = TableCacheConfig::new(&config.tables);
    let tables = Arc::new(Tables::new(catalogs.clone(), caches));
    let mut maintenance = Maintenance::new(tables).with_config(&config.maintenance);
    if let Some(journal) = super::journal(&config.maintenance) {
        maintenance = maintenance.with_journal(journal);
    }
    let work = Work {
        maintenance,
        maintainer: Maintainer::new(catalogs, Arc::clone(&clock)),
        verb,
        config: config.maintenance.clone(),
        format: options.format,
        clock,
    };
    let layout = OnlineLayout::new(&online);
    let chosen = work
        .maintenance
        .select(&layout, definitions.as_deref(), &meant);
    let chosen = chosen.await?;
    match work.verb {
        Verb::Status => work.status(&chosen, &mut say).await,
        _ => work.all(&chosen, stop, &mut say).await,
    }
}

/// The definitions, where views are meant; none where there is no file of them.
async fn definitions(
    config: &RegistryConfig,
    catalogs: &Catalogs,
    meant: &Selection,
) -> Result<Option<Arc<Registry>>> {
    let is_missing = config.kind == RegistryType::Toml && !config.path.exists();
    if is_missing || meant.is_of_tables_only() {
        return Ok(None);
    }
    registry::check(config, catalogs).await.map(Some)
}

/// One call of the command.
struct Work {
    maintenance: Maintenance,
    maintainer: Maintainer,
    verb: Verb,
    config: MaintenanceConfig,
    format: Format,
    clock: Arc<dyn Clock>,
}

/// What a line is handed to.
type Say<'a> = &'a mut (dyn FnMut(String) -> Result<()> + Send);

impl Work {
    async fn all(
        &self,
        chosen: &[TableName],
        stop: impl Future<Output = ()> + Send,
        say: Say<'_>,
    ) -> Result<()> {
        let mut stop = std::pin::pin!(stop);
        let mut tally = Tally::default();
        for name in chosen {
            let progress = progress(name);
            let line = self.one(name, &progress, stop.as_mut()).await;
            progress.finish_and_clear();
            let line = line.unwrap_or_else(|error| Line::Failed(name.clone(), error));
            tally.count(&line);
            say(line.shown(self.format))?;
            if tally.stopped {
                break;
            }
        }
        say(tally.shown(self.format))?;
        tally.outcome()
    }

    async fn one(
        &self,
        name: &TableName,
        progress: &ProgressBar,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Line> {
        if self.verb.is_dry_run() {
            return self.done(name, progress).await;
        }
        let lease = match self.maintainer.take(name).await? {
            Take::Ours(lease) => lease,
            Take::Held(holder) => return Ok(Line::Skipped(name.clone(), holder)),
        };
        let done = tokio::select! {
            done = lease.during(self.done(name, progress)) => done,
            () = stop => Ok(Line::Stopped(name.clone())),
        };
        let marks = match (&self.verb, &done) {
            (Verb::Gc(_), Ok(Line::Done(_))) => self.gc_mark(),
            _ => HashMap::new(),
        };
        if let Err(error) = lease.release(marks).await {
            tracing::warn!(table = %name, %error, "the lease of a table is left to end by itself");
        }
        done
    }

    fn gc_mark(&self) -> HashMap<String, String> {
        let now = lease::millis(self.clock.now());
        HashMap::from([(GC_AT.to_owned(), now.to_string())])
    }

    async fn done(&self, name: &TableName, progress: &ProgressBar) -> Result<Line> {
        let maintenance = &self.maintenance;
        match &self.verb {
            Verb::Compact { dry_run } => {
                let files = maintenance.compact(name, *dry_run, progress).await?;
                let manifests = maintenance.merge_manifests(name, *dry_run).await?;
                Line::done(&Compacted { files, manifests })
            }
            Verb::Expire(args) => {
                let options = self.expire_options(args);
                let report = maintenance.expire(name, &options, args.dry_run, progress);
                Line::done(&report.await?)
            }
            Verb::Gc(args) => {
                let options = self.gc_options(args);
                let report = maintenance.gc(name, options, args.dry_run, progress);
                Line::done(&Listed(report.await?))
            }
            Verb::Status => Line::done(&maintenance.status(name).await?),
        }
    }

    fn expire_options(&self, args: &ExpireArgs) -> ExpireOptions {
        ExpireOptions {
            older_than: args.older_than,
            keep_last: args.keep_last,
            force_younger: args.force_younger,
            ..super::expire_options(&self.config)
        }
    }

    fn gc_options(&self, args: &GcArgs) -> GcOptions {
        let configured = super::gc_options(&self.config);
        GcOptions {
            older_than: args.older_than.unwrap_or(configured.older_than),
            force_younger: args.force_younger,
        }
    }

    /// Reads only; as text all tables at once, so that columns are aligned.
    async fn status(&self, chosen: &[TableName], say: Say<'_>) -> Result<()> {
        let mut tally = Tally::default();
        let (mut known, mut lines) = (Vec::new(), Vec::new());
        for name in chosen {
            let line = match self.maintenance.status(name).await {
                Ok(status) => {
                    let line = Line::done(&status)?;
                    known.push(status);
                    line
                }
                Err(error) => Line::Failed(name.clone(), error),
            };
            tally.count(&line);
            if self.format == Format::Json || matches!(line, Line::Failed(..)) {
                lines.push(line.shown(self.format));
            }
        }
        if self.format == Format::Text && !known.is_empty() {
            say(text_table(&known))?;
        }
        lines.into_iter().try_for_each(&mut *say)?;
        if self.format == Format::Json || chosen.is_empty() {
            say(tally.shown(self.format))?;
        }
        tally.outcome()
    }
}

fn progress(name: &TableName) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:30} {wide_bar} {human_pos}/{human_len}")
        .expect("the template is well-formed");
    ProgressBar::new(0)
        .with_style(style)
        .with_message(name.to_string())
}
