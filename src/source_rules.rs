//! What definitions and clients may make the server reach: files, catalogs, secrets of its environment.
//!
//! Definitions in the operator's registry are trusted with catalogs; a definition that a client sends is not. A server
//! that only listens on loopback serves the user who started it, who could reach all of that anyway: there an empty list
//! limits nothing. On any other server an empty list allows nothing, except files in the feature repository's folder.

mod address;
mod places;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::catalog::{CatalogConfig, CatalogType, redacted_uri, sqlite_path};
use crate::config::SourcesConfig;
use crate::error::{Error, Result};
use crate::model::{ParquetLocation, TableName};
use crate::storage::Location;

/// The configured limits.
#[derive(Clone, Debug)]
pub struct SourceRules {
    config: SourcesConfig,
    loopback_only: bool,
    repo: Option<PathBuf>,
}

impl SourceRules {
    /// Rules for a server that listens on loopback only, or not; `repo` is its feature repository's folder.
    pub fn new(config: SourcesConfig, loopback_only: bool, repo: Option<PathBuf>) -> Self {
        Self {
            config,
            loopback_only,
            repo,
        }
    }

    /// The feature repository's folder, where relative paths start.
    pub fn repo(&self) -> Option<&Path> {
        self.repo.as_deref()
    }

    /// Whether Parquet files may be read from and written to this place, which the operator's registry names; it may
    /// name an S3 endpoint too. Looks at the disk for symbolic links.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] naming `sources.file_roots`.
    pub fn check_file(&self, location: &ParquetLocation) -> Result<()> {
        self.check_place(&location.uri)
    }

    /// Whether Parquet files may be read from this place, which a client names.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] naming the setting.
    pub fn check_sent_file(&self, location: &ParquetLocation) -> Result<()> {
        self.check_place(&location.uri)?;
        match &location.s3_endpoint {
            Some(endpoint) => self.check_address(endpoint),
            None => Ok(()),
        }
    }

    /// Whether a client may name this catalog, whose token is in the variable `token_env_var`.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] naming the setting.
    pub fn check_sent_catalog(
        &self,
        catalog: &CatalogConfig,
        token_env_var: Option<&str>,
    ) -> Result<()> {
        if let Some(variable) = token_env_var {
            self.check_variable(variable)?;
        }
        let file = sqlite_path(&catalog.uri).filter(|_| catalog.kind == CatalogType::Sql);
        match file {
            Some(path) => self.check_place(&path.to_string_lossy())?,
            None => self.check_address(&catalog.address())?,
        }
        let has_place = matches!(catalog.kind, CatalogType::Sql | CatalogType::Glue);
        if let (true, Some(warehouse)) = (has_place, &catalog.warehouse) {
            self.check_place(&absolute(warehouse)?)?;
        }
        catalog
            .properties
            .iter()
            .try_for_each(|(key, value)| self.check_property(key, value))
    }

    /// Whether a saved dataset may be written to this table.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] naming `sources.dataset_namespaces`.
    pub fn check_dataset(&self, table: &TableName) -> Result<()> {
        let within = |allowed: &String| {
            let allowed: Vec<&str> = allowed.split('.').collect();
            table.namespace.len() >= allowed.len()
                && allowed.iter().zip(&table.namespace).all(|(a, b)| a == b)
        };
        let Some(namespaces) = self.limit(&self.config.dataset_namespaces) else {
            return Ok(());
        };
        if namespaces.iter().any(within) {
            return Ok(());
        }
        Err(refused(
            format!("writing a dataset to table `{table}`"),
            "add its namespace to sources.dataset_namespaces",
        ))
    }

    fn check_place(&self, uri: &str) -> Result<()> {
        let Some(roots) = self.limit(&self.config.file_roots) else {
            return Ok(());
        };
        let location = Location::parse(uri).map_err(|message| Error::invalid("uri", message))?;
        let repo = self.repo.iter().filter(|_| roots.is_empty());
        let repo = repo.map(|folder| folder.to_string_lossy().into_owned());
        let mut roots = roots.iter().cloned().chain(repo);
        if roots.any(|root| places::is_within(&location, &root)) {
            return Ok(());
        }
        Err(refused(
            format!("file or folder `{uri}`"),
            "add it, or a folder around it, to sources.file_roots",
        ))
    }

    fn check_address(&self, uri: &str) -> Result<()> {
        let Some(allowed) = self.limit(&self.config.catalog_uris) else {
            return Ok(());
        };
        if allowed
            .iter()
            .any(|allowed| address::is_within(uri, allowed))
        {
            return Ok(());
        }
        Err(refused(
            format!("address `{}`", redacted_uri(uri)),
            "add it to sources.catalog_uris",
        ))
    }

    /// Properties can name more addresses: of an object store, of a server that is shown credentials.
    fn check_property(&self, key: &str, value: &str) -> Result<()> {
        let names_address = value.contains("://")
            || ["endpoint", "host", "uri", "url"]
                .iter()
                .any(|end| key.to_ascii_lowercase().ends_with(end));
        if names_address {
            return self.check_address(value);
        }
        let remedy = match key {
            "prefix" if address::climbs(value) => "use a prefix without `..`",
            _ if is_operators(key) => "configure the catalog in a section [catalogs.NAME]",
            _ => return Ok(()),
        };
        match self.limit(&self.config.catalog_uris) {
            Some(_) => Err(refused(format!("property `{key}`"), remedy)),
            None => Ok(()),
        }
    }

    fn check_variable(&self, variable: &str) -> Result<()> {
        match self.limit(&self.config.environment) {
            Some(allowed) if !allowed.iter().any(|allowed| allowed == variable) => Err(refused(
                format!("environment variable `{variable}`"),
                "add it to sources.environment",
            )),
            _ => Ok(()),
        }
    }

    /// What is allowed alone; nothing where everything is.
    fn limit<'a>(&self, list: &'a [String]) -> Option<&'a [String]> {
        (!self.loopback_only || !list.is_empty()).then_some(list)
    }
}

fn refused(what: String, remedy: &str) -> Error {
    Error::NotAllowed {
        what,
        remedy: remedy.to_owned(),
    }
}

/// Whether a property makes the server act as somebody whom only its own credentials let it be, read a file of its own, or go
/// to an address among other words.
fn is_operators(key: &str) -> bool {
    let ends = [
        "assume-role.arn",
        "ca-bundle",
        "cabundle",
        "connection-string",
        "profile-name",
        "role-arn",
    ];
    ends.iter()
        .any(|end| key.to_ascii_lowercase().ends_with(end))
}

/// Warehouses may be relative to the working directory.
fn absolute(warehouse: &str) -> Result<String> {
    if warehouse.contains(':') {
        return Ok(warehouse.to_owned());
    }
    std::path::absolute(warehouse)
        .map(|path| path.to_string_lossy().into_owned())
        .map_err(|error| Error::invalid("warehouse", format!("`{warehouse}`: {error}")))
}
