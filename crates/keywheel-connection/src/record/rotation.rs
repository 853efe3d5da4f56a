use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::KeyId;
use keywheel_schedule::Plan;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use crate::read::{self, Tagged};
use crate::{Marker, Origin, RotationId, Sealed, instant};

/// The rotation of a connection's client secret: what is wanted, and how far it got.
///
/// The upper fields are written on behalf of people, the lower ones by the engine alone, so that neither
/// ever overwrites the other's. What people ask for and the engine has taken up, the engine clears.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rotation {
    /// When and how to rotate.
    pub settings: RotationSettings,
    /// Whether the plan is followed. A rotation that has begun is finished either way.
    pub enabled: bool,
    /// Set while nothing new may begin, and nothing that was replaced is revoked.
    pub pause: Option<Pause>,
    /// A rotation that was asked for and has not begun.
    pub request: Option<RotationRequest>,
    /// A secret that was given, to become the current one once it is proven.
    pub offer: Option<Offer>,
    /// Whether the rotation that runs is to be given up, unless its secret is in use already.
    pub abort: bool,
    /// Since when the connection is to be deleted, with all the secrets that we minted.
    #[serde(default, with = "instant::optional")]
    pub farewell: Option<DateTime<Utc>>,

    /// Whether everything that must go before the connection is deleted is a debt, or was.
    #[serde(default)]
    pub took_leave: bool,
    /// When the last rotation began, the connection was enrolled, or its plan changed: due dates up to here
    /// are done with.
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
    /// The rotation that has begun and is not confirmed.
    pub run: Option<Run>,
    /// How far the mint of a new secret got.
    pub phase: Phase,
    /// Secrets that must go, until their end is confirmed.
    pub debts: Vec<Debt>,
    /// Markers of calls whose secret nobody holds, if there is one.
    pub dead_markers: Vec<DeadMarker>,
    /// Sinks that do not have the current secret yet: drift.
    pub deliveries: Vec<Delivery>,
    /// What went wrong last, until a step succeeds.
    pub trouble: Option<Trouble>,
    /// The longest lifetime that the tenant's policy is known to allow.
    pub lifetime_cap: Option<Seconds>,
    /// The last rotation that was confirmed.
    pub last: Option<Completed>,
}

impl Rotation {
    /// Returns an enabled rotation that has not begun. Due dates up to `since` are not its.
    #[must_use]
    pub fn new(settings: RotationSettings, since: DateTime<Utc>) -> Self {
        Self {
            settings,
            enabled: true,
            pause: None,
            request: None,
            offer: None,
            abort: false,
            farewell: None,
            took_leave: false,
            since,
            run: None,
            phase: Phase::Idle,
            debts: Vec::new(),
            dead_markers: Vec::new(),
            deliveries: Vec::new(),
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
    /// Entra refuses the current secret, and the one before it still works.
    Repair,
    /// Somebody asked for the secret before, inside its grace.
    RollBack,
    /// The schedule.
    Schedule,
    /// Somebody gave a secret by hand.
    Supplied,
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
        }
    }
}

/// A sink that does not have the current secret yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Delivery {
    /// The name of the sink.
    pub sink: String,
    /// Since when.
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
    /// How many attempts failed.
    pub attempts: u32,
    /// When to try next.
    #[serde(with = "instant")]
    pub next_at: DateTime<Utc>,
}

impl Delivery {
    /// Returns a delivery to be made at once.
    #[must_use]
    pub fn new(sink: impl Into<String>, now: DateTime<Utc>) -> Self {
        Self {
            sink: sink.into(),
            since: now,
            attempts: 0,
            next_at: now,
        }
    }
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
    #[serde(with = "instant")]
    pub started_at: DateTime<Utc>,
    /// When the new secret became the current one.
    #[serde(default, with = "instant::optional")]
    pub promoted_at: Option<DateTime<Utc>>,
    /// How many new secrets were given up because Entra never accepted them.
    #[serde(default)]
    pub quarantined: u32,
    /// When another one may be minted in their place.
    #[serde(default, with = "instant::optional")]
    pub mint_after: Option<DateTime<Utc>>,
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
            quarantined: 0,
            mint_after: None,
        }
    }
}

/// How far the mint of a new secret got.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
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
        #[serde(serialize_with = "instant::serialize")]
        since: DateTime<Utc>,
    },
    /// The new secret is stored, and is being proven.
    Proving(Candidate),
}

impl<'de> Deserialize<'de> for Phase {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read::tagged(from)
    }
}

impl<'de> Tagged<'de> for Phase {
    const TAG: &'static str = "phase";
    type Variant = PhaseName;

