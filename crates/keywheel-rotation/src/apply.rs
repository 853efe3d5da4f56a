mod minting;
mod people;
mod proving;
mod reading;
mod revoking;
mod strays;

use chrono::{DateTime, Utc};
use keywheel_connection::{
    Actor, Cause, Completed, Connection, ConnectionId, Debt, DebtReason, Entry, EventKind,
    Inspection, Marker, Phase, Rotation, RotationId, Sealed, Secrets, Trouble, TroubleKind,
};
use keywheel_core::KeyId;

use crate::decide::next_due;
use crate::failure::Failure;
use crate::{Policy, step_name};

/// What came of a step.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Abandoned,
    Aborted,
    Adopted,
    /// Entra refuses the current secret, so the one before it was not removed.
    CurrentRefused {
        key_id: KeyId,
        failure: Failure,
    },
    Delivered {
        sink: String,
    },
    DeliveryFailed {
        sink: String,
        failure: Failure,
    },
    Finished,
    InspectFailed(Failure),
    Inspected {
        /// When the read was asked for: what it does not show was not there then.
        sent_at: DateTime<Utc>,
        read: Inspection,
    },
    Intended {
        rotation: RotationId,
        cause: Cause,
        marker: Marker,
    },
    /// Graph minted, and the secret is sealed.
    Minted {
        marker: Marker,
        key_id: KeyId,
        sealed: Sealed,
        end: Option<DateTime<Utc>>,
    },
    /// Graph minted, but the secret can't be kept.
    MintedInVain {
        marker: Marker,
        key_id: KeyId,
        failure: Failure,
    },
    /// Nothing was minted.
    MintFailed(Failure),
    /// Perhaps something was minted.
    MintUnknown(Failure),
    /// The mint that failed is not tried again.
    Moot,
    Promoted,
    ProofFailed(Failure),
    ProofRefused,
    Proved {
        read: Option<Inspection>,
    },
    /// The candidate was accepted, and the read that goes with its last proof failed.
    ProvedUnread(Failure),
    Published {
        sink: String,
    },
    PublishFailed(Failure),
    Quarantined,
    SetBack,
    Reminded {
        days: u16,
    },
    RemoveFailed {
        key_id: KeyId,
        failure: Failure,
    },
    Removed {
        key_id: KeyId,
    },
    RemoveNotFound {
        key_id: KeyId,
    },
    TookLeave,
    /// The grace of a secret that was to be removed is not over by the directory's clock.
    TooEarly {
        key_id: KeyId,
        /// What our clock showed when we asked.
        shown: DateTime<Utc>,
        /// What the directory's did when it answered.
        told: DateTime<Utc>,
        /// When the grace is over.
        due: DateTime<Utc>,
    },
}

/// What a change adds to a journal: the events, and the entries that are stored of them.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) events: Vec<EventKind>,
    pub(crate) entries: Vec<Entry>,
}

impl News {
    pub(crate) fn add(&mut self, later: Self) {
        self.events.extend(later.events);
        self.entries.extend(later.entries);
    }
}

/// Changes `connection` by what came of a step, and returns what is to be saved with it.
///
/// Pure. It may be applied again to a newer version of the same connection, when a change on behalf of
/// a person came between.
pub(crate) fn apply(
    connection: &mut Connection,
    outcome: &Outcome,
    now: DateTime<Utc>,
    policy: &Policy,
) -> News {
    let mut change = Change {
        id: connection.id,
        managed: connection.credential.via().is_some(),
        now,
        policy,
        events: Vec::new(),
    };
    match (
        connection.credential.secrets_mut(),
        &mut connection.rotation,
    ) {
        (Some(secrets), Some(rotation)) => {
            let before = rotation.trouble.clone();
            change.apply(rotation, secrets, outcome);
            change.events.extend(recovered(before, rotation));
        }
        (Some(secrets), None) => change.without_rotation(secrets, outcome),
        (None, _) => {}
    }
    if let Outcome::Inspected { read, .. } | Outcome::Proved { read: Some(read) } = outcome {
        connection.application.get_or_insert(read.application);
    }
    let actor = Actor::engine();
    let events = change.events;
    let entries = events
        .iter()
        .map(|event| connection.record(&actor, now, event.clone()))
        .collect();
    News { events, entries }
}

