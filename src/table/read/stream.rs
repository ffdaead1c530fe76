//! The scan proper: units of files to batches, the next row group's bytes on their way while one is decoded.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::filter_record_batch;
use futures::{Stream, StreamExt, TryStreamExt};
use parquet::file::metadata::RowGroupMetaData;
use tokio::task::JoinSet;

use super::Scan;
use super::adapt;
use super::bloom;
use super::columns::{FilePlan, partition_values};
use super::deletes::FileDeletes;
use super::group::{GroupRows, OpenFile, RowNumbers};
use super::group_reader::GroupReader;
use super::prune::{FileFilter, Verdict};
use super::units::ScanUnit;
use crate::error::{Error, Result};
use crate::model::{RowAddress, ScanCounters};
use crate::table::files::FileEntry;

/// Files and row groups that are prepared at once: the one in use and the next.
const AHEAD: usize = 2;

/// A data file in reading.
#[derive(Debug)]
struct DataFile {
    scan: Arc<Scan>,
    index: u32,
    file: Arc<OpenFile>,
    plan: FilePlan,
    deletes: FileDeletes,
}

pub(super) fn read(
    scan: Arc<Scan>,
    units: Vec<ScanUnit>,
    batch_size: usize,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    futures::stream::iter(units)
        .map(move |unit| plan_unit(Arc::clone(&scan), unit))
        .buffered(AHEAD)
        .map_ok(|groups| futures::stream::iter(groups.into_iter().map(Ok)))
        .try_flatten()
        .map_ok(move |(file, rows)| in_background(open_group(file, rows, batch_size)))
        .try_buffered(AHEAD)
        .map_ok(|batches| futures::stream::iter(batches.into_iter().flatten()))
        .try_flatten()
        .then(|batch| async {
            tokio::task::consume_budget().await;
            batch
        })
}

/// Runs while the caller does something else, and no longer than the caller waits.
pub(super) async fn in_background<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    match tasks.join_next().await {
        Some(Ok(done)) => done,
        Some(Err(error)) => Err(Error::internal("reading a row group", error)),
        None => Err(Error::internal("reading a row group", "its task is gone")),
    }
}

/// The row groups of a unit that can matter.
async fn plan_unit(scan: Arc<Scan>, unit: ScanUnit) -> Result<Vec<(Arc<DataFile>, GroupRows)>> {
    let (entry, file) = scan.open_data(unit.file).await?;
    let groups = plan_groups(&scan, &unit, entry, &file).await?;
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let deletes = scan.deletes.of_file(entry, &scan).await?;
    let schema = file.footer.schema.with_ids(&scan.place.field_ids);
    let mut fields = scan.fields.clone();
    fields.extend(deletes.equality_fields());
    let parquet = file.footer.reader.parquet_schema();
    let plan = FilePlan::try_new(
        &entry.path,
        &schema,
        parquet,
        &fields,
        &partition_values(entry),
    )?;
    let data = Arc::new(DataFile {
        index: unit.file,
        file,
        plan,
        deletes,
        scan: Arc::clone(&scan),
    });
    Ok(groups
        .into_iter()
        .map(|rows| (Arc::clone(&data), rows))
        .collect())
}

