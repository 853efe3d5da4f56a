//! How a rotation is stored: what people want of it, how far it got, and what it owes.

mod mint;
mod owed;
mod trouble;
mod wanted;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use self::mint::{Candidate, Phase};
pub use self::owed::{DeadMarker, Debt, DebtReason, Stray};
pub use self::trouble::{Trouble, TroubleKind};
pub use self::wanted::{Mode, Offer, Pause, RotationRequest, RotationSettings, Seconds};
use crate::{RotationId, instant};

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
    /// When the last rotation began or the connection was enrolled: due dates up to here are done with.
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
    /// When the plan was last put in the place of another one: what it would have run until then was not its.
    #[serde(
        default,
        with = "instant::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub planned_since: Option<DateTime<Utc>>,
    /// The rotation that has begun and is not confirmed.
    pub run: Option<Run>,
    /// How far the mint of a new secret got.
    pub phase: Phase,
    /// Secrets that must go, until their end is confirmed.
    pub debts: Vec<Debt>,
    /// Markers of calls whose secret nobody holds, if there is one.
    pub dead_markers: Vec<DeadMarker>,
    /// Secrets that bear the connection's display name, and that this record does not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strays: Vec<Stray>,
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
            planned_since: None,
            run: None,
            phase: Phase::Idle,
            debts: Vec::new(),
            dead_markers: Vec::new(),
            strays: Vec::new(),
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
        running.or_else(|| self.asked_for())
    }

    /// Returns the rotation that was asked for and has not begun: to the secret that was given, if one was,
    /// which is taken up first.
    #[must_use]
    pub fn asked_for(&self) -> Option<RotationId> {
        let offered = self.offer.as_ref().map(|offer| offer.rotation);
        offered.or_else(|| self.request.map(|request| request.id))
    }

    /// Tells whether a leak is to be ended: what is replaced has no grace.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        let asked = self.request.map(|request| request.cause);
        asked == Some(Cause::Emergency)
            || self.run.is_some_and(|run| run.is_urgent())
            || self.offer.as_ref().is_some_and(|offer| offer.urgent)
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
    /// Whether an emergency joined it: the replaced secret has no grace, whatever the cause.
    #[serde(default)]
    pub urgent: bool,
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
            urgent: false,
        }
    }

    /// Tells whether the replaced secret has no grace.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.urgent || self.cause == Cause::Emergency
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
