//! How the files of a scan are shared out among readers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::table::files::FileEntry;

/// Pieces smaller than this are not worth opening a file twice.
const MIN_PIECE_BYTES: u64 = 16 << 20;

/// A part of one file: the row groups whose middle lies in a byte range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanUnit {
    pub(super) file: u32,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl ScanUnit {
    pub(super) fn contains(&self, middle: u64) -> bool {
        (self.start..self.end).contains(&middle)
    }
}

/// Shares files out among at most `n` partitions of about equal size; every row group is in exactly one unit.
pub(super) fn partitions(files: &[Arc<FileEntry>], n: usize) -> Vec<Vec<ScanUnit>> {
    let n = n.max(1);
    let total: u64 = files.iter().map(|file| file.size_bytes).sum();
    let piece = (total / (n as u64 * 4)).max(MIN_PIECE_BYTES);
    let mut units: Vec<(u64, ScanUnit)> = Vec::new();
    for (index, file) in (0..).zip(files) {
        units.extend(pieces(index, file.size_bytes, piece, n as u64));
    }
    let mut shared = share(units, n);
    shared.retain(|units| !units.is_empty());
    if shared.is_empty() {
        shared.push(Vec::new());
    }
    shared
}

/// The pieces of a file with their sizes; the last one is open-ended.
fn pieces(file: u32, size: u64, piece: u64, most: u64) -> impl Iterator<Item = (u64, ScanUnit)> {
    let count = (size / piece).clamp(1, most);
    let length = size / count;
    (0..count).map(move |i| {
        let end = if i + 1 == count {
            u64::MAX
        } else {
            (i + 1) * length
        };
        (
            length,
            ScanUnit {
                file,
                start: i * length,
                end,
            },
        )
    })
}

/// Largest first to whoever has least so far; then each in file order.
fn share(mut units: Vec<(u64, ScanUnit)>, n: usize) -> Vec<Vec<ScanUnit>> {
    units.sort_by_key(|(size, _)| Reverse(*size));
    let mut loads: BinaryHeap<Reverse<(u64, usize)>> =
        (0..n).map(|partition| Reverse((0, partition))).collect();
    let mut shared = vec![Vec::new(); n];
    for (size, unit) in units {
        if let Some(mut least) = loads.peek_mut() {
            let Reverse((load, partition)) = *least;
            *least = Reverse((load + size.max(1), partition));
            if let Some(units) = shared.get_mut(partition) {
                units.push(unit);
            }
        }
    }
    for units in &mut shared {
        units.sort_by_key(|unit: &ScanUnit| (unit.file, unit.start));
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(units: &[ScanUnit]) -> Vec<(u32, u64)> {
        units.iter().map(|unit| (unit.file, unit.start)).collect()
    }

    #[test]
    fn pieces_cover_every_middle_once() {
        for size in [0, 1, 10, 1000, 1001] {
            let units: Vec<_> = pieces(3, size, 100, 4).map(|(_, unit)| unit).collect();
            for middle in [0, 1, 99, 250, 500, 999, size, 10_000] {
                let holders = units.iter().filter(|unit| unit.contains(middle)).count();
                assert_eq!(holders, 1, "size {size}, middle {middle}");
            }
        }
    }

    #[test]
    fn shares_are_even_and_in_file_order() {
        let units = (0..6)
            .map(|file| {
                (
                    10,
                    ScanUnit {
                        file,
                        start: 0,
                        end: u64::MAX,
                    },
                )
            })
            .collect();
        let shared = share(units, 2);
        assert_eq!(sizes(&shared[0]), vec![(0, 0), (2, 0), (4, 0)]);
        assert_eq!(sizes(&shared[1]), vec![(1, 0), (3, 0), (5, 0)]);
    }

    #[test]
    fn no_files_are_one_empty_partition() {
        assert_eq!(partitions(&[], 4), vec![Vec::new()]);
    }
}
