use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Candidate, Cause, Connection, Debt, DebtReason, Held, Mode, Phase, Rotation, Secrets,
};
use keywheel_core::KeyId;
use serde::Serialize;

use crate::Policy;

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
    /// *Effect.* Read the application: for dead markers, and for secrets that Graph did not know.
    Inspect,
    /// *Effect.* Remove a secret.
    Retire {
        /// Which.
        key_id: KeyId,
    },

    /// *Record only.* An intent was found: whoever stored it did not store an answer.
    Abandon,
    /// *Record only.* The candidate was refused for too long.
    Quarantine,
    /// *Record only.* The candidate is proven: make it the current secret.
    Promote,
    /// *Record only.* The replaced secret is gone: the rotation is over.
    Finish,

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
    /// The next proof of the candidate.
    Proof,
    /// The next due date.
    Due,
    /// The end of the grace of the replaced secret.
    Grace,
    /// Somebody else to give the lease back.
    Lease,
    /// Nothing: it does not rotate.
    Idle,
    /// Somebody to end the pause.
    Paused,
    /// The next read that tells whether a secret exists.
    Read,
    /// The next attempt after trouble.
    Retry,
}

/// Decides what happens next to `connection`.
///
/// Pure and total: the whole state machine is here. The same record, instant and policy give the same
/// step, and every record has one.
///
/// The order matters. What a stopped process left is accounted for first; then what is proven is
/// promoted; then what is owed is paid; and only then something new begins.
#[must_use]
pub fn decide(connection: &Connection, now: DateTime<Utc>, policy: &Policy) -> Step {
    let (Some(rotation), Some(secrets)) = (&connection.rotation, connection.secrets()) else {
        return Step::Wait {
            until: None,
            why: Waiting::Idle,
        };
    };
    record_only(rotation, now, policy)
        .unwrap_or_else(|| effect_or_wait(rotation, secrets, now, policy))
}

fn record_only(rotation: &Rotation, now: DateTime<Utc>, policy: &Policy) -> Option<Step> {
    match &rotation.phase {
        Phase::Intent { .. } => Some(Step::Abandon),
        Phase::Proving(candidate) if is_proven(candidate, rotation) => Some(Step::Promote),
        Phase::Proving(candidate) if is_hopeless(candidate, now, policy) => Some(Step::Quarantine),
        Phase::Idle if is_over(rotation) => Some(Step::Finish),
        _ => None,
    }
}

fn is_proven(candidate: &Candidate, rotation: &Rotation) -> bool {
    candidate.read && candidate.proofs >= rotation.settings.proofs.max(1)
}

fn is_hopeless(candidate: &Candidate, now: DateTime<Utc>, policy: &Policy) -> bool {
    candidate
        .refused_since
        .is_some_and(|since| now - since >= policy.patience)
}

/// A rotation is over when the secret that it replaced is confirmed to be gone.
fn is_over(rotation: &Rotation) -> bool {
    let promoted = rotation.run.is_some_and(|run| run.promoted_at.is_some());
    let superseded = |debt: &Debt| debt.reason == DebtReason::Superseded;
    promoted && !rotation.debts.iter().any(superseded)
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
        retire(rotation, secrets),
        prove(rotation),
        inspect(rotation),
        mint(rotation, secrets, now, policy),
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
    match next {
        Some(item) => Step::Wait {
            until: Some(item.at),
            why: item.why,
        },
        None => Step::Wait {
            until: None,
            why: if rotation.pause.is_some() {
                Waiting::Paused
            } else {
                Waiting::Idle
            },
        },
    }
}

/// The next debt to pay. Never a secret that is in use or about to be (G1), and, while somebody holds
/// the rotation, not the one before either.
fn retire(rotation: &Rotation, secrets: &Secrets) -> Option<Item> {
    let in_use = |key_id: KeyId| {
        Some(key_id) == secrets.current.key_id
            || rotation
                .candidate()
                .is_some_and(|candidate| candidate.key_id == key_id)
    };
    let held = |debt: &Debt| debt.reason == DebtReason::Superseded && rotation.pause.is_some();
    let payable = |debt: &&Debt| !debt.unconfirmed && !in_use(debt.key_id) && !held(debt);
    let debt = rotation
        .debts
        .iter()
        .filter(payable)
        .min_by_key(|debt| debt.next_at)?;

    Some(Item {
        at: debt.next_at,
        step: Step::Retire {
            key_id: debt.key_id,
        },
        why: if debt.attempts == 0 {
            Waiting::Grace
        } else {
            Waiting::Retry
        },
    })
}

