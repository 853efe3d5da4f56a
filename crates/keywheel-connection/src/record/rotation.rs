use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::KeyId;
use keywheel_schedule::Schedule;
use serde::{Deserialize, Serialize};

use crate::{Marker, RotationId, Sealed};

/// The rotation of a connection's client secret: what is wanted, and how far it got.
///
/// The upper fields are written on behalf of people, the lower ones by the engine alone, so that neither
/// ever overwrites the other's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rotation {
    /// When and how to rotate.
    pub settings: RotationSettings,
    /// Whether the schedule is followed. A rotation that has begun is finished either way.
    pub enabled: bool,
    /// Set while nothing new may begin.
    pub pause: Option<Pause>,
    /// A rotation that was asked for and has not begun.
    pub request: Option<RotationRequest>,

    /// The due dates up to here are done with.
    pub covered_until: DateTime<Utc>,
    /// The rotation that has begun and is not confirmed.
    pub run: Option<Run>,
    /// How far the mint of a new secret got.
    pub phase: Phase,
    /// Secrets that must go, until their end is confirmed.
    pub debts: Vec<Debt>,
    /// Markers of calls whose secret nobody holds, if there is one.
    pub dead_markers: Vec<DeadMarker>,
    /// What went wrong last, until a step succeeds.
    pub trouble: Option<Trouble>,
    /// The longest lifetime that the tenant's policy is known to allow.
    pub lifetime_cap: Option<Seconds>,
    /// The last rotation that was confirmed.
    pub last: Option<Completed>,
}

impl Rotation {
    /// Returns an enabled rotation that has not begun. Due dates up to `covered_until` are not its.
    #[must_use]
    pub fn new(settings: RotationSettings, covered_until: DateTime<Utc>) -> Self {
        Self {
            settings,
            enabled: true,
            pause: None,
            request: None,
            covered_until,
            run: None,
            phase: Phase::Idle,
            debts: Vec::new(),
            dead_markers: Vec::new(),
            trouble: None,
            lifetime_cap: None,
            last: None,
        }
    }

    /// Returns the rotation that is running, or that was asked for and has not begun.
    #[must_use]
    pub fn in_progress(&self) -> Option<RotationId> {
        let running = self.run.map(|run| run.id);
        running.or_else(|| self.request.map(|request| request.id))
    }

    /// Returns the candidate that is being proven.
    #[must_use]
    pub fn candidate(&self) -> Option<&Candidate> {
        match &self.phase {
            Phase::Proving(candidate) => Some(candidate),
            Phase::Idle | Phase::Intent { .. } => None,
        }
    }
}

/// When and how a connection's secret is rotated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RotationSettings {
    /// When.
    pub schedule: Schedule,
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
    /// Returns the defaults for `schedule`.
    #[must_use]
    pub fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
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
    pub since: DateTime<Utc>,
    /// Why, in the words of who paused.
    pub reason: String,
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
    pub at: DateTime<Utc>,
}

impl RotationRequest {
    /// Returns a request.
    #[must_use]
    pub fn new(id: RotationId, cause: Cause, at: DateTime<Utc>) -> Self {
        Self { id, cause, at }
    }
}

/// Why a rotation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// The secret leaked: no grace.
    Emergency,
    /// The secret ends before the schedule would replace it.
    Expiry,
    /// The connection was just created, or its rotation enabled.
    Initial,
    /// Somebody asked.
    Manual,
    /// The schedule.
    Schedule,
}

/// A rotation from its first intent to its confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Run {
    /// Which rotation.
    pub id: RotationId,
    /// Why it runs.
    pub cause: Cause,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When the new secret became the current one.
    pub promoted_at: Option<DateTime<Utc>>,
}

impl Run {
    /// Returns a rotation that begins at `started_at`.
    #[must_use]
    pub fn new(id: RotationId, cause: Cause, started_at: DateTime<Utc>) -> Self {
        Self {
            id,
            cause,
            started_at,
            promoted_at: None,
        }
    }
}

/// How far the mint of a new secret got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Phase {
    /// No secret is being minted.
    #[default]
    Idle,
    /// `addPassword` may have been called with this marker. Whoever reads this state did not see the
    /// answer.
    Intent {
        /// The display name of the call.
        marker: Marker,
        /// When the intent was stored.
        since: DateTime<Utc>,
    },
    /// The new secret is stored, and is being proven.
    Proving(Candidate),
}

/// A new secret that is not the current one yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Candidate {
    /// Its key id.
    pub key_id: KeyId,
    /// The marker it was minted under.
    pub marker: Marker,
    /// The secret.
    pub sealed: Sealed,
    /// When Entra stops accepting it: what Graph answered, not what was asked for.
    pub end: Option<DateTime<Utc>>,
    /// When it was minted.
    pub minted_at: DateTime<Utc>,
    /// How many tokens in a row were obtained with it.
    pub proofs: u8,
    /// Whether Graph answered a read with such a token.
    pub read: bool,
    /// How many times in a row Entra refused it.
    pub refusals: u32,
    /// Since when Entra refuses it.
    pub refused_since: Option<DateTime<Utc>>,
    /// When to try it next.
    pub next_at: DateTime<Utc>,
}

