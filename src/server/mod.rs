//! (in the making)

pub mod ipc_guard;
