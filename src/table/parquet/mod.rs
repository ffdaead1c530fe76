//! Parquet files outside of any table, one or a folder of them, pinned as an Iceberg table is: with a schema made of what
//! the files have, and a digest of the files in place of a snapshot.
//!
//! - `listing`, `hive`: the files that there are, and columns in the names of their folders.
//! - `summary`, `bounds`: what planning needs of each file.
//! - `types`, `schema`: one schema for all of them.
//! - `names`: types in pyarrow's words.
//! - [`ParquetSource`]: the files as they are, for those who write more of them.

mod bounds;
mod hive;
mod listing;
mod names;
mod pin;
mod schema;
mod source;
mod summary;
#[cfg(test)]
mod tests;
mod types;

use std::sync::Arc;

use moka::future::Cache;

pub use hive::PartitionKey;
pub use listing::ListedFile;
pub use source::ParquetSource;
pub(crate) use types::union;

use super::PinnedTable;
use crate::error::{Error, Result};
use crate::model::{ParquetLocation, SnapshotId, TablePin};
use listing::Listing;
use pin::Pinnable;
use summary::FileSummary;

/// What is known of Parquet files, by their versions: nothing of it can become stale.
#[derive(Debug)]
pub(super) struct ParquetFiles {
    summaries: Cache<String, Arc<FileSummary>>,
    pinnable: Cache<(String, i64), Arc<Pinnable>>,
    concurrency: usize,
}

impl ParquetFiles {
    /// Keeps at most `size_bytes`, and reads `concurrency` footers at a time.
    pub(super) fn new(size_bytes: u64, concurrency: usize) -> Self {
        let half = size_bytes / 2;
        Self {
            summaries: Cache::builder()
                .max_capacity(half)
                .weigher(|key: &String, summary: &Arc<FileSummary>| weight(key, summary.weight()))
                .build(),
            pinnable: Cache::builder()
                .max_capacity(half)
                .weigher(|(uri, _): &(String, i64), pinnable: &Arc<Pinnable>| {
                    weight(uri, pinnable.weight())
                })
                .build(),
            concurrency: concurrency.max(1),
        }
    }

    /// The files at a location as they are now, which an earlier pin must agree with.
    pub(super) async fn pin(
        &self,
        location: &ParquetLocation,
        pin: Option<TablePin>,
    ) -> Result<PinnedTable> {
        let listing = Listing::new(location).await?;
        let current = TablePin {
            snapshot: Some(SnapshotId(listing.digest())),
            schema_id: 0,
        };
        match pin {
            Some(earlier) if earlier != current => Err(Error::SnapshotNotFound {
                table: location.uri.clone(),
                snapshot_id: earlier.snapshot.map_or(0, |snapshot| snapshot.0),
            }),
            _ => Ok(self
                .pinnable(&listing)
                .await?
                .pinned(location, &listing, current)),
        }
    }

    async fn pinnable(&self, listing: &Listing) -> Result<Arc<Pinnable>> {
        let key = (listing.uri.clone(), listing.digest());
        let build = async {
            let summaries = summary::all(listing, &self.summaries, self.concurrency).await?;
            Pinnable::new(listing, &summaries).map(Arc::new)
        };
        let pinnable = self.pinnable.try_get_with(key, build).await;
        pinnable.map_err(Error::from)
    }
}

fn weight(key: &str, value: usize) -> u32 {
    u32::try_from(key.len().saturating_add(value)).unwrap_or(u32::MAX)
}
