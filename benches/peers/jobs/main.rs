//! Claim, work, complete: keywheel's stores beside apalis on the same disk with the same settings.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml --bin jobs`. Work is nothing; each job is
//! durable when it is claimed and when it is completed. keywheel also runs with what each of its steps adds: an entry
//! in the hash-chained journal. The contestants take turns, each at its best batch size, and the medians of all
//! rounds are compared.

mod apalis_jobs;
mod keywheel_jobs;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keywheel_testkit::{PostgresOptions, TestDatabase};

use keywheel_jobs::Journal;

const ROUNDS: usize = 5;
const BATCHES: [u32; 3] = [64, 256, 1_024];

#[tokio::main]
async fn main() {
    let jobs = std::env::var("KEYWHEEL_BENCH_JOBS").map_or(10_000, |jobs| jobs.parse().unwrap());
    let server = Arc::new(PostgresOptions::default().durable().start());
    let mut contest = Contest::default();
    for _ in 0..ROUNDS {
        for batch in BATCHES {
            for journal in [Journal::Nothing, Journal::Entry] {
                let database = TestDatabase::on(&server);
                contest.ours(journal, batch, jobs, keywheel_jobs::postgres(&database, journal, jobs, batch).await);
            }
            let database = TestDatabase::on(&server);
            contest.theirs.add(batch, jobs, apalis_jobs::postgres(&database, jobs, batch).await);
        }
    }
    contest.report("PostgreSQL", 2.0);
    drop(server);
    let jobs = jobs / 5;
    let mut contest = Contest::default();
    for _ in 0..ROUNDS {
        for batch in BATCHES {
            for journal in [Journal::Nothing, Journal::Entry] {
                contest.ours(journal, batch, jobs, keywheel_jobs::sqlite(journal, jobs, batch).await);
            }
            contest.theirs.add(batch, jobs, apalis_jobs::sqlite(jobs, batch).await);
        }
    }
    contest.report("SQLite, WAL and FULL", 10.0);
}

/// The contestants on one store.
#[derive(Debug, Default)]
struct Contest {
    ours: Speeds,
    with_entry: Speeds,
    theirs: Speeds,
}

impl Contest {
    fn ours(&mut self, journal: Journal, batch: u32, jobs: usize, took: Duration) {
        match journal {
            Journal::Nothing => self.ours.add(batch, jobs, took),
            Journal::Entry => self.with_entry.add(batch, jobs, took),
        }
    }

    fn report(&self, name: &str, wanted: f64) {
        let (their_batch, theirs) = self.theirs.best();
        println!("{name}: apalis {theirs:.0} jobs/s (batches of {their_batch})");
        for (what, ours) in [("the same cycle", &self.ours), ("and a journal entry", &self.with_entry)] {
            let (batch, ours) = ours.best();
            let times = ours / theirs;
            println!("  keywheel, {what}: {ours:.0} (batches of {batch}): {times:.1} times, wanted {wanted:.0}");
        }
    }
}

/// Jobs a second, for each batch size.
#[derive(Debug, Default)]
struct Speeds(BTreeMap<u32, Vec<f64>>);

impl Speeds {
    fn add(&mut self, batch: u32, jobs: usize, took: Duration) {
        let speed = jobs as f64 / took.as_secs_f64();
        eprintln!("{batch}: {speed:.0}");
        self.0.entry(batch).or_default().push(speed);
    }

    /// Returns the best batch size and its median.
    fn best(&self) -> (u32, f64) {
        let median = |(batch, speeds): (&u32, &Vec<f64>)| {
            let mut speeds = speeds.clone();
            speeds.sort_by(f64::total_cmp);
            (*batch, speeds[speeds.len() / 2])
        };
        self.0.iter().map(median).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
    }
}
