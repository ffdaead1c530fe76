//! What one view cost and gave, for `explain` and for plans printed with metrics.

use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, Time};

/// Counters of one view as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PitViewReport {
    /// Rows that came out of the view's scan.
    pub rows_scanned: u64,
    /// Rows that won for at least one instant of the spine and whose values were fetched.
    pub candidates: u64,
    /// Winners that had to be told apart from rows of equal event and created time.
    pub ties: u64,
    /// Spine rows that left with a match.
    pub rows_matched: u64,
}

/// Live metrics of one view; they add up over executions of the same plan node.
#[derive(Clone, Debug)]
pub(super) struct ViewMetrics {
    pub(super) rows_scanned: Count,
    pub(super) candidates: Count,
    pub(super) ties: Count,
    pub(super) rows_matched: Count,
    pub(super) index_time: Time,
    pub(super) scan_time: Time,
    pub(super) fetch_time: Time,
}

impl ViewMetrics {
    /// Registers the metrics of `view`, whose name stands before each metric's so that views are not summed up.
    pub(super) fn new(set: &ExecutionPlanMetricsSet, view: &str) -> Self {
        let count = |what: &str| MetricBuilder::new(set).counter(format!("{view}.{what}"), 0);
        let time = |what: &str| MetricBuilder::new(set).subset_time(format!("{view}.{what}"), 0);
        Self {
            rows_scanned: count("rows_scanned"),
            candidates: count("candidates"),
            ties: count("ties"),
            rows_matched: count("rows_matched"),
            index_time: time("index_time"),
            scan_time: time("scan_time"),
            fetch_time: time("fetch_time"),
        }
    }

    pub(super) fn report(&self) -> PitViewReport {
        let get = |count: &Count| count.value() as u64;
        PitViewReport {
            rows_scanned: get(&self.rows_scanned),
            candidates: get(&self.candidates),
            ties: get(&self.ties),
            rows_matched: get(&self.rows_matched),
        }
    }
}
