//! Where a row lives, as a number that an operator can carry instead of the row.

use std::fmt;

/// A row of one pinned source: the file's index in that source's file list and the row's position in the file,
/// counted before deletes. Ordered by file, then row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowAddress(u64);

impl RowAddress {
    /// Name of the column (`UInt64`) that carries addresses through a plan.
    pub const COLUMN: &str = "__address";
    const ROW_BITS: u32 = 40;
    /// Greatest file index that fits.
    pub const MAX_FILE: u32 = (1 << (64 - Self::ROW_BITS)) - 1;
    /// Greatest row position that fits.
    pub const MAX_ROW: u64 = (1 << Self::ROW_BITS) - 1;

    /// The address of `row` in `file`; both must be within their maxima.
    pub fn new(file: u32, row: u64) -> Self {
        debug_assert!(file <= Self::MAX_FILE && row <= Self::MAX_ROW);
        Self((u64::from(file) << Self::ROW_BITS) | row)
    }

    /// The address as it stands in an address column (`UInt64`).
    pub fn to_u64(self) -> u64 {
        self.0
    }

    /// The address that an address column holds.
    pub fn from_u64(bits: u64) -> Self {
        Self(bits)
    }

    /// Index of the file in the source's file list.
    pub fn file(self) -> u32 {
        u32::try_from(self.0 >> Self::ROW_BITS).expect("24 bits remain")
    }

    /// Position of the row in its file.
    pub fn row(self) -> u64 {
        self.0 & Self::MAX_ROW
    }
}

impl fmt::Display for RowAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file(), self.row())
    }
}
