//! What planning needs of a file, and no more: a footer is many times larger, and a folder may have many files.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::Fields;
use futures::{StreamExt, TryStreamExt};
use moka::future::Cache;

use super::bounds::{Bounds, bounds};
use super::listing::{ListedFile, Listing};
use super::types;
use crate::error::{Error, Result};
use crate::table::read::{FileStore, LooseFile};

/// A file's columns, rows and bounds.
#[derive(Debug)]
pub(super) struct FileSummary {
    /// Columns in readable types.
    pub(super) columns: Fields,
    pub(super) rows: u64,
    /// In the readable types too.
    pub(super) bounds: Bounds,
}

impl FileSummary {
    async fn read(uri: &str, store: &FileStore, file: &ListedFile) -> Result<Arc<Self>> {
        let opened = LooseFile::open(store, file.as_ref(uri)).await?;
        let schema = opened.stored_schema();
        check_names(file, schema.fields())?;
        Ok(Arc::new(Self {
            columns: schema.fields().iter().map(types::readable_field).collect(),
            rows: opened.rows(),
            bounds: bounds(opened.metadata(), schema),
        }))
    }

    /// Heap bytes, roughly.
    pub(super) fn weight(&self) -> usize {
        256 + self.columns.size() + 200 * self.bounds.len()
    }
}

/// Columns are told apart by name.
fn check_names(file: &ListedFile, columns: &Fields) -> Result<()> {
    let mut seen = BTreeSet::new();
    match columns.iter().find(|column| !seen.insert(column.name())) {
        None => Ok(()),
        Some(twice) => Err(Error::Unsupported {
            what: format!(
                "reading `{}`, which has two columns `{}`,",
                file.path,
                twice.name()
            ),
        }),
    }
}

/// The summaries of all files, in their order.
pub(super) async fn all(
    listing: &Listing,
    known: &Cache<String, Arc<FileSummary>>,
    concurrency: usize,
) -> Result<Vec<Arc<FileSummary>>> {
    let reads: Vec<_> = listing
        .files
        .iter()
        .map(|file| {
            let read = FileSummary::read(&listing.uri, &listing.store, file);
            async move {
                let summary = known.try_get_with(file.identity(), read).await;
                summary.map_err(Error::from)
            }
        })
        .collect();
    futures::stream::iter(reads)
        .buffered(concurrency)
        .try_collect()
        .await
}
