//! The buffered spine and its index: key to group, group to its distinct instants in ascending order (*slots*).

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::TryStreamExt;

use super::NONE;
use super::keys::KeyIndex;
use super::memory::bytes_of;
use crate::error::Error;
use crate::model::RetainedBytes;

/// Rows of the spine that are indexed between two looks at the memory in use.
const STEP_ROWS: usize = if cfg!(test) { 3 } else { 64 * 1024 };

/// The values of a timestamp column, in its own unit.
pub(super) fn instants(column: &dyn Array) -> &ScalarBuffer<i64> {
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            column.as_primitive::<TimestampSecondType>().values()
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            column.as_primitive::<TimestampMillisecondType>().values()
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            column.as_primitive::<TimestampMicrosecondType>().values()
        }
        _ => column.as_primitive::<TimestampNanosecondType>().values(),
    }
}

/// Rows where none of the columns is null; nothing when all rows are.
pub(super) fn all_valid<'a>(columns: impl IntoIterator<Item = &'a ArrayRef>) -> Option<NullBuffer> {
    let nulls = |column: &'a ArrayRef| column.logical_nulls();
    columns.into_iter().map(nulls).fold(None, |all, one| {
        NullBuffer::union(all.as_ref(), one.as_ref())
    })
}

/// All batches of the spine.
pub(super) struct Spine {
    batches: Vec<RecordBatch>,
    rows: usize,
    reservation: MemoryReservation,
}

