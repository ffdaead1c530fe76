//! The work of a fold: one narrow pass over keys and times to find the survivors, then the rows of each group of
//! partitions into new files.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use futures::{StreamExt, TryStreamExt};
use iceberg::table::Table;
use indicatif::ProgressBar;

use super::plan::{Candidate, FoldPlan, Group, Layout, Partition};
use super::survivors::{Deciding, Latest, Rank, Stay, Survivors};
use crate::error::{Error, Result};
use crate::model::RowAddress;
use crate::table::files::FileEntry;
use crate::table::online::{CREATED_TIMESTAMP, ENTITY_KEY, EVENT_TIMESTAMP, WRITE_SEQUENCE};
use crate::table::read::{ScanSpec, TableScan};
use crate::table::write::{Attempt, FileStyle, NewFiles, write_for};
use crate::table::{FileCache, PinnedTable};

const BATCH_ROWS: usize = 8192;
/// Bytes of footers kept while a table is compacted.
const FOOTER_BYTES: u64 = 64 * 1024 * 1024;

/// One table at one snapshot, and how much of it may be in memory.
pub(super) struct Fold<'a> {
    pub(super) table: &'a Table,
    pub(super) pinned: &'a PinnedTable,
    pub(super) layout: Layout,
    pub(super) buckets: u32,
    pub(super) pass_rows: u64,
    young_from_us: i64,
    cache: Arc<FileCache>,
}

/// What is known of a table's rows before anything is written.
pub(super) struct Survey {
    survivors: Survivors,
    pub(super) files: Vec<Candidate>,
    pub(super) incoming: BTreeMap<Partition, u64>,
}

impl<'a> Fold<'a> {
    pub(super) fn new(
        table: &'a Table,
        pinned: &'a PinnedTable,
        buckets: u32,
        pass_rows: u64,
        young_from_us: i64,
    ) -> Result<Self> {
        Ok(Self {
            table,
            pinned,
            layout: Layout::of(&pinned.name().to_string(), table.metadata())?,
            buckets,
            pass_rows,
            young_from_us,
            cache: Arc::new(FileCache::footers_only(FOOTER_BYTES)),
        })
    }

    fn files(&self) -> &[Arc<FileEntry>] {
        &self.pinned.files().files
    }

    /// Finds the rows that stay. Reads the keys and times of the table once for each so many rows of it, so that only
    /// the keys of one pass are in memory; a pass over some buckets leaves out the other buckets' files.
    pub(super) async fn survey(&self, progress: &ProgressBar) -> Result<Survey> {
        let files = self.files();
        let partitions: Vec<_> = files.iter().map(|it| self.layout.of_file(it)).collect();
        let mut survivors = Survivors::none_of(files.iter().map(|file| file.record_count));
        let mut incoming = BTreeMap::new();
        let rows = self.pinned.files().record_count();
        let passes = rows
            .div_ceil(self.pass_rows.max(1))
            .clamp(1, u64::from(self.buckets));
        let passes = u32::try_from(passes).unwrap_or(self.buckets);
        let step = self.buckets.div_ceil(passes);
        for start in (0..self.buckets).step_by(step as usize) {
            let end = self.buckets.min(start + step);
            let some: Vec<usize> = (0..files.len())
                .filter(|index| {
                    self.layout
                        .may_hold(partitions[*index], &(start..end), self.buckets)
                })
                .collect();
            let latest = Latest::new(start..end, self.buckets).keeping_from(self.young_from_us);
            let mut see = |key: &[u8], rank: Rank, row: RowAddress| {
                if partitions[row.file() as usize].is_none() {
                    let partition = self.layout.of_row(key, rank.event_us);
                    *incoming.entry(partition).or_default() += 1;
                }
            };
            let stay = Stay {
                survivors: &mut survivors,
                see: &mut see,
            };
            self.look(&some, latest, stay, progress).await?;
        }
        let files = files.iter().zip(partitions).enumerate();
        let files = files.map(|(index, (file, partition))| Candidate {
            partition,
            rows: file.record_count,
            survivors: survivors.count(index),
            bytes: file.size_bytes,
            deletes: !file.deletes.is_empty(),
        });
        Ok(Survey {
            files: files.collect(),
            survivors,
            incoming,
        })
    }

