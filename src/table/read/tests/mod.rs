//! Reading and fetching against naive reading.

mod deletes;
mod evolution;
mod failures;
mod harness;
mod pruning;
mod random;
mod values;
