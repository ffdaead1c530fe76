//! Where the bytes of a registry are: a file, an object, a database, a registry server. All deliver one message.

mod bucket;
mod file;
mod raw_codec;
mod remote;
mod sql;

use std::path::Path;

use prost::Message;

use super::feature_store::{Kind, Place};
use crate::catalog::redacted_uri;
use crate::proto::feast::core;

use bucket::Bucket;
use file::File;
use remote::Remote;
use sql::Database;

/// Registries above this size are refused. They are read whole.
const LIMIT: usize = 1 << 30;

/// A registry's place.
#[derive(Debug)]
pub(super) struct Origin {
    name: String,
    store: Store,
}

#[derive(Debug)]
enum Store {
    File(File),
    Bucket(Bucket),
    Sql(Database),
    Remote(Box<Remote>),
}

/// What a place holds.
#[derive(Debug, PartialEq)]
pub(super) enum Fetched {
    /// The version that is known already.
    Unchanged,
    /// No registry: an apply may follow.
    Absent,
    /// A registry, with the store's name for its state if it has one.
    Found {
        message: Box<core::Registry>,
        version: Option<String>,
    },
}

/// Why there is no answer.
#[derive(Debug, PartialEq)]
pub(super) enum Failure {
    /// It holds something that is not a registry, perhaps only for now.
    Broken(String),
    /// It does not answer.
    Unreachable(String),
}

impl Origin {
    /// The place that `feature_store.yaml` names; relative paths start at `repo`. Touches neither disk nor network.
    pub(super) fn new(place: &Place, repo: &Path) -> Result<Self, String> {
        let path = place.path.as_str();
        let store = match place.registry_type {
            Kind::File if path.starts_with("s3://") => Store::Bucket(Bucket::new(place)?),
            Kind::File => Store::File(File::new(path, repo)?),
            Kind::Sql => Store::Sql(Database::new(
                place.read_path.as_deref().unwrap_or(path),
                repo,
            )?),
            Kind::Remote => Store::Remote(Box::new(Remote::new(place, repo))),
        };
        Ok(Self {
            name: redacted_uri(path),
            store,
        })
    }

    /// What it is called in messages, without secrets.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What it holds now, of `project` at least; `known` is the version that the caller has.
    pub(super) async fn fetch(
        &self,
        project: &str,
        known: Option<&str>,
    ) -> Result<Fetched, Failure> {
        match &self.store {
            Store::File(file) => file.fetch().await,
            Store::Bucket(bucket) => bucket.fetch(known).await,
            Store::Sql(database) => database.fetch(project).await,
            Store::Remote(remote) => remote.fetch(project).await,
        }
    }
}

/// A file's content as a registry. Feast never writes an empty one, but a file is empty for a moment while it does.
fn decoded(bytes: bytes::Bytes) -> Result<Box<core::Registry>, Failure> {
    if bytes.is_empty() {
        return Err(Failure::Broken("it is empty".to_owned()));
    }
    core::Registry::decode(bytes)
        .map(Box::new)
        .map_err(|error| Failure::Broken(error.to_string()))
}
