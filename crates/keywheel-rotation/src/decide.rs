use std::iter;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Candidate, Cause, Connection, Debt, DebtReason, Held, Mode, Phase, Rotation, Secrets, Trouble,
    TroubleKind,
};
use keywheel_core::KeyId;
use keywheel_schedule::{Lifetime, Why};
use serde::Serialize;

use crate::{Policy, step_name};

/// What happens next to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// *Effect.* Store an intent, then mint a secret.
    Mint {
        /// Why.
        cause: Cause,
        /// The generation that it will be.
        generation: u64,
    },
    /// *Effect.* Obtain a token with the candidate.
    Prove,
    /// *Effect.* Give the candidate to a sink that must have it before it is used.
    Publish {
        /// Its place in [`Policy::sinks_before`], as that holds for the connection.
        sink: usize,
    },
    /// *Effect.* Give the current secret to a sink.
    Deliver {
        /// Its place in [`Policy::sinks_after`] followed by [`Policy::sinks_before`].
        sink: usize,
    },
    /// *Effect.* Read the application: for dead markers, for secrets that Graph did not know, and for those
    /// that bear our marker and this record does not know.
    Inspect,
    /// *Effect.* Remove a secret.
    Retire {
        /// Which.
        key_id: KeyId,
    },
    /// *Effect.* Delete the connection: nothing of ours is left.
    Delete,

    /// *Record only.* An intent was found: whoever stored it did not store an answer.
    Abandon,
    /// *Record only.* Somebody gave the rotation up.
    Abort,
    /// *Record only.* A secret that was given becomes the candidate.
    Adopt,
    /// *Record only.* The connection is to be deleted: every secret that we minted must go.
    TakeLeave,
    /// *Record only.* The candidate was refused for too long.
    Quarantine,
    /// *Record only.* The clock was set back by more than an interval: due dates count from now.
    SetBack,
    /// *Record only.* The candidate is proven: make it the current secret.
    Promote,
    /// *Record only.* The replaced secret is gone: the rotation is over.
    Finish,
    /// *Record only.* The current secret ends soon, and nothing is about to replace it: say so.
    Remind {
        /// In how many days, at most.
        days: u16,
    },

    /// Nothing, until then or until somebody changes something.
    Wait {
        /// When to decide again; `None` for never.
        until: Option<DateTime<Utc>>,
        /// What is waited for.
        why: Waiting,
    },
}

impl Step {
    /// Returns when this can be done; `None` for never.
    pub(crate) fn wake_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Wait { until, .. } => *until,
            _ => Some(now),
        }
    }
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Waiting {
    /// The next due date.
    Due,
    /// The end of the grace of the replaced secret.
    Grace,
    /// Nothing: it does not rotate.
    Idle,
    /// Somebody else to give the lease back.
    Lease,
    /// Somebody to end the pause.
    Paused,
    /// The next proof of the candidate.
    Proof,
    /// The next read that tells whether a secret exists.
    Read,
    /// The next attempt after trouble.
    Retry,
    /// The next attempt to reach a sink.
    Sink,
}

/// The days before the end of a secret at which somebody is told.
const REMINDERS: [u16; 6] = [1, 3, 7, 14, 30, 60];

/// Decides what happens next to `connection`.
///
/// Pure and total: the whole state machine is here. The same record, instant and policy give the same
/// step, and every record has one.
///
/// The order matters. What a stopped process left is accounted for first; then what people asked for is
/// taken up; then what is proven is promoted; then what is owed is paid; and only then something new
/// begins.
#[must_use]
pub fn decide(connection: &Connection, now: DateTime<Utc>, policy: &Policy) -> Step {
    let Some(secrets) = connection.secrets() else {
        return wait(None, Waiting::Idle);
    };
    let Some(rotation) = &connection.rotation else {
        return remind_or_wait(&secrets.current, now);
    };
    record_only(rotation, secrets, now, policy)
        .unwrap_or_else(|| effect_or_wait(rotation, secrets, now, policy))
}

