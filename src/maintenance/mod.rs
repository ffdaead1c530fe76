//! Upkeep of tables: online ones are found by what their properties say. One table at a time, each verb with a report.

mod compact;
#[cfg(test)]
mod lab;
mod manifests;
mod triggers;

use std::sync::Arc;

use iceberg::{ErrorKind, NamespaceIdent};
use indicatif::{ProgressBar, ProgressStyle};

use crate::catalog::{Catalogs, pass_over, table_error};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::error::{Error, Result, nearest};
use crate::model::TableName;
use crate::registry;
use crate::table::online::{OnlineLayout, OnlineProperties};
use crate::table::{TableCacheConfig, Tables};

pub use compact::{CompactReport, Extent, FoldLimits};
pub use manifests::ManifestReport;
pub use triggers::{Reason, Triggers};

/// What keeps tables in shape.
#[derive(Clone, Debug)]
pub struct Maintenance {
    tables: Arc<Tables>,
    limits: FoldLimits,
    triggers: Triggers,
    clock: Arc<dyn Clock>,
}

/// Which online tables are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of this project; absent: of all.
    pub project: Option<String>,
    /// Of these views: all versions of `view`, or one, `view@v2`. None: of all views.
    pub feature_views: Vec<String>,
}

impl Selection {
    fn has(&self, table: &OnlineProperties) -> bool {
        let of_view =
            |wanted: &String| *wanted == table.view.view || *wanted == table.view.to_string();
        self.project.as_ref().is_none_or(|it| *it == table.project)
            && (self.feature_views.is_empty() || self.feature_views.iter().any(of_view))
    }
}

impl Maintenance {
    /// Upkeep of these tables.
    pub fn new(tables: Arc<Tables>) -> Self {
        Self {
            tables,
            limits: FoldLimits::default(),
            triggers: Triggers::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// The same with other limits.
    pub fn with_limits(mut self, limits: FoldLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The same, where other things make a compaction due.
    pub fn with_triggers(mut self, triggers: Triggers) -> Self {
        self.triggers = triggers;
        self
    }

    /// The same with another clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The online tables of a namespace that are meant, by name.
    ///
    /// # Errors
    /// [`Error::FeatureViewNotFound`] for a view that has none; [`Error::CatalogUnavailable`].
    pub async fn online_tables(
        &self,
        catalog: &str,
        namespace: &[String],
        meant: &Selection,
    ) -> Result<Vec<(TableName, OnlineProperties)>> {
        let mut found = Vec::new();
        for name in table_names(self.tables.catalogs(), catalog, namespace).await? {
            let table = match self.tables.catalogs().load_table(&name).await {
                Ok(table) => table,
                Err(Error::TableNotFound { .. }) => continue,
                Err(error) => {
                    pass_over(&name, error)?;
                    continue;
                }
            };
            match OnlineProperties::read(table.metadata()) {
                Ok(Some(properties)) => found.push((name, properties)),
                Ok(None) => {}
                Err(error) => pass_over(&name, error)?,
            }
        }
        let missing = meant.feature_views.iter().find(|view| {
            let alone = Selection {
                feature_views: vec![ToString::to_string(view)],
                ..meant.clone()
            };
            !found.iter().any(|(_, properties)| alone.has(properties))
        });
        if let Some(view) = missing {
            let known = found.iter().map(|(_, it)| it.view.view.as_str());
            return Err(Error::FeatureViewNotFound {
                view: view.clone(),
                nearest: nearest(view, known),
            });
        }
        found.retain(|(_, properties)| meant.has(properties));
        Ok(found)
    }
}

/// What `murre maintain compact` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct CompactOptions {
    /// Only tables of this project
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// Only tables of this feature view: all its versions, or one, VIEW@v2; may be repeated
    #[arg(long, value_name = "VIEW")]
    pub feature_view: Vec<String>,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Folds the online tables that the command line names.
///
/// # Errors
/// Those of [`Maintenance::online_tables`] and [`Maintenance::compact`]; tables before the failing one are done.
pub async fn compact(config: &Config, options: &CompactOptions) -> Result<Vec<CompactReport>> {
    let catalogs = Catalogs::connect(&config.catalogs)?;
    let (online, _catalog) = registry::online_place(config, &catalogs)?;
    let layout = OnlineLayout::new(&online);
    let caches = TableCacheConfig::new(&config.tables);
    let maintenance = Maintenance::new(Arc::new(Tables::new(catalogs, caches)));
    let meant = Selection {
        project: options.project.clone(),
        feature_views: options.feature_view.clone(),
    };
    let mut reports = Vec::new();
    for (name, _) in maintenance
        .online_tables(&layout.catalog, &layout.namespace, &meant)
        .await?
    {
        let progress = progress(&name);
        let report = maintenance.compact(&name, options.dry_run, &progress).await;
        progress.finish_and_clear();
        reports.push(report?);
    }
    Ok(reports)
}

fn progress(name: &TableName) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:30} {wide_bar} {human_pos}/{human_len} rows")
        .expect("the template is well-formed");
    ProgressBar::new(0)
        .with_style(style)
        .with_message(name.to_string())
}

/// All tables of a namespace in order; none if it does not exist.
async fn table_names(
    catalogs: &Catalogs,
    catalog: &str,
    namespace: &[String],
) -> Result<Vec<TableName>> {
    let opened = catalogs.get(catalog).await?;
    let name = |name: String| TableName {
        catalog: catalog.to_owned(),
        namespace: namespace.to_vec(),
        name,
    };
    let levels = NamespaceIdent::from_vec(namespace.to_vec());
    let levels = levels.map_err(|_| Error::invalid("online.namespace", "it is empty"))?;
    let mut names: Vec<String> = match opened.list_tables(&levels).await {
        Ok(tables) => tables.into_iter().map(|it| it.name).collect(),
        Err(error) if error.kind() == ErrorKind::NamespaceNotFound => Vec::new(),
        Err(error) => return Err(table_error(&name(String::new()), error)),
    };
    names.sort_unstable();
    Ok(names.into_iter().map(name).collect())
}