/// One outcome on its way into a record, and the events that it makes.
struct Change<'a> {
    id: ConnectionId,
    /// Whether another connection authenticates for this one.
    managed: bool,
    now: DateTime<Utc>,
    policy: &'a Policy,
    events: Vec<EventKind>,
}

impl Change<'_> {
    fn apply(&mut self, rotation: &mut Rotation, secrets: &mut Secrets, outcome: &Outcome) {
        match outcome {
            Outcome::Intended {
                rotation: run,
                cause,
                marker,
            } => self.intended(rotation, *run, *cause, *marker),
            Outcome::Moot => rotation.trouble = None,
            Outcome::Abandoned => self.abandoned(rotation),
            Outcome::Minted {
                marker,
                key_id,
                sealed,
                end,
            } => self.minted(rotation, *marker, (*key_id, *end), sealed),
            Outcome::MintedInVain {
                marker,
                key_id,
                failure,
            } => self.minted_in_vain(rotation, secrets, (*marker, *key_id), failure),
            Outcome::MintFailed(failure) => self.mint_failed(rotation, secrets, failure),
            Outcome::MintUnknown(failure) => {
                self.abandoned(rotation);
                self.mint_trouble(rotation, secrets, failure);
            }
            Outcome::Adopted => self.adopted(rotation, secrets),
            Outcome::CurrentRefused { key_id, failure } => {
                self.current_refused(rotation, secrets, *key_id, failure);
            }
            Outcome::Proved { read } => {
                self.proved(rotation, secrets, read.as_ref());
                if let Some(read) = read {
                    self.look_for_strays(rotation, secrets, read, self.now);
                }
            }
            Outcome::ProvedUnread(failure) => self.unread(rotation, secrets, failure),
            Outcome::ProofRefused => self.refused(rotation),
            Outcome::ProofFailed(failure) => {
                self.postponed(rotation, secrets, step_name::PROVE, failure)
            }
            Outcome::Published { sink } => self.published(rotation, sink),
            Outcome::PublishFailed(failure) => {
                self.postponed(rotation, secrets, step_name::PUBLISH, failure);
            }
            Outcome::Promoted => self.promoted(rotation, secrets),
            Outcome::Quarantined => self.quarantined(rotation, secrets),
            Outcome::Aborted => self.aborted(rotation, secrets),
            Outcome::Removed { key_id } => self.gone(rotation, secrets, *key_id, false),
            Outcome::RemoveNotFound { key_id } => self.not_found(rotation, *key_id),
            Outcome::RemoveFailed { key_id, failure } => {
                self.remove_failed(rotation, secrets, *key_id, failure);
            }
            Outcome::Inspected { sent_at, read } => {
                self.inspected(rotation, secrets, read, *sent_at);
            }
            Outcome::InspectFailed(failure) => self.inspect_failed(rotation, secrets, failure),
            Outcome::Delivered { sink } => self.delivered(rotation, secrets, sink),
            Outcome::DeliveryFailed { sink, failure } => {
                self.delivery_failed(rotation, sink, failure);
            }
            Outcome::Finished => self.finished(rotation, secrets),
            Outcome::Reminded { days } => self.reminded(secrets, *days),
            Outcome::SetBack => rotation.since = self.now,
            Outcome::TookLeave => self.took_leave(rotation, secrets),
            Outcome::TooEarly {
                key_id,
                shown,
                told,
                due,
            } => {
                self.too_early(rotation, secrets, (*shown, *told), (*key_id, *due));
            }
        }
    }

    fn without_rotation(&mut self, secrets: &mut Secrets, outcome: &Outcome) {
        if let Outcome::Reminded { days } = outcome {
            self.reminded(secrets, *days);
        }
    }

    fn finished(&mut self, rotation: &mut Rotation, secrets: &Secrets) {
        let Some(run) = rotation.run.take() else {
            return;
        };
        rotation.last = Some(Completed::new(run, self.now));
        self.events.push(EventKind::Confirmed {
            rotation: run.id,
            generation: secrets.current.generation,
            key_id: secrets.current.key_id,
            next: next_due(rotation, &secrets.current, self.now).map(|(at, _)| at),
        });
    }

    fn reminded(&mut self, secrets: &mut Secrets, days: u16) {
        secrets.current.reminded = Some(days);
        if let Some(end) = secrets.current.end {
            self.events.push(EventKind::Expiring {
                key_id: secrets.current.key_id,
                end,
                days,
            });
        }
    }

    /// A rotation for any reason stands for every due date before it. A process whose clock is behind, and
    /// that goes on with it, takes none of them back.
    fn covers(&self, rotation: &mut Rotation) {
        rotation.since = rotation.since.max(self.now);
    }

    fn owe(&self, rotation: &mut Rotation, key_id: KeyId, reason: DebtReason) {
        rotation
            .debts
            .push(Debt::new(key_id, reason, self.now, self.now));
    }

    fn trouble(
        &mut self,
        rotation: &mut Rotation,
        secrets: &Secrets,
        step: &str,
        failure: &Failure,
    ) {
        let before = rotation.trouble.take();
        let refusals = match &before {
            _ if !failure.is_refusal() => 0,
            Some(before) => before.refusals + 1,
            None => 1,
        };
        // Steps that fail in turn are in one trouble: else none of them would ever wait for longer.
        let before = before.filter(|before| {
            let refused = before.refusals > 0 && refusals > 0;
            before.step == step || before.kind == TroubleKind::Transient || refused
        });
        let attempts = before.as_ref().map_or(0, |trouble| trouble.attempts) + 1;
        // A replica that lags behind may refuse a good secret: one refusal is no lock-out.
        let failure = &failure.after(refusals, self.policy);
        let delay = failure.delay(
            self.id,
            attempts,
            self.policy,
            self.now,
            secrets.current.end,
        );
        let mut trouble = failure.trouble(before, self.now, self.now + delay);
        trouble.refusals = refusals;
        self.troubled(rotation, trouble.during(step));
    }

    fn troubled(&mut self, rotation: &mut Rotation, trouble: Trouble) {
        self.events.push(EventKind::Failed {
            trouble: trouble.clone(),
        });
        rotation.trouble = Some(trouble);
    }
}