fn wait(until: Option<DateTime<Utc>>, why: Waiting) -> Step {
    Step::Wait { until, why }
}

fn record_only(
    rotation: &Rotation,
    secrets: &Secrets,
    now: DateTime<Utc>,
    policy: &Policy,
) -> Option<Step> {
    let candidate = rotation.candidate();
    if matches!(rotation.phase, Phase::Intent { .. }) {
        return Some(Step::Abandon);
    }
    // A candidate without a rotation is nobody's: give it up too.
    if rotation.abort || (candidate.is_some() && rotation.run.is_none()) {
        return Some(Step::Abort);
    }
    if rotation.farewell.is_some() && !rotation.took_leave {
        return Some(Step::TakeLeave);
    }
    let mut noted = iter::once(rotation.since).chain(rotation.planned_since);
    if noted.any(|at| is_ahead(rotation, at, now)) {
        return Some(Step::SetBack);
    }
    if candidate.is_some_and(|candidate| is_ready(candidate, rotation, policy)) {
        return Some(Step::Promote);
    }
    if candidate.is_some_and(|candidate| is_hopeless(candidate, now, policy)) {
        return Some(Step::Quarantine);
    }
    if candidate.is_none() && is_over(rotation) {
        return Some(Step::Finish);
    }
    // Somebody gave it: a pause does not hold it up.
    if candidate.is_none() && rotation.offer.is_some() {
        return Some(Step::Adopt);
    }
    if !is_stuck(rotation) {
        return None;
    }
    reminder(&secrets.current, now).map(|days| Step::Remind { days })
}

fn is_proven(candidate: &Candidate, rotation: &Rotation) -> bool {
    candidate.read && candidate.proofs >= rotation.settings.proofs.max(1)
}

fn is_ready(candidate: &Candidate, rotation: &Rotation, policy: &Policy) -> bool {
    is_proven(candidate, rotation) && next_sink(candidate, policy).is_none()
}

fn next_sink(candidate: &Candidate, policy: &Policy) -> Option<usize> {
    let mut sinks = policy.sinks_before.iter();
    sinks.position(|sink| !candidate.published.contains(sink))
}

fn is_hopeless(candidate: &Candidate, now: DateTime<Utc>, policy: &Policy) -> bool {
    candidate
        .refused_since
        .is_some_and(|since| now - since >= policy.patience)
}

/// A rotation is over when the secret that it replaced is confirmed to be gone.
fn is_over(rotation: &Rotation) -> bool {
    let superseded = |debt: &Debt| debt.reason == DebtReason::Superseded;
    is_promoted(rotation) && !rotation.debts.iter().any(superseded)
}

fn is_promoted(rotation: &Rotation) -> bool {
    rotation.run.is_some_and(|run| run.promoted_at.is_some())
}

/// Something to do, when, and what the time until then is spent waiting for.
struct Item {
    at: DateTime<Utc>,
    step: Step,
    why: Waiting,
}

fn effect_or_wait(
    rotation: &Rotation,
    secrets: &Secrets,
    now: DateTime<Utc>,
    policy: &Policy,
) -> Step {
    let agenda = [
        retire(rotation, secrets, policy),
        prove(rotation, policy),
        inspect(rotation),
        deliver(rotation, policy),
        delete(rotation, now),
        mint(rotation, secrets, now, policy),
        later_reminder(rotation, &secrets.current, now),
    ];
    let mut next: Option<Item> = None;
    for item in agenda.into_iter().flatten() {
        if item.at <= now {
            return item.step;
        }
        if next.as_ref().is_none_or(|next| item.at < next.at) {
            next = Some(item);
        }
    }
    let paused = rotation.pause.is_some();
    match next {
        Some(item) => wait(Some(item.at), item.why),
        None => wait(
            None,
            if paused {
                Waiting::Paused
            } else {
                Waiting::Idle
            },
        ),
    }
}

