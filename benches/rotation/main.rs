//! What does a rotation cost beside the same requests and rows without an engine?
//!
//! ```text
//! cargo bench -p benches --bench rotation [-- race | growth | memory]
//! ```
//!
//! Each rotation, on either side, makes five requests over TLS to an emulator in another process and four
//! durable steps, and is claimed first:
//!
//! | durable step | request before it |
//! |---|---|
//! | claim, in batches of up to 64 | |
//! | intent: record, lease, 1 journal entry | |
//! | minted: record, lease, 1 entry | token by the current secret; `addPassword` |
//! | promoted: record, lease, 2 entries | token by the new secret on a connection of its own; the application |
//! | over: record, lease given back, 2 entries | `removePassword` |
//!
//! The engine is a [`Worker`](keywheel_rotation::Worker) with one proof, no grace and no spacing of writes to
//! one application, which would be timers. The floor is plain reqwest and SQL by hand: a thread that commits
//! what has come to SQLite (`synchronous=FULL`), two tasks that send arrays to PostgreSQL; its records and
//! entries are those of a real rotation with other ids. The requests are counted by the emulator and the rows
//! in the database, and must be the same for both. The contestants take turns; rates are those of the fastest
//! round, the processor's time is that of all rounds, by this process alone.
//!
//! `growth` compares the cost of a rotation among 1,000 and 1,000,000 stored connections
//! (`KEYWHEEL_BENCH_ROWS` sets another number), and `memory` says what a rotation in flight and a connection
//! that was rotated take.
//!
//! Seen on two quiet cores, 64 in flight, fastest round: SQLite 620 rotations a second where the floor made 619,
//! PostgreSQL 610 where it made 596. The processor's time for one was 1.02 to 1.06 of the floor's on SQLite and,
//! in six runs, 1.15 to 1.26 on PostgreSQL (bound 1.25). Among 1,000,000 connections a rotation cost 1.00 and
//! 1.01 of one among 1,000. One in flight took 78 KiB with its TLS connection, and 5 KiB stayed for one that was
//! over.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on panics")]

mod azure;
mod cost;
mod engine;
mod floor;
mod growth;
mod memory;
mod race;
mod rows;

use benches::{Bounds, is_measuring};

fn main() {
    if azure::was_the_emulator() {
        return;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| *word == name);
    let mut bounds = Bounds::default();
    // First, because the process is small yet.
    if wanted("memory") {
        memory::run();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if wanted("race") {
        runtime.block_on(race::run(&mut bounds));
    }
    if wanted("growth") {
        runtime.block_on(growth::run(&mut bounds));
    }
    bounds.finish();
}

/// Returns the first number where speed is measured, and the second where it is only seen that the bench runs.
fn size(measuring: usize, trying: usize) -> usize {
    if is_measuring() { measuring } else { trying }
}
