//! The point-in-time join: for each row of an entity dataframe, what was known about its keys at its moment.
//!
//! [`PitJoinExec`] is one n-ary operator: child 0 is the *spine* (the entity dataframe), each further child is the
//! scan of one feature view. It buffers the spine, indexes it by key and instant, and streams every scan past that
//! index once and unsorted; values are read afterwards, and only for rows that won.
//!
//! # Contract
//!
//! - Each spine row leaves exactly once, in the spine's order, duplicates included. A spine of no rows gives a stream
//!   of no rows, and no scan is started.
//! - The match of a spine row in a view is, among the view's rows with equal keys and
//!   `spine instant - ttl <= event time <= spine instant` (both ends inclusive, exact across units; no ttl or a ttl
//!   of zero: no lower end), the one with the greatest `(event time, created time)`. A missing created time sorts
//!   lowest, and so does the least value of the created column's type (pandas's NaT).
//! - Rows equal in both times are told apart by their values: the greatest row wins, comparing all columns of the
//!   source row in [`FetchColumns::TieBreak`] order, ascending as arrow-row orders them (nulls smallest, floats in
//!   IEEE total order, maps as lists of their entries as stored). The answer is thus a function of the data, not of
//!   files, partitions, batches or timing.
//! - No match gives nulls. A null in any key column or a null instant, on either side, matches nothing.
//! - Keys are equal when their values are; floats only when their bits are. No key columns: every row has the same key.
//! - A timestamp without zone is UTC.
//! - An error of the spine, a scan or a fetch ends the output with that error; a short result does not exist.
//!
//! # Resources
//!
//! Spine, index, candidates, tied rows and fetched values are charged to the task's memory pool before (key tables
//! and fetched batches: right after, in bounded steps) they are allocated. Where the pool does not suffice for the whole
//! spine, it is joined slice by slice, each of which reads the scans again; a spine that does not fit by itself, or a
//! slice of 8192 rows that does not, fails with `ResourcesExhausted`. Per spine row that is 4 bytes per distinct key
//! set, and per distinct (key, instant) 8 to 16 bytes of index and 16 or 24 of candidates, however many partitions a
//! scan has. Views are joined one after another, those with the same key columns on one index, so that index and
//! candidates of a single view are alive at a time; the cores are kept busy by the partitions of its scan. Dropping the
//! output stops every scan and fetch.

mod candidates;
mod exec;
mod keys;
mod memory;
mod metrics;
mod output;
mod probe;
mod slices;
mod spine;
mod stream;
#[cfg(test)]
mod tests;
mod ties;
mod values;
mod window;
mod winners;

use std::fmt::Debug;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use futures::stream::BoxStream;
use std::sync::Arc;

use crate::error::Result;
use crate::model::RowAddress;

pub use exec::PitJoinExec;
pub use metrics::PitViewReport;

/// Reads rows again by their addresses.
pub trait FetchRows: Debug + Send + Sync {
    /// The rows at `addresses`, which are distinct and ascend, in exactly that order.
    fn fetch(
        &self,
        addresses: Vec<RowAddress>,
        columns: FetchColumns,
    ) -> BoxStream<'static, Result<RecordBatch>>;
}

/// Which columns of a row to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchColumns {
    /// The view's features in output order.
    Requested,
    /// Every column of the source row, in an order fixed by the source's schema.
    TieBreak,
}

/// What the join needs to know of one view besides its scan.
///
/// The scan's columns are the keys in the order of `keys`, the event time (any timestamp type), the created time if
/// `has_created`, and [`RowAddress::COLUMN`] (`UInt64`, not null, `u64::MAX` unused).
#[derive(Clone, Debug)]
pub struct PitView {
    /// Name or alias, unique in the join; for plans and metrics.
    pub name: String,
    /// Spine columns to join on, of the types of the scan's key columns. May be empty.
    pub keys: Vec<usize>,
    /// Greatest age of a match, inclusive; none or zero is unbounded.
    pub ttl: Option<Duration>,
    /// Whether the scan has a created time.
    pub has_created: bool,
    /// Reads the values of winners.
    pub fetch: Arc<dyn FetchRows>,
    /// Names and types of the features in the output; they are nullable there.
    pub features: Vec<Field>,
}

impl PitView {
    /// The ttl where it bounds anything.
    fn bound(&self) -> Option<Duration> {
        self.ttl.filter(|ttl| !ttl.is_zero())
    }
}

/// Marks a row without group or slot, or a slot without winner.
const NONE: u32 = u32::MAX;