/// The next debt to pay. Never a secret that is in use or about to be (G1), unless the connection takes
/// its leave and nothing else is left; and, while somebody holds the rotation, not the one before either.
fn retire(rotation: &Rotation, secrets: &Secrets, policy: &Policy) -> Option<Item> {
    let held = |debt: &Debt| debt.reason == DebtReason::Superseded && rotation.pause.is_some();
    let told = |debt: &Debt| {
        let replaced = matches!(debt.reason, DebtReason::Aborted | DebtReason::Superseded);
        replaced && owes_a_sink(rotation, policy)
    };
    let payable = |debt: &&Debt| {
        let stays = debt.unconfirmed || held(debt) || told(debt);
        !stays && !is_needed(rotation, secrets, debt.key_id)
    };
    let debt = rotation
        .debts
        .iter()
        .filter(payable)
        .min_by_key(|debt| debt.next_at)?;
    let why = match debt.attempts {
        0 => Waiting::Grace,
        _ => Waiting::Retry,
    };
    Some(Item {
        at: debt.next_at,
        step: Step::Retire {
            key_id: debt.key_id,
        },
        why,
    })
}

/// Whether a sink that must have a secret before it is used does not have the current one: the credential was
/// changed, or a rotation given up that the sink was told of. What it holds stays until it has.
fn owes_a_sink(rotation: &Rotation, policy: &Policy) -> bool {
    let mut deliveries = rotation.deliveries.iter();
    deliveries.any(|delivery| policy.sinks_before.contains(&delivery.sink))
}

fn is_needed(rotation: &Rotation, secrets: &Secrets, key_id: KeyId) -> bool {
    let proving = rotation
        .candidate()
        .is_some_and(|candidate| candidate.key_id == key_id);
    let current = secrets.current.key_id == Some(key_id);
    // The last secret of a connection that is deleted removes itself.
    let last = rotation.farewell.is_some()
        && rotation.debts.len() == 1
        && rotation.dead_markers.is_empty();
    proving || (current && !last)
}

fn prove(rotation: &Rotation, policy: &Policy) -> Option<Item> {
    let candidate = rotation.candidate()?;
    let (step, why) = if is_proven(candidate, rotation) {
        let sink = next_sink(candidate, policy)?;
        (Step::Publish { sink }, Waiting::Sink)
    } else {
        (Step::Prove, Waiting::Proof)
    };
    Some(Item {
        at: candidate.next_at,
        step,
        why,
    })
}

/// One read serves every dead marker, every removal that is to be confirmed, and every secret that bears our
/// marker and is nobody's.
fn inspect(rotation: &Rotation) -> Option<Item> {
    let markers = rotation.dead_markers.iter().map(|marker| marker.next_at);
    let unconfirmed = rotation.debts.iter().filter(|debt| debt.unconfirmed);
    // What the connection leaves behind holds up no deletion.
    let stays = rotation.farewell.is_none();
    let strays = rotation.strays.iter().filter(|_| stays);
    let at = markers
        .chain(unconfirmed.map(|debt| debt.next_at))
        .chain(strays.map(|stray| stray.next_at))
        .min()?;
    Some(Item {
        at,
        step: Step::Inspect,
        why: Waiting::Read,
    })
}

fn deliver(rotation: &Rotation, policy: &Policy) -> Option<Item> {
    let known = rotation.deliveries.iter().filter_map(|delivery| {
        let mut sinks = policy.sinks_after.iter().chain(&policy.sinks_before);
        Some((
            delivery.next_at,
            sinks.position(|sink| *sink == delivery.sink)?,
        ))
    });
    let (at, sink) = known.min()?;
    Some(Item {
        at,
        step: Step::Deliver { sink },
        why: Waiting::Sink,
    })
}

/// A connection is deleted when nothing of ours can be left on its application.
fn delete(rotation: &Rotation, now: DateTime<Utc>) -> Option<Item> {
    rotation.farewell?;
    let clean = rotation.debts.is_empty() && rotation.dead_markers.is_empty();
    clean.then_some(Item {
        at: now,
        step: Step::Delete,
        why: Waiting::Idle,
    })
}

