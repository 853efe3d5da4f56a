use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::random::{hash, unit};

/// How the service behaves over time. Every field may be changed at start, in a test
/// ([`Emulator::behave`](crate::Emulator::behave)) and over the admin endpoint while it runs.
///
/// The default is a service on its best day: everything is visible at once, nothing is throttled.
/// All times go by the emulator's [`Clock`](crate::Clock). In TOML and JSON a duration is a number of
/// seconds, and a [`Span`] is a number or `{ min = 4, max = 18 }`.
///
/// ```
/// use chrono::TimeDelta;
/// use keywheel_emulator::{Behaviours, Span};
///
/// let mut behaviours = Behaviours::default();
/// behaviours.replicas = 3;
/// // What rotators have measured: a new secret works after 4 to 18 seconds, somewhere sooner than elsewhere.
/// behaviours.secret_propagation = Span::between(TimeDelta::seconds(4), TimeDelta::seconds(18));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Behaviours {
    /// What the draws follow from: which replica answers, how long each delay is. Default 0.
    pub seed: u64,
    /// How many replicas answer, each with delays of its own; who answers is drawn per request. Default 1.
    pub replicas: u32,
    /// From adding a credential until the token endpoint takes it. Default 0.
    pub secret_propagation: Span,
    /// From removing a credential until the token endpoint refuses it. Default 0.
    pub removal_propagation: Span,
    /// From a change of credentials or owners until Graph's reads show it. Default 0.
    pub read_lag: Span,
    /// From adding a credential until `removePassword` and `removeKey` know it. Default 0.
    pub write_lag: Span,
    /// From creating an application or service principal until it is found. Default 0.
    pub object_lag: Span,
    /// From granting a role until new tokens carry it. Default 0.
    pub grant_lag: Span,
    /// How long an access token is valid. Default 60 to 90 minutes, drawn per token, as documented.
    pub token_lifetime: Span,
    /// How far a client's clock may be off where an assertion's times are checked. Default 300 s, the
    /// customary allowance.
    #[serde(with = "seconds")]
    pub clock_skew: TimeDelta,
    /// Limits requests to the token endpoint. Default none.
    pub token_throttle: Option<Throttle>,
    /// Limits requests to Graph. Default none.
    pub graph_throttle: Option<Throttle>,
    /// When writes to one object get in each other's way. Default never.
    pub concurrency: Concurrency,
    /// What `Application.ReadWrite.OwnedBy` alone may read. Sources disagree; default
    /// [`OwnedByReads::Owned`], the stricter.
    pub owned_by_reads: OwnedByReads,
    /// Whether an application that creates an object becomes its owner. Sources disagree; default true. A
    /// user always does.
    pub creator_owns: bool,
    /// Whether Graph tells the `hint` of a secret. Default true.
    pub hints: bool,
    /// Whether assertions may name the v1 token endpoint or the tenant's issuer as audience; reported,
    /// never confirmed. Default false.
    pub lenient_audience: bool,
    /// Whether token errors separate their parts by line breaks, as until 2023. Default false: by spaces.
    pub line_breaks: bool,
    /// How many values an object's collections may hold together. Default 1000.
    pub object_items: u32,
    /// HTTP statuses that replace those of single error codes (`"7000216"`,
    /// `"Authentication_MissingOrMalformed"`), for what nobody has recorded yet. Default none.
    pub statuses: BTreeMap<String, u16>,
}

impl Default for Behaviours {
    fn default() -> Self {
        Self {
            seed: 0,
            replicas: 1,
            secret_propagation: Span::zero(),
            removal_propagation: Span::zero(),
            read_lag: Span::zero(),
            write_lag: Span::zero(),
            object_lag: Span::zero(),
            grant_lag: Span::zero(),
            token_lifetime: Span::between(TimeDelta::seconds(3600), TimeDelta::seconds(5400)),
            clock_skew: TimeDelta::seconds(300),
            token_throttle: None,
            graph_throttle: None,
            concurrency: Concurrency::default(),
            owned_by_reads: OwnedByReads::Owned,
            creator_owns: true,
            hints: true,
            lenient_audience: false,
            line_breaks: false,
            object_items: 1000,
            statuses: BTreeMap::new(),
        }
    }
}

impl Behaviours {
    /// Returns the delay of one event on one replica: the same whenever it is asked.
    pub(crate) fn delay(&self, span: Span, id: Uuid, replica: u64, event: Event) -> TimeDelta {
        let (high, low) = id.as_u64_pair();
        span.at(unit(hash(self.seed, &[high, low, replica, event as u64])))
    }

    /// Returns how long a replica may still go by what was removed.
    pub(crate) fn longest_memory(&self) -> TimeDelta {
        self.removal_propagation.max.max(self.read_lag.max)
    }

    /// Tells whether what happened to `id` at `since` has arrived at `replica`.
    pub(crate) fn arrived(
        &self,
        span: Span,
        id: Uuid,
        event: Event,
        since: DateTime<Utc>,
        seen_from: Seen,
    ) -> bool {
        span.is_zero()
            || seen_from.now
                >= crate::clock::add(since, self.delay(span, id, seen_from.replica, event))
    }
}

/// From where, and when, something is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) now: DateTime<Utc>,
    pub(crate) replica: u64,
}

/// What may take time to arrive.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Added = 1,
    Removed = 2,
    Created = 3,
    Granted = 4,
}

/// A length of time that is drawn between two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SpanForm", into = "SpanForm")]
pub struct Span {
    min: TimeDelta,
    max: TimeDelta,
}

impl Span {
    /// Returns the span of no length.
    #[must_use]
    pub const fn zero() -> Self {
        Self::exactly(TimeDelta::zero())
    }

