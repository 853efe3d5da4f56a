//! The worker, on virtual time: many connections, several workers, stores and directories that fail.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod crowd;
mod directory;
mod fleet;
mod shaky;
mod share;
mod shutdown;
mod trouble;
