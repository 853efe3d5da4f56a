use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// How far two clocks may be apart and still agree: whole seconds in a header, and an answer on its way.
const TOLERANCE: TimeDelta = TimeDelta::seconds(5);

/// What the directory's answers tell of this machine's clock.
///
/// The engine goes by the directory's time, by which secrets live and which all replicas share. Between
/// two answers it goes by the machine's clock, less what that was off, and notices by the monotonic clock
/// when somebody sets it.
#[derive(Debug, Default)]
pub(super) struct Clocks(Mutex<Option<Told>>);

/// What one answer told.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// What the machine's clock showed then.
    wall: DateTime<Utc>,
    at: Instant,
    /// How far it was ahead.
    skew: TimeDelta,
}

impl Clocks {
    /// Returns the time, when the machine's clock shows `wall`.
    pub(super) fn now(&self, wall: DateTime<Utc>) -> DateTime<Utc> {
        match *self.told() {
            Some(told) => told.now(wall, Instant::now()),
            None => wall,
        }
    }

    /// Whether the directory has told the time since anybody set the machine's clock, which shows `wall`.
    pub(super) fn is_told(&self, wall: DateTime<Utc>) -> bool {
        let told = *self.told();
        told.is_some_and(|told| told.ran_on(wall, told.elapsed(Instant::now())))
    }

    /// Takes in that the directory told the time `told`, if it tells the time, in a call that took so long and
    /// ends now, when the machine's clock shows `wall`. Returns how far that clock is ahead.
    ///
    /// What the clock showed when the call began says nothing: somebody may have set it since.
    pub(super) fn hear(
        &self,
        took: Duration,
        wall: DateTime<Utc>,
        told: Option<DateTime<Utc>>,
    ) -> TimeDelta {
        let sent = wall - TimeDelta::from_std(took).unwrap_or_default();
        let skew = told.map_or_else(TimeDelta::zero, |told| ahead(sent, wall, told));
        let at = Instant::now();
        *self.told() = Some(Told { wall, at, skew });
        skew
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Option<Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn now(self, wall: DateTime<Utc>, instant: Instant) -> DateTime<Utc> {
        let elapsed = self.elapsed(instant);
        if self.ran_on(wall, elapsed) {
            return wall - self.skew;
        }
        // The clock was set, or the machine slept, which the monotonic clock does not count. The later one
        // is right or does no harm: before a grace is ended the directory is asked.
        wall.max(self.wall - self.skew + elapsed)
    }

    fn elapsed(self, instant: Instant) -> TimeDelta {
        TimeDelta::from_std(instant - self.at).unwrap_or_default()
    }

    /// Whether the machine's clock, which shows `wall`, went on as the monotonic one did.
    fn ran_on(self, wall: DateTime<Utc>, elapsed: TimeDelta) -> bool {
        is_close(wall - self.wall, elapsed)
    }
}

/// Returns how far a clock is ahead by which a request was sent at `sent` and answered at `received`, and
/// `told` told in between; zero when it may well be right.
fn ahead(sent: DateTime<Utc>, received: DateTime<Utc>, told: DateTime<Utc>) -> TimeDelta {
    let skew = if told > received {
        received - told
    } else {
        // Told to the second, so it may have been a second later.
        (sent - told - TimeDelta::seconds(1)).max(TimeDelta::zero())
    };
    if is_close(skew, TimeDelta::zero()) {
        TimeDelta::zero()
    } else {
        skew
    }
}

fn is_close(one: TimeDelta, other: TimeDelta) -> bool {
    (one - other).abs() <= TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn a_clock_is_off_when_no_moment_of_the_call_fits_what_was_told() {
        for (sent, received, told, skew) in [
            (100, 101, 100, 0),
            (100, 101, 97, 0),
            (100, 130, 115, 0),
            (100, 101, 104, 0),
            (4000, 4001, 100, 3899),
            (100, 101, 4000, -3899),
        ] {
            let seen = ahead(at(sent), at(received), at(told));
            assert_eq!(seen.num_seconds(), skew, "{sent} {received} {told}");
        }
    }

    #[test]
    fn a_clock_that_is_set_during_a_call_is_right_after_it() {
        let (clocks, second) = (Clocks::default(), Duration::from_secs(1));

        // It was an hour ahead when the call began.
        let skew = clocks.hear(second, at(101), Some(at(100)));

        assert_eq!(skew, TimeDelta::zero());
        assert_eq!(clocks.now(at(101)), at(101));
    }

    #[test]
    fn what_was_told_holds_until_somebody_sets_the_clock() {
        let heard = Instant::now();
        let later = heard + Duration::from_secs(60);
        for (skew, shown, now) in [
            (0, 1060, 1060),
            (400, 1060, 660),
            (-400, 1060, 1460),
            // Set right after it was ahead, and after it was behind.
            (400, 660, 660),
            (-400, 1460, 1460),
            // Set back, and ahead, after it was right.
            (0, 60, 1060),
            (0, 9000, 9000),
        ] {
            let (wall, skew) = (at(1000), TimeDelta::seconds(skew));
            let told = Told {
                wall,
                at: heard,
                skew,
            };
            assert_eq!(told.now(at(shown), later), at(now), "{skew} {shown}");
        }
    }
}
