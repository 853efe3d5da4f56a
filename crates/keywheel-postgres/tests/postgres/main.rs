//! The PostgreSQL store keeps the contract of stores, on a server of its own.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod bouncer;
mod clock;
mod contract;
mod processes;
mod races;
mod reach;
mod rows;
mod service;
mod storage;
