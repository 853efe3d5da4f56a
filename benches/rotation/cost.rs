//! What rounds cost: time on the wall, and this process's time on a processor.

use std::fs;
use std::time::Duration;

use tokio::time::Instant;

/// What the rounds of one contestant came to.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    count: usize,
    rounds: Vec<Duration>,
    cpu: Duration,
}

impl Costs {
    /// Returns the costs of rounds of `count` rotations.
    pub(crate) fn of(count: usize) -> Self {
        Self {
            count,
            ..Self::default()
        }
    }

    pub(crate) async fn run(&mut self, round: impl Future<Output = ()>) {
        let (begun, before) = (Instant::now(), processor());
        round.await;
        self.rounds.push(begun.elapsed());
        self.cpu += processor().saturating_sub(before);
    }

    /// Rotations in a second, in the fastest round.
    pub(crate) fn fastest(&self) -> f64 {
        self.rate(self.rounds.iter().min())
    }

    /// Rotations in a second, in the median round.
    pub(crate) fn median(&self) -> f64 {
        let mut rounds = self.rounds.clone();
        rounds.sort();
        self.rate(rounds.get(rounds.len() / 2))
    }

    /// Microseconds on a processor for one rotation, on average.
    pub(crate) fn micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / number(self.count * self.rounds.len())
    }

    fn rate(&self, round: Option<&Duration>) -> f64 {
        number(self.count) / round.map_or(f64::NAN, Duration::as_secs_f64)
    }
}

/// How long this process was on a processor, in steps of 10 ms (proc_pid_stat: fields 14 and 15; the kernel
/// counts nanoseconds and rounds what it shows).
fn processor() -> Duration {
    let text = fs::read_to_string("/proc/self/stat").expect("this bench reads Linux's /proc");
    let (_, fields) = text.rsplit_once(')').unwrap();
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// The memory of this process: now, and at most since [`forget_the_peak`].
pub(crate) fn resident() -> (f64, f64) {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<f64>().unwrap()
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// Lets the peak begin anew (proc_pid_clear_refs).
pub(crate) fn forget_the_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

#[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
pub(crate) fn number(count: usize) -> f64 {
    count as f64
}
