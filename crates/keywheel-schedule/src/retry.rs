use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::jitter::{scale, spread};

/// How long to wait after a rotation that failed.
///
/// Pure: it answers how long, and who asks does the waiting. It is meant for outages of minutes to days;
/// the retries of a single request are the business of the client that sends it.
///
/// ```
/// use std::time::Duration;
/// use keywheel_schedule::RetryDelay;
///
/// let delay = RetryDelay::default();
/// let now = "2026-11-23T12:00:00Z".parse()?;
/// let wait = |failures| delay.wait(failures, "connection 42", now, None);
///
/// assert!(wait(1) <= Duration::from_mins(1));
/// assert!((Duration::from_mins(8)..=Duration::from_mins(16)).contains(&wait(5)));
/// assert!((Duration::from_hours(3)..=Duration::from_hours(6)).contains(&wait(50)));
/// # Ok::<(), chrono::ParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryDelay {
    /// The wait after the first failure; each further one doubles it. Default: one minute, because what
    /// fails for less has been retried by the client already.
    pub base: Duration,
    /// The longest wait. Default: six hours, so that a day of outage is followed by a few tries and not by
    /// a day of waiting.
    pub cap: Duration,
}

impl Default for RetryDelay {
    fn default() -> Self {
        Self {
            base: Duration::from_mins(1),
            cap: Duration::from_hours(6),
        }
    }
}

/// Of what is left of a credential's life, the next try may wait for one part in so many.
const PARTS_OF_LIFE: u32 = 8;

impl RetryDelay {
    /// Returns how long to wait after `failures` failures in a row.
    ///
    /// The wait lies between half and the whole of `base` × 2^(failures − 1), which is at most `cap`; where
    /// in between is hashed from the id and the count, so that those who failed together do not come back
    /// together, and yet the answer is always the same. As the end of the credential comes near it is no
    /// longer than an eighth of the time that is left, but never cut below `base`. A credential that has
    /// ended leaves nothing to hurry for.
    #[must_use]
    pub fn wait(
        &self,
        failures: u32,
        id: &str,
        now: DateTime<Utc>,
        credential_end: Option<DateTime<Utc>>,
    ) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let whole = self.base.saturating_mul(factor).min(self.cap);
        let half = whole / 2;
        let millis = u64::try_from(half.as_millis()).unwrap_or(u64::MAX);
        let jitter = Duration::from_millis(scale(spread(id, u64::from(failures)), millis));
        let wait = half.saturating_add(jitter);
        match credential_end.and_then(|end| (end - now).to_std().ok()) {
            Some(left) if !left.is_zero() => wait.min((left / PARTS_OF_LIFE).max(self.base)),
            _ => wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let delay = RetryDelay::default();

        assert_eq!(delay.wait(0, "id", now(), None), Duration::ZERO);
        for failures in 1..=40 {
            let whole = Duration::from_secs(60 << (failures - 1).min(20)).min(delay.cap);
            let wait = delay.wait(failures, "id", now(), None);
            assert!((whole / 2..=whole).contains(&wait), "{failures}: {wait:?}");
        }
    }

    #[test]
    fn those_who_failed_together_do_not_come_back_together() {
        let wait = |id| RetryDelay::default().wait(9, id, now(), None);

        assert_ne!(wait("a"), wait("b"));
        assert_eq!(wait("a"), wait("a"));
    }

    #[test]
    fn the_end_of_the_credential_shortens_the_wait_until_it_is_past() {
        let wait = |hours: f64| {
            let end = now() + TimeDelta::seconds((hours * 3600.0) as i64);
            RetryDelay::default().wait(20, "id", now(), Some(end))
        };
        let calm = RetryDelay::default().wait(20, "id", now(), None);

        assert_eq!(wait(1000.0), calm);
        assert_eq!(wait(8.0), Duration::from_hours(1));
        assert_eq!(wait(0.01), Duration::from_mins(1));
        assert_eq!(wait(0.0), calm);
        assert_eq!(wait(-5.0), calm);
    }

    proptest! {
        #[test]
        fn no_question_panics(
            failures in any::<u32>(),
            base in any::<Duration>(),
            cap in any::<Duration>(),
            end in any::<i64>(),
        ) {
            let end = DateTime::from_timestamp(end, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
            let wait = RetryDelay { base, cap }.wait(failures, "id", now(), Some(end));
            prop_assert!(wait <= cap);
        }
    }
}
