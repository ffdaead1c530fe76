//! Late materialization: the rows at given addresses, in order, from as few bytes as the files' indexes allow.
//!
//! The wanted rows of a row group are one job. Jobs decode ahead in tasks of their own, each at most a few batches
//! beyond what has been taken, and their output is taken in address order. All tasks end when the stream is dropped.
//!
//! Whether scattered rows are skipped to or the whole row group is decoded and filtered is left to the parquet crate:
//! its choice by the density of the selection was within noise of the better of the two at every density tried, from
//! 0.01 % to all rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use iceberg::spec::NestedFieldRef;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::columns::{self, FilePlan, partition_values};
use super::group::{GroupRows, OpenFile};
use super::{Scan, adapt};
use crate::error::{Error, Result};
use crate::model::{RowAddress, ScanCounters};

const BATCH_ROWS: usize = 8192;
/// Batches of one job that wait to be taken.
const JOB_BUFFER: usize = 2;

pub(super) fn fetch(
    scan: Arc<Scan>,
    addresses: Vec<RowAddress>,
    columns: &[i32],
) -> BoxStream<'static, Result<RecordBatch>> {
    match Target::try_new(&scan, columns).and_then(|target| Ok((target, by_file(&addresses)?))) {
        Ok((target, runs)) => rows(
            scan,
            Arc::new(target),
            runs.into_iter(),
            Arc::from(addresses),
        )
        .boxed(),
        Err(error) => futures::stream::once(async { Err(error) }).boxed(),
    }
}

/// The columns to fetch.
#[derive(Debug)]
struct Target {
    fields: Vec<NestedFieldRef>,
    schema: SchemaRef,
}

impl Target {
    fn try_new(scan: &Scan, ids: &[i32]) -> Result<Self> {
        let fields = columns::top_level_fields(&scan.place.table, &scan.place.schema, ids)?;
        let schema = adapt::schema_of(columns::arrow_fields(&fields)?, None);
        Ok(Self { fields, schema })
    }
}

/// Ranges of `addresses` that are in one file each.
fn by_file(addresses: &[RowAddress]) -> Result<Vec<Range<usize>>> {
    if !addresses.is_sorted_by(|a, b| a < b) {
        return Err(Error::internal("fetching rows", "addresses do not ascend"));
    }
    let mut start = 0;
    let runs = addresses.chunk_by(|a, b| a.file() == b.file()).map(|run| {
        start += run.len();
        start - run.len()..start
    });
    Ok(runs.collect())
}

fn rows(
    scan: Arc<Scan>,
    target: Arc<Target>,
    runs: impl Iterator<Item = Range<usize>> + Send + 'static,
    addresses: Arc<[RowAddress]>,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    let ahead = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
    futures::stream::iter(runs)
        .map(move |run| {
            plan_file(
                Arc::clone(&scan),
                Arc::clone(&target),
                Arc::clone(&addresses),
                run,
            )
        })
        .buffered(ahead)
        .map_ok(|jobs| futures::stream::iter(jobs.into_iter().map(Ok::<_, Error>)))
        .try_flatten()
        .map_ok(|job| async move { Ok(Running::start(job)) })
        .try_buffered(ahead)
        .map_ok(Running::into_stream)
        .try_flatten()
}

/// The wanted rows of one row group.
#[derive(Debug)]
struct Job {
    scan: Arc<Scan>,
    target: Arc<Target>,
    file: Arc<OpenFile>,
    plan: Arc<FilePlan>,
    rows: GroupRows,
}

async fn plan_file(
    scan: Arc<Scan>,
    target: Arc<Target>,
    addresses: Arc<[RowAddress]>,
    run: Range<usize>,
) -> Result<Vec<Job>> {
    let wanted = addresses.get(run).unwrap_or_default();
    let Some(first) = wanted.first() else {
        return Ok(Vec::new());
    };
    let (entry, file) = scan.open_data(first.file()).await?;
    let schema = file.footer.schema.with_ids(&scan.place.field_ids);
    let parquet = file.footer.reader.parquet_schema();
    let partition = partition_values(entry);
    let plan = Arc::new(FilePlan::try_new(
        &entry.path,
        &schema,
        parquet,
        &target.fields,
        &partition,
    )?);
    let groups = wanted_groups(&file, wanted)?;
    let job = |rows| Job {
        scan: Arc::clone(&scan),
        target: Arc::clone(&target),
        file: Arc::clone(&file),
        plan: Arc::clone(&plan),
        rows,
    };
    Ok(groups.into_iter().map(job).collect())
}

