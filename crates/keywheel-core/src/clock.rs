use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
#[cfg(target_os = "linux")]
use rustix::time::{ClockId, clock_gettime};

/// Tells the wall-clock time.
///
/// Only wall-clock time goes through this seam. Durations are measured with `tokio::time`, which tests
/// pause. Implementations return at once, never panic, and may step in either direction: callers must
/// bear a clock that jumps.
pub trait Clock: Debug + Send + Sync {
    /// Returns the present instant.
    fn now(&self) -> DateTime<Utc>;

    /// Returns the present instant, or one a few milliseconds before it, as cheaply as can be.
    ///
    /// For the look at the clock before every request, as whether a token that lasts for minutes is still
    /// good. Default: [`now`](Self::now).
    fn coarse_now(&self) -> DateTime<Utc> {
        self.now()
    }
}

impl<T: Clock + ?Sized> Clock for Arc<T> {
    fn now(&self) -> DateTime<Utc> {
        (**self).now()
    }

    fn coarse_now(&self) -> DateTime<Utc> {
        (**self).coarse_now()
    }
}

/// The clock of the operating system: the one place where keywheel reads it.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemClock;

impl SystemClock {
    /// Returns the clock of the operating system.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    /// On Linux the time of the last timer tick, at most 10 milliseconds ago (`CLOCK_REALTIME_COARSE`,
    /// clock_gettime(2)): an eighth of the cost, because no hardware counter is read.
    #[cfg(target_os = "linux")]
    fn coarse_now(&self) -> DateTime<Utc> {
        let tick = clock_gettime(ClockId::RealtimeCoarse);
        let nanos = u32::try_from(tick.tv_nsec).ok();
        nanos
            .and_then(|nanos| DateTime::from_timestamp(tick.tv_sec, nanos))
            .unwrap_or_else(|| self.now())
    }
}

/// A clock that stands still until it is moved: for tests and demonstrations.
///
/// Clones show the same time.
///
/// ```
/// use chrono::{TimeDelta, TimeZone, Utc};
/// use keywheel_core::{Clock, ManualClock};
///
/// let clock = ManualClock::new(Utc.with_ymd_and_hms(2026, 3, 1, 0, 0, 0).unwrap());
/// clock.advance(TimeDelta::days(30));
/// assert_eq!(clock.now().to_rfc3339(), "2026-03-31T00:00:00+00:00");
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Returns a clock that shows `now`, to the microsecond.
    #[must_use]
    pub fn new(now: DateTime<Utc>) -> Self {
        Self(Arc::new(AtomicI64::new(now.timestamp_micros())))
    }

    /// Moves the clock by `by`, forwards or back.
    pub fn advance(&self, by: TimeDelta) {
        let micros = by.num_microseconds().unwrap_or(i64::MAX);
        self.0.fetch_add(micros, Ordering::Relaxed);
    }

    /// Sets the clock to `to`.
    pub fn set(&self, to: DateTime<Utc>) {
        self.0.store(to.timestamp_micros(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0.load(Ordering::Relaxed))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarse_clock_is_never_ahead_and_hardly_behind() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        for _ in 0..1_000 {
            let before = clock.now();
            let coarse = clock.coarse_now();
            let after = clock.now();

            assert!(coarse <= after, "{coarse} {after}");
            assert!(
                coarse > before - TimeDelta::milliseconds(100),
                "{before} {coarse}"
            );
        }
    }
}
