//! Tests of Murre from outside, in one binary.

mod cli;
mod dependencies;
