//! The fetched values of one view's winners, and how they are laid out beside spine rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Fields};
use arrow::error::ArrowError;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::TryStreamExt;
use futures::stream::BoxStream;

use super::memory::bytes_of;
use super::metrics::ViewMetrics;
use super::spine::Slots;
use super::ties::check_fetched;
use super::winners::Winners;
use super::{FetchColumns, FetchRows, NONE};
use crate::error::Error;
use crate::model::RetainedBytes;
use crate::model::RowAddress;

/// What one view adds to the output.
pub(super) struct ViewValues {
    features: Fields,
    /// Winners in address order.
    batches: Vec<RecordBatch>,
    /// Position of each batch's first row.
    starts: Vec<u32>,
    /// Winner of each slot.
    of_slot: Vec<u32>,
    slots: Option<Arc<Slots>>,
    metrics: ViewMetrics,
    _reservations: Vec<MemoryReservation>,
}

impl ViewValues {
    /// A view without a single match.
    pub(super) fn nothing(features: Fields, metrics: ViewMetrics) -> Self {
        let (batches, starts, of_slot) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            features,
            batches,
            starts,
            of_slot,
            slots: None,
            metrics,
            _reservations: Vec::new(),
        }
    }

    /// Reads the values of `winners`.
    pub(super) async fn fetch(
        winners: Winners,
        slots: Arc<Slots>,
        features: Fields,
        source: &Arc<dyn FetchRows>,
        metrics: ViewMetrics,
    ) -> Result<Self> {
        let Winners {
            addresses,
            of_slot,
            reservation,
        } = winners;
        let count = addresses.len();
        let rows = source.fetch(addresses, FetchColumns::Requested);
        let (batches, values) = collect(rows, &features, reservation.new_empty()).await?;
        let starts = starts(&batches, count)?;
        reservation.shrink(bytes_of::<RowAddress>(count));
        Ok(Self {
            features,
            batches,
            starts,
            of_slot,
            slots: Some(slots),
            metrics,
            _reservations: vec![reservation, values],
        })
    }

    /// The feature columns of the spine rows `rows`.
    pub(super) fn gather(&self, rows: Range<usize>) -> Result<Vec<ArrayRef>, ArrowError> {
        let Some(slots) = self.slots.as_ref().filter(|_| !self.batches.is_empty()) else {
            return Ok(self
                .features
                .iter()
                .map(|field| new_null_array(field.data_type(), rows.len()))
                .collect());
        };
        let places: Vec<(usize, usize)> = slots
            .of_rows(rows)
            .iter()
            .map(|slot| self.place(*slot))
            .collect();
        let columns: Vec<_> = (0..self.features.len())
            .map(|feature| self.gather_one(feature, &places))
            .collect::<Result<_, _>>()?;
        self.metrics
            .rows_matched
            .add(places.iter().filter(|(batch, _)| *batch > 0).count());
        Ok(columns)
    }

    /// Batch, counted from one, and row in it of a slot's winner; a row of nulls stands at zero.
    fn place(&self, slot: u32) -> (usize, usize) {
        let winner = if slot == NONE {
            NONE
        } else {
            self.of_slot[slot as usize]
        };
        if winner == NONE {
            return (0, 0);
        }
        let batch = self.starts.partition_point(|start| *start <= winner);
        (batch, (winner - self.starts[batch - 1]) as usize)
    }

    fn gather_one(
        &self,
        feature: usize,
        places: &[(usize, usize)],
    ) -> Result<ArrayRef, ArrowError> {
        let nulls = new_null_array(self.features[feature].data_type(), 1);
        let batches = self
            .batches
            .iter()
            .map(|batch| batch.column(feature).as_ref());
        let sources: Vec<&dyn Array> = [nulls.as_ref()].into_iter().chain(batches).collect();
        interleave(&sources, places)
    }
}

async fn collect(
    mut rows: BoxStream<'static, Result<RecordBatch, Error>>,
    features: &Fields,
    reservation: MemoryReservation,
) -> Result<(Vec<RecordBatch>, MemoryReservation)> {
    let (mut batches, mut retained) = (Vec::new(), RetainedBytes::default());
    while let Some(batch) = rows.try_next().await? {
        check_types(&batch, features)?;
        reservation.try_resize(retained.add(&batch))?;
        batches.push(batch);
        tokio::task::consume_budget().await;
    }
    Ok((batches, reservation))
}

fn check_types(batch: &RecordBatch, features: &Fields) -> Result<()> {
    let expected: Vec<&DataType> = features.iter().map(|field| field.data_type()).collect();
    let found: Vec<&DataType> = batch
        .columns()
        .iter()
        .map(|column| column.data_type())
        .collect();
    if expected == found {
        return Ok(());
    }
    Err(Error::internal(
        "fetch rows",
        format!("expected columns of {expected:?}, found {found:?}"),
    )
    .into())
}

/// Position of each batch's first row; all together must have `count` rows.
fn starts(batches: &[RecordBatch], count: usize) -> Result<Vec<u32>> {
    let mut rows = 0;
    let mut starts = Vec::with_capacity(batches.len());
    for batch in batches {
        starts.push(rows as u32);
        rows += batch.num_rows();
    }
    check_fetched(rows, count)?;
    Ok(starts)
}
