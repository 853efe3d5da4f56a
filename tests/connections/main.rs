//! Stored connections by each method, against the emulator: what they are created of, the tokens that they
//! give, and what happens when what they hold ends.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod certificate;
mod place;
mod sign_in;
