use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::KeyId;
use keywheel_schedule::Plan;
use serde::{Deserialize, Serialize};

use super::Cause;
use crate::{Origin, RotationId, Sealed, instant};

/// When and how a connection's secret is rotated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RotationSettings {
    /// When: a schedule, and the jitter, windows and freezes that move its runs.
    pub plan: Plan,
    /// How old and new live beside each other.
    pub mode: Mode,
    /// How many tokens in a row must be obtained with a new secret before it is used. Default: 3.
    pub proofs: u8,
    /// The time that the proofs are spread over, so that they meet several replicas. Default: 10
    /// seconds; new secrets are known everywhere after 4 to 18.
    pub proof_span: Seconds,
    /// How long the secret that the connection was created with stays valid after the first rotation.
    /// Default: none, because others have seen it.
    pub original_grace: Seconds,
    /// How long a replaced secret stays valid. Default: one hour, longer than a process that reads its
    /// secret every few minutes needs.
    pub grace: Seconds,
}

impl RotationSettings {
    /// Returns the defaults for a plan, or for a schedule that nothing moves.
    #[must_use]
    pub fn new(plan: impl Into<Plan>) -> Self {
        Self {
            plan: plan.into(),
            mode: Mode::Overlap,
            proofs: 3,
            proof_span: Seconds(10),
            original_grace: Seconds(0),
            grace: Seconds(3600),
        }
    }
}

/// A span of whole seconds, stored as a number.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
#[expect(clippy::exhaustive_structs, reason = "a number with its unit")]
pub struct Seconds(pub u32);

impl Seconds {
    /// Returns the span as what chrono adds to instants.
    #[must_use]
    pub fn delta(self) -> TimeDelta {
        TimeDelta::seconds(self.0.into())
    }
}

impl From<Duration> for Seconds {
    /// Rounds up to whole seconds; what does not fit becomes 136 years.
    fn from(span: Duration) -> Self {
        let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
        Self(u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

/// How old and new secrets live beside each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mode {
    /// The new one is minted while the old one is valid, and the old one stays for its grace.
    #[default]
    Overlap,
    /// For applications that may hold two secrets at most: the replaced one is gone before the next is
    /// minted.
    OnePlusOne,
}

/// Nothing new begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pause {
    /// Since when.
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
    /// Why, in the words of who paused.
    pub reason: String,
}

impl Pause {
    /// Returns a pause since `since`.
    #[must_use]
    pub fn new(since: DateTime<Utc>, reason: impl Into<String>) -> Self {
        Self {
            since,
            reason: reason.into(),
        }
    }
}

/// Somebody asked for a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RotationRequest {
    /// The rotation that it will be.
    pub id: RotationId,
    /// Why.
    pub cause: Cause,
    /// When it was asked for.
    #[serde(with = "instant")]
    pub at: DateTime<Utc>,
}

impl RotationRequest {
    /// Returns a request.
    #[must_use]
    pub fn new(id: RotationId, cause: Cause, at: DateTime<Utc>) -> Self {
        Self { id, cause, at }
    }
}

/// A secret that was given: by a person, or taken back from the grace of the one before.
///
/// It is proven like one that was minted before it is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Offer {
    /// The rotation that it will be.
    pub rotation: RotationId,
    /// Why: [`Cause::RollBack`] or [`Cause::Supplied`].
    pub cause: Cause,
    /// Its key id.
    pub key_id: KeyId,
    /// The generation that it will be.
    pub generation: u64,
    /// The secret, sealed for that generation.
    pub sealed: Sealed,
    /// Where it came from.
    pub origin: Origin,
    /// When it ends, if known.
    #[serde(default, with = "instant::optional")]
    pub end: Option<DateTime<Utc>>,
    /// Whether an emergency joined it: the replaced secret has no grace.
    #[serde(default)]
    pub urgent: bool,
}

impl Offer {
    /// Returns a secret to become generation `generation`.
    #[must_use]
    pub fn new(
        (rotation, cause): (RotationId, Cause),
        (key_id, origin): (KeyId, Origin),
        generation: u64,
        sealed: Sealed,
        end: Option<DateTime<Utc>>,
    ) -> Self {
        Self {
            rotation,
            cause,
            key_id,
            generation,
            sealed,
            origin,
            end,
            urgent: false,
        }
    }
}
