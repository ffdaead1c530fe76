//! (in the making)

pub mod pit_join;
