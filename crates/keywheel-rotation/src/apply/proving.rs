use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Candidate, Cause, Debt, DebtReason, Delivery, EventKind, Held, Inspection, Listed, Origin,
    Phase, Rotation, Secrets, Trouble, TroubleKind,
};
use keywheel_core::KeyId;

use super::{Change, MAKING, end_trouble, is_ours};
use crate::failure::Failure;
use crate::{retry, step_name};

impl Change<'_> {
    pub(super) fn proved(
        &mut self,
        rotation: &mut Rotation,
        secrets: &Secrets,
        read: Option<&Inspection>,
    ) {
        let ahead = read.map_or_else(Vec::new, |read| self.ahead(read, rotation, secrets));
        let wanted = rotation.settings.proofs.max(1);
        let gaps = i32::from(wanted.saturating_sub(1).max(1));
        let spacing = rotation.settings.proof_span.delta() / gaps;
        let (Phase::Proving(candidate), Some(run)) = (&mut rotation.phase, rotation.run) else {
            return;
        };
        candidate.proofs = candidate.proofs.saturating_add(1);
        candidate.read |= read.is_some() && ahead.is_empty();
        accepted(candidate);
        // What follows the last proof has nothing to wait for.
        let proven = candidate.read && candidate.proofs >= wanted;
        candidate.next_at = if proven { self.now } else { self.now + spacing };
        self.events.push(EventKind::Proved {
            rotation: run.id,
            generation: candidate.generation,
            key_id: candidate.key_id,
            proofs: candidate.proofs,
            wanted,
        });
        end_trouble(rotation, &[step_name::PROVE]);
        if !ahead.is_empty() {
            self.store_behind(rotation, secrets, &ahead);
        }
    }

    /// What keeps the read from being made is not the candidate: another one would do no better.
    pub(super) fn unread(&mut self, rotation: &mut Rotation, secrets: &Secrets, failure: &Failure) {
        if let Phase::Proving(candidate) = &mut rotation.phase {
            accepted(candidate);
        }
        self.postponed(rotation, secrets, step_name::PROVE, failure);
    }

    /// One refusal after a success means that not all replicas know the secret: the count starts anew.
    pub(super) fn refused(&mut self, rotation: &mut Rotation) {
        let Phase::Proving(candidate) = &mut rotation.phase else {
            return;
        };
        candidate.proofs = 0;
        candidate.refusals += 1;
        candidate.refused_since.get_or_insert(self.now);
        candidate.next_at = self.now + retry::propagation(candidate.refusals);
        self.events.push(EventKind::ProofRefused {
            generation: candidate.generation,
            key_id: candidate.key_id,
            refusals: candidate.refusals,
            retry_at: candidate.next_at,
        });
    }

    /// A step with the candidate failed for a reason that is not the candidate.
    pub(super) fn postponed(
        &mut self,
        rotation: &mut Rotation,
        secrets: &Secrets,
        step: &str,
        failure: &Failure,
    ) {
        self.trouble(rotation, secrets, step, failure);
        let at = rotation.trouble.as_ref().map(|trouble| trouble.retry_at);
        if let (Phase::Proving(candidate), Some(at)) = (&mut rotation.phase, at) {
            candidate.next_at = at;
        }
    }

    pub(super) fn published(&mut self, rotation: &mut Rotation, sink: &str) {
        let Phase::Proving(candidate) = &mut rotation.phase else {
            return;
        };
        candidate.published.push(sink.to_owned());
        candidate.next_at = self.now;
        self.events.push(EventKind::Published {
            sink: sink.to_owned(),
            generation: candidate.generation,
            key_id: Some(candidate.key_id),
        });
        end_trouble(rotation, &[step_name::PUBLISH]);
    }

    pub(super) fn promoted(&mut self, rotation: &mut Rotation, secrets: &mut Secrets) {
        let (Phase::Proving(candidate), Some(run)) = (&rotation.phase, &mut rotation.run) else {
            return;
        };
        let settings = &rotation.settings;
        let grace = match run.cause {
            Cause::Emergency => TimeDelta::zero(),
            Cause::Initial => settings.original_grace.delta(),
            _ => settings.grace.delta(),
        };
        let revoke_at = self.now + grace;
        run.promoted_at = Some(self.now);
        let promoted = Held::promoted(candidate, self.now);
        // A secret that was taken back from its grace is owed no more.
        rotation
            .debts
            .retain(|debt| debt.key_id != candidate.key_id);
        let previous = std::mem::replace(&mut secrets.current, promoted);
        self.events.push(EventKind::Promoted {
            rotation: run.id,
            generation: secrets.current.generation,
            key_id: candidate.key_id,
            previous_key_id: previous.key_id,
            revoke_at,
        });
        secrets.previous = None;
        if previous.origin != Origin::NoneYet {
            let owed = |key_id: &KeyId| rotation.debts.iter().any(|debt| debt.key_id == *key_id);
            let debt = previous
                .key_id
                .filter(|key_id| !owed(key_id))
                .map(|key_id| Debt::new(key_id, DebtReason::Superseded, self.now, revoke_at));
            rotation.debts.extend(debt);
            secrets.previous = Some(previous);
        }
        rotation.phase = Phase::Idle;
        self.unlocked(rotation);
        self.deliver_to_all(rotation);
    }

    /// What failed for want of a secret that works is tried at once with the new one.
    fn unlocked(&self, rotation: &mut Rotation) {
        rotation.trouble = None;
        for debt in &mut rotation.debts {
            let failed = debt.attempts > 0 || debt.unconfirmed;
            if failed {
                debt.next_at = debt.due.max(self.now);
            }
        }
        let markers = rotation.dead_markers.iter_mut();
        for marker in markers.filter(|marker| !marker.settled) {
            marker.next_at = self.now;
        }
    }

    fn deliver_to_all(&self, rotation: &mut Rotation) {
        let sinks = self.policy.sinks_after.iter();
        rotation.deliveries = sinks.map(|sink| Delivery::new(sink, self.now)).collect();
    }

    pub(super) fn delivered(&mut self, rotation: &mut Rotation, secrets: &Secrets, sink: &str) {
        rotation.deliveries.retain(|delivery| delivery.sink != sink);
        self.events.push(EventKind::Published {
            sink: sink.to_owned(),
            generation: secrets.current.generation,
            key_id: secrets.current.key_id,
        });
    }

    /// A sink that gets the secret afterwards holds up nothing: it is tried again, and shows as drift.
    pub(super) fn delivery_failed(
        &mut self,
        rotation: &mut Rotation,
        sink: &str,
        failure: &Failure,
    ) {
        let mut deliveries = rotation.deliveries.iter_mut();
        let Some(delivery) = deliveries.find(|delivery| delivery.sink == sink) else {
            return;
        };
        delivery.attempts += 1;
        let delay = failure.delay(self.id, delivery.attempts, self.policy, self.now, None);
        delivery.next_at = self.now + delay;
        let first = delivery.since;
        let mut trouble = failure.trouble(None, self.now, delivery.next_at);
        (trouble.attempts, trouble.since) = (delivery.attempts, first);
        let trouble = trouble.during(step_name::DELIVER);
        self.events.push(EventKind::Failed { trouble });
    }

    pub(super) fn quarantined(&mut self, rotation: &mut Rotation, secrets: &Secrets) {
        let Phase::Proving(candidate) = &rotation.phase else {
            return;
        };
        let (key_id, generation, origin) =
            (candidate.key_id, candidate.generation, candidate.origin);
        let since = candidate.since;
        let told = self.may_be_told(candidate);
        rotation.phase = Phase::Idle;
        end_trouble(rotation, &MAKING);
        self.events
            .push(EventKind::Quarantined { generation, key_id });
        self.tell_again(rotation, &told);
        let owed = rotation.debts.iter().any(|debt| debt.key_id == key_id);
        if matches!(origin, Origin::Minted(_)) && !owed {
            self.owe(rotation, key_id, DebtReason::Quarantined);
            self.mint_later(rotation, secrets, (key_id, since));
            return;
        }
        // What somebody gave is not ours to remove, and nothing is minted in its place.
        if let Some(run) = rotation.run.take() {
            self.events.push(EventKind::Aborted {
                rotation: run.id,
                key_id: Some(key_id),
            });
        }
    }

    /// Another secret is minted in place of one that was never accepted: ever more seldom, because what
    /// keeps it from being accepted may keep the next one too.
    fn mint_later(
        &mut self,
        rotation: &mut Rotation,
        secrets: &Secrets,
        (key_id, since): (KeyId, DateTime<Utc>),
    ) {
        let Some(run) = &mut rotation.run else { return };
        run.quarantined = run.quarantined.saturating_add(1);
        let (quarantined, end) = (run.quarantined, secrets.current.end);
        let wait = retry::mint_anew(quarantined, self.id, self.policy, self.now, end);
        if wait.is_zero() {
            return;
        }
        let mint_after = self.now + wait;
        run.mint_after = Some(mint_after);
        let message = format!(
            "Entra accepted none of {quarantined} new secrets, the last of them {key_id}; each is removed, \
             and the secret in use works on. Another one is minted later; see in the audit log of the \
             tenant whether somebody removes them, or resume to try at once"
        );
        let mut trouble = Trouble::new(TroubleKind::Transient, message, since, mint_after);
        trouble.attempts = quarantined;
        self.troubled(rotation, trouble.during(step_name::MINT));
    }

    /// Returns the secrets that carry our marker, have not ended, are not older than the candidate, and are
    /// not in this record: another store minted them, or this one forgot them. Who uses them is not known, so
    /// nothing is put in their place, unless a person gave it.
    fn ahead<'a>(
        &self,
        read: &'a Inspection,
        rotation: &Rotation,
        secrets: &Secrets,
    ) -> Vec<&'a Listed> {
        let supplied = rotation.run.is_some_and(|run| run.cause == Cause::Supplied);
        let Some(candidate) = rotation.candidate().filter(|_| !supplied) else {
            return Vec::new();
        };
        let unknown = |listed: &&Listed| {
            let known = |id| is_ours(rotation, secrets, id);
            let ended = listed.end.is_some_and(|end| end <= self.now);
            if ended || listed.key_id.is_none_or(known) {
                return false;
            }
            let Some(marker) = listed.marker() else {
                return false;
            };
            let newer = marker.generation() >= candidate.generation;
            let mut dead = rotation.dead_markers.iter();
            marker.connection() == self.id && newer && dead.all(|dead| dead.marker != marker)
        };
        read.secrets.iter().filter(unknown).collect()
    }

    fn store_behind(&mut self, rotation: &mut Rotation, secrets: &Secrets, ahead: &[&Listed]) {
        let key_ids = ahead.iter().filter_map(|listed| listed.key_id);
        let key_ids: Vec<_> = key_ids.map(|key_id| key_id.to_string()).collect();
        let message = format!(
            "the application has newer secrets of this connection than this store knows: {}; either the \
             store was restored from a backup or lost writes, or another store rotates the same \
             connection. Restore a newer backup, or abort this rotation and supply the newest secret, or \
             remove them when nobody uses them",
            key_ids.join(", ")
        );
        let failure = Failure::new(TroubleKind::StoreBehind, message);
        self.postponed(rotation, secrets, step_name::PROVE, &failure);
    }
}

/// Entra accepts the candidate: the refusals before were of replicas that did not know it yet.
fn accepted(candidate: &mut Candidate) {
    candidate.refusals = 0;
    candidate.refused_since = None;
}
