//! The worker, on virtual time: many connections, several workers, stores and directories that fail.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod crowd;
mod delivery;
mod directory;
mod fleet;
mod meddled;
#[cfg(feature = "metrics")]
mod metrics;
mod shaky;
mod share;
mod shutdown;
mod sinks;
mod trouble;
mod webhook;
