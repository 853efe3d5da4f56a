//! What was measured.

use std::time::Duration;

use tokio::time::Instant;

/// A line for each contest.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lines: Vec<[String; 5]>,
}

impl Table {
    /// Notes how fast we and the floor were, in what is better when it is more.
    pub(crate) fn speeds(&mut self, what: &str, (ours, floor): (f64, f64), wanted: f64) {
        let ratio = ours / floor;
        self.lines.push([
            what.to_owned(),
            format!("{ours:.0}"),
            format!("{floor:.0}"),
            format!("{ratio:.2}"),
            format!(">= {wanted:.2}"),
        ]);
        eprintln!("{:?}", self.lines.last());
    }

    /// Notes how long something took in a small place and in a big one.
    pub(crate) fn growth(&mut self, what: &str, (small, big): (Duration, Duration), wanted: f64) {
        let ratio = big.as_secs_f64() / small.as_secs_f64();
        self.lines.push([
            what.to_owned(),
            format!("{big:.1?}"),
            format!("{small:.1?}"),
            format!("{ratio:.2}"),
            format!("<= {wanted:.2}"),
        ]);
        eprintln!("{:?}", self.lines.last());
    }

    pub(crate) fn print(&self) {
        println!("| what | keywheel | floor | ratio | wanted |\n|---|---|---|---|---|");
        for line in &self.lines {
            println!("| {} |", line.join(" | "));
        }
    }
}

/// How long each of many runs took.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) async fn run<T>(&mut self, what: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let result = what.await;
        self.0.push(begun.elapsed());
        result
    }

    pub(crate) fn median(&self) -> Duration {
        let mut times = self.0.clone();
        times.sort();
        times[times.len() / 2]
    }

    /// How many of `count` are done in a second, when they take the median together.
    #[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
    pub(crate) fn speed(&self, count: usize) -> f64 {
        count as f64 / self.median().as_secs_f64()
    }
}