async fn plan_groups(
    scan: &Scan,
    unit: &ScanUnit,
    entry: &FileEntry,
    file: &OpenFile,
) -> Result<Vec<GroupRows>> {
    let metadata = file.footer.metadata();
    let schema = file.footer.schema.with_ids(&scan.place.field_ids);
    let narrowed = scan.keys.narrow(&scan.filter, entry);
    let filter = FileFilter::new(&narrowed, &scan.place.schema, &schema, metadata);
    let counters = &scan.counters;
    let mut kept = Vec::new();
    for (group, span, row_group) in file
        .footer
        .row_groups()
        .filter(|(_, _, group)| unit.contains(middle(group)))
    {
        ScanCounters::add(&counters.row_groups, 1);
        match filter.row_group(row_group) {
            Verdict::ByTime => ScanCounters::add(&counters.row_groups_pruned_by_time, 1),
            Verdict::ByKey => ScanCounters::add(&counters.row_groups_pruned_by_key, 1),
            Verdict::Keep => {
                let rows = span.end - span.start;
                let rows = GroupRows {
                    group,
                    span,
                    wanted: filter.pages(metadata, group, rows),
                };
                kept.push(rows);
            }
        }
    }
    let candidates = kept.len();
    let kept = bloom::with_keys(file, &filter, kept).await?;
    let absent = (candidates - kept.len()) as u64;
    ScanCounters::add(&counters.row_groups_pruned_by_key, absent);
    for rows in &kept {
        let pruned = rows.span.end - rows.span.start - rows.count();
        ScanCounters::add(&counters.rows_pruned_by_page, pruned);
    }
    Ok(kept)
}

/// Where a row group lies in its file, to put it into exactly one unit.
fn middle(group: &RowGroupMetaData) -> u64 {
    let ranges = group.columns().iter().map(|chunk| chunk.byte_range());
    let whole = ranges.map(|(start, length)| start..start.saturating_add(length));
    let whole = whole
        .reduce(|a: Range<u64>, b| a.start.min(b.start)..a.end.max(b.end))
        .unwrap_or(0..0);
    whole.start + (whole.end - whole.start) / 2
}

async fn open_group(
    file: Arc<DataFile>,
    rows: GroupRows,
    batch_size: usize,
) -> Result<Option<Batches>> {
    let reader = file
        .file
        .open_group(&file.plan.projection, &rows, batch_size, file.scan.keep)
        .await?;
    Ok(reader.map(|reader| Batches {
        numbers: RowNumbers::new(rows.rows()),
        reader,
        file,
    }))
}

/// The batches of one row group whose bytes are in memory.
struct Batches {
    file: Arc<DataFile>,
    reader: GroupReader,
    numbers: RowNumbers,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let decoded = match self.reader.next() {
                Some(decoded) => decoded.map_err(|error| self.file.file.decode_failure(error)),
                None => {
                    return self
                        .rows_missing()
                        .then(|| Err(self.file.file.wrong_row_count()));
                }
            };
            match decoded.and_then(|decoded| self.finish(&decoded)) {
                Ok(batch) if batch.num_rows() == 0 => {}
                finished => return Some(finished),
            }
        }
    }
}

impl Batches {
    /// Whether the row group ended early; says so once.
    fn rows_missing(&mut self) -> bool {
        let missing = !self.numbers.is_done();
        self.numbers = RowNumbers::new(Vec::new());
        missing
    }

    fn finish(&mut self, decoded: &RecordBatch) -> Result<RecordBatch> {
        let scan = &self.file.scan;
        let count = decoded.num_rows();
        ScanCounters::add(&scan.counters.rows_scanned, count as u64);
        let rows = self.numbers.next(count);
        if rows.len() != count {
            return Err(self.file.file.wrong_row_count());
        }
        let mut columns = self.file.plan.apply(decoded)?;
        let compared = columns.split_off(scan.fields.len());
        let remaining = self.file.deletes.remaining(&rows, &compared)?;
        if scan.with_addresses {
            columns.push(addresses(self.file.index, rows));
        }
        let batch = adapt::batch(&scan.output, columns, count)?;
        match remaining {
            None => Ok(batch),
            Some(keep) => {
                let kept =
                    filter_record_batch(&batch, &keep).map_err(Error::arrow("applying deletes"))?;
                ScanCounters::add(
                    &scan.counters.rows_deleted,
                    (count - kept.num_rows()) as u64,
                );
                Ok(kept)
            }
        }
    }
}

fn addresses(file: u32, mut rows: Vec<u64>) -> ArrayRef {
    let base = RowAddress::new(file, 0).to_u64();
    rows.iter_mut().for_each(|row| *row |= base);
    Arc::new(UInt64Array::from(rows))
}
