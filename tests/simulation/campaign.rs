use std::fmt;
use std::fs;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::{Mutant, Outcome, Simulator};

/// Returns the first of `seeds` seeds in which `mutant` breaks an invariant, and which.
#[must_use]
pub fn hunt(mutant: Mutant, seeds: u64) -> Option<(u64, String)> {
    let simulator = Simulator::new();
    (0..seeds).find_map(|seed| {
        let violation = simulator.run(seed, Some(mutant), false).violation?;
        let first = violation.lines().next().unwrap_or_default();
        Some((seed, first.to_owned()))
    })
}

/// Many seeds, on every core.
#[derive(Debug, Default)]
pub struct Campaign {
    /// How many runs there were.
    pub runs: u64,
    /// How many calls left a process, in all of them.
    pub effects: u64,
    /// How many secrets became current.
    pub promotions: u64,
    /// The seeds that broke an invariant, and which.
    pub broken: Vec<(u64, String)>,
    /// The time that it took, summed over the cores, where the system tells.
    pub busy: Option<Duration>,
}

/// How many broken seeds are enough.
const ENOUGH: usize = 20;

impl Campaign {
    /// Runs `seeds` seeds from `first` on. Stops early when many of them break something.
    ///
    /// # Panics
    ///
    /// Panics when one of the threads does: its seeds would be missing.
    #[must_use]
    pub fn run(first: u64, seeds: u64) -> Self {
        let next = AtomicU64::new(first);
        let work = || Self::share(&next, first + seeds);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut whole = thread::scope(|scope| {
            let shares: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
            let mut whole = Self::default();
            for share in shares {
                whole.add(share.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            whole
        });
        whole.broken.sort();
        whole
    }

    /// Whether all of `seeds` seeds were run, and none of them broke anything.
    #[must_use]
    pub fn holds(&self, seeds: u64) -> bool {
        self.runs == seeds && self.broken.is_empty()
    }

    fn share(next: &AtomicU64, end: u64) -> Self {
        let simulator = Simulator::new();
        let mut share = Self::default();
        while share.broken.len() < ENOUGH {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            share.count(seed, simulator.run(seed, None, false));
        }
        share.busy = busy();
        share
    }

    fn count(&mut self, seed: u64, outcome: Outcome) {
        self.runs += 1;
        self.effects += outcome.effects;
        self.promotions += outcome.promotions;
        self.broken
            .extend(outcome.violation.map(|violation| (seed, violation)));
    }

    fn add(&mut self, share: Self) {
        self.runs += share.runs;
        self.effects += share.effects;
        self.promotions += share.promotions;
        self.broken.extend(share.broken);
        self.busy = match (self.busy, share.busy) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
    }
}

impl fmt::Display for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (seed, violation) in &self.broken {
            writeln!(
                f,
                "seed {seed}: {violation}\n  cargo xtask simulate --seed {seed}"
            )?;
        }
        let Self {
            runs,
            effects,
            promotions,
            ..
        } = self;
        let broken = self.broken.len();
        write!(
            f,
            "{runs} runs, {effects} calls, {promotions} promotions, {broken} broken"
        )?;
        let Some(busy) = self.busy else { return Ok(()) };
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let speed = *runs as f64 / busy.as_secs_f64();
        write!(
            f,
            "; {:.1} s of a core, {speed:.0} runs/s a core",
            busy.as_secs_f64()
        )
    }
}

/// The time that this thread was on a core.
fn busy() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = stat.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}
