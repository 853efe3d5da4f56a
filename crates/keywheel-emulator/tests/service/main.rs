//! The emulator over TLS, as clients meet it: for each check a request that passes and one that does not.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod client;
mod passwords;
mod start;
mod token;