impl Candidate {
    /// Returns a secret that was just minted.
    #[must_use]
    pub fn new(
        key_id: KeyId,
        marker: Marker,
        sealed: Sealed,
        end: Option<DateTime<Utc>>,
        minted_at: DateTime<Utc>,
    ) -> Self {
        Self {
            key_id,
            marker,
            sealed,
            end,
            minted_at,
            proofs: 0,
            read: false,
            refusals: 0,
            refused_since: None,
            next_at: minted_at,
        }
    }
}

/// A secret that must go. It stays here until its end is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Debt {
    /// Its key id.
    pub key_id: KeyId,
    /// Why it must go.
    pub reason: DebtReason,
    /// Since when that is so.
    pub since: DateTime<Utc>,
    /// Not before this: the end of the grace.
    pub due: DateTime<Utc>,
    /// How many calls did not settle it.
    pub attempts: u32,
    /// How many reads in a row did not show it, after Graph said that there is no such secret.
    pub absent_reads: u8,
    /// Whether Graph said that there is no such secret, which is to be confirmed by reads.
    pub unconfirmed: bool,
    /// When to try next.
    pub next_at: DateTime<Utc>,
}

impl Debt {
    /// Returns a debt that falls due at `due`.
    #[must_use]
    pub fn new(
        key_id: KeyId,
        reason: DebtReason,
        since: DateTime<Utc>,
        due: DateTime<Utc>,
    ) -> Self {
        Self {
            key_id,
            reason,
            since,
            due,
            attempts: 0,
            absent_reads: 0,
            unconfirmed: false,
            next_at: due,
        }
    }
}

/// Why a secret must go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DebtReason {
    /// It carries a dead marker: we minted it and nobody holds it.
    Orphan,
    /// It was minted and never accepted.
    Quarantined,
    /// Another one took its place.
    Superseded,
}

/// A marker whose call got no answer that was stored.
///
/// Reading proves presence, never absence, so absence is believed in two steps: after several reads over
/// the settle window minting may go on, and for a longer time the marker is still looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadMarker {
    /// The display name of the call.
    pub marker: Marker,
    /// When the call was made, at the latest.
    pub since: DateTime<Utc>,
    /// Whether minting may go on.
    pub settled: bool,
    /// How many reads in a row did not show it.
    pub absent_reads: u8,
    /// When to look next.
    pub next_at: DateTime<Utc>,
}

impl DeadMarker {
    /// Returns a marker to be looked for at once.
    #[must_use]
    pub fn new(marker: Marker, since: DateTime<Utc>, next_at: DateTime<Utc>) -> Self {
        Self {
            marker,
            since,
            settled: false,
            absent_reads: 0,
            next_at,
        }
    }
}

/// What went wrong, and when it is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trouble {
    /// What to do about it.
    pub kind: TroubleKind,
    /// What happened and what to do next, in words, with Entra's or Graph's code and correlation id.
    pub message: String,
    /// When it happened first.
    pub since: DateTime<Utc>,
    /// How many times in a row.
    pub attempts: u32,
    /// When it is tried again.
    pub retry_at: DateTime<Utc>,
}

impl Trouble {
    /// Returns what went wrong for the first time.
    #[must_use]
    pub fn new(
        kind: TroubleKind,
        message: impl Into<String>,
        since: DateTime<Utc>,
        retry_at: DateTime<Utc>,
    ) -> Self {
        Self {
            kind,
            message: message.into(),
            since,
            attempts: 1,
            retry_at,
        }
    }
}

/// What to do about a [`Trouble`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TroubleKind {
    /// The tenant or the application is gone, disabled, or blocked by a policy: an administrator must act.
    ApplicationUnusable,
    /// The application can't hold another secret: remove one of its own.
    LimitReached,
    /// The current secret is refused and no other one is held: supply one.
    LockedOut,
    /// The tenant's policy forbids client secrets: use a certificate or a federated credential.
    MethodForbidden,
    /// A permission or the ownership is missing: grant it.
    PermissionMissing,
    /// The service made no sense, or refused for a reason we don't know: read the message.
    Refused,
    /// The directory shows secrets of a later generation than this store: it was restored from a backup
    /// or lost writes.
    StoreBehind,
    /// It passes by itself.
    Transient,
}

impl TroubleKind {
    /// Tells whether a person must act.
    #[must_use]
    pub fn needs_a_person(self) -> bool {
        match self {
            Self::ApplicationUnusable
            | Self::LimitReached
            | Self::LockedOut
            | Self::MethodForbidden
            | Self::PermissionMissing
            | Self::Refused
            | Self::StoreBehind => true,
            Self::Transient => false,
        }
    }
}

/// A rotation that is over: the old secret is confirmed to be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Completed {
    /// Which rotation.
    pub id: RotationId,
    /// Why it ran.
    pub cause: Cause,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When the new secret became the current one.
    pub promoted_at: DateTime<Utc>,
    /// When the old one was confirmed to be gone.
    pub confirmed_at: DateTime<Utc>,
}

impl Completed {
    /// Returns `run`, confirmed at `confirmed_at`.
    #[must_use]
    pub fn new(run: Run, confirmed_at: DateTime<Utc>) -> Self {
        Self {
            id: run.id,
            cause: run.cause,
            started_at: run.started_at,
            promoted_at: run.promoted_at.unwrap_or(confirmed_at),
            confirmed_at,
        }
    }
}