/// Says that a trouble is over, if one was and none is.
pub(crate) fn recovered(before: Option<Trouble>, now: &Rotation) -> Option<EventKind> {
    let before = before.filter(|_| now.trouble.is_none())?;
    Some(EventKind::Recovered {
        step: before.step,
        kind: before.kind,
        since: before.since,
        attempts: before.attempts,
    })
}

/// Ends the trouble of these steps: one of them succeeded, or will not be made.
fn end_trouble(rotation: &mut Rotation, steps: &[&str]) {
    rotation
        .trouble
        .take_if(|trouble| steps.contains(&trouble.step.as_str()));
}

/// The steps that make a new secret.
const MAKING: [&str; 3] = [step_name::MINT, step_name::PROVE, step_name::PUBLISH];

/// Whether we hold the secret, or know already that it must go.
fn is_ours(rotation: &Rotation, secrets: &Secrets, key_id: KeyId) -> bool {
    let held = [Some(&secrets.current), secrets.previous.as_ref()];
    let held = held.into_iter().flatten();
    let candidate = rotation.candidate().map(|candidate| candidate.key_id);
    held.map(|held| held.key_id)
        .chain([candidate])
        .any(|ours| ours == Some(key_id))
        || rotation.debts.iter().any(|debt| debt.key_id == key_id)
}

fn is_idle(phase: &Phase) -> bool {
    matches!(phase, Phase::Idle)
}
