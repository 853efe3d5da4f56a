//! The Graph client against a script, a server of raw answers, and the emulator.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod behaviour;
mod confirming;
mod conformance;
mod merging;
mod paging;
mod redaction;
mod retrying;
mod script;
mod tenant;
mod transport;
