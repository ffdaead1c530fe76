//! Bloom filters of key columns. Where few keys are wanted, a filter of a few bytes a row can tell that a row group has
//! none of them, although its bounds enclose them, as those of hash buckets always do.

use std::ops::Range;

use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};

use super::group::{GroupRows, OpenFile};
use super::prune::FileFilter;
use crate::error::Result;

/// With more keys, one of them is likely there, or taken for one that is.
const MOST_KEYS: usize = 16;

/// The row groups that can hold the keys of a filter.
///
/// # Errors
/// Of the storage. A filter that is damaged is passed over.
pub(super) async fn with_keys(
    file: &OpenFile,
    filter: &FileFilter,
    groups: Vec<GroupRows>,
) -> Result<Vec<GroupRows>> {
    let mut kept = Vec::with_capacity(groups.len());
    for rows in groups {
        let group = file.footer.metadata().row_group(rows.group);
        if may_hold(file, filter, group).await? {
            kept.push(rows);
        }
    }
    Ok(kept)
}

async fn may_hold(file: &OpenFile, filter: &FileFilter, group: &RowGroupMetaData) -> Result<bool> {
    for (leaf, keys) in filter.few_keys(MOST_KEYS) {
        let Some(range) = group.columns().get(leaf).and_then(place) else {
            continue;
        };
        let bytes = file.input.read(std::slice::from_ref(&range)).await?.pop();
        let known = Sbbf::from_bytes(&bytes.unwrap_or_default());
        let absent = |known: Sbbf| known.num_blocks() > 0 && !keys.any_in(&known);
        if known.is_ok_and(absent) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where a chunk's filter is, if the footer says how long it is.
fn place(chunk: &ColumnChunkMetaData) -> Option<Range<u64>> {
    let start = u64::try_from(chunk.bloom_filter_offset()?).ok()?;
    let length = u64::try_from(chunk.bloom_filter_length()?).ok()?;
    Some(start..start.checked_add(length)?)
}
