use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Completed, Connection, ConnectionId, ConnectionName, Credential, Debt, Phase, RotationId, Run,
    Stray, Trouble, TroubleKind,
};
use keywheel_core::KeyId;
use serde::Serialize;

use crate::{Policy, Step, Waiting, decide, next_due};

/// How a connection is, for people and programs: no secrets, only key ids.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The connection.
    pub connection: ConnectionId,
    /// Its name.
    pub name: ConnectionName,
    /// In one word.
    pub health: Health,
    /// The generation of the current secret.
    pub generation: u64,
    /// The current secret.
    pub key_id: Option<KeyId>,
    /// When the current secret or certificate ends.
    pub end: Option<DateTime<Utc>>,
    /// The replaced secret, while it is valid.
    pub previous_key_id: Option<KeyId>,
    /// A new secret that is being proven, or was given and is about to be.
    pub candidate_key_id: Option<KeyId>,
    /// Every secret of ours that may be valid.
    pub live_key_ids: Vec<KeyId>,
    /// Secrets whose end is not confirmed.
    pub debts: Vec<Debt>,
    /// Secrets that bear this connection's display name, are valid, and that its record does not know. Who
    /// uses them is not known, so they are not removed: somebody must, once nobody does.
    pub strays: Vec<Stray>,
    /// How many calls have an outcome that is not known yet.
    pub unresolved: usize,
    /// The rotation that is running.
    pub run: Option<Run>,
    /// The rotation that was asked for and has not begun.
    pub requested: Option<RotationId>,
    /// The last rotation that was confirmed.
    pub last: Option<Completed>,
    /// What went wrong last.
    pub trouble: Option<Trouble>,
    /// What is waited for, if anything is unfinished.
    pub waiting: Option<Waiting>,
    /// When the next step can be made.
    pub wake_at: Option<DateTime<Utc>>,
    /// When the next rotation is due.
    pub next_due: Option<DateTime<Utc>>,
    /// Sinks that do not have the current secret yet.
    pub drift: Vec<String>,
    /// Whether somebody holds the rotation.
    pub paused: bool,
    /// Whether the connection is to be deleted.
    pub leaving: bool,
}

/// How a connection is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Health {
    /// All is well.
    Active,
    /// The current secret ends soon, and there is no new one yet.
    Expiring,
    /// Rotation can't go on until somebody acts: see the trouble. The current secret works.
    Halted,
    /// Entra accepts no secret that we hold: supply one.
    LockedOut,
    /// The sign-in has ended: a user has to sign in again.
    NeedsReauth,
    /// The directory knows more than the store: restore a newer backup or supply a secret.
    StoreBehind,
}

impl Status {
    /// Returns how `connection` is at `now`.
    #[must_use]
    pub fn of(connection: &Connection, now: DateTime<Utc>, policy: &Policy) -> Self {
        let secrets = connection.secrets();
        let rotation = connection.rotation.as_ref();
        let current = secrets.map(|secrets| &secrets.current);
        let previous = secrets.and_then(|secrets| secrets.previous.as_ref());
        let (waiting, wake_at) = match decide(connection, now, policy) {
            Step::Wait { until, why } => (Some(why), until),
            _ => (None, Some(now)),
        };
        let mut status = Self {
            connection: connection.id,
            name: connection.name.clone(),
            health: health(connection, now),
            generation: current.map_or(0, |held| held.generation),
            key_id: current.and_then(|held| held.key_id),
            end: validity(&connection.credential).and_then(|(_, end)| end),
            previous_key_id: previous.and_then(|held| held.key_id),
            candidate_key_id: None,
            live_key_ids: Vec::new(),
            debts: Vec::new(),
            strays: Vec::new(),
            unresolved: 0,
            run: None,
            requested: None,
            last: None,
            trouble: None,
            waiting,
            wake_at,
            next_due: None,
            drift: Vec::new(),
            paused: false,
            leaving: false,
        };
        if let Some(rotation) = rotation {
            let intent = usize::from(matches!(rotation.phase, Phase::Intent { .. }));
            let unsettled = rotation.dead_markers.iter().filter(|dead| !dead.settled);
            let offered = rotation.offer.as_ref().map(|offer| offer.key_id);
            let candidate = rotation.candidate().map(|candidate| candidate.key_id);
            status.candidate_key_id = candidate.or(offered);
            status.debts.clone_from(&rotation.debts);
            let told = rotation.strays.iter().filter(|it| it.told);
            status.strays = told.copied().collect();
            status.unresolved = unsettled.count() + intent;
            status.run = rotation.run;
            status.requested = rotation.asked_for();
            status.last = rotation.last;
            status.trouble.clone_from(&rotation.trouble);
            status.drift = rotation.deliveries.iter().map(|d| d.sink.clone()).collect();
            status.paused = rotation.pause.is_some();
            status.leaving = rotation.farewell.is_some();
            status.next_due = current
                .and_then(|current| next_due(rotation, current, now))
                .map(|(at, _)| at);
        }
        status.live_key_ids = status.live();
        status
    }

    /// Tells whether nothing is unfinished: no rotation asked for or running, no debt, no doubt, and no
    /// deletion.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.leaving
            && self.run.is_none()
            && self.requested.is_none()
            && self.candidate_key_id.is_none()
            && self.debts.is_empty()
            && self.unresolved == 0
    }

    fn live(&self) -> Vec<KeyId> {
        let held = [self.key_id, self.previous_key_id, self.candidate_key_id];
        let owed = self.debts.iter().map(|debt| debt.key_id);
        let mut live = Vec::new();
        for key_id in held.into_iter().flatten().chain(owed) {
            // A secret that is taken back is the one before, too.
            if !live.contains(&key_id) {
                live.push(key_id);
            }
        }
        live
    }
}

fn health(connection: &Connection, now: DateTime<Utc>) -> Health {
    if matches!(&connection.credential, Credential::AuthorizationCode(user) if user.ended.is_some())
    {
        return Health::NeedsReauth;
    }
    let rotation = connection.rotation.as_ref();
    let trouble = rotation.and_then(|rotation| rotation.trouble.as_ref());
    match trouble.map(|trouble| trouble.kind) {
        Some(TroubleKind::LockedOut) => Health::LockedOut,
        Some(TroubleKind::StoreBehind) => Health::StoreBehind,
        Some(kind) if kind.needs_a_person() => Health::Halted,
        _ if is_expiring(connection, now) => Health::Expiring,
        _ => Health::Active,
    }
}

/// A secret is expiring when the plan's margin before its end has begun and it is still in use.
fn is_expiring(connection: &Connection, now: DateTime<Utc>) -> bool {
    let Some((since, Some(end))) = validity(&connection.credential) else {
        return false;
    };
    let margin = match &connection.rotation {
        Some(rotation) => rotation.settings.plan.expiry_margin(),
        None => Duration::from_hours(7 * 24),
    };
    let margin = TimeDelta::from_std(margin).unwrap_or_default();
    // A secret that never lives longer than the margin is not in trouble for that.
    now >= end - margin.min((end - since) / 3)
}

/// Since when a connection has what it authenticates with, and when that ends, if it is known to.
pub(crate) fn validity(credential: &Credential) -> Option<(DateTime<Utc>, Option<DateTime<Utc>>)> {
    match credential {
        Credential::Certificate(held) => Some((held.since, Some(held.end))),
        _ => {
            let current = &credential.secrets()?.current;
            Some((current.since, current.end))
        }
    }
}
