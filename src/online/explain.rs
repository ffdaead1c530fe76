//! What a read touched, as text: which parts were in memory, which files were read, and which were left out and why.

use std::fmt::Write;

use super::load::sum;
use super::plan::{PlannedView, ReadPlan};
use super::read::{Trace, ViewRows};
use crate::error::{Error, Result};

/// One paragraph per view.
pub(super) fn explain(plan: &ReadPlan, rows: &[ViewRows]) -> Result<String> {
    let mut text = String::new();
    for (view, rows) in plan.views.iter().zip(rows) {
        view_text(view, rows, &mut text).map_err(|error| Error::internal("explain", error))?;
    }
    Ok(text)
}

fn view_text(view: &PlannedView, rows: &ViewRows, text: &mut String) -> std::fmt::Result {
    let trace = &rows.trace;
    let Some(state) = &trace.state else {
        return Ok(());
    };
    let snapshot = state.pinned.pin().snapshot;
    let snapshot = snapshot.map_or_else(|| "none".to_owned(), |snapshot| snapshot.to_string());
    let found = rows.found.iter().flatten().count();
    writeln!(
        text,
        "view `{}`: table {}, snapshot {snapshot}",
        view.name,
        view.table.name()
    )?;
    writeln!(
        text,
        "  keys: {} requested, {found} found, in {} of {} buckets",
        rows.found.len(),
        trace.buckets.len(),
        state.properties.buckets
    )?;
    files_text(trace, text)
}

fn files_text(trace: &Trace, text: &mut String) -> std::fmt::Result {
    let Some(state) = &trace.state else {
        return Ok(());
    };
    let of_buckets: usize = trace
        .buckets
        .iter()
        .map(|bucket| state.files.by_bucket[*bucket].len())
        .sum();
    let unpartitioned = state.files.shared.len();
    let total = state.files.count();
    let loaded = trace.loaded.iter().map(|part| &part.report);
    let by_key = trace.by_key.iter().map(|part| &part.report);
    let read = sum(loaded.chain(by_key));
    writeln!(
        text,
        "  index: {} parts in memory, {} loaded now, {} by key",
        trace.hits,
        trace.loaded.len(),
        usize::from(trace.by_key.is_some())
    )?;
    writeln!(
        text,
        "  files: {total} total, {} pruned by bucket, {} considered ({of_buckets} of the buckets, {unpartitioned} of any \
         key), {} read",
        total - of_buckets - unpartitioned,
        of_buckets + unpartitioned,
        read.files_read
    )?;
    let groups = read.row_groups;
    let pruned = read.row_groups_pruned.total();
    writeln!(
        text,
        "  row groups: {groups} considered, {pruned} pruned by key, {} read",
        groups.saturating_sub(pruned)
    )?;
    writeln!(
        text,
        "  rows: {} scanned, {} pruned by page, {} deleted\n  bytes read: {}",
        read.rows_scanned, read.rows_pruned_by_page, read.rows_deleted, read.bytes_read
    )
}
