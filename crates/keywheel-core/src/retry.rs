use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use crate::Entropy;

/// How often and how long a request is tried.
///
/// Pure: it answers how long to wait, and who asks does the waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How many times a request is sent at most. Default: 5.
    pub max_attempts: u32,
    /// How long all attempts and waits may take together. Default: 90 seconds, so that a token that is
    /// refreshed five minutes before its end never ends in between.
    pub max_elapsed: Duration,
    /// The shortest wait. Default: 500 ms.
    pub base: Duration,
    /// The longest wait that we choose, and the longest that a server may ask for. Default: 30 seconds.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            max_elapsed: Duration::from_secs(90),
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// Returns a policy that sends once.
    #[must_use]
    pub fn never() -> Self {
        Self {
            max_attempts: 1,
            ..Self::default()
        }
    }

    /// Returns how long to wait before the next attempt, or `None` to give up.
    ///
    /// `attempts` were made in `elapsed`; `last` was the wait before, zero at first; `asked` is the
    /// server's `Retry-After`. The wait is decorrelated jitter: uniform between `base` and three times
    /// the last, so that callers who failed together do not come back together. A server that asks for
    /// longer is obeyed up to `cap`.
    #[must_use]
    pub fn wait(
        &self,
        attempts: u32,
        elapsed: Duration,
        last: Duration,
        asked: Option<Duration>,
        entropy: &dyn Entropy,
    ) -> Option<Duration> {
        if attempts >= self.max_attempts {
            return None;
        }
        let spread = (last * 3).saturating_sub(self.base).mul_f64(entropy.unit());
        let wait = (self.base + spread)
            .max(asked.unwrap_or(Duration::ZERO))
            .min(self.cap);
        (elapsed + wait <= self.max_elapsed).then_some(wait)
    }
}

/// Reads `Retry-After` in both its forms (RFC 9110, section 10.2.3): seconds, or a date.
///
/// A date in the past is zero, and what is longer than a day is a day: nobody who is asked means more, and
/// what stands between may say anything. What is neither is `None`.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if let Ok(seconds) = text.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let left = parse_date(text)? - now;
        left.to_std().unwrap_or(Duration::ZERO)
    };
    Some(asked.min(LONGEST_ASKED))
}

const LONGEST_ASKED: Duration = Duration::from_hours(24);

/// Reads when an answer was given, to the second, by the clock of who gave it: `Date` (RFC 9110, section 6.6.1).
#[must_use]
pub fn answered_at(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    parse_date(headers.get(DATE)?.to_str().ok()?)
}

fn parse_date(text: &str) -> Option<DateTime<Utc>> {
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some(date.to_utc())
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct Byte(u8);

    impl Entropy for Byte {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }

    fn header(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())])
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date() {
        let now = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
        let read = |text| retry_after(&header(text), now);

        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(
            read("Thu, 01 Jan 2026 00:00:30 GMT"),
            Some(Duration::from_secs(30))
        );
        assert_eq!(read("Wed, 31 Dec 2025 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-3"), None);
    }

    #[test]
    fn a_day_is_the_longest_that_is_heard() {
        let now = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
        let read = |text| retry_after(&header(text), now);
        let day = Some(Duration::from_hours(24));

        assert_eq!(read("31536000"), day);
        assert_eq!(read("18446744073709551615"), day);
        assert_eq!(read("Thu, 01 Jan 2099 00:00:00 GMT"), day);
        assert_eq!(read("Fri, 02 Jan 2026 00:00:00 GMT"), day);
    }

    #[test]
    fn a_server_is_obeyed_up_to_the_cap() {
        let wait =
            |asked| RetryPolicy::default().wait(1, Duration::ZERO, Duration::ZERO, asked, &Byte(0));

        assert_eq!(
            wait(Some(Duration::from_secs(7))),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            wait(Some(Duration::from_secs(3600))),
            Some(Duration::from_secs(30))
        );
    }

    proptest! {
        #[test]
        fn waits_stay_within_base_cap_and_budget(
            attempts in 0_u32..10, elapsed in 0_u64..200, last in 0_u64..100, byte in any::<u8>(),
        ) {
            let policy = RetryPolicy::default();
            let elapsed = Duration::from_secs(elapsed);
            if let Some(wait) =
                policy.wait(attempts, elapsed, Duration::from_secs(last), None, &Byte(byte))
            {
                prop_assert!(attempts < policy.max_attempts);
                prop_assert!(wait >= policy.base && wait <= policy.cap, "{:?}", wait);
                prop_assert!(elapsed + wait <= policy.max_elapsed);
            }
        }
    }
}
