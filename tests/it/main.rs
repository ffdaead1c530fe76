//! Tests of Murre from outside, in one binary.

#![expect(
    clippy::unwrap_used,
    reason = "a failing step of a test has nobody to tell"
)]

mod cancellation;
mod cli;
mod dependencies;
mod feast;
mod harness;
mod historical;
mod hostile;
mod import;
mod maintenance;
mod online;
mod unordered;
