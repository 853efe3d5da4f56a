//! The process proof: real worker processes, killed, stopped and cut off from their database.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod azure;
mod chaos;
mod fleet;
mod idle;
mod leaks;
mod proof;
mod watcher;
