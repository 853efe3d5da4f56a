use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Actor, Candidate, Cause, Completed, Connection, ConnectionId, Credential, DeadMarker, Debt,
    DebtReason, Entry, EventKind, Held, Inspection, Marker, Phase, Rotation, RotationId, Run,
    Sealed, Secrets, TroubleKind,
};
use keywheel_core::KeyId;

use crate::decide::next_due;
use crate::failure::Failure;
use crate::{Policy, retry};

/// What came of a step.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Abandoned,
    Finished,
    InspectFailed(Failure),
    Inspected(Inspection),
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
    Promoted,
    ProofFailed(Failure),
    ProofRefused,
    Proved {
        read: Option<Inspection>,
    },
    Quarantined,
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
}

/// Changes `connection` by what came of a step, and returns the journal entries to be saved with it.
///
/// Pure. It may be applied again to a newer version of the same connection, when a change on behalf of
/// a person came between.
pub(crate) fn apply(
    connection: &mut Connection,
    outcome: &Outcome,
    now: DateTime<Utc>,
    policy: &Policy,
) -> Vec<Entry> {
    let mut change = Change {
        now,
        policy,
        events: Vec::new(),
    };
    let id = connection.id;
    if let (Some(rotation), Credential::ClientSecret(secrets)) =
        (&mut connection.rotation, &mut connection.credential)
    {
        change.apply(rotation, secrets, id, outcome);
    }
    if let Outcome::Inspected(read) | Outcome::Proved { read: Some(read) } = outcome {
        connection.application.get_or_insert(read.application);
    }
    let actor = Actor::engine();
    change
        .events
        .into_iter()
        .map(|event| connection.record(&actor, now, event))
        .collect()
}

struct Change<'a> {
    now: DateTime<Utc>,
    policy: &'a Policy,
    events: Vec<EventKind>,
}

