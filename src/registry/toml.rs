//! Definitions in a TOML file. Its text is compared at each request, which costs one small read and, unlike a time stamp,
//! misses no change.

mod check;
mod raw;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{Registry, RegistryReader};
use crate::error::{Error, Result};
use crate::strict_toml::{Document, Fault};

/// Reads a definitions file again whenever it has changed.
#[derive(Debug)]
pub struct TomlRegistry {
    path: PathBuf,
    catalogs: Vec<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The text as last read, or why it could not be.
    seen: Option<Result<String, String>>,
    /// What is wrong with it.
    fault: Option<String>,
    /// The definitions of the last text that had none.
    good: Option<Arc<Registry>>,
}

impl TomlRegistry {
    /// Reads nothing yet. `catalogs` are the names of all configured catalogs.
    pub fn new(path: impl Into<PathBuf>, catalogs: impl IntoIterator<Item = String>) -> Self {
        Self {
            path: path.into(),
            catalogs: catalogs.into_iter().collect(),
            state: Mutex::default(),
        }
    }

    fn load(&self, state: &mut State, found: Result<String, String>) {
        let parsed = found
            .clone()
            .and_then(|text| parse(&text, &self.path, &self.catalogs));
        state.seen = Some(found);
        match parsed {
            Ok(registry) => {
                let views = registry.feature_views().count();
                tracing::info!(path = %self.path.display(), project = registry.project(), views, "definitions loaded");
                state.good = Some(Arc::new(registry));
                state.fault = None;
            }
            Err(fault) => {
                let kept = if state.good.is_some() {
                    "the last good ones stay in force"
                } else {
                    "there are no others"
                };
                tracing::warn!(path = %self.path.display(), "definitions are broken, {kept}: {fault}");
                state.fault = Some(fault);
            }
        }
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::InvalidDefinitions {
            origin: self.path.display().to_string(),
            message: message.into(),
        }
    }

    /// The definitions as the file has them now, even where older ones are in force.
    ///
    /// # Errors
    /// [`Error::InvalidDefinitions`] with all faults of the file.
    pub async fn check(&self) -> Result<Arc<Registry>> {
        let current = self.current().await?;
        match &self.state.lock().await.fault {
            Some(fault) => Err(self.error(fault)),
            None => Ok(current),
        }
    }
}

#[async_trait]
impl RegistryReader for TomlRegistry {
    async fn current(&self) -> Result<Arc<Registry>> {
        let mut state = self.state.lock().await;
        let found = tokio::fs::read_to_string(&self.path)
            .await
            .map_err(|error| error.to_string());
        if state.seen.as_ref() != Some(&found) {
            self.load(&mut state, found);
        }
        let fault = state.fault.as_deref().unwrap_or_default();
        state.good.clone().ok_or_else(|| self.error(fault))
    }
}

/// The definitions in `text`, or all that is wrong with it.
fn parse(text: &str, path: &Path, catalogs: &[String]) -> Result<Registry, String> {
    let file = path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    let document = Document::parse(text, &file).map_err(listed)?;
    let mut reading = document.read::<raw::Definitions>();
    let definitions = reading.value.filter(|_| reading.complete);
    let checked = definitions.map(|definitions| check::registry(definitions, &document, catalogs));
    match checked {
        Some((registry, faults)) if faults.is_empty() && reading.faults.is_empty() => Ok(registry),
        checked => {
            reading
                .faults
                .extend(checked.into_iter().flat_map(|(_, faults)| faults));
            Err(listed(reading.faults))
        }
    }
}

fn listed(mut faults: Vec<Fault>) -> String {
    faults.sort();
    match faults.as_slice() {
        [fault] => fault.to_string(),
        faults => {
            let lines: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
            format!("{} faults:{lines}", faults.len())
        }
    }
}

#[cfg(test)]
mod tests;
