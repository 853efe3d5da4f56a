//! What the benches share: a race of contestants who do the same work in turns.
//!
//! On a machine that does other things too, what is measured a minute later is measured on another machine.
//! So the contestants of a [`Race`] run in turns, round for round, and the fastest round of each counts. A
//! round is one call: let it take some tens of microseconds to a few milliseconds, which is long for the
//! clock and short for a scheduler that gives others a turn too. Before each, the contestant works once
//! unmeasured, so that nobody pays for the caches that the one before has filled. [`Race::measure`] hands the same work to criterion, for its statistics and its comparison with earlier
//! runs.
#![allow(clippy::disallowed_methods, reason = "to measure is to read the clock")]

use std::fmt::Display;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};

const ROUNDS: usize = 200;

/// Rounds that are short go on for this long: two threads that hand over to each other are fast only now and
/// then.
const WHILE: Duration = Duration::from_secs(5);

/// Whether cargo asks for measurements (`cargo bench`) and not only whether the bench runs (`cargo test`).
#[must_use]
pub fn is_measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Contestants who do the same work.
#[allow(missing_debug_implementations, reason = "work is a closure")]
pub struct Race<'a> {
    name: String,
    /// How many questions one call of a contestant answers.
    questions: u32,
    contestants: Vec<Contestant<'a>>,
}

struct Contestant<'a> {
    name: &'static str,
    work: Box<dyn FnMut() + 'a>,
}

impl<'a> Race<'a> {
    /// Returns a race without contestants, in which each call answers so many questions.
    #[must_use]
    pub fn new(name: impl Into<String>, questions: usize) -> Self {
        Self {
            name: name.into(),
            questions: u32::try_from(questions).unwrap_or(u32::MAX),
            contestants: Vec::new(),
        }
    }

    /// Adds a contestant, who answers all questions at each call. What it returns is kept from the optimiser.
    #[must_use]
    pub fn with<T>(mut self, name: &'static str, mut work: impl FnMut() -> T + 'a) -> Self {
        let work = Box::new(move || {
            black_box(work());
        });
        self.contestants.push(Contestant { name, work });
        self
    }

    /// Lets them run in turns and prints the time of each for one question.
    pub fn run(&mut self) -> Times {
        let mut times = vec![Vec::new(); self.contestants.len()];
        let begun = Instant::now();
        let lasts = |rounds| match rounds {
            0 => true,
            rounds => is_measuring() && (rounds < ROUNDS || begun.elapsed() < WHILE),
        };
        while lasts(times[0].len()) {
            for (contestant, times) in self.contestants.iter_mut().zip(&mut times) {
                (contestant.work)();
                let start = Instant::now();
                (contestant.work)();
                times.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(self.questions));
            }
        }
        let names = self.contestants.iter().map(|contestant| contestant.name);
        let times = Times {
            race: self.name.clone(),
            nanoseconds: names.zip(times.into_iter().map(Spread::of)).collect(),
        };
        times.print();
        times
    }

    /// Measures each contestant with criterion, under `race/contestant`.
    pub fn measure(&mut self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group(&self.name);
        group.throughput(Throughput::Elements(self.questions.into()));
        for Contestant { name, work } in &mut self.contestants {
            group.bench_function(*name, |bencher| bencher.iter(&mut *work));
        }
        group.finish();
    }
}

/// The rounds of one contestant, in nanoseconds for a question.
#[derive(Clone, Copy, Debug)]
struct Spread {
    fastest: f64,
    median: f64,
}

impl Spread {
    fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        Self {
            fastest: rounds[0],
            median: rounds[rounds.len() / 2],
        }
    }
}

/// What a race came to.
#[derive(Clone, Debug)]
pub struct Times {
    race: String,
    nanoseconds: Vec<(&'static str, Spread)>,
}

impl Times {
    fn print(&self) {
        println!(
            "\n{}: nanoseconds for one, fastest and median round",
            self.race
        );
        let first = self.nanoseconds[0].1.fastest;
        for (name, Spread { fastest, median }) in &self.nanoseconds {
            println!(
                "  {name:<24}{fastest:>10.1}{median:>10.1}   × {:.1}",
                fastest / first
            );
        }
    }

    /// Returns the fastest round of a contestant, in nanoseconds for a question.
    ///
    /// # Panics
    /// No contestant has this name.
    #[must_use]
    pub fn of(&self, name: &str) -> f64 {
        let found = self.nanoseconds.iter().find(|(known, _)| *known == name);
        found.expect("a contestant of this race").1.fastest
    }

    /// Bounds that one contestant is so many times as fast as another.
    pub fn at_least(&self, bounds: &mut Bounds, faster: &str, factor: f64, slower: &str) {
        let ratio = self.of(slower) / self.of(faster);
        let claim = format!(
            "{}: {faster} is {factor} times as fast as {slower}",
            self.race
        );
        bounds.check(claim, ratio >= factor, format!("{ratio:.2} times"));
    }

    /// Bounds the time of a contestant.
    pub fn at_most(&self, bounds: &mut Bounds, name: &str, nanoseconds: f64) {
        let took = self.of(name);
        let claim = format!("{}: {name} takes at most {nanoseconds} ns", self.race);
        bounds.check(claim, took <= nanoseconds, format!("{took:.1} ns"));
    }
}

/// Claims about what was measured, and whether they hold.
#[derive(Debug, Default)]
#[must_use]
pub struct Bounds {
    missed: u32,
}

impl Bounds {
    /// Prints whether a claim holds.
    pub fn check(&mut self, claim: impl Display, holds: bool, seen: impl Display) {
        let verdict = if holds { "holds" } else { "MISSED" };
        println!("  {verdict:<8}{claim}: {seen}");
        self.missed += u32::from(!holds);
    }

    /// Ends the process with an error when something that was measured missed its bound.
    pub fn finish(self) {
        if self.missed > 0 && is_measuring() {
            eprintln!("\n{} bounds were missed", self.missed);
            std::process::exit(1);
        }
    }
}
