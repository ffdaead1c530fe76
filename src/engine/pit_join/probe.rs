//! Streams the partitions of a scan past the spine's index, each in a task of its own.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::UInt64Type;
use datafusion::common::runtime::JoinSet;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::Count;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::TryStreamExt;

use super::NONE;
use super::candidates::{Best, Candidates, Created, Hit, Hits};
use super::keys::KeyScratch;
use super::memory::bytes_of;
use super::spine::{SpineIndex, all_valid, instants};
use super::window::Windows;
use crate::error::Error;
use crate::model::RowAddress;

/// Rows whose slots are searched together: few enough for what they touch to stay in the nearest cache.
const SEARCHED_ROWS: usize = 256;

/// Everything the partitions of one scan share.
pub(super) struct Probe<C> {
    pub(super) index: Arc<SpineIndex>,
    pub(super) windows: Windows,
    pub(super) candidates: Candidates<C>,
    /// Number of key columns; they come first, then event time, created time if any, address.
    pub(super) keys: usize,
    pub(super) rows_scanned: Count,
}

/// Buffers of one partition, kept from batch to batch.
struct Scratch {
    keys: KeyScratch,
    groups: Vec<u32>,
    /// Rows whose keys the spine has, with their groups' slots.
    known_rows: Vec<(u32, Range<usize>)>,
    middles: Vec<i64>,
    hits: Hits,
    reservation: MemoryReservation,
}

/// A batch's columns that decide who wins.
struct Ranks<'a> {
    events: &'a ScalarBuffer<i64>,
    created: Option<(&'a ScalarBuffer<i64>, Option<&'a NullBuffer>)>,
    addresses: &'a ScalarBuffer<u64>,
}

impl<C: Created> Probe<C> {
    /// Reads all partitions of `scan` to their end.
    pub(super) async fn run(
        self: &Arc<Self>,
        scan: &Arc<dyn ExecutionPlan>,
        context: &Arc<TaskContext>,
        reservation: &MemoryReservation,
    ) -> Result<()> {
        let mut tasks = JoinSet::new();
        for partition in 0..scan.output_partitioning().partition_count() {
            let input = scan.execute(partition, Arc::clone(context))?;
            tasks.spawn(Arc::clone(self).drain(input, reservation.new_empty()));
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(|panic| DataFusionError::ExecutionJoin(Box::new(panic)))??;
        }
        Ok(())
    }

    async fn drain(
        self: Arc<Self>,
        mut input: SendableRecordBatchStream,
        reservation: MemoryReservation,
    ) -> Result<()> {
        let keys = KeyScratch::default();
        let mut scratch = Scratch {
            keys,
            groups: Vec::new(),
            known_rows: Vec::new(),
            middles: Vec::new(),
            hits: Hits::default(),
            reservation,
        };
        while let Some(batch) = input.try_next().await? {
            self.rows_scanned.add(batch.num_rows());
            self.offer(&batch, &mut scratch)?;
            // A scan that is always ready must not keep an abort from being noticed.
            tokio::task::consume_budget().await;
        }
        Ok(())
    }

    fn offer(&self, batch: &RecordBatch, scratch: &mut Scratch) -> Result<()> {
        let (keys, rest) = batch.columns().split_at(self.keys);
        let valid = all_valid(keys.iter().chain([&rest[0]]));
        let Scratch {
            keys: key_scratch,
            groups,
            known_rows,
            middles,
            hits,
            reservation,
        } = scratch;
        self.index
            .keys()
            .find(keys, batch.num_rows(), valid.as_ref(), key_scratch, groups)?;
        hits.rows.clear();
        let ranks = Ranks::of(rest);
        let known = (0..).zip(&*groups).filter(|(_, group)| **group != NONE);
        known_rows.clear();
        known_rows.extend(known.map(|(row, group)| (row, self.index.slots_of_group(*group))));
        for rows in known_rows.chunks(SEARCHED_ROWS) {
            self.search(rows, &ranks, middles, &mut hits.rows);
        }
        ranks.check_addresses()?;
        self.candidates.offer(hits, |row| ranks.get(row as usize))?;
        reservation.try_resize(
            hits.bytes()
                + key_scratch.bytes()
                + bytes_of::<u32>(groups.capacity())
                + bytes_of::<(u32, Range<usize>)>(known_rows.capacity()),
        )
    }
}

impl<C: Created> Probe<C> {
    /// Appends the hits of some rows with their groups' slots.
    fn search(
        &self,
        rows: &[(u32, Range<usize>)],
        ranks: &Ranks<'_>,
        middles: &mut Vec<i64>,
        hits: &mut Vec<Hit>,
    ) {
        middles.clear();
        middles.extend(rows.iter().map(|(_, slots)| self.windows.middle(slots)));
        for ((row, slots), middle) in rows.iter().zip(middles) {
            let event = ranks.events[*row as usize];
            if let Some(slot) = self.windows.first_slot(slots.clone(), *middle, event) {
                let (slot, row) = (slot as u32, *row);
                hits.push(Hit { slot, row });
            }
        }
    }
}

impl<'a> Ranks<'a> {
    /// From the columns after the keys.
    fn of(columns: &'a [ArrayRef]) -> Self {
        let created = columns[1..columns.len() - 1].first();
        Self {
            events: instants(&columns[0]),
            created: created.map(|column| (instants(column), column.nulls())),
            addresses: columns[columns.len() - 1]
                .as_primitive::<UInt64Type>()
                .values(),
        }
    }

    /// [`Best`] has a use of its own for the greatest address.
    fn check_addresses(&self) -> Result<()> {
        match self.addresses.contains(&u64::MAX) {
            false => Ok(()),
            true => {
                let message = format!("column {} holds u64::MAX", RowAddress::COLUMN);
                Err(Error::internal("point-in-time join", message).into())
            }
        }
    }

    fn get<C: Created>(&self, row: usize) -> Best<C> {
        let created = match self.created {
            Some((values, nulls)) if nulls.is_none_or(|nulls| nulls.is_valid(row)) => {
                C::from_value(values[row])
            }
            _ => C::LOWEST,
        };
        Best {
            event: self.events[row],
            created,
            address: self.addresses[row],
        }
    }
}
