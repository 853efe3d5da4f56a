//! The rotation engine against a directory in memory: calm runs, verbs, named faults, and the crash
//! matrix.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod calls;
mod calm;
mod certificates;
mod faults;
mod found;
mod leases;
mod managing;
mod matrix;
mod refusals;
mod strays;
mod table;
mod told;
mod verbs;
mod ways;
mod weaknesses;