impl Change<'_> {
    fn apply(
        &mut self,
        rotation: &mut Rotation,
        secrets: &mut Secrets,
        id: ConnectionId,
        outcome: &Outcome,
    ) {
        match outcome {
            Outcome::Intended {
                rotation: run,
                cause,
                marker,
            } => self.intended(rotation, *run, *cause, *marker),
            Outcome::Abandoned => self.abandoned(rotation),
            Outcome::Minted {
                marker,
                key_id,
                sealed,
                end,
            } => self.minted(rotation, secrets, *marker, *key_id, sealed, *end),
            Outcome::MintedInVain {
                marker,
                key_id,
                failure,
            } => {
                self.minted_in_vain(rotation, *marker, *key_id);
                self.trouble(rotation, id, "mint", failure);
            }
            Outcome::MintFailed(failure) => {
                rotation.phase = Phase::Idle;
                let failure = failure.clone().shorten_life(rotation, self.policy);
                self.trouble(rotation, id, "mint", &failure);
            }
            Outcome::MintUnknown(failure) => {
                self.abandoned(rotation);
                self.trouble(rotation, id, "mint", failure);
            }
            Outcome::Proved { read } => self.proved(rotation, secrets, read.as_ref(), id),
            Outcome::ProofRefused => self.refused(rotation, secrets),
            Outcome::ProofFailed(failure) => {
                self.trouble(rotation, id, "prove", failure);
                let at = rotation.trouble.as_ref().map(|trouble| trouble.retry_at);
                if let (Phase::Proving(candidate), Some(at)) = (&mut rotation.phase, at) {
                    candidate.next_at = at;
                }
            }
            Outcome::Promoted => self.promoted(rotation, secrets),
            Outcome::Quarantined => self.quarantined(rotation, secrets),
            Outcome::Removed { key_id } => self.gone(rotation, secrets, *key_id, false),
            Outcome::RemoveNotFound { key_id } => self.not_found(rotation, *key_id),
            Outcome::RemoveFailed { key_id, failure } => {
                self.remove_failed(rotation, id, *key_id, failure);
            }
            Outcome::Inspected(read) => self.inspected(rotation, secrets, read),
            Outcome::InspectFailed(failure) => self.inspect_failed(rotation, id, failure),
            Outcome::Finished => self.finished(rotation, secrets),
        }
    }

    fn intended(&mut self, rotation: &mut Rotation, id: RotationId, cause: Cause, marker: Marker) {
        let run = *rotation
            .run
            .get_or_insert_with(|| Run::new(id, cause, self.now));
        // A rotation for any reason stands for every due date before it.
        rotation.covered_until = rotation.covered_until.max(self.now);
        if rotation.request.is_some_and(|request| request.id == run.id) {
            rotation.request = None;
        }
        rotation.phase = Phase::Intent {
            marker,
            since: self.now,
        };
        self.events.push(EventKind::Intent {
            rotation: run.id,
            cause: run.cause,
            generation: marker.generation(),
            marker,
        });
    }

    fn abandoned(&mut self, rotation: &mut Rotation) {
        let Phase::Intent { marker, since } = rotation.phase else {
            return;
        };
        rotation.phase = Phase::Idle;
        rotation
            .dead_markers
            .push(DeadMarker::new(marker, since, self.now));
        self.events.push(EventKind::Unresolved {
            marker,
            settle_until: since + self.policy.settle,
        });
    }

    fn minted(
        &mut self,
        rotation: &mut Rotation,
        secrets: &Secrets,
        marker: Marker,
        key_id: KeyId,
        sealed: &Sealed,
        end: Option<DateTime<Utc>>,
    ) {
        let Some(run) = rotation.run else { return };
        let candidate = Candidate::new(key_id, marker, sealed.clone(), end, self.now);
        rotation.phase = Phase::Proving(candidate);
        rotation.trouble = None;
        self.events.push(EventKind::Minted {
            rotation: run.id,
            generation: secrets.current.generation + 1,
            key_id,
            end,
        });
    }

    fn minted_in_vain(&mut self, rotation: &mut Rotation, marker: Marker, key_id: KeyId) {
        rotation.phase = Phase::Idle;
        self.orphan(rotation, marker, key_id);
    }

    fn orphan(&mut self, rotation: &mut Rotation, marker: Marker, key_id: KeyId) {
        rotation
            .debts
            .push(Debt::new(key_id, DebtReason::Orphan, self.now, self.now));
        self.events.push(EventKind::OrphanFound { key_id, marker });
    }

    fn proved(
        &mut self,
        rotation: &mut Rotation,
        secrets: &Secrets,
        read: Option<&Inspection>,
        id: ConnectionId,
    ) {
        let wanted = rotation.settings.proofs.max(1);
        let spacing =
            rotation.settings.proof_span.delta() / i32::from(wanted.saturating_sub(1).max(1));
        let (Phase::Proving(candidate), Some(run)) = (&mut rotation.phase, rotation.run) else {
            return;
        };
        candidate.proofs = candidate.proofs.saturating_add(1);
        candidate.read |= read.is_some();
        candidate.refusals = 0;
        candidate.refused_since = None;
        candidate.next_at = self.now + spacing;
        self.events.push(EventKind::Proved {
            rotation: run.id,
            generation: secrets.current.generation + 1,
            key_id: candidate.key_id,
            proofs: candidate.proofs,
            wanted,
        });
        rotation.trouble = None;
        if let Some(read) = read
            && let Some(ahead) = ahead_of_us(read, id, secrets)
        {
            self.store_behind(rotation, ahead);
        }
    }

    /// One refusal after a success means that not all replicas know the secret: the count starts anew.
    fn refused(&mut self, rotation: &mut Rotation, secrets: &Secrets) {
        let Phase::Proving(candidate) = &mut rotation.phase else {
            return;
        };
        candidate.proofs = 0;
        candidate.refusals += 1;
        candidate.refused_since.get_or_insert(self.now);
        candidate.next_at = self.now + retry::propagation(candidate.refusals);
        self.events.push(EventKind::ProofRefused {
            generation: secrets.current.generation + 1,
            key_id: candidate.key_id,
            refusals: candidate.refusals,
            retry_at: candidate.next_at,
        });
    }

    fn promoted(&mut self, rotation: &mut Rotation, secrets: &mut Secrets) {
        let (Phase::Proving(candidate), Some(run)) = (&rotation.phase, &mut rotation.run) else {
            return;
        };
        let grace = match run.cause {
            Cause::Emergency => TimeDelta::zero(),
            Cause::Initial => rotation.settings.original_grace.delta(),
            _ => rotation.settings.grace.delta(),
        };
        run.promoted_at = Some(self.now);
        let promoted = Held::promoted(candidate, self.now);
        let previous = std::mem::replace(&mut secrets.current, promoted);
        self.events.push(EventKind::Promoted {
            rotation: run.id,
            generation: secrets.current.generation,
            key_id: candidate.key_id,
            previous_key_id: previous.key_id,
            revoke_at: self.now + grace,
        });
        if let Some(key_id) = previous.key_id {
            let due = self.now + grace;
            rotation
                .debts
                .push(Debt::new(key_id, DebtReason::Superseded, self.now, due));
        }
        secrets.previous = Some(previous);
        rotation.phase = Phase::Idle;
        rotation.trouble = None;
    }

    fn quarantined(&mut self, rotation: &mut Rotation, secrets: &Secrets) {
        let Phase::Proving(candidate) = &rotation.phase else {
            return;
        };
        let key_id = candidate.key_id;
        rotation.phase = Phase::Idle;
        rotation.debts.push(Debt::new(
            key_id,
            DebtReason::Quarantined,
            self.now,
            self.now,
        ));
        self.events.push(EventKind::Quarantined {
            generation: secrets.current.generation + 1,
            key_id,
        });
    }

    fn gone(
        &mut self,
        rotation: &mut Rotation,
        secrets: &mut Secrets,
        key_id: KeyId,
        confirmed_by_reads: bool,
    ) {
        let Some(index) = rotation.debts.iter().position(|debt| debt.key_id == key_id) else {
            return;
        };
        let debt = rotation.debts.remove(index);
        if secrets
            .previous
            .as_ref()
            .is_some_and(|previous| previous.key_id == Some(key_id))
        {
            secrets.previous = None;
        }
        rotation.trouble = None;
        self.events.push(EventKind::Revoked {
            key_id,
            reason: debt.reason,
            confirmed_by_reads,
        });
    }

    /// Within minutes of minting, Graph may not know a secret that it is about to show. So this is no
    /// proof that it is gone: reads must agree.
    fn not_found(&self, rotation: &mut Rotation, key_id: KeyId) {
        if let Some(debt) = debt(rotation, key_id) {
            debt.unconfirmed = true;
            debt.absent_reads = 0;
            debt.next_at = self.now;
        }
    }

    fn remove_failed(
        &mut self,
        rotation: &mut Rotation,
        id: ConnectionId,
        key_id: KeyId,
        failure: &Failure,
    ) {
        if let Some(debt) = debt(rotation, key_id) {
            debt.attempts += 1;
            debt.next_at = self.now + failure.delay(id, debt.attempts);
        }
        self.trouble(rotation, id, "revoke", failure);
    }

    fn inspected(&mut self, rotation: &mut Rotation, secrets: &mut Secrets, read: &Inspection) {
        self.look_for_markers(rotation, secrets, read);
        self.look_for_debts(rotation, secrets, read);
        rotation.trouble = None;
    }

    fn look_for_markers(&mut self, rotation: &mut Rotation, secrets: &Secrets, read: &Inspection) {
        let mut kept = Vec::new();
        for mut dead in std::mem::take(&mut rotation.dead_markers) {
            let found = read
                .secrets
                .iter()
                .find(|secret| secret.marker() == Some(dead.marker));
            if let Some(key_id) = found.and_then(|secret| secret.key_id) {
                // The call is made at most once, so there is nothing more to come under this marker.
                if !is_ours(rotation, secrets, key_id) {
                    self.orphan(rotation, dead.marker, key_id);
                }
            } else if dead.next_at > self.now || self.still_watched(&mut dead) {
                kept.push(dead);
            }
        }
        rotation.dead_markers = kept;
    }

    /// Counts a read that did not show the marker, and sets when to look again.
    fn still_watched(&self, dead: &mut DeadMarker) -> bool {
        dead.absent_reads = dead.absent_reads.saturating_add(1);
        let age = self.now - dead.since;
        dead.settled = dead.settled
            || (dead.absent_reads >= self.policy.agreeing_reads && age >= self.policy.settle);
        dead.next_at = if !dead.settled {
            self.now + self.policy.read_spacing
        } else if age < TimeDelta::minutes(5) {
            dead.since + TimeDelta::minutes(5)
        } else {
            self.now + age
        };
        !dead.settled || age <= self.policy.watch
    }

    fn look_for_debts(
        &mut self,
        rotation: &mut Rotation,
        secrets: &mut Secrets,
        read: &Inspection,
    ) {
        let mut gone = Vec::new();
        let due = rotation
            .debts
            .iter_mut()
            .filter(|debt| debt.unconfirmed && debt.next_at <= self.now);
        for debt in due {
            debt.next_at = self.now + self.policy.read_spacing;
            if read.secret(&debt.key_id).is_some() {
                // It is there after all: remove it again.
                debt.unconfirmed = false;
                debt.attempts += 1;
            } else {
                debt.absent_reads = debt.absent_reads.saturating_add(1);
                let old = self.now - debt.since >= self.policy.settle;
                let settled = old || debt.reason == DebtReason::Superseded;
                if settled && debt.absent_reads >= self.policy.agreeing_reads {
                    gone.push(debt.key_id);
                }
            }
        }
        for key_id in gone {
            self.gone(rotation, secrets, key_id, true);
        }
    }

    fn inspect_failed(&mut self, rotation: &mut Rotation, id: ConnectionId, failure: &Failure) {
        self.trouble(rotation, id, "inspect", failure);
        let Some(at) = rotation.trouble.as_ref().map(|trouble| trouble.retry_at) else {
            return;
        };
        let markers = rotation.dead_markers.iter_mut().map(|m| &mut m.next_at);
        let debts = rotation.debts.iter_mut().filter(|debt| debt.unconfirmed);
        for next_at in markers.chain(debts.map(|debt| &mut debt.next_at)) {
            *next_at = at.max(*next_at);
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
            next: next_due(rotation, self.now, self.policy).filter(|_| rotation.enabled),
        });
    }

    fn store_behind(&self, rotation: &mut Rotation, generation: u64) {
        let message = format!(
            "the directory shows a secret of generation {generation} that this store does not know: it was \
             restored from a backup or lost writes; restore a newer one, or supply the secret"
        );
        let failure = Failure::new(TroubleKind::StoreBehind, message);
        rotation.trouble = Some(failure.trouble(None, self.now, self.now + retry::HALTED));
    }

    fn trouble(
        &mut self,
        rotation: &mut Rotation,
        id: ConnectionId,
        step: &str,
        failure: &Failure,
    ) {
        let before = rotation.trouble.take();
        let attempts = before.as_ref().map_or(0, |trouble| trouble.attempts) + 1;
        let retry_at = self.now + failure.delay(id, attempts);
        let trouble = failure.trouble(before, self.now, retry_at);
        self.events.push(EventKind::Failed {
            step: step.to_owned(),
            trouble: trouble.clone(),
        });
        rotation.trouble = Some(trouble);
    }
}

fn debt(rotation: &mut Rotation, key_id: KeyId) -> Option<&mut Debt> {
    rotation.debts.iter_mut().find(|debt| debt.key_id == key_id)
}

/// Whether we hold the secret, or know already that it must go.
fn is_ours(rotation: &Rotation, secrets: &Secrets, key_id: KeyId) -> bool {
    let held = [Some(&secrets.current), secrets.previous.as_ref()];
    held.into_iter()
        .flatten()
        .any(|held| held.key_id == Some(key_id))
        || rotation
            .candidate()
            .is_some_and(|candidate| candidate.key_id == key_id)
        || rotation.debts.iter().any(|debt| debt.key_id == key_id)
}

/// Returns the highest generation of this connection that the directory shows beyond what we know.
fn ahead_of_us(read: &Inspection, id: ConnectionId, secrets: &Secrets) -> Option<u64> {
    let known = secrets.current.generation + 1;
    let markers = read.secrets.iter().filter_map(|secret| secret.marker());
    markers
        .filter(|marker| marker.connection() == id && marker.generation() > known)
        .map(|marker| marker.generation())
        .max()
}