fn wanted_groups(file: &OpenFile, mut wanted: &[RowAddress]) -> Result<Vec<GroupRows>> {
    let mut groups = Vec::new();
    for (group, span, _) in file.footer.row_groups() {
        let (inside, rest) =
            wanted.split_at(wanted.partition_point(|address| address.row() < span.end));
        wanted = rest;
        if !inside.is_empty() {
            let ranges = consecutive(inside.iter().map(|address| address.row() - span.start));
            let all = inside.len() as u64 == span.end - span.start;
            groups.push(GroupRows {
                group,
                span,
                wanted: (!all).then_some(ranges),
            });
        }
    }
    match wanted.first() {
        None => Ok(groups),
        Some(address) => {
            let message = format!(
                "`{}` has {} rows, none is {address}",
                file.input.path(),
                file.footer.rows()
            );
            Err(Error::internal("fetching rows", message))
        }
    }
}

/// Ascending, distinct rows as ranges.
fn consecutive(rows: impl Iterator<Item = u64>) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => ranges.push(row..row + 1),
        }
    }
    ranges
}

impl Job {
    async fn run(self, output: mpsc::Sender<Result<RecordBatch>>) {
        if let Err(error) = self.decode(&output).await {
            // The receiver is gone only when nobody wants the rows any more.
            let _ = output.send(Err(error)).await;
        }
    }

    async fn decode(&self, output: &mpsc::Sender<Result<RecordBatch>>) -> Result<()> {
        let Some(reader) = self
            .file
            .open_group(&self.plan.mask, &self.rows, BATCH_ROWS)
            .await?
        else {
            return Ok(());
        };
        for decoded in reader {
            let decoded = decoded.map_err(|error| self.file.decode_failure(error))?;
            let columns = self.plan.apply(&decoded)?;
            let batch = adapt::batch(&self.target.schema, columns, decoded.num_rows())?;
            ScanCounters::add(&self.scan.counters.rows_fetched, batch.num_rows() as u64);
            if output.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// A job at work; dropping it ends it.
struct Running {
    output: mpsc::Receiver<Result<RecordBatch>>,
    missing: u64,
    path: String,
    _task: JoinSet<()>,
}

impl Running {
    fn start(job: Job) -> Self {
        let (sender, output) = mpsc::channel(JOB_BUFFER);
        let (missing, path) = (job.rows.count(), job.file.input.path().to_owned());
        let mut task = JoinSet::new();
        task.spawn(job.run(sender));
        Self {
            output,
            missing,
            path,
            _task: task,
        }
    }

    fn into_stream(self) -> impl Stream<Item = Result<RecordBatch>> {
        futures::stream::try_unfold(self, |mut running| async move {
            match running.output.recv().await {
                Some(Err(error)) => Err(error),
                Some(Ok(batch)) => {
                    running.missing = running.missing.saturating_sub(batch.num_rows() as u64);
                    Ok(Some((batch, running)))
                }
                None if running.missing == 0 => Ok(None),
                None => {
                    let message = format!(
                        "{} rows of `{}` did not come",
                        running.missing, running.path
                    );
                    Err(Error::internal("fetching rows", message))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_ranges() {
        assert_eq!(
            consecutive([1, 2, 3, 7, 9, 10].into_iter()),
            vec![1..4, 7..8, 9..11]
        );
    }

    #[test]
    fn addresses_split_by_file_and_must_ascend() {
        let address = |file, row| RowAddress::new(file, row);
        let runs = by_file(&[address(0, 5), address(0, 9), address(3, 0)]).unwrap();
        assert_eq!(runs, vec![0..2, 2..3]);
        assert!(by_file(&[address(0, 5), address(0, 5)]).is_err());
    }
}
