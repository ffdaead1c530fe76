//! Plans over real tables in a temporary folder, compared with slow and obvious answers.

mod fixture;
mod parts;
mod range;
mod shared;
mod source;
mod sql;
