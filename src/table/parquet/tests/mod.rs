//! Parquet files in temporary folders, pinned and read as a historical request would.

mod changes;
mod folders;
mod foreign;
mod harness;
mod joined;
mod pruning;
mod raw;
