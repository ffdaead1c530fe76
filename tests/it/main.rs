//! Tests of Murre from outside, in one binary.

mod cancellation;
mod cli;
mod dependencies;
mod harness;
mod historical;
mod hostile;
