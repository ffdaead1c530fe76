//! The object store under the staging area, and what is particular to each kind.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

use super::id::WellFormed;
use crate::error::{Error, Result};
use crate::model::UploadId;

#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// Where half-written files lie; object stores proper have none to see.
    directory: Option<PathBuf>,
    url: String,
}

impl Store {
    pub(super) fn open(url: &str) -> Result<Self> {
        if url == "memory://" || url == "memory:///" {
            let objects = Arc::new(InMemory::new());
            return Ok(Self {
                objects,
                directory: None,
                url: url.to_owned(),
            });
        }
        match url.strip_prefix("file://") {
            Some(path) if FilePath::new(path).is_absolute() => {
                Self::directory(url, PathBuf::from(path))
            }
            _ => Err(invalid(format!(
                "expected `memory://` or `file:///directory`, found `{url}`"
            ))),
        }
    }

    fn directory(url: &str, path: PathBuf) -> Result<Self> {
        make_private(&path).map_err(|error| {
            invalid(format!(
                "cannot make directory `{}`: {error}",
                path.display()
            ))
        })?;
        let objects = LocalFileSystem::new_with_prefix(&path);
        let objects = objects.map_err(|error| invalid(format!("cannot use `{url}`: {error}")))?;
        Ok(Self {
            objects: Arc::new(objects),
            directory: Some(path),
            url: url.to_owned(),
        })
    }

    /// Names in the store and, where they can be seen, of half-written objects, with the ids behind them.
    pub(super) fn half_written(&self) -> Result<Vec<(PathBuf, WellFormed)>> {
        let Some(directory) = &self.directory else {
            return Ok(Vec::new());
        };
        let io = |source| Error::Io {
            action: format!("listing `{}`", directory.display()),
            source,
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let object = name
                .and_then(|name| name.split_once('#'))
                .map(|(object, _)| object);
            if let Some(id) = object.and_then(WellFormed::of_object) {
                found.push((path, id));
            }
        }
        Ok(found)
    }

    /// What the caller is told when the store fails.
    pub(super) fn failed(&self, error: object_store::Error) -> Error {
        Error::StorageUnavailable {
            path: self.url.clone(),
            message: error.to_string(),
        }
    }

    /// Likewise, where the object may rightly be missing.
    pub(super) fn missing(&self, id: &UploadId) -> impl Fn(object_store::Error) -> Error {
        move |error| match error {
            object_store::Error::NotFound { .. } => super::unknown(id),
            error => self.failed(error),
        }
    }
}

fn make_private(path: &FilePath) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

fn invalid(message: String) -> Error {
    Error::InvalidConfig {
        faults: vec![format!("staging.url: {message}")],
    }
}
