//! What is at a location, and the names of files in it.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::model::ParquetLocation;
use crate::storage::{self, Located};

/// What a location has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    File,
    Folder,
    Missing,
}

/// A location as it was when it was looked at.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) location: ParquetLocation,
    pub(super) shape: Shape,
    pub(super) located: Located,
}

impl Place {
    pub(super) async fn look(location: &ParquetLocation) -> Result<Self> {
        let endpoint = location.s3_endpoint.iter();
        let properties: BTreeMap<_, _> = endpoint
            .map(|endpoint| ("s3.endpoint".to_owned(), endpoint.clone()))
            .collect();
        let located = storage::open(location.uri.trim_end_matches('/'), &properties)?;
        let mut place = Self {
            location: location.clone(),
            shape: Shape::Missing,
            located,
        };
        place.shape = place.find().await?;
        Ok(place)
    }

    async fn find(&self) -> Result<Shape> {
        let Located { store, path } = &self.located;
        match store.head(path).await {
            Ok(_) => return Ok(Shape::File),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(self.failed(&error)),
        }
        let first = store.list(Some(path)).try_next().await;
        match first.map_err(|error| self.failed(&error))? {
            Some(_) => Ok(Shape::Folder),
            None => Ok(Shape::Missing),
        }
    }

    /// Whether rows go into the location itself; where nothing is, its name tells, as it does for Feast.
    pub(super) fn is_one_file(&self) -> bool {
        match self.shape {
            Shape::File => true,
            Shape::Folder => false,
            Shape::Missing => self.path().extension() == Some("parquet"),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.located.path
    }

    /// A new file of this folder.
    pub(super) fn part(&self) -> Path {
        part_in(self.path(), "part-")
    }

    /// A new file that readers leave out until it is renamed.
    pub(super) fn hidden_part(&self) -> Path {
        part_in(self.path(), "_part-")
    }

    /// The Parquet files below a folder; none for a file.
    pub(super) async fn parquet_files(&self) -> Result<Vec<Path>> {
        if self.shape != Shape::Folder {
            return Ok(Vec::new());
        }
        let files = self.located.store.list(Some(self.path()));
        let files = files.try_collect::<Vec<_>>().await;
        let files = files.map_err(|error| self.failed(&error))?;
        let paths = files.into_iter().map(|file| file.location);
        Ok(paths
            .filter(|path| matches!(path.extension(), Some("parquet" | "pq" | "parq")))
            .collect())
    }

    pub(super) async fn delete(&self, path: &Path) -> Result<()> {
        let deleted = self.located.store.delete(path).await;
        deleted.map_err(|error| self.failed(&error))
    }

    pub(super) async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let renamed = self.located.store.rename(from, to).await;
        renamed.map_err(|error| self.failed(&error))
    }

    pub(super) fn failed(&self, error: &dyn std::error::Error) -> Error {
        Error::StorageUnavailable {
            path: self.location.uri.clone(),
            message: error.to_string(),
        }
    }
}

pub(super) fn part_in(folder: &Path, prefix: &str) -> Path {
    folder
        .clone()
        .join(format!("{prefix}{}.parquet", Uuid::new_v4()))
}
