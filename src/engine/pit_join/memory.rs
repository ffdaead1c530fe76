//! Sizes of vectors, as they are charged.

/// Bytes of the elements of a vector of `len` elements of `T`.
pub(super) fn bytes_of<T>(len: usize) -> usize {
    len.saturating_mul(size_of::<T>())
}
