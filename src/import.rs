//! `murre import`: Parquet files become rows of a feature view, so that nobody needs another engine to begin.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};

use crate::catalog::Catalogs;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ingest::{Ingest, Part, Rows, joined};
use crate::maintenance;
use crate::model::{
    FeatureView, ParquetLocation, SourceLocation, ViewVersion, WriteRequest, WriteTarget,
};
use crate::registry::{self, Registry};
use crate::source_rules::SourceRules;
use crate::table::online::OnlineLayout;
use crate::table::read::{ScanSpec, TableScan};
use crate::table::{FileCache, PinnedTable, TableCacheConfig, Tables};

const BATCH_ROWS: usize = 8192;
const FOOTER_BYTES: u64 = 64 * 1024 * 1024;

/// What `murre import` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportOptions {
    /// Parquet files, or folders of them: paths, file:///path or s3://bucket/key
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// Feature view that the rows are of
    #[arg(long, value_name = "VIEW")]
    pub feature_view: String,
    /// Where to: the view's batch source, or its online table
    #[arg(long, value_enum, default_value = "offline")]
    pub to: Target,
}

/// Where imported rows go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// The view's batch source.
    #[default]
    Offline,
    /// The view's online table.
    Online,
}

/// What an import did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportReport {
    /// Files read.
    pub files: u64,
    /// Rows written.
    pub rows: u64,
    /// Where they are now.
    pub place: String,
    /// Whether the table was made for them.
    pub created: bool,
}

impl std::fmt::Display for ImportReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let new = if self.created { "the new " } else { "" };
        write!(
            f,
            "{} rows of {} files are in {new}{}",
            self.rows, self.files, self.place
        )
    }
}

/// Imports what the command line names; all of it becomes visible at once, or nothing does.
///
/// # Errors
/// [`Error::FeatureViewNotFound`]; [`Error::NoParquetFiles`]; those of [`Ingest::import_offline`], which name file and
/// column.
pub async fn run(config: &Config, options: &ImportOptions) -> Result<ImportReport> {
    let catalogs = Catalogs::connect(&config.catalogs)?;
    let caches = TableCacheConfig::new(&config.tables);
    let tables = Arc::new(Tables::new(catalogs, caches));
    // The rules are about clients; who starts this may read whatever the system lets them.
    let rules = SourceRules::new(config.sources.clone(), true, None);
    let mut ingest = Ingest::new(Arc::clone(&tables), rules);
    if let Some(journal) = maintenance::journal(&config.maintenance) {
        ingest = ingest.with_journal(journal);
    }
    let import = Import {
        config,
        ingest,
        definitions: registry::check(&config.registry, tables.catalogs()).await?,
        view: &options.feature_view,
    };
    let named = ViewVersion::parse(import.view);
    import.definitions.feature_view(&named.view)?;
    let mut files = Vec::new();
    for file in &options.files {
        files.extend(open(&tables, file).await?);
    }
    let progress = progress(files.iter().map(|file| file.files().record_count()).sum());
    let count = files.len() as u64;
    let parts = files.into_iter().map(|file| part(file, &progress));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let written = match options.to {
        Target::Offline => import.offline(parts).await,
        Target::Online => import.online(tables.catalogs(), parts).await,
    };
    match &written {
        Ok(_) => progress.finish_and_clear(),
        Err(_) => progress.abandon(),
    }
    Ok(ImportReport {
        files: count,
        ..written?
    })
}

/// What one import needs.
struct Import<'a> {
    config: &'a Config,
    ingest: Ingest,
    definitions: Arc<Registry>,
    view: &'a str,
}

impl Import<'_> {
    async fn offline(self, parts: Vec<Part>) -> Result<ImportReport> {
        let view = self.definitions.feature_view(self.view)?;
        let written = self.ingest.import_offline(view, parts).await?;
        Ok(ImportReport {
            files: 0,
            rows: written.rows,
            place: place(view),
            created: written.created,
        })
    }

    async fn online(self, catalogs: &Catalogs, parts: Vec<Part>) -> Result<ImportReport> {
        let (online, _catalog) = registry::online_place(self.config, catalogs)?;
        let layout = OnlineLayout::new(&online);
        let view = ViewVersion::parse(self.view);
        let name = layout.table_name(self.definitions.project(), &view);
        let created = catalogs.load_table(&name).await.is_err();
        let registry = registry::open(&self.config.registry, catalogs)?;
        let ingest = self.ingest.with_features(registry, layout);
        let request = WriteRequest {
            project: None,
            view,
            to: WriteTarget::Online,
            idempotency_key: None,
            definition: None,
        };
        let written = ingest.write_view(request, joined(parts)?).await?;
        Ok(ImportReport {
            files: 0,
            rows: written.rows,
            place: format!("table `{name}` of catalog `{}`", name.catalog),
            created,
        })
    }
}

fn place(view: &FeatureView) -> String {
    match &view.source.location {
        SourceLocation::Iceberg(table) => {
            format!("table `{table}` of catalog `{}`", table.catalog)
        }
        other => format!("`{}`", other.table_name()),
    }
}

/// The files at a location, each by itself with the columns of all of them.
async fn open(tables: &Tables, file: &str) -> Result<Vec<PinnedTable>> {
    let location = SourceLocation::Parquet(ParquetLocation {
        uri: absolute(file)?,
        s3_endpoint: None,
    });
    let pinned = tables.pin_source(&location, None).await?;
    let files = pinned.files().files.iter();
    let alone = files.map(|file| pinned.with_files([Arc::clone(file)]));
    Ok(alone.collect())
}

/// Paths on the command line are relative to where it is typed.
fn absolute(file: &str) -> Result<String> {
    if file.contains("://") || file.starts_with("file:") {
        return Ok(file.to_owned());
    }
    let path = std::path::absolute(Path::new(file)).map_err(|source| Error::Io {
        action: format!("find `{file}`"),
        source,
    })?;
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::invalid("FILE", format!("`{file}` is not UTF-8")))
}

fn part(file: PinnedTable, progress: &ProgressBar) -> Result<Part> {
    let name = file
        .files()
        .files
        .first()
        .map_or_else(String::new, |it| it.path.clone());
    let fields = file.schema().as_struct().fields();
    let spec = ScanSpec {
        columns: fields.iter().map(|field| field.id).collect(),
        ..ScanSpec::default()
    };
    let scan = TableScan::try_new(file, spec, Arc::new(FileCache::footers_only(FOOTER_BYTES)))?;
    let units = scan.partitions(1).into_iter().flatten().collect();
    let progress = progress.clone();
    let batches = scan.read(units, BATCH_ROWS).inspect(move |batch| {
        progress.inc(batch.as_ref().map_or(0, |batch| batch.num_rows() as u64));
    });
    Ok(Part {
        name: format!("file `{name}`"),
        rows: Rows {
            schema: scan.schema(),
            batches: batches.boxed(),
        },
    })
}

fn progress(rows: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:10} {wide_bar} {human_pos}/{human_len} rows")
        .expect("the template is well-formed");
    ProgressBar::new(rows)
        .with_style(style)
        .with_message("importing")
}
