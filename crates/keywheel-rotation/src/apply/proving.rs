use chrono::TimeDelta;
use keywheel_connection::{
    Cause, ConnectionId, Debt, DebtReason, Delivery, EventKind, Held, Inspection, Origin, Phase,
    Rotation, Secrets, TroubleKind,
};

use super::Change;
use crate::failure::Failure;
use crate::retry;

impl Change<'_> {
    pub(super) fn proved(
        &mut self,
        rotation: &mut Rotation,
        secrets: &Secrets,
        read: Option<&Inspection>,
    ) {
        let wanted = rotation.settings.proofs.max(1);
        let gaps = i32::from(wanted.saturating_sub(1).max(1));
        let spacing = rotation.settings.proof_span.delta() / gaps;
        let (Phase::Proving(candidate), Some(run)) = (&mut rotation.phase, rotation.run) else {
            return;
        };
        candidate.proofs = candidate.proofs.saturating_add(1);
        candidate.read |= read.is_some();
        candidate.refusals = 0;
        candidate.refused_since = None;
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
        rotation.trouble = None;
        if let Some(read) = read
            && let Some(ahead) = ahead_of_us(read, self.id, secrets)
        {
            self.store_behind(rotation, secrets, ahead);
        }
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
        rotation.trouble = None;
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
            let debt = previous
                .key_id
                .map(|key_id| Debt::new(key_id, DebtReason::Superseded, self.now, revoke_at));
            rotation.debts.extend(debt);
            secrets.previous = Some(previous);
        }
        rotation.phase = Phase::Idle;
        rotation.trouble = None;
        self.deliver_to_all(rotation);
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
        self.events.push(EventKind::Failed {
            step: format!("deliver to {sink}"),
            trouble,
        });
    }

    pub(super) fn quarantined(&mut self, rotation: &mut Rotation) {
        let Phase::Proving(candidate) = &rotation.phase else {
            return;
        };
        let (key_id, generation, origin) =
            (candidate.key_id, candidate.generation, candidate.origin);
        rotation.phase = Phase::Idle;
        self.events
            .push(EventKind::Quarantined { generation, key_id });
        match origin {
            Origin::Minted(_) if !rotation.debts.iter().any(|debt| debt.key_id == key_id) => {
                self.owe(rotation, key_id, DebtReason::Quarantined);
            }
            // What somebody gave is not ours to remove, and nothing is minted in its place.
            Origin::Given => rotation.run = None,
            _ => {}
        }
    }

    fn store_behind(&mut self, rotation: &mut Rotation, secrets: &Secrets, generation: u64) {
        let message = format!(
            "the directory shows a secret of generation {generation} that this store does not know: it was \
             restored from a backup or lost writes; restore a newer one, or supply the secret"
        );
        let failure = Failure::new(TroubleKind::StoreBehind, message);
        self.trouble(rotation, secrets, "inspect", &failure);
    }
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
