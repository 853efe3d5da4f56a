//! The stores beside plain SQL on the same disk with the same settings, and sealing beside plain aws-lc-rs:
//! `cargo bench -p benches --bench stores`. The contestants take turns, and medians are compared.
//!
//! Words after `--` choose the parts whose names hold one of them: `sealing`, `claims-postgres`, `claims-sqlite`,
//! `journal-postgres` and `journal-sqlite`. `KEYWHEEL_BENCH_ROWS` is the size of the big table: 1,000,000 unless it
//! is set.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails panics")]

mod claims;
mod journal;
mod sealing;
mod table;

use self::table::Table;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    let mut table = Table::default();
    if is_wanted("sealing") {
        runtime.block_on(sealing::run(&mut table));
    }
    if is_wanted("claims-postgres") {
        runtime.block_on(claims::postgres(&mut table));
    }
    if is_wanted("claims-sqlite") {
        runtime.block_on(claims::sqlite(&mut table));
    }
    if is_wanted("journal-postgres") {
        runtime.block_on(journal::postgres(&mut table));
    }
    if is_wanted("journal-sqlite") {
        runtime.block_on(journal::sqlite(&mut table));
    }
    table.print();
}

fn rows() -> usize {
    let rows = std::env::var("KEYWHEEL_BENCH_ROWS").ok();
    rows.map_or(1_000_000, |rows| rows.parse().unwrap())
}
