//! One tree of settings, validated as a whole before anything starts, then passed down as a value.
//!
//! Defaults are overridden by the file, the file by variables `MURRE__SECTION__KEY`, those by flags. Every fault is
//! reported at once, each with its key and where it was set. `deploy/murre.toml` explains every key; a test keeps it true.
//! Relative paths are relative to the working directory of the server.

mod catalogs;
mod environment;
mod machine;
mod sections;
mod show;
mod validate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::catalog::CatalogConfig;
use crate::error::{Error, Result};
use crate::staging::StagingConfig;
use crate::strict_toml::{Document, Fault, Origin};

pub use environment::{environment, inherited, variable};
pub use sections::{
    EngineConfig, EntitySqlConfig, LogFormat, MaintenanceConfig, OnDemandConfig, OnlineConfig,
    RegistryConfig, RegistryType, ServerConfig, SourcesConfig, TablesConfig, TelemetryConfig,
};

/// All settings of a server.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Config {
    /// What the server listens on.
    #[serde(default)]
    pub server: ServerConfig,
    /// Catalogs by name. Without any, there is one called `default`.
    #[serde(default)]
    pub catalogs: BTreeMap<String, CatalogConfig>,
    /// Where feature definitions come from.
    #[serde(default)]
    pub registry: RegistryConfig,
    /// What definitions and clients may make the server reach.
    #[serde(default)]
    pub sources: SourcesConfig,
    /// Entity dataframes given as SQL.
    #[serde(default)]
    pub entity_sql: EntitySqlConfig,
    /// Evaluation of on-demand feature views.
    #[serde(default)]
    pub on_demand: OnDemandConfig,
    /// The query engine.
    #[serde(default)]
    pub engine: EngineConfig,
    /// Online tables and their index in memory.
    #[serde(default)]
    pub online: OnlineConfig,
    /// Caches of table metadata.
    #[serde(default)]
    pub tables: TablesConfig,
    /// Upkeep of tables.
    #[serde(default)]
    pub maintenance: MaintenanceConfig,
    /// Uploaded entity dataframes.
    #[serde(default)]
    pub staging: StagingConfig,
    /// Logging.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// What the command line may override; `None` and `false` leave a setting alone.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `server.listen`.
    pub listen: Option<String>,
    /// `registry.path`, and `registry.type` with it.
    pub feast_repo: Option<PathBuf>,
    /// `telemetry.log`.
    pub log: Option<String>,
    /// `server.insecure_allow_remote`.
    pub insecure_allow_remote: bool,
}

/// A valid configuration that knows where each setting came from.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    config: Config,
    document: Document,
}

impl Default for Config {
    fn default() -> Self {
        let mut document = Document::empty();
        catalogs::add_default(&mut document);
        document
            .read()
            .value
            .expect("the default catalog is valid and every other key has its default")
    }
}

impl Config {
    /// Lays the layers over each other and validates the result. Pass [`environment()`] for `variables`:
    /// those that begin with `MURRE__` are settings, and catalogs may refer to any as `${NAME}`.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] with all faults.
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<LoadedConfig> {
        let mut faults = Vec::new();
        let mut document = file.map_or_else(Document::empty, |file| {
            read_file(file).unwrap_or_else(|found| {
                faults.extend(found);
                Document::empty()
            })
        });
        let variables: BTreeMap<String, String> = variables.into_iter().collect();
        catalogs::gather_properties(&mut document);
        let variable = |name: &str| variables.get(name).cloned();
        faults.extend(catalogs::insert_variables(&mut document, variable));
        faults.extend(environment::overlay(&mut document, &variables));
        catalogs::gather_properties(&mut document);
        flags.overlay(&mut document);
        catalogs::add_default(&mut document);
        let reading = document.read::<Self>();
        faults.extend(reading.faults);
        if let Some(config) = &reading.value {
            faults.extend(validate::faults(config, &document));
        }
        match reading.value {
            Some(config) if faults.is_empty() => Ok(LoadedConfig { config, document }),
            _ => Err(invalid(faults)),
        }
    }
}

impl LoadedConfig {
    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The settings alone.
    pub fn into_config(self) -> Config {
        self.config
    }

    /// Every setting as a line of TOML, without secrets; those that are not defaults say where they were set.
    pub fn describe(&self) -> String {
        show::describe(&self.config, &self.document)
    }
}

impl Flags {
    fn overlay(&self, document: &mut Document) {
        let path = |section: &str, key: &str| [section.to_owned(), key.to_owned()];
        if let Some(listen) = &self.listen {
            document.set(&path("server", "listen"), listen, Origin::Flag("--listen"));
        }
        if let Some(repo) = &self.feast_repo {
            let origin = || Origin::Flag("--feast-repo");
            document.set(&path("registry", "type"), "feast", origin());
            document.set(
                &path("registry", "path"),
                repo.to_string_lossy().into_owned().as_str(),
                origin(),
            );
        }
        if let Some(log) = &self.log {
            document.set(&path("telemetry", "log"), log, Origin::Flag("--log"));
        }
        if self.insecure_allow_remote {
            let key = path("server", "insecure_allow_remote");
            document.set(&key, "true", Origin::Flag("--insecure-allow-remote"));
        }
    }
}

fn read_file(file: &Path) -> Result<Document, Vec<Fault>> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        let message = format!("cannot read the file `{name}`: {error}");
        vec![Fault {
            origin: Origin::Flag("--config"),
            key: String::new(),
            message,
        }]
    })?;
    Document::parse(&text, &name)
}

fn invalid(mut faults: Vec<Fault>) -> Error {
    faults.sort();
    Error::InvalidConfig {
        faults: faults.iter().map(Fault::to_string).collect(),
    }
}

#[cfg(test)]
mod tests;
