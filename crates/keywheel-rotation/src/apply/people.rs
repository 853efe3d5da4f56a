use keywheel_connection::{
    Candidate, Cause, DebtReason, Delivery, EventKind, Offer, Origin, Phase, Rotation, Run, Secrets,
};

use super::{Change, MAKING, end_trouble, is_idle, is_ours};

/// What people asked for, taken up by the engine.
impl Change<'_> {
    /// A secret that was given is proven like one that was minted.
    pub(super) fn adopted(&mut self, rotation: &mut Rotation, secrets: &Secrets) {
        if !is_idle(&rotation.phase) {
            return;
        }
        let Some(offer) = rotation.offer.take() else {
            return;
        };
        if is_stale(&offer, secrets) {
            self.events.push(EventKind::Aborted {
                rotation: offer.rotation,
                key_id: Some(offer.key_id),
            });
            return;
        }
        if let Some(run) = rotation.run.take() {
            self.events.push(EventKind::Overtaken {
                rotation: run.id,
                by: offer.rotation,
            });
        }
        let mut run = Run::new(offer.rotation, offer.cause, self.now);
        run.urgent = offer.urgent;
        rotation.run = Some(run);
        self.covers(rotation);
        rotation.phase = Phase::Proving(Candidate::offered(&offer, self.now));
        end_trouble(rotation, &MAKING);
        self.events.push(EventKind::Offered {
            rotation: offer.rotation,
            cause: offer.cause,
            generation: offer.generation,
            key_id: offer.key_id,
        });
    }

    /// A rotation whose secret is in use already is not given up: it can be rolled back.
    pub(super) fn aborted(&mut self, rotation: &mut Rotation, secrets: &Secrets) {
        rotation.abort = false;
        if rotation.run.is_some_and(|run| run.promoted_at.is_some()) {
            return;
        }
        let candidate = rotation.candidate().map(|c| (c.key_id, c.origin));
        let told = rotation.candidate().map(|c| self.may_be_told(c));
        let told = told.unwrap_or_default();
        let run = rotation.run.take();
        rotation.phase = Phase::Idle;
        rotation.request = None;
        end_trouble(rotation, &MAKING);
        if let Some((key_id, Origin::Minted(_))) = candidate
            && !is_ours(rotation, secrets, key_id)
        {
            self.owe(rotation, key_id, DebtReason::Aborted);
            if let Some(debt) = rotation.debts.last_mut().filter(|_| !told.is_empty()) {
                debt.due = self.now + rotation.settings.grace.delta();
                debt.next_at = debt.due;
            }
        }
        // Until they have the current one again it stays valid.
        self.tell_again(rotation, &told);
        if let Some(run) = run {
            self.events.push(EventKind::Aborted {
                rotation: run.id,
                key_id: candidate.map(|(key_id, _)| key_id),
            });
        }
    }

    /// Hands the current secret to sinks that may have one that is given up.
    pub(super) fn tell_again(&self, rotation: &mut Rotation, told: &[String]) {
        let again = told.iter().map(|sink| Delivery::new(sink, self.now));
        rotation.deliveries.retain(|d| !told.contains(&d.sink));
        rotation.deliveries.extend(again);
    }

    /// The sinks that may have a candidate: a call whose answer was lost, or whose process ended, is in no
    /// record. Nobody is told before the read that comes with the last proof.
    pub(super) fn may_be_told(&self, candidate: &Candidate) -> Vec<String> {
        let mut told = candidate.published.clone();
        if candidate.read {
            let before = self.policy.sinks_before.iter();
            let others = before.filter(|sink| !candidate.published.contains(sink));
            told.extend(others.cloned());
        }
        told
    }

    /// Every secret that we minted becomes a debt, the current one too.
    pub(super) fn took_leave(&self, rotation: &mut Rotation, secrets: &Secrets) {
        let candidate = rotation.candidate().map(|c| (Some(c.key_id), c.origin));
        let previous = secrets.previous.as_ref();
        let held = [Some(&secrets.current), previous];
        let held = held.into_iter().flatten().map(|h| (h.key_id, h.origin));
        rotation.took_leave = true;
        rotation.phase = Phase::Idle;
        rotation.run = None;
        rotation.request = None;
        rotation.offer = None;
        rotation.deliveries.clear();
        end_trouble(rotation, &MAKING);
        for debt in &mut rotation.debts {
            debt.next_at = debt.next_at.min(self.now);
        }
        for (key_id, origin) in held.chain(candidate) {
            let owed = |key_id| rotation.debts.iter().any(|debt| debt.key_id == key_id);
            if let (Some(key_id), Origin::Minted(_)) = (key_id, origin)
                && !owed(key_id)
            {
                self.owe(rotation, key_id, DebtReason::Deleted);
            }
        }
    }
}

/// An offer was overtaken when another secret took its generation, or the secret to go back to is gone.
fn is_stale(offer: &Offer, secrets: &Secrets) -> bool {
    let previous = secrets.previous.as_ref().and_then(|held| held.key_id);
    let gone = offer.cause == Cause::RollBack && previous != Some(offer.key_id);
    gone || offer.generation <= secrets.current.generation
}
