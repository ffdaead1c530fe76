//! From files to layers.

use std::sync::Arc;

use futures::stream::{BoxStream, Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinError;

use super::budget::Budget;
use super::by_key::Asked;
use super::layer::{Layer, LayerBuilder, Rows};
use super::part::{Columns, Part};
use super::state::State;
use crate::error::{Error, Result};
use crate::model::ScanReport;
use crate::table::FileCache;
use crate::table::files::FileEntry;
use crate::table::layout::{KeyFilter, ScanFilter, SortedKeys};
use crate::table::read::{ScanSpec, TableScan};

const BATCH_ROWS: usize = 8192;
/// Files read at a time by one load.
const FILES_AT_ONCE: usize = 8;
/// Keys that a builder has room for from the start, at most.
const MOST_ROOM: usize = 1 << 20;
/// Rows held while a part is built, before those that lost are let go.
const HELD_BYTES: usize = 256 << 20;

/// What loading needs beside the table.
#[derive(Clone, Debug)]
pub(super) struct Loader {
    pub(super) cache: Arc<FileCache>,
    pub(super) budget: Arc<Budget>,
}

impl Loader {
    /// The latest rows of all keys in some files.
    pub(super) async fn part(&self, state: &State, files: Vec<Arc<FileEntry>>) -> Result<Part> {
        let rows: u64 = files.iter().map(|file| file.record_count).sum();
        let room = usize::try_from(rows).unwrap_or(MOST_ROOM).min(MOST_ROOM);
        let scan = whole_files(state, files)?;
        let layer = self.latest(&scan, None, room).await?;
        let layers = match layer.rows() {
            0 => Vec::new(),
            _ => vec![Arc::new(layer)],
        };
        Ok(Part::new(Arc::clone(&state.columns), layers, scan.report()))
    }

    /// The latest rows of some keys alone, from the pages that can hold them.
    pub(super) async fn keys(&self, state: &State, asked: Asked) -> Result<Part> {
        let keys = SortedKeys::try_new(&asked.keys)
            .ok_or_else(|| Error::internal("read by key", "entity keys are not bytes"))?;
        let filter = ScanFilter {
            timestamp: None,
            keys: vec![KeyFilter {
                field_id: state.own[0],
                values: keys.clone(),
            }],
        };
        let spec = spec(state, &asked.columns, filter);
        let cache = Arc::clone(&self.cache);
        let scan = TableScan::of_files(&state.pinned, asked.files, spec, cache)?;
        let layer = Arc::new(self.latest(&scan, Some(&keys), 0).await?);
        Ok(Part::new(asked.columns, vec![layer], scan.report()))
    }

    /// All rows of some files.
    pub(super) async fn each_batch(
        &self,
        state: &State,
        files: Vec<Arc<FileEntry>>,
        mut take: impl FnMut(Rows) + Send,
    ) -> Result<()> {
        let scan = whole_files(state, files)?;
        let mut all = rows(&scan);
        while let Some(rows) = all.try_next().await? {
            take(rows);
        }
        Ok(())
    }

    /// The latest rows of all keys, or of some; `room` of them are expected.
    async fn latest(
        &self,
        scan: &TableScan,
        keys: Option<&SortedKeys>,
        room: usize,
    ) -> Result<Layer> {
        let mut builder = LayerBuilder::with_room(room);
        let mut all = rows(scan);
        while let Some(rows) = all.try_next().await? {
            match keys {
                None => builder.push(rows),
                Some(keys) => builder.push(rows.of_keys(|key| keys.contains_bytes(key))?),
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
        builder.push(layer.to_rows()?);
        builder.forget_bytes();
        Ok(builder)
    }
}

/// All rows of a scan, of several files at a time and in no order: storage answers slowly, decoding takes a core, and the
/// latest row of a key is the same in any order.
fn rows(scan: &TableScan) -> BoxStream<'static, Result<Rows>> {
    let parts = scan.partitions(FILES_AT_ONCE).into_iter();
    let reads: Vec<_> = parts
        .map(|units| in_task(scan.read(units, BATCH_ROWS).map(|batch| Rows::of(&batch?))))
        .collect();
    futures::stream::iter(reads).flatten_unordered(None).boxed()
}

/// A stream whose work is done in a task of its own, one item ahead; the task ends when nobody takes them any more.
fn in_task<T: Send + 'static>(
    mut work: impl Stream<Item = Result<T>> + Send + Unpin + 'static,
) -> BoxStream<'static, Result<T>> {
    let (sender, mut receiver) = mpsc::channel(1);
    let task = tokio::spawn(async move {
        while let Some(item) = work.next().await
            && sender.send(item).await.is_ok()
        {}
    });
    // A task that panicked must not pass for one that is done.
    let failure = |ended: Result<(), JoinError>| async {
        ended
            .err()
            .map(|error| Err(Error::internal("read files", error)))
    };
    futures::stream::poll_fn(move |context| receiver.poll_recv(context))
        .chain(futures::stream::once(task).filter_map(failure))
        .boxed()
}

/// A scan of files that are read once and whole: their footers are of no more use.
fn whole_files(state: &State, files: Vec<Arc<FileEntry>>) -> Result<TableScan> {
    let spec = spec(state, &state.columns, ScanFilter::default());
    TableScan::of_files(&state.pinned, files, spec, Arc::new(FileCache::none()))
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
