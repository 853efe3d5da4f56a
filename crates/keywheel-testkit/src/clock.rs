use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::Clock;
use tokio::time::Instant;

/// A wall clock that runs with tokio's: when tests pause the one, a sleep of 90 days returns at once and
/// the other agrees. It can be stepped against it, and clones share the step.
#[derive(Clone, Debug)]
pub struct TokioClock {
    base: DateTime<Utc>,
    start: Instant,
    step: Arc<AtomicI64>,
}

impl TokioClock {
    /// Returns a clock that shows `base` now.
    #[must_use]
    pub fn starting_at(base: DateTime<Utc>) -> Self {
        Self {
            base,
            start: Instant::now(),
            step: Arc::default(),
        }
    }

    /// Returns the same clock, to be stepped by itself.
    #[must_use]
    pub fn skewed(&self, by: TimeDelta) -> Self {
        let mut clock = self.clone();
        clock.step = Arc::new(AtomicI64::new(
            self.step.load(Ordering::Relaxed) + by.num_milliseconds(),
        ));
        clock
    }

    /// Steps the wall clock, but not tokio's.
    pub fn step(&self, by: TimeDelta) {
        self.step
            .fetch_add(by.num_milliseconds(), Ordering::Relaxed);
    }
}

impl Clock for TokioClock {
    fn now(&self) -> DateTime<Utc> {
        let run = TimeDelta::from_std(self.start.elapsed()).unwrap_or(TimeDelta::MAX);
        let step = TimeDelta::milliseconds(self.step.load(Ordering::Relaxed));
        self.base + run + step
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ninety_days_pass_at_once() {
        let clock = TokioClock::starting_at(DateTime::UNIX_EPOCH);

        tokio::time::sleep(Duration::from_secs(90 * 86_400)).await;

        assert_eq!(clock.now(), DateTime::UNIX_EPOCH + TimeDelta::days(90));
    }
}
