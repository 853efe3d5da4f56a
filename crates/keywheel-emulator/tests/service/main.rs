//! The emulator over TLS, as clients meet it: for each check a request that passes and one that does not.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod admin;
mod applications;
mod assertion;
mod behaviour;
mod binary;
mod client;
mod code;
mod discovery;
mod fault;
mod federated;
mod keys;
mod log;
mod malformed;
mod members;
mod parity;
mod passwords;
mod permissions;
mod readme;
mod start;
mod token;
