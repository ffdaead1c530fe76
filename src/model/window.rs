//! The span of event times that a scan must cover.

/// Instants in microseconds since the epoch, both ends inclusive; `None` is unbounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeWindow {
    /// Earliest instant that matters.
    pub start_us: Option<i64>,
    /// Latest instant that matters.
    pub end_us: Option<i64>,
}

impl TimeWindow {
    /// Whether a set of rows with event times in `[min_us, max_us]` can hold a row of the window.
    pub fn overlaps(&self, min_us: i64, max_us: i64) -> bool {
        self.start_us.is_none_or(|start| max_us >= start)
            && self.end_us.is_none_or(|end| min_us <= end)
    }
}
