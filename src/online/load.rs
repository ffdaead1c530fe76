//! From files to layers.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt, TryStreamExt};

use super::budget::Budget;
use super::layer::{Layer, LayerBuilder, Rows};
use super::part::{Columns, Part};
use super::state::State;
use crate::error::Result;
use crate::model::ScanReport;
use crate::table::FooterCache;
use crate::table::files::FileEntry;
use crate::table::layout::{KeyFilter, ScanFilter, SortedKeys};
use crate::table::read::{ScanSpec, TableScan};

const BATCH_ROWS: usize = 8192;
/// Files read at a time by one load.
const FILES_AT_ONCE: usize = 8;
/// Rows held while a part is built, before those that lost are let go.
const HELD_BYTES: usize = 256 << 20;

/// What loading needs beside the table.
#[derive(Clone, Debug)]
pub(super) struct Loader {
    pub(super) footers: Arc<FooterCache>,
    pub(super) budget: Arc<Budget>,
}

impl Loader {
    /// The latest rows of all keys in some files.
    pub(super) async fn part(&self, state: &State, files: Vec<Arc<FileEntry>>) -> Result<Part> {
        // Each of these files is read once and whole, so that its footer is of no more use.
        let footers = Arc::new(FooterCache::new(0));
        let spec = spec(state, &state.columns, ScanFilter::default());
        let scan = TableScan::of_files(&state.pinned, files, spec, footers)?;
        let layer = self.latest(&scan, None).await?;
        let layers = match layer.rows() {
            0 => Vec::new(),
            _ => vec![Arc::new(layer)],
        };
        Ok(Part::new(Arc::clone(&state.columns), layers, scan.report()))
    }

    /// The latest rows of some keys alone, from the pages that can hold them.
    pub(super) async fn keys(
        &self,
        state: &State,
        files: Vec<Arc<FileEntry>>,
        keys: &SortedKeys,
        columns: &Columns,
    ) -> Result<Part> {
        let filter = ScanFilter {
            timestamp: None,
            keys: vec![KeyFilter {
                field_id: state.own[0],
                values: keys.clone(),
            }],
        };
        let spec = spec(state, columns, filter);
        let footers = Arc::clone(&self.footers);
        let scan = TableScan::of_files(&state.pinned, files, spec, footers)?;
        let layer = Arc::new(self.latest(&scan, Some(keys)).await?);
        Ok(Part::new(Arc::clone(columns), vec![layer], scan.report()))
    }

    /// All rows of some files.
    pub(super) async fn each_batch(
        &self,
        state: &State,
        files: Vec<Arc<FileEntry>>,
        mut take: impl FnMut(Rows) + Send,
    ) -> Result<()> {
        let footers = Arc::new(FooterCache::new(0));
        let spec = spec(state, &state.columns, ScanFilter::default());
        let scan = TableScan::of_files(&state.pinned, files, spec, footers)?;
        let mut all = rows(&scan);
        while let Some(rows) = all.try_next().await? {
            take(rows);
        }
        Ok(())
    }

    async fn latest(&self, scan: &TableScan, keys: Option<&SortedKeys>) -> Result<Layer> {
        let mut builder = LayerBuilder::default();
        let mut all = rows(scan);
        while let Some(rows) = all.try_next().await? {
            match keys {
                None => builder.push(rows),
                Some(keys) => {
                    let picked = rows.matching(|key, _| keys.contains_bytes(key));
                    builder.pick(rows, picked);
                }
            }
            if builder.bytes() > HELD_BYTES {
                builder = self.without_losers(builder)?;
            }
        }
        builder.finish(&self.budget)
    }

    fn without_losers(&self, builder: LayerBuilder) -> Result<LayerBuilder> {
        let layer = builder.finish(&self.budget)?;
        let mut builder = LayerBuilder::default();
        builder.push(layer.to_rows());
        builder.forget_bytes();
        Ok(builder)
    }
}

/// All rows of a scan, of several files at a time and in no order: storage answers slowly, and the latest row of a key is
/// the same in any order.
fn rows(scan: &TableScan) -> BoxStream<'_, Result<Rows>> {
    let parts = scan.partitions(FILES_AT_ONCE).into_iter();
    let reads = parts.map(|units| scan.read(units, BATCH_ROWS));
    let batches = futures::stream::iter(reads).flatten_unordered(None);
    batches.map(|batch| Rows::of(&batch?)).boxed()
}

fn spec(state: &State, columns: &Columns, filter: ScanFilter) -> ScanSpec {
    let features = columns.iter().map(|(id, _)| *id);
    ScanSpec {
        columns: state.own.into_iter().chain(features).collect(),
        filter,
        with_addresses: false,
    }
}

/// What several loads read together.
pub(super) fn sum<'a>(reports: impl IntoIterator<Item = &'a ScanReport>) -> ScanReport {
    let mut total = ScanReport::default();
    for report in reports {
        total.files_read += report.files_read;
        total.row_groups += report.row_groups;
        total.row_groups_pruned.by_key += report.row_groups_pruned.by_key;
        total.rows_scanned += report.rows_scanned;
        total.rows_pruned_by_page += report.rows_pruned_by_page;
        total.rows_deleted += report.rows_deleted;
        total.bytes_read += report.bytes_read;
    }
    total
}
