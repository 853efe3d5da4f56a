use std::time::Duration;

use tokio::time::Instant;

/// A token bucket that may be overdrawn: who overdraws it waits until the debt has flowed in, so that all
/// wait in the order in which they came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: f64,
    size: f64,
    level: f64,
    seen: Option<Instant>,
}

impl Bucket {
    /// Returns a full bucket into which `rate` flows per second and which holds what flows in `seconds`.
    pub(super) fn new(rate: f64, seconds: f64) -> Self {
        let size = (rate * seconds).max(1.0);
        Self {
            rate,
            size,
            level: size,
            seen: None,
        }
    }

    /// Takes `amount` while the inflow is at the share `pace`, and returns how long until it is there.
    pub(super) fn take(&mut self, amount: f64, pace: f64, now: Instant) -> Duration {
        let rate = self.rate * pace;
        let since = self
            .seen
            .map_or(Duration::ZERO, |seen| now.duration_since(seen));
        self.level = (self.level + since.as_secs_f64() * rate).min(self.size) - amount;
        self.seen = Some(now);
        Duration::try_from_secs_f64((-self.level / rate).max(0.0)).unwrap_or(Duration::MAX)
    }

    pub(super) fn take_back(&mut self, amount: f64) {
        self.level = (self.level + amount).min(self.size);
    }
}
