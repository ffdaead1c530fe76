//! The parts that an unordered result leaves in: rows whose join key falls into the same Iceberg buckets. Each part reads
//! only its own files, so that the first rows leave before the last file is read, and clients can fetch parts in parallel.
//!
//! A part is a function of the entity dataframe and of the pinned files alone: every ticket of a flight divides alike.

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use super::bind::BoundView;
use super::frame::Spine;
use crate::error::{Error, Result};
use crate::model::{FlightPart, HistoricalRequest};
use crate::table::layout::{bucket_counts, buckets_of};

/// Parts of a flight at most: each is planned by itself.
const MAX_PARTS: u32 = 16;

/// Positions of a part's rows, for each batch of the spine.
type Rows = Vec<Vec<u32>>;

/// Which rows leave, and whether in input order.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) ordered: bool,
    pub(super) part: FlightPart,
}

impl From<&HistoricalRequest> for Delivery {
    fn from(request: &HistoricalRequest) -> Self {
        let pinned = request.pins.as_ref().map(|pins| pins.part.clone());
        Self {
            ordered: request.ordered,
            part: pinned.unwrap_or_else(FlightPart::whole),
        }
    }
}

/// A spine and how its rows are divided.
#[derive(Debug)]
pub(super) struct Parts {
    spine: Spine,
    divided_by: String,
    /// One for each part; none where the whole spine is the only one.
    rows: Vec<Rows>,
}

impl Parts {
    /// All rows in one part.
    pub(super) fn whole(spine: Spine) -> Self {
        Self {
            spine,
            divided_by: String::new(),
            rows: Vec::new(),
        }
    }

    /// Rows by the buckets that all views' files have in common; the whole where there are none.
    pub(super) fn by_bucket(spine: Spine, views: &[BoundView]) -> Self {
        let buckets = Buckets::common(&spine, views);
        let divided = buckets.and_then(|buckets| Some((buckets, buckets.divide(&spine)?)));
        match divided {
            Some((buckets, rows)) if rows.len() > 1 => Self {
                divided_by: buckets.describe(&spine),
                rows,
                spine,
            },
            _ => Self::whole(spine),
        }
    }

    /// The parts of a ticket, each with its rows as a spine: all of them, or the one that the ticket is for.
    ///
    /// # Errors
    /// [`Error::FlightChanged`] if there is no such part.
    pub(super) fn of_ticket(&self, ticket: &FlightPart) -> Result<Vec<(FlightPart, Spine)>> {
        let wanted = |part: &FlightPart| ticket.is_whole() || part == ticket;
        let parts: Vec<_> = self.all().into_iter().filter(wanted).collect();
        if parts.is_empty() {
            return Err(changed(ticket, &self.describe()));
        }
        let with_rows = |part: FlightPart| Ok((part.clone(), self.spine_of(&part)?));
        parts.into_iter().map(with_rows).collect()
    }

    fn all(&self) -> Vec<FlightPart> {
        let count = u32::try_from(self.rows.len()).unwrap_or(u32::MAX).max(1);
        let part = |number| FlightPart {
            number,
            count,
            divided_by: self.divided_by.clone(),
        };
        (0..count).map(part).collect()
    }

    fn spine_of(&self, part: &FlightPart) -> Result<Spine> {
        let number = usize::try_from(part.number).unwrap_or(usize::MAX);
        match self.rows.get(number) {
            Some(rows) => self.spine.only(rows),
            None => Ok(self.spine.clone()),
        }
    }

    fn describe(&self) -> String {
        match self.rows.len() {
            0 => "one part".to_owned(),
            parts => format!("{parts} parts by {}", self.divided_by),
        }
    }
}

/// The refusal of a ticket for a part that there is not.
pub(super) fn changed(ticket: &FlightPart, found: &str) -> Error {
    Error::FlightChanged {
        part: ticket.to_string(),
        found: found.to_owned(),
    }
}

/// The buckets of a spine's column. More of them are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Buckets {
    count: u32,
    column: usize,
}

impl Buckets {
    /// The finest that every file of every view with features is partitioned into. Tables without files do not matter.
    fn common(spine: &Spine, views: &[BoundView]) -> Option<Self> {
        let reads =
            |view: &BoundView| !view.features.is_empty() && !view.table.files().files.is_empty();
        let views = views.iter().zip(&spine.keys);
        let views = views.filter(|(view, _)| reads(view));
        let buckets = views.map(|(view, columns)| Self::of(view, columns));
        buckets.reduce(|all, view| &all & &view)?.pop_last()
    }

    fn of(view: &BoundView, columns: &[usize]) -> BTreeSet<Self> {
        let files = view.table.files();
        let keys = view.keys.iter().zip(columns);
        keys.flat_map(|(key, column)| {
            let counts = bucket_counts(files, key.field_id).into_iter();
            counts.map(move |count| Self {
                count,
                column: *column,
            })
        })
        .collect()
    }

    /// The rows of each part that has any, or `None` where the column's type has no buckets.
    fn divide(self, spine: &Spine) -> Option<Vec<Rows>> {
        let parts = usize::try_from(self.count.min(MAX_PARTS)).ok()?;
        let mut divided = vec![vec![Vec::new(); spine.batches.len()]; parts];
        for (i, batch) in spine.batches.iter().enumerate() {
            let buckets = buckets_of(batch.column(self.column), self.count)?;
            for (row, bucket) in (0..).zip(&buckets) {
                let part = self.part_of(bucket, parts);
                divided.get_mut(part)?.get_mut(i)?.push(row);
            }
        }
        divided.retain(|part| part.iter().any(|rows| !rows.is_empty()));
        Some(divided)
    }

    /// Neighbouring buckets share a part. A null key matches nothing, and is in the first part.
    fn part_of(self, bucket: Option<i32>, parts: usize) -> usize {
        let bucket = bucket.and_then(|bucket| u64::try_from(bucket).ok());
        let part = bucket.unwrap_or(0) * parts as u64 / u64::from(self.count);
        usize::try_from(part).unwrap_or(usize::MAX)
    }

    fn describe(self, spine: &Spine) -> String {
        let column = spine.schema.field(self.column).name();
        format!("bucket[{}] of `{column}`", self.count)
    }
}

impl Spine {
    /// The spine of some rows, in their order.
    fn only(&self, rows: &Rows) -> Result<Self> {
        let chosen = self.batches.iter().zip(rows);
        let chosen = chosen.filter(|(_, rows)| !rows.is_empty());
        let batches = chosen
            .map(|(batch, rows)| take_record_batch(batch, &UInt32Array::from(rows.clone())))
            .collect::<Result<Vec<_>, _>>();
        Ok(Self {
            batches: batches.map_err(Error::arrow("divide the entity dataframe"))?,
            ..self.clone()
        })
    }

    /// Bytes of its rows.
    pub(super) fn bytes(&self) -> usize {
        let column = |array: &ArrayRef| array.to_data().get_slice_memory_size().unwrap_or(0);
        let batch = |batch: &RecordBatch| batch.columns().iter().map(column).sum::<usize>();
        self.batches.iter().map(batch).sum()
    }
}

#[cfg(test)]
mod tests;