fn mint(
    rotation: &Rotation,
    secrets: &Secrets,
    now: DateTime<Utc>,
    policy: &Policy,
) -> Option<Item> {
    if !may_mint(rotation) {
        return None;
    }
    let repair = repair_at(secrets, policy);
    let slot = has_slot(rotation, secrets, repair.is_some(), policy);
    if !slot && !is_ending(rotation, secrets, now) {
        return None;
    }
    let (at, cause) = match repair {
        Some(at) => (at, Cause::Repair),
        // What can't be removed may hold up the schedule, and not beyond the end of the current secret.
        None if !slot || is_promoted(rotation) => (expiry(rotation, secrets, now)?, Cause::Expiry),
        None => wanted(rotation, secrets, now)?,
    };
    let trouble = rotation.trouble.as_ref().filter(|t| holds_up_mint(t));
    let retry = trouble.map(|trouble| trouble.retry_at);
    let retry = retry.max(rotation.run.and_then(|run| run.mint_after));
    let late = retry.is_some_and(|retry| retry > at);
    Some(Item {
        at: retry.map_or(at, |retry| retry.max(at)),
        step: Step::Mint {
            cause,
            generation: secrets.current.generation + 1,
        },
        why: if late { Waiting::Retry } else { Waiting::Due },
    })
}

/// Nothing is minted beside another candidate, while somebody holds the rotation, or while it is open
/// whether an earlier call minted.
fn may_mint(rotation: &Rotation) -> bool {
    rotation.phase == Phase::Idle
        && rotation.pause.is_none()
        && rotation.farewell.is_none()
        && rotation.dead_markers.iter().all(|marker| marker.settled)
}

/// Trouble with the mint itself, or with what the directory shows. An orphan that can't be removed holds
/// up nothing but its slot.
fn holds_up_mint(trouble: &Trouble) -> bool {
    trouble.step == step_name::MINT || trouble.kind == TroubleKind::StoreBehind
}

/// When the current secret is replaced because Entra refuses it for too long, while the one before it
/// still works. That one waits for it: see [`Rotator`](crate::Rotator).
fn repair_at(secrets: &Secrets, policy: &Policy) -> Option<DateTime<Utc>> {
    let refused = secrets.current.refused_since?;
    let fallback = secrets.previous.is_some();
    fallback.then_some(refused + policy.patience)
}

/// When a new secret is wanted, and why: a rotation that has begun goes on, one that was asked for
/// begins, and otherwise the plan decides, the end of the secret included.
fn wanted(
    rotation: &Rotation,
    secrets: &Secrets,
    now: DateTime<Utc>,
) -> Option<(DateTime<Utc>, Cause)> {
    // What has begun or was asked for is wanted now, even if a clock that was ahead noted when.
    if let Some(run) = rotation.run {
        return Some((run.started_at.min(now), run.cause));
    }
    if let Some(request) = rotation.request {
        return Some((request.at.min(now), request.cause));
    }
    next_due(rotation, &secrets.current, now)
}

/// Returns when a rotation that is enabled is next due, and why: the schedule, or the end of `current`.
#[must_use]
pub fn next_due(
    rotation: &Rotation,
    current: &Held,
    now: DateTime<Utc>,
) -> Option<(DateTime<Utc>, Cause)> {
    if !rotation.enabled {
        return None;
    }
    let plan = &rotation.settings.plan;
    let seen = |at| if is_ahead(rotation, at, now) { now } else { at };
    let life = Lifetime::new(seen(rotation.since));
    let changed = rotation.planned_since.map(seen);
    let life = changed.map_or(life, |changed| life.planned_since(changed));
    let life = current.end.map_or(life, |end| life.until(end));
    let due = plan.next_due(&life, now)?;
    let cause = match due.why() {
        Why::Expiry => Cause::Expiry,
        _ => Cause::Schedule,
    };
    Some((due.at(), cause))
}

/// A clock that ran far ahead covered due dates that have not come; they are not skipped.
fn is_ahead(rotation: &Rotation, at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    let schedule = rotation.settings.plan.schedule();
    at - now > TimeDelta::days(schedule.interval_days().into())
}