impl Spine {
    pub(super) async fn collect(
        mut input: SendableRecordBatchStream,
        reservation: MemoryReservation,
    ) -> Result<Self> {
        let (mut batches, mut rows) = (Vec::new(), 0);
        let mut retained = RetainedBytes::default();
        while let Some(batch) = input.try_next().await? {
            if batch.num_rows() > 0 {
                reservation.try_resize(retained.add(&batch))?;
                rows = check_rows(rows, batch.num_rows())?;
                batches.push(batch);
            }
        }
        Ok(Self {
            batches,
            rows,
            reservation,
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The first rows, at most `rows`; their memory stays charged to the whole.
    pub(super) fn front(&self, rows: usize) -> Self {
        let mut front = Self {
            batches: Vec::new(),
            rows: rows.min(self.rows),
            reservation: self.reservation.new_empty(),
        };
        let mut missing = front.rows;
        for batch in &self.batches {
            let rows = missing.min(batch.num_rows());
            if rows > 0 {
                front.batches.push(batch.slice(0, rows));
            }
            missing -= rows;
        }
        front
    }

    /// Lets go of the rows of `front`, and answers their first `columns` columns; with the last rows goes the charge.
    pub(super) fn take_front(
        &mut self,
        front: Self,
        columns: usize,
    ) -> Result<(Vec<RecordBatch>, MemoryReservation)> {
        let kept: Vec<usize> = (0..columns).collect();
        let project = |batch: &RecordBatch| batch.project(&kept);
        let batches = front.batches.iter().map(project);
        let batches = batches.collect::<Result<Vec<_>, _>>()?;
        self.skip(front.rows);
        if self.rows > 0 {
            return Ok((batches, front.reservation));
        }
        let mut retained = RetainedBytes::default();
        batches.iter().for_each(|batch| {
            retained.add(batch);
        });
        self.reservation.try_resize(retained.bytes())?;
        Ok((batches, self.reservation.take()))
    }

    fn skip(&mut self, rows: usize) {
        let mut gone = rows;
        self.rows -= rows;
        self.batches.retain_mut(|batch| {
            let skipped = gone.min(batch.num_rows());
            gone -= skipped;
            *batch = batch.slice(skipped, batch.num_rows() - skipped);
            batch.num_rows() > 0
        });
    }

    fn steps(&self) -> impl Iterator<Item = RecordBatch> {
        self.batches.iter().flat_map(|batch| {
            let starts = (0..batch.num_rows()).step_by(STEP_ROWS);
            starts.map(|start| batch.slice(start, STEP_ROWS.min(batch.num_rows() - start)))
        })
    }
}

/// The sum, if every row can have a number.
pub(super) fn check_rows(before: usize, more: usize) -> Result<usize> {
    let rows = before.saturating_add(more);
    if rows >= NONE as usize {
        return Err(Error::Unsupported {
            what: format!("an entity dataframe of {NONE} or more rows"),
        }
        .into());
    }
    Ok(rows)
}

/// The slot of each spine row, [`NONE`] for a row that matches nothing.
pub(super) struct Slots {
    of_row: Vec<u32>,
    _reservation: MemoryReservation,
}

impl Slots {
    pub(super) fn of_rows(&self, rows: Range<usize>) -> &[u32] {
        &self.of_row[rows]
    }
}

/// The spine by one set of key columns.
pub(super) struct SpineIndex {
    keys: KeyIndex,
    /// Slots of group `g` are `offsets[g]..offsets[g + 1]`.
    offsets: Vec<u32>,
    /// Spine instant of each slot; ascends within a group.
    instants: ScalarBuffer<i64>,
    unit: TimeUnit,
    slots: Arc<Slots>,
    _reservation: MemoryReservation,
}

impl SpineIndex {
    /// Indexes `spine` by the columns `keys` and the timestamp column `timestamp`.
    pub(super) fn build(
        spine: &Spine,
        keys: &[usize],
        timestamp: usize,
        reservation: &MemoryReservation,
    ) -> Result<Self> {
        let types = |batch: &RecordBatch| {
            keys.iter()
                .map(|key| batch.column(*key).data_type().clone())
                .collect()
        };
        let types: Vec<DataType> = spine.batches.first().map(types).unwrap_or_default();
        let (for_rows, for_index) = (reservation.new_empty(), reservation.new_empty());
        for_rows.try_grow(bytes_of::<u32>(spine.rows))?;
        let mut index = KeyIndex::try_new(&types)?;
        let mut group_of_row = Vec::with_capacity(spine.rows);
        for step in spine.steps() {
            let columns: Vec<ArrayRef> = keys
                .iter()
                .map(|key| Arc::clone(step.column(*key)))
                .collect();
            let valid = all_valid(columns.iter().chain([step.column(timestamp)]));
            index.insert(&columns, step.num_rows(), valid.as_ref(), &mut group_of_row)?;
            for_index.try_resize(index.bytes())?;
        }
        index.finish();
        for_index.try_resize(index.bytes())?;
        let order = RowOrder::new(
            spine,
            timestamp,
            &group_of_row,
            index.len(),
            reservation.new_empty(),
        )?;
        let (offsets, instants, of_row) = order.cut(group_of_row, &for_index)?;
        let slots = Arc::new(Slots {
            of_row,
            _reservation: for_rows,
        });
        let unit = time_unit(
            spine
                .batches
                .first()
                .map(|batch| batch.column(timestamp).data_type()),
        );
        Ok(Self {
            keys: index,
            offsets,
            instants: instants.into(),
            unit,
            slots,
            _reservation: for_index,
        })
    }

    pub(super) fn keys(&self) -> &KeyIndex {
        &self.keys
    }

    pub(super) fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    pub(super) fn slots_of_group(&self, group: u32) -> Range<usize> {
        let group = group as usize;
        self.offsets[group] as usize..self.offsets[group + 1] as usize
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = Range<usize>> {
        self.offsets
            .windows(2)
            .map(|ends| ends[0] as usize..ends[1] as usize)
    }

    pub(super) fn instants(&self) -> &ScalarBuffer<i64> {
        &self.instants
    }

    pub(super) fn unit(&self) -> TimeUnit {
        self.unit
    }
}

/// The unit of a timestamp type.
pub(super) fn time_unit(data_type: Option<&DataType>) -> TimeUnit {
    match data_type {
        Some(DataType::Timestamp(unit, _)) => *unit,
        _ => TimeUnit::Nanosecond,
    }
}

/// The spine's valid rows, group by group, ascending by instant within each.
struct RowOrder {
    /// Rows of group `g` are `starts[g]..starts[g + 1]`.
    starts: Vec<u32>,
    rows: Vec<(i64, u32)>,
    _reservation: MemoryReservation,
}

impl RowOrder {
    fn new(
        spine: &Spine,
        timestamp: usize,
        group_of_row: &[u32],
        groups: usize,
        reservation: MemoryReservation,
    ) -> Result<Self> {
        reservation.try_grow(bytes_of::<u32>(groups + 1) + bytes_of::<(i64, u32)>(spine.rows))?;
        let mut starts = group_starts(group_of_row, groups);
        let mut rows = vec![(0, 0); starts[groups] as usize];
        let instants = spine
            .batches
            .iter()
            .flat_map(|batch| instants(batch.column(timestamp)).iter());
        for (row, (instant, group)) in instants.zip(group_of_row).enumerate() {
            if *group != NONE {
                let next = &mut starts[*group as usize];
                rows[*next as usize] = (*instant, row as u32);
                *next += 1;
            }
        }
        starts.rotate_right(1);
        starts[0] = 0;
        for group in starts.windows(2) {
            rows[group[0] as usize..group[1] as usize].sort_unstable();
        }
        Ok(Self {
            starts,
            rows,
            _reservation: reservation,
        })
    }

    /// Numbers the distinct instants: offsets of the groups, instant of each slot, slot of each row.
    fn cut(
        &self,
        mut of_row: Vec<u32>,
        reservation: &MemoryReservation,
    ) -> Result<(Vec<u32>, Vec<i64>, Vec<u32>)> {
        let groups = || {
            self.starts
                .windows(2)
                .map(|ends| &self.rows[ends[0] as usize..ends[1] as usize])
        };
        let slots = groups()
            .map(|rows| rows.chunk_by(|a, b| a.0 == b.0).count())
            .sum();
        reservation.try_grow(bytes_of::<u32>(self.starts.len()) + bytes_of::<i64>(slots))?;
        let mut offsets = Vec::with_capacity(self.starts.len());
        let mut instants = Vec::with_capacity(slots);
        offsets.push(0);
        for rows in groups() {
            for equal in rows.chunk_by(|a, b| a.0 == b.0) {
                equal
                    .iter()
                    .for_each(|(_, row)| of_row[*row as usize] = instants.len() as u32);
                instants.push(equal[0].0);
            }
            offsets.push(instants.len() as u32);
        }
        Ok((offsets, instants, of_row))
    }
}

/// Where each group's rows start when rows stand group by group; one more for the end.
fn group_starts(group_of_row: &[u32], groups: usize) -> Vec<u32> {
    let mut starts = vec![0; groups + 1];
    for group in group_of_row.iter().filter(|group| **group != NONE) {
        starts[*group as usize + 1] += 1;
    }
    for group in 0..groups {
        starts[group + 1] += starts[group];
    }
    starts
}
