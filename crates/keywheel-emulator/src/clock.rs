use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// The emulator's own clock.
///
/// It follows the system's clock at a distance that can be set, or stands still. Everything the emulator
/// decides by time (expiry, propagation, throttling) goes by this clock, so months pass in a test with one
/// [`advance`](Self::advance). Clones show the same time. TLS certificates are the one exception: clients
/// judge those by their own clock, so they are made to be valid for years around the system's time.
///
/// ```
/// use chrono::{TimeDelta, TimeZone, Utc};
/// use keywheel_emulator::Clock;
///
/// let clock = Clock::standing_at(Utc.with_ymd_and_hms(2026, 3, 1, 0, 0, 0).unwrap());
/// clock.advance(TimeDelta::days(30));
/// assert_eq!(clock.now().to_rfc3339(), "2026-03-31T00:00:00+00:00");
/// ```
#[derive(Clone, Debug)]
pub struct Clock(Arc<Mutex<Hand>>);

/// Where the clock's hand is. This is what a snapshot keeps.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Hand {
    Running { offset_micros: i64 },
    Standing { at: DateTime<Utc> },
}

impl Clock {
    /// Returns a clock that shows the system's time and runs with it. The default.
    #[must_use]
    pub fn system() -> Self {
        Self::of(Hand::Running { offset_micros: 0 })
    }

    /// Returns a clock that starts at `start` and runs.
    #[must_use]
    pub fn running_from(start: DateTime<Utc>) -> Self {
        let clock = Self::system();
        clock.set(start);
        clock
    }

    /// Returns a clock that shows `at` until it is moved.
    #[must_use]
    pub fn standing_at(at: DateTime<Utc>) -> Self {
        Self::of(Hand::Standing { at })
    }

    /// Returns the time, in steps of 100 ns as the directory keeps it.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.hand().read().trunc_subsecs(7)
    }

    /// Moves the clock to `to`. A running clock goes on running from there.
    pub fn set(&self, to: DateTime<Utc>) {
        let mut hand = self.hand();
        *hand = match *hand {
            Hand::Running { .. } => Hand::running_at(to),
            Hand::Standing { .. } => Hand::Standing { at: to },
        };
    }

    /// Moves the clock by `by`, forwards or back. It stops at the ends of what a date can hold.
    pub fn advance(&self, by: TimeDelta) {
        self.set(add(self.now(), by));
    }

    /// Stops the clock where it is.
    pub fn stop(&self) {
        let mut hand = self.hand();
        *hand = Hand::Standing { at: hand.read() };
    }

    /// Lets the clock run on from where it is.
    pub fn resume(&self) {
        let mut hand = self.hand();
        *hand = Hand::running_at(hand.read());
    }

    /// Tells whether the clock runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(*self.hand(), Hand::Running { .. })
    }

    pub(crate) fn of(hand: Hand) -> Self {
        Self(Arc::new(Mutex::new(hand)))
    }

    pub(crate) fn restore(&self, hand: Hand) {
        *self.hand() = hand;
    }

    pub(crate) fn kept(&self) -> Hand {
        *self.hand()
    }

    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl Hand {
    fn running_at(to: DateTime<Utc>) -> Self {
        let offset = to.signed_duration_since(system_now());
        Self::Running {
            offset_micros: offset.num_microseconds().unwrap_or(0),
        }
    }

    fn read(self) -> DateTime<Utc> {
        match self {
            Self::Running { offset_micros } => {
                add(system_now(), TimeDelta::microseconds(offset_micros))
            }
            Self::Standing { at } => at,
        }
    }
}

/// Adds without overflow: a clock is set by people and by tests.
pub(crate) fn add(to: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    let end = if by < TimeDelta::zero() {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    };
    to.checked_add_signed(by).unwrap_or(end)
}

/// The one place where the emulator reads the clock of the operating system.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub(crate) fn system_now() -> DateTime<Utc> {
    Utc::now()
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    fn noon() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 6, 1, 12, 0, 0).unwrap()
    }

    #[test]
    fn a_standing_clock_moves_only_by_hand() {
        let clock = Clock::standing_at(noon());
        let twin = clock.clone();

        twin.advance(TimeDelta::days(90));

        assert_eq!(clock.now(), noon() + TimeDelta::days(90));
        assert_eq!(clock.now(), clock.now());
    }

    #[test]
    fn a_running_clock_goes_on_from_where_it_was_set() {
        let clock = Clock::running_from(noon());

        assert!(clock.now() >= noon(), "{}", clock.now());
        assert!(clock.now() < noon() + TimeDelta::hours(1));
        clock.stop();
        assert_eq!(clock.now(), clock.now());
        clock.resume();
        assert!(clock.is_running());
    }

    #[test]
    fn advancing_past_the_end_of_time_stops_there() {
        let clock = Clock::standing_at(noon());

        clock.advance(TimeDelta::MAX);

        assert!(clock.now() > noon(), "{}", clock.now());
    }
}
