//! Layers of one part of a table: a hash bucket, or the files that may hold any key.
//!
//! A commit adds a layer. Layers are merged as in a log-structured tree: the last two become one as soon as they are of
//! about one size, so that a part of n rows has about log n layers at most, and a row is copied about log n times.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::DataType;

use super::budget::Budget;
use super::layer::{Layer, Order, merge};
use crate::error::Result;
use crate::model::ScanReport;

/// Larger layers stay as they are: a text column has at most 2 GiB.
const LARGEST_MERGED_BYTES: usize = 1 << 30;

/// The features that layers hold, in their order.
pub(super) type Columns = Arc<[(i32, DataType)]>;

/// Latest rows, immutable.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) columns: Columns,
    layers: Vec<Arc<Layer>>,
    /// What loading it from files read.
    pub(super) report: ScanReport,
    used_at: AtomicU64,
}

/// Where a key's latest row is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) layer: &'a Arc<Layer>,
    pub(super) row: usize,
    pub(super) order: Order,
}

impl Part {
    pub(super) fn new(columns: Columns, layers: Vec<Arc<Layer>>, report: ScanReport) -> Self {
        Self {
            columns,
            layers,
            report,
            used_at: AtomicU64::new(0),
        }
    }

    /// Heap bytes, about.
    pub(super) fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.bytes() as u64).sum()
    }

    /// The row that counts for a key.
    pub(super) fn find(&self, key: &[u8], hash: u32) -> Option<Found<'_>> {
        let found = self.layers.iter().filter_map(|layer| {
            let row = layer.find(key, hash)?;
            let order = layer.order(row);
            Some(Found { layer, row, order })
        });
        found.max_by_key(|found| found.order)
    }

    pub(super) fn layers(&self) -> &[Arc<Layer>] {
        &self.layers
    }

    /// Marks the part as used at a tick of the budget.
    pub(super) fn touch(&self, tick: u64) {
        self.used_at.store(tick, Ordering::Relaxed);
    }

    pub(super) fn used_at(&self) -> u64 {
        self.used_at.load(Ordering::Relaxed)
    }
}

/// `layers` and a newer one, merged where they are of about one size.
pub(super) fn with_layer(
    layers: &[Arc<Layer>],
    newer: Layer,
    budget: &Arc<Budget>,
) -> Result<Vec<Arc<Layer>>> {
    let mut layers = layers.to_vec();
    if newer.rows() > 0 {
        layers.push(Arc::new(newer));
    }
    while let [.., before, last] = layers.as_slice() {
        let alike = last.rows() * 2 >= before.rows();
        if !alike || before.plain_bytes() + last.plain_bytes() > LARGEST_MERGED_BYTES {
            break;
        }
        let merged = merge(&layers[layers.len() - 2..], budget)?;
        layers.truncate(layers.len() - 2);
        layers.push(Arc::new(merged));
    }
    Ok(layers)
}
