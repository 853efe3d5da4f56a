//! The example `rotate` as a process, against the emulator.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod bad_input;
mod flow;
mod kill;
mod place;
