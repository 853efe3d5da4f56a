use chrono::{DateTime, Utc};
use keywheel_connection::{
    Candidate, Cause, DeadMarker, Debt, DebtReason, EventKind, Marker, Phase, Rotation, RotationId,
    Run, Sealed, Secrets,
};
use keywheel_core::KeyId;

use super::{Change, end_trouble};
use crate::failure::Failure;
use crate::step_name;

impl Change<'_> {
    pub(super) fn intended(
        &mut self,
        rotation: &mut Rotation,
        id: RotationId,
        cause: Cause,
        marker: Marker,
    ) {
        self.overtake(rotation, id);
        let begin = || Run::new(id, cause, self.now);
        let run = rotation.run.get_or_insert_with(begin);
        // What is begun for another reason ends the leak too.
        if let Some(request) = rotation.request.take_if(|request| request.id == run.id) {
            run.urgent |= request.cause == Cause::Emergency;
        }
        let run = *run;
        self.covers(rotation);
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

    /// Ends a run whose secret is in use already, because another one begins.
    fn overtake(&mut self, rotation: &mut Rotation, by: RotationId) {
        let promoted = |run: &mut Run| run.promoted_at.is_some();
        if let Some(run) = rotation.run.take_if(promoted) {
            self.events.push(EventKind::Overtaken {
                rotation: run.id,
                by,
            });
        }
    }

    /// Who stored the intent may have called `addPassword`, at any time until now.
    pub(super) fn abandoned(&mut self, rotation: &mut Rotation) {
        let Phase::Intent { marker, .. } = rotation.phase else {
            return;
        };
        rotation.phase = Phase::Idle;
        rotation
            .dead_markers
            .push(DeadMarker::new(marker, self.now, self.now));
        self.events.push(EventKind::Unresolved {
            marker,
            settle_until: self.now + self.policy.settle,
        });
    }

    pub(super) fn minted(
        &mut self,
        rotation: &mut Rotation,
        marker: Marker,
        (key_id, end): (KeyId, Option<DateTime<Utc>>),
        sealed: &Sealed,
    ) {
        let Some(run) = rotation.run else { return };
        let candidate = Candidate::minted(marker, key_id, sealed.clone(), end, self.now);
        rotation.phase = Phase::Proving(candidate);
        end_trouble(rotation, &[step_name::MINT]);
        self.events.push(EventKind::Minted {
            rotation: run.id,
            generation: marker.generation(),
            key_id,
            end,
        });
    }

    pub(super) fn minted_in_vain(
        &mut self,
        rotation: &mut Rotation,
        secrets: &Secrets,
        (marker, key_id): (Marker, KeyId),
        failure: &Failure,
    ) {
        rotation.phase = Phase::Idle;
        self.orphan(rotation, marker, key_id);
        self.mint_trouble(rotation, secrets, failure);
    }

    pub(super) fn mint_failed(
        &mut self,
        rotation: &mut Rotation,
        secrets: &Secrets,
        failure: &Failure,
    ) {
        rotation.phase = Phase::Idle;
        let failure = failure.clone().shorten_life(rotation);
        self.mint_trouble(rotation, secrets, &failure);
    }

    /// The time of the next attempt stays, whatever else fails until then and becomes the trouble.
    pub(super) fn mint_trouble(
        &mut self,
        rotation: &mut Rotation,
        secrets: &Secrets,
        failure: &Failure,
    ) {
        self.trouble(rotation, secrets, step_name::MINT, failure);
        let retry_at = rotation.trouble.as_ref().map(|trouble| trouble.retry_at);
        if let Some(run) = &mut rotation.run {
            run.mint_after = retry_at;
        }
    }

    pub(super) fn orphan(&mut self, rotation: &mut Rotation, marker: Marker, key_id: KeyId) {
        let debt = Debt::new(key_id, DebtReason::Orphan, self.now, self.now);
        rotation.debts.push(debt);
        self.events.push(EventKind::OrphanFound { key_id, marker });
    }
}
