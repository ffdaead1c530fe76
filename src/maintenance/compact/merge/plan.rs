//! Which files a merge rewrites, and together with which. Pure functions: no I/O.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use iceberg::spec::{Struct, TableMetadata};

use crate::table::files::FileEntry;
use crate::table::write::target_bytes;

/// Of the bins of a partition, so many of the latest may still be filled.
const OPEN_BINS: usize = 64;

/// A file as compactions see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::maintenance) struct FileState<'a> {
    /// Its partition of the default spec; absent for a file that was written under another one.
    pub(in crate::maintenance) partition: Option<&'a Struct>,
    pub(in crate::maintenance) bytes: u64,
    pub(in crate::maintenance) sequence: i64,
    /// Whether delete files apply to it.
    pub(in crate::maintenance) deletes: bool,
}

/// The files as compactions see them.
pub(in crate::maintenance) fn file_states<'a>(
    files: &'a [Arc<FileEntry>],
    metadata: &TableMetadata,
) -> Vec<FileState<'a>> {
    let default = metadata.default_partition_spec_id();
    let state = |file: &'a Arc<FileEntry>| FileState {
        partition: (file.partition_spec.spec_id() == default).then_some(&file.partition),
        bytes: file.size_bytes,
        sequence: file.sequence_number,
        deletes: !file.deletes.is_empty(),
    };
    files.iter().map(state).collect()
}

/// How large files become, and how much is rewritten at a time; compressed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::maintenance) struct Sizes {
    /// Files are merged up to this: the table's target size, or what is sorted in memory at a time if that is less.
    pub(in crate::maintenance) file_bytes: u64,
    /// Of the files that are rewritten at a time, unless a single one is larger.
    pub(in crate::maintenance) group_bytes: u64,
}

impl Sizes {
    pub(in crate::maintenance) fn of(metadata: &TableMetadata, group_bytes: u64) -> Self {
        let target = u64::try_from(target_bytes(metadata.properties())).unwrap_or(u64::MAX);
        Self {
            file_bytes: target.min(group_bytes).max(1),
            group_bytes,
        }
    }

    /// A file of fewer bytes is small: three quarters of [`Self::file_bytes`].
    pub(in crate::maintenance) fn small(&self) -> u64 {
        self.file_bytes - self.file_bytes / 4
    }
}

/// Files that are rewritten at a time, in the place of which about so many come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) files: Vec<usize>,
    pub(super) outputs: u64,
    pub(super) bytes: u64,
}

/// Files outside of the default spec's partitions go first, since what they bring may be merged with other files. Within a
/// partition small files are put together up to the size of one; files with deletes are rewritten in any case. Nothing for
/// a tidy table.
pub(super) fn plan(files: &[FileState<'_>], sizes: Sizes) -> Vec<Group> {
    let loose = |index: &usize| files[*index].partition.is_none();
    let (loose, placed): (Vec<usize>, Vec<usize>) = (0..files.len()).partition(loose);
    let bins = match loose.is_empty() {
        true => bins(files, &placed, sizes),
        false => loose.into_iter().map(|index| vec![index]).collect(),
    };
    groups(files, bins, sizes)
}

/// Files of one partition that become one, in the order in which they were written.
fn bins(files: &[FileState<'_>], placed: &[usize], sizes: Sizes) -> Vec<Vec<usize>> {
    let mut partitions: Vec<Vec<usize>> = Vec::new();
    let mut places: HashMap<&Struct, usize> = HashMap::new();
    for index in placed {
        let file = &files[*index];
        if let Some(partition) = file.partition
            && (file.deletes || file.bytes < sizes.small())
        {
            let place = *places.entry(partition).or_insert(partitions.len());
            if place == partitions.len() {
                partitions.push(Vec::new());
            }
            partitions[place].push(*index);
        }
    }
    let packed = partitions
        .into_iter()
        .flat_map(|partition| pack(files, partition, sizes.file_bytes));
    let untidy = |bin: &Vec<usize>| bin.len() > 1 || bin.iter().any(|index| files[*index].deletes);
    packed.filter(untidy).collect()
}

/// First fit: two bins that are at most half full are never left.
fn pack(files: &[FileState<'_>], mut partition: Vec<usize>, most: u64) -> Vec<Vec<usize>> {
    partition.sort_by_key(|index| files[*index].sequence);
    let mut bins: Vec<(u64, Vec<usize>)> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for index in partition {
        let bytes = files[index].bytes;
        let fits = open.iter().find(|bin| bins[**bin].0 + bytes <= most);
        if let Some(bin) = fits {
            bins[*bin].0 += bytes;
            bins[*bin].1.push(index);
            continue;
        }
        if open.len() == OPEN_BINS
            && let Some(fullest) = (0..OPEN_BINS).max_by_key(|it| bins[open[*it]].0)
        {
            open.remove(fullest);
        }
        open.push(bins.len());
        bins.push((bytes, vec![index]));
    }
    bins.into_iter().map(|(_, bin)| bin).collect()
}

fn groups(files: &[FileState<'_>], bins: Vec<Vec<usize>>, sizes: Sizes) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for bin in bins {
        let bytes: u64 = bin.iter().map(|index| files[*index].bytes).sum();
        let full = |group: &Group| group.bytes + bytes > sizes.group_bytes;
        if groups.last().is_none_or(full) {
            groups.push(Group::default());
        }
        if let Some(group) = groups.last_mut() {
            group.bytes += bytes;
            group.outputs += bytes.div_ceil(sizes.file_bytes).max(1);
            group.files.extend(bin);
        }
    }
    groups
}

/// Files of a group in the whole of them.
pub(super) fn chosen(files: &[Arc<FileEntry>], group: &Group) -> Vec<Arc<FileEntry>> {
    let of_group: HashSet<usize> = group.files.iter().copied().collect();
    let files = files.iter().enumerate();
    let chosen = files.filter(|(index, _)| of_group.contains(index));
    chosen.map(|(_, file)| Arc::clone(file)).collect()
}
