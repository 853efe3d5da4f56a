//! The SQLite store keeps the contract of stores, and is careful with files.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod contract;
mod disks;
mod files;
mod processes;
mod rows;
mod storage;