    /// Returns a span that is always `length`.
    #[must_use]
    pub const fn exactly(length: TimeDelta) -> Self {
        Self {
            min: length,
            max: length,
        }
    }

    /// Returns a span of at least `min` and at most `max`; the bounds may come in either order.
    #[must_use]
    pub fn between(min: TimeDelta, max: TimeDelta) -> Self {
        Self {
            min: min.min(max),
            max: max.max(min),
        }
    }

    pub(crate) fn is_zero(self) -> bool {
        self.max <= TimeDelta::zero()
    }

    /// Returns the length at `share` (0..1) of the way from the shortest to the longest.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "spans are seconds to months, far from what a float can't hold"
    )]
    pub(crate) fn at(self, share: f64) -> TimeDelta {
        let width = (self.max - self.min).num_milliseconds() as f64;
        self.min + TimeDelta::milliseconds((width * share) as i64)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum SpanForm {
    Exact(f64),
    Between { min: f64, max: f64 },
}

impl From<SpanForm> for Span {
    fn from(form: SpanForm) -> Self {
        match form {
            SpanForm::Exact(length) => Self::exactly(from_seconds(length)),
            SpanForm::Between { min, max } => Self::between(from_seconds(min), from_seconds(max)),
        }
    }
}

impl From<Span> for SpanForm {
    fn from(span: Span) -> Self {
        if span.min == span.max {
            return Self::Exact(to_seconds(span.min));
        }
        Self::Between {
            min: to_seconds(span.min),
            max: to_seconds(span.max),
        }
    }
}

/// A limit on requests: the first `requests` of each `window` pass, the rest are answered 429.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Throttle {
    /// How many requests pass in each window.
    pub requests: u32,
    /// The window's length.
    #[serde(with = "seconds")]
    pub window: TimeDelta,
    /// The seconds that `Retry-After` says; without it the header is left out, as the service at times does.
    #[serde(default)]
    pub retry_after: Option<u32>,
}

impl Throttle {
    /// Returns a limit of `requests` per `window`, answered without `Retry-After`.
    #[must_use]
    pub const fn new(requests: u32, window: TimeDelta) -> Self {
        Self {
            requests,
            window,
            retry_after: None,
        }
    }

    /// Adds `Retry-After` with `seconds`.
    #[must_use]
    pub const fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

/// When writes to the same application or service principal conflict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Concurrency {
    /// A write conflicts when the last one on that object is less than this ago. Default 0: never.
    #[serde(with = "seconds")]
    pub spacing: TimeDelta,
    /// The share of writes, 0 to 1, that conflict with something unseen. Default 0.
    pub probability: f64,
    /// What the service answers. Default [`ConflictAnswer::Conflict`].
    pub answer: ConflictAnswer,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self {
            spacing: TimeDelta::zero(),
            probability: 0.0,
            answer: ConflictAnswer::Conflict,
        }
    }
}

/// The three ways in which the directory has been seen to refuse concurrent writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConflictAnswer {
    /// 400 `Request_BadRequest`, "concurrent requests" in the text.
    BadRequest,
    /// 409 `Directory_ConcurrencyViolation`, recorded in 2026.
    Conflict,
    /// Each of the others in turn.
    Mixed,
    /// 503 `Directory_ConcurrencyViolation`, recorded in 2022.
    Unavailable,
}

/// What `Application.ReadWrite.OwnedBy` alone may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OwnedByReads {
    /// Every application, and the list of them.
    Any,
    /// Only the applications it owns; the list is refused.
    Owned,
}

/// Durations as a number of seconds, for serde.
pub(crate) mod seconds {
    use chrono::TimeDelta;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(span: &TimeDelta, to: S) -> Result<S::Ok, S::Error> {
        super::to_seconds(*span).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TimeDelta, D::Error> {
        f64::deserialize(from).map(super::from_seconds)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "bounded to a thousand years before"
)]
pub(crate) fn from_seconds(seconds: f64) -> TimeDelta {
    let bounded = seconds.clamp(-THOUSAND_YEARS, THOUSAND_YEARS);
    TimeDelta::milliseconds(if bounded.is_nan() {
        0
    } else {
        (bounded * 1000.0) as i64
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "spans are seconds to months, far from what a float can't hold"
)]
fn to_seconds(span: TimeDelta) -> f64 {
    span.num_milliseconds() as f64 / 1000.0
}

const THOUSAND_YEARS: f64 = 31_557_600_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_numbers_and_as_bounds() {
        let exact: Span = serde_json::from_str("4.5").unwrap();
        let between: Span = serde_json::from_str(r#"{"min":18,"max":4}"#).unwrap();

        assert_eq!(exact, Span::exactly(TimeDelta::milliseconds(4500)));
        assert_eq!(between.at(0.0), TimeDelta::seconds(4));
        assert_eq!(between.at(0.5), TimeDelta::seconds(11));
        assert_eq!(serde_json::to_string(&exact).unwrap(), "4.5");
    }

    #[test]
    fn a_delay_is_the_same_whenever_it_is_asked_and_differs_by_replica() {
        let behaviours = Behaviours::default();
        let span = Span::between(TimeDelta::zero(), TimeDelta::seconds(1000));
        let id = Uuid::from_u128(7);
        let delay = |replica| behaviours.delay(span, id, replica, Event::Added);

        assert_eq!(delay(0), delay(0));
        assert_ne!(delay(0), delay(1));
    }

    #[test]
    fn unknown_names_are_refused() {
        let error = serde_json::from_str::<Behaviours>(r#"{"replicsa":3}"#).unwrap_err();

        assert!(error.to_string().contains("replicsa"), "{error}");
    }

    #[test]
    fn endless_numbers_are_bounded() {
        for seconds in [f64::INFINITY, f64::NAN, -1e300] {
            let _ = from_seconds(seconds);
        }
    }
}
