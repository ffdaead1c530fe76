//! A registry in a local file. Feast rewrites it in place: for a moment it is empty or torn.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Failure, Fetched, LIMIT, decoded};
use crate::clock;

/// How often, and how far apart, a file is read again that is not a registry.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(25);

#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
}

impl File {
    /// The file at `path`, which is relative to `repo` or absolute, or a `file://` uri.
    pub(super) fn new(path: &str, repo: &Path) -> Result<Self, String> {
        let path = path.strip_prefix("file://").unwrap_or(path);
        match path.split_once("://") {
            Some((scheme, _)) => Err(format!(
                "registries in `{scheme}` storage are not supported; there are local files, s3://, sql and remote"
            )),
            None => Ok(Self {
                path: repo.join(path),
            }),
        }
    }

    pub(super) async fn fetch(&self) -> Result<Fetched, Failure> {
        let mut tries = 1;
        loop {
            match self.read().await {
                Err(Failure::Broken(_)) if tries < TRIES => tries += 1,
                done => return done,
            }
            clock::sleep(PAUSE).await;
        }
    }

    async fn read(&self) -> Result<Fetched, Failure> {
        let unreachable = |error: std::io::Error| Failure::Unreachable(error.to_string());
        let length = match tokio::fs::metadata(&self.path).await {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Fetched::Absent),
            Err(error) => return Err(unreachable(error)),
        };
        if length > LIMIT as u64 {
            return Err(Failure::Unreachable(format!(
                "it has {length} bytes, more than {LIMIT}"
            )));
        }
        let bytes = tokio::fs::read(&self.path).await.map_err(unreachable)?;
        if bytes.len() as u64 != self.length().await {
            return Err(Failure::Broken("it is being written".to_owned()));
        }
        let message = decoded(bytes.into())?;
        Ok(Fetched::Found {
            message,
            version: None,
        })
    }

    async fn length(&self) -> u64 {
        tokio::fs::metadata(&self.path)
            .await
            .map_or(0, |metadata| metadata.len())
    }
}
