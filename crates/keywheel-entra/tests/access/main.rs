//! What is said of a tenant, held against the emulator, and against a Graph that answers by rote.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod expiring;
mod preflight;
mod rote;
mod tenant;
mod validating;