    fn read<D: Deserializer<'de>>(phase: PhaseName, fields: D) -> Result<Self, D::Error> {
        Ok(match phase {
            PhaseName::Idle => {
                IgnoredAny::deserialize(fields)?;
                Self::Idle
            }
            PhaseName::Intent => {
                let Intent { marker, since } = Intent::deserialize(fields)?;
                Self::Intent { marker, since }
            }
            PhaseName::Proving => Self::Proving(Candidate::deserialize(fields)?),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PhaseName {
    Idle,
    Intent,
    Proving,
}

#[derive(Deserialize)]
struct Intent {
    marker: Marker,
    #[serde(with = "instant")]
    since: DateTime<Utc>,
}

/// A new secret that is not the current one yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Candidate {
    /// Its key id.
    pub key_id: KeyId,
    /// The generation that it will be.
    pub generation: u64,
    /// Where it came from.
    pub origin: Origin,
    /// The secret.
    pub sealed: Sealed,
    /// When Entra stops accepting it: what Graph answered, not what was asked for.
    #[serde(default, with = "instant::optional")]
    pub end: Option<DateTime<Utc>>,
    /// Since when it is a candidate.
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
    /// How many tokens in a row were obtained with it.
    pub proofs: u8,
    /// Whether Graph answered a read with such a token.
    pub read: bool,
    /// How many times in a row Entra refused it.
    pub refusals: u32,
    /// Since when Entra refuses it.
    #[serde(default, with = "instant::optional")]
    pub refused_since: Option<DateTime<Utc>>,
    /// The sinks that have it already.
    pub published: Vec<String>,
    /// When to try it next.
    #[serde(with = "instant")]
    pub next_at: DateTime<Utc>,
}

impl Candidate {
    /// Returns a secret that was just minted.
    #[must_use]
    pub fn minted(
        marker: Marker,
        key_id: KeyId,
        sealed: Sealed,
        end: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            key_id,
            generation: marker.generation(),
            origin: Origin::Minted(marker),
            sealed,
            end,
            since: now,
            proofs: 0,
            read: false,
            refusals: 0,
            refused_since: None,
            published: Vec::new(),
            next_at: now,
        }
    }

    /// Returns a secret that was given.
    #[must_use]
    pub fn offered(offer: &Offer, now: DateTime<Utc>) -> Self {
        Self {
            key_id: offer.key_id,
            generation: offer.generation,
            origin: offer.origin,
            sealed: offer.sealed.clone(),
            end: offer.end,
            since: now,
            proofs: 0,
            read: false,
            refusals: 0,
            refused_since: None,
            published: Vec::new(),
            next_at: now,
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
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
    /// Not before this: the end of the grace.
    #[serde(with = "instant")]
    pub due: DateTime<Utc>,
    /// How many calls did not settle it.
    pub attempts: u32,
    /// How many reads in a row did not show it, after Graph said that there is no such secret.
    pub absent_reads: u8,
    /// Whether Graph said that there is no such secret, which is to be confirmed by reads.
    pub unconfirmed: bool,
    /// When to try next.
    #[serde(with = "instant")]
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
    /// Its rotation was given up.
    Aborted,
    /// Its connection is to be deleted.
    Deleted,
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
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
    /// Whether minting may go on.
    pub settled: bool,
    /// How many reads in a row did not show it.
    pub absent_reads: u8,
    /// When to look next.
    #[serde(with = "instant")]
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
    /// Which step failed, as in `mint`. A success of that step ends the trouble.
    #[serde(default)]
    pub step: String,
    /// What to do about it.
    pub kind: TroubleKind,
    /// What happened and what to do next, in words, with Entra's or Graph's code and correlation id.
    pub message: String,
    /// When it happened first.
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
    /// How many times in a row.
    pub attempts: u32,
    /// How many times in a row, in whatever steps, Entra did not accept the secret in use.
    #[serde(default)]
    pub refusals: u32,
    /// When it is tried again.
    #[serde(with = "instant")]
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
            step: String::new(),
            kind,
            message: message.into(),
            since,
            attempts: 1,
            refusals: 0,
            retry_at,
        }
    }

    /// Names the step that failed.
    #[must_use]
    pub fn during(mut self, step: impl Into<String>) -> Self {
        self.step = step.into();
        self
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
    #[serde(with = "instant")]
    pub started_at: DateTime<Utc>,
    /// When the new secret became the current one.
    #[serde(with = "instant")]
    pub promoted_at: DateTime<Utc>,
    /// When the old one was confirmed to be gone.
    #[serde(with = "instant")]
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