fn prove(rotation: &Rotation) -> Option<Item> {
    Some(Item {
        at: rotation.candidate()?.next_at,
        step: Step::Prove,
        why: Waiting::Proof,
    })
}

/// One read serves every dead marker and every removal that is to be confirmed.
fn inspect(rotation: &Rotation) -> Option<Item> {
    let markers = rotation.dead_markers.iter().map(|marker| marker.next_at);
    let debts = rotation
        .debts
        .iter()
        .filter(|debt| debt.unconfirmed)
        .map(|debt| debt.next_at);
    Some(Item {
        at: markers.chain(debts).min()?,
        step: Step::Inspect,
        why: Waiting::Read,
    })
}

fn mint(
    rotation: &Rotation,
    secrets: &Secrets,
    now: DateTime<Utc>,
    policy: &Policy,
) -> Option<Item> {
    if rotation.phase != Phase::Idle || rotation.pause.is_some() || !may_mint(rotation) {
        return None;
    }
    let (at, cause) = wanted(rotation, secrets, now, policy)?;
    if !has_slot(rotation, secrets, now, policy) {
        return None;
    }
    let retry = rotation.trouble.as_ref().map(|trouble| trouble.retry_at);
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

/// Nothing is minted while it is open whether an earlier call minted, or while the replaced secret of
/// this rotation lives on.
fn may_mint(rotation: &Rotation) -> bool {
    let promoted = rotation.run.is_some_and(|run| run.promoted_at.is_some());
    !promoted && rotation.dead_markers.iter().all(|marker| marker.settled)
}

/// When a new secret is wanted, and why: a rotation that has begun goes on, one that was asked for
/// begins, and otherwise the schedule or the end of the secret decides.
fn wanted(
    rotation: &Rotation,
    secrets: &Secrets,
    now: DateTime<Utc>,
    policy: &Policy,
) -> Option<(DateTime<Utc>, Cause)> {
    if let Some(run) = rotation.run {
        return Some((run.started_at, run.cause));
    }
    if let Some(request) = rotation.request {
        return Some((request.at, request.cause));
    }
    if !rotation.enabled {
        return None;
    }
    let due = next_due(rotation, now, policy).map(|at| (at, Cause::Schedule));
    let expiry = replace_by(&secrets.current, policy).map(|at| (at, Cause::Expiry));
    // The schedule goes first where both are due: it is what the user expects to read.
    due.into_iter().chain(expiry).min_by_key(|(at, _)| *at)
}

/// Returns when the schedule next wants a rotation.
#[must_use]
pub fn next_due(rotation: &Rotation, now: DateTime<Utc>, policy: &Policy) -> Option<DateTime<Utc>> {
    // A clock that ran far ahead covered due dates that have not come; they are not skipped.
    let interval = TimeDelta::days(rotation.settings.schedule.interval_days().into());
    let covered = if rotation.covered_until > now + interval {
        now
    } else {
        rotation.covered_until
    };
    let due = rotation.settings.schedule.next_after(covered)?.at();
    let spaced = rotation
        .last
        .map(|last| last.promoted_at.min(now) + policy.minimum_spacing);
    Some(spaced.map_or(due, |spaced| spaced.max(due)))
}

/// Returns when `held` must be replaced whatever the schedule says: a margin before its end, and never
/// more than a third of its life, so that a tenant which allows short lives only is not rotated at once
/// and again.
#[must_use]
pub fn replace_by(held: &Held, policy: &Policy) -> Option<DateTime<Utc>> {
    let end = held.end?;
    let third = (end - held.since) / 3;
    Some(end - policy.expiry_margin.min(third.max(TimeDelta::zero())))
}

/// Our secrets on the application stay within the budget, but the end of the current one beats it.
fn has_slot(rotation: &Rotation, secrets: &Secrets, now: DateTime<Utc>, policy: &Policy) -> bool {
    let live = 1 + rotation.debts.len();
    let ending = replace_by(&secrets.current, policy).is_some_and(|at| at <= now);
    let may_exceed = ending && rotation.settings.mode == Mode::Overlap;
    live < policy.slots || may_exceed
}