/// Whether the trouble of a connection is of a mint that is not tried again: what was due is not any more,
/// by another schedule, by a freeze, or because the rotation was disabled. Nothing else would end it.
pub(crate) fn is_moot(connection: &Connection, now: DateTime<Utc>) -> bool {
    let secrets = connection.credential.secrets();
    let Some((rotation, secrets)) = connection.rotation.as_ref().zip(secrets) else {
        return false;
    };
    let trouble = rotation.trouble.as_ref();
    let Some(trouble) = trouble.filter(|trouble| trouble.step == step_name::MINT) else {
        return false;
    };
    // A repair is wanted beside what the plan wants.
    if secrets.current.refused_since.is_some() {
        return false;
    }
    let tried = now.max(trouble.retry_at);
    wanted(rotation, secrets, now).is_none_or(|(at, _)| at > tried)
}

/// Our secrets on the application stay within the budget, which only the end of the current one beats. Where
/// that does not work, it takes no room, and the one before is to be kept; of what was replaced no more is counted,
/// since none of it goes before the current one works again.
fn has_slot(rotation: &Rotation, secrets: &Secrets, repairs: bool, policy: &Policy) -> bool {
    let stays = |debt: &&Debt| repairs && debt.reason == DebtReason::Superseded;
    let current = |debt: &&Debt| secrets.current.key_id == Some(debt.key_id);
    let others = rotation
        .debts
        .iter()
        .filter(|debt| !stays(debt) && !current(debt));
    let live = 1 + others.count();
    live < policy.slots
}

/// Whether the end of the current secret is so near that the budget does not count. The application's own
/// limit can't be beaten.
fn is_ending(rotation: &Rotation, secrets: &Secrets, now: DateTime<Utc>) -> bool {
    rotation.settings.mode == Mode::Overlap
        && expiry(rotation, secrets, now).is_some_and(|at| at <= now)
}

/// When the end of the current secret wants another one. The plan tells, unless the schedule wanted one
/// earlier: where that could not be had, the end is no further off for it.
fn expiry(rotation: &Rotation, secrets: &Secrets, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let (at, cause) = next_due(rotation, &secrets.current, now)?;
    if cause == Cause::Expiry {
        return Some(at);
    }
    let margin = TimeDelta::from_std(rotation.settings.plan.expiry_margin()).ok()?;
    (at <= now).then_some(at.max(secrets.current.end? - margin))
}

/// Somebody is told of the end of the current secret only while nothing is about to replace it.
fn is_stuck(rotation: &Rotation) -> bool {
    let stuck = !rotation.enabled || rotation.pause.is_some() || rotation.trouble.is_some();
    stuck && rotation.farewell.is_none()
}

/// The reminder that is due. Where several have gone by, only the last of them.
fn reminder(current: &Held, now: DateTime<Utc>) -> Option<u16> {
    let end = current.end?;
    let (told, left) = (current.reminded.unwrap_or(u16::MAX), end - now);
    REMINDERS
        .into_iter()
        .find(|days| *days < told && left <= TimeDelta::days((*days).into()))
}

fn next_reminder(current: &Held, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let end = current.end?;
    let left = end - now;
    let mut spans = REMINDERS
        .iter()
        .rev()
        .map(|days| TimeDelta::days((*days).into()));
    Some(end - spans.find(|span| left > *span)?)
}

fn later_reminder(rotation: &Rotation, current: &Held, now: DateTime<Utc>) -> Option<Item> {
    if !is_stuck(rotation) {
        return None;
    }
    let at = next_reminder(current, now)?;
    let paused = rotation.pause.is_some();
    Some(Item {
        at,
        step: Step::Wait {
            until: None,
            why: Waiting::Idle,
        },
        why: if paused {
            Waiting::Paused
        } else {
            Waiting::Idle
        },
    })
}

fn remind_or_wait(current: &Held, now: DateTime<Utc>) -> Step {
    match reminder(current, now) {
        Some(days) => Step::Remind { days },
        None => wait(next_reminder(current, now), Waiting::Idle),
    }
}

#[cfg(test)]
mod tests;