    /// Puts the rows of some buckets that stay into `stay`.
    async fn look(
        &self,
        files: &[usize],
        mut latest: Latest,
        mut stay: Stay<'_>,
        progress: &ProgressBar,
    ) -> Result<()> {
        let narrow = [
            ENTITY_KEY,
            EVENT_TIMESTAMP,
            CREATED_TIMESTAMP,
            WRITE_SEQUENCE,
        ];
        let columns = narrow.iter().map(|name| self.field_id(name));
        let scan = self.scan(files, columns.collect::<Result<_>>()?)?;
        let units = scan.partitions(1).into_iter().flatten().collect();
        let mut batches = scan.read(units, BATCH_ROWS);
        while let Some(batch) = batches.try_next().await? {
            latest.add(&batch, |row| whole(files, row), &mut stay)?;
            progress.inc(batch.num_rows() as u64);
        }
        latest.settle(&mut stay);
        Ok(())
    }

    fn field_id(&self, name: &str) -> Result<i32> {
        let found = self.pinned.schema().field_id_by_name(name);
        found.ok_or_else(|| {
            let table = self.pinned.name();
            Error::internal(
                format!("compact table `{table}`"),
                format!("it has no column `{name}`"),
            )
        })
    }

    fn scan(&self, files: &[usize], columns: Vec<i32>) -> Result<TableScan> {
        let chosen = files.iter().map(|index| Arc::clone(&self.files()[*index]));
        let spec = ScanSpec {
            columns,
            with_addresses: true,
            ..ScanSpec::default()
        };
        let pinned = self.pinned.with_files(chosen);
        TableScan::try_new(pinned, spec, Arc::clone(&self.cache))
    }

    /// Writes what stays of the files that go. On failure nothing of it is left.
    pub(super) async fn rewrite(
        &self,
        attempt: &Attempt,
        survey: &Survey,
        plan: &FoldPlan,
        progress: &ProgressBar,
    ) -> Result<NewFiles> {
        let mut written = NewFiles::of(attempt, self.table);
        for group in &plan.groups {
            let kept = self.kept_of(survey, plan, group, progress).await;
            let files = match kept {
                Ok(kept) => self.write(attempt, kept).await,
                Err(error) => Err(error),
            };
            match files {
                Ok(files) => written.add(files),
                Err(error) => {
                    written.discard().await;
                    return Err(error);
                }
            }
        }
        Ok(written)
    }

    /// The rows of a group's files that stay.
    async fn kept_of(
        &self,
        survey: &Survey,
        plan: &FoldPlan,
        group: &Group,
        progress: &ProgressBar,
    ) -> Result<Vec<RecordBatch>> {
        let files: Vec<usize> = group.files.iter().chain(&plan.loose).copied().collect();
        let columns = self.pinned.schema().as_struct().fields();
        let scan = self.scan(&files, columns.iter().map(|field| field.id).collect())?;
        let units = scan.partitions(1).into_iter().flatten().collect();
        scan.read(units, BATCH_ROWS)
            .map(|batch| {
                let kept = self.kept(survey, group, &files, &batch?)?;
                progress.inc(kept.num_rows() as u64);
                Ok::<_, Error>(kept)
            })
            .try_filter(|batch| std::future::ready(batch.num_rows() > 0))
            .try_collect()
            .await
    }

    async fn write(&self, attempt: &Attempt, rows: Vec<RecordBatch>) -> Result<NewFiles> {
        if rows.is_empty() {
            return Ok(NewFiles::of(attempt, self.table));
        }
        let spec = self.table.metadata().default_partition_spec();
        write_for(attempt, self.table, spec, FileStyle::LookedUp, rows).await
    }

    /// The rows of a batch that belong to the group and stay.
    fn kept(
        &self,
        survey: &Survey,
        group: &Group,
        files: &[usize],
        batch: &RecordBatch,
    ) -> Result<RecordBatch> {
        let rows = Deciding::of(batch)?;
        let stays = |row: usize| {
            let address = whole(files, rows.address(row));
            survey.survivors.contains(address)
                && (survey.files[address.file() as usize].partition.is_some()
                    || group
                        .partitions
                        .contains(&self.layout.of_row(rows.key(row), rows.event_us(row))))
        };
        let mask: BooleanArray = (0..batch.num_rows()).map(|row| Some(stays(row))).collect();
        filter_record_batch(batch, &mask).map_err(Error::arrow("drop superseded rows"))
    }
}

/// A row's address in the whole table, from its address in a scan of some files.
fn whole(files: &[usize], row: RowAddress) -> RowAddress {
    let file = files.get(row.file() as usize).copied().unwrap_or_default();
    RowAddress::new(u32::try_from(file).unwrap_or(u32::MAX), row.row())
}
