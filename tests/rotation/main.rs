//! The rotation engine against a directory in memory: calm runs, named faults, and the crash matrix.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod calm;
mod found;
mod matrix;
