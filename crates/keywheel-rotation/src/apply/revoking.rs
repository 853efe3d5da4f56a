use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Cause, Debt, DebtReason, EventKind, Rotation, Secrets, Trouble, TroubleKind,
};
use keywheel_core::KeyId;

use super::{Change, end_trouble};
use crate::failure::Failure;
use crate::step_name;

impl Change<'_> {
    pub(super) fn gone(
        &mut self,
        rotation: &mut Rotation,
        secrets: &mut Secrets,
        key_id: KeyId,
        confirmed_by_reads: bool,
    ) {
        let owed = |debt: &Debt| debt.key_id == key_id;
        let Some(index) = rotation.debts.iter().position(owed) else {
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
        if secrets.current.key_id == Some(key_id) {
            // The last secret of a connection that is deleted is not owed a second time.
            secrets.current.key_id = None;
        }
        if debt.reason == DebtReason::Superseded {
            secrets.current.refused_since = None;
        }
        let tried = rotation.debts.iter().any(|debt| debt.attempts > 0);
        if !tried && secrets.current.refused_since.is_none() {
            end_trouble(rotation, &[step_name::REVOKE]);
        }
        self.events.push(EventKind::Revoked {
            key_id,
            reason: debt.reason,
            confirmed_by_reads,
        });
    }

    /// Within minutes of minting, Graph may not know a secret that it is about to show. So this is no
    /// proof that it is gone: reads must agree.
    pub(super) fn not_found(&self, rotation: &mut Rotation, key_id: KeyId) {
        if let Some(debt) = debt(rotation, key_id) {
            debt.unconfirmed = true;
            debt.absent_reads = 0;
            debt.next_at = self.now;
        }
    }

    /// The one before stays for as long as the current one is refused: it may be all that works (G1).
    pub(super) fn current_refused(
        &mut self,
        rotation: &mut Rotation,
        secrets: &mut Secrets,
        key_id: KeyId,
        failure: &Failure,
    ) {
        let since = *secrets.current.refused_since.get_or_insert(self.now);
        let refused = self.now - since;
        let delay = if refused < self.policy.patience {
            (refused / 2).clamp(TimeDelta::seconds(2), TimeDelta::seconds(30))
        } else {
            self.policy.halted
        };
        let retry_at = self.now + delay;
        if let Some(debt) = debt(rotation, key_id) {
            debt.next_at = retry_at;
        }
        // What another step needs a person for is not to be covered up.
        let halted =
            |trouble: &Trouble| trouble.step != step_name::REVOKE && trouble.kind.needs_a_person();
        if rotation.trouble.as_ref().is_some_and(halted) {
            return;
        }
        let before = rotation.trouble.take();
        let refusals = before.as_ref().map_or(0, |before| before.refusals);
        let before = before.filter(|before| before.step == step_name::REVOKE);
        // Another debt has shown that nothing that is held is accepted.
        let locked_out = before
            .as_ref()
            .is_some_and(|b| b.kind == TroubleKind::LockedOut);
        let mut trouble = failure.trouble(before, self.now, retry_at);
        trouble.refusals = refusals;
        let repairs = rotation
            .run
            .is_some_and(|run| run.cause == Cause::Repair && run.promoted_at.is_none());
        // The repair could not mint, so the one before does not work any more either; or nobody holds its
        // text, as after the credential was changed.
        let alone = repairs || secrets.previous.is_none();
        let locked_out = locked_out || (alone && rotation.candidate().is_none());
        if locked_out && refused >= self.policy.patience {
            trouble.kind = TroubleKind::LockedOut;
        }
        self.troubled(rotation, trouble.during(step_name::REVOKE));
    }

    /// Our clock ran ahead of the directory's, or another process's did. The secret stays until its time.
    pub(super) fn too_early(
        &mut self,
        rotation: &mut Rotation,
        secrets: &Secrets,
        (shown, told): (DateTime<Utc>, DateTime<Utc>),
        (key_id, due): (KeyId, DateTime<Utc>),
    ) {
        let message = format!(
            "the replaced secret is not revoked yet: the clock of this machine showed {}, and Entra's {}; \
             by Entra's its grace lasts until {}. Set the clock of the machine (NTP); until then Entra's \
             time counts",
            shown.format("%F %T UTC"),
            told.format("%F %T UTC"),
            due.format("%F %T UTC"),
        );
        tracing::warn!(connection = %self.id, %shown, %told, "rotation.clock_skew");
        let failure = Failure::new(TroubleKind::Transient, message);
        self.trouble(rotation, secrets, step_name::REVOKE, &failure);
        if let Some(trouble) = &mut rotation.trouble {
            trouble.retry_at = due;
        }
        // Somebody whose clock was right may have tried before.
        for debt in &mut rotation.debts {
            if debt.key_id == key_id {
                debt.next_at = due;
            }
        }
    }

    /// Once the last secret of a connection that is deleted has removed itself, nobody can ask any more
    /// whether it is gone: that it is refused, again and again, is the answer.
    pub(super) fn last_one_refused(
        &mut self,
        rotation: &mut Rotation,
        secrets: &mut Secrets,
        failure: &Failure,
    ) -> bool {
        let [debt] = rotation.debts.as_mut_slice() else {
            return false;
        };
        // While a marker is looked for, nothing has removed it yet but somebody else.
        let last = rotation.farewell.is_some()
            && rotation.dead_markers.is_empty()
            && secrets.current.key_id == Some(debt.key_id);
        if !last || self.managed || !failure.is_refusal() {
            return false;
        }
        let key_id = debt.key_id;
        debt.absent_reads = debt.absent_reads.saturating_add(1);
        let age = self.now - debt.since;
        debt.next_at = self.next_read(age);
        let agreed = debt.absent_reads >= self.policy.agreeing_reads;
        if agreed && age >= self.policy.settle {
            self.gone(rotation, secrets, key_id, true);
        }
        true
    }

    pub(super) fn remove_failed(
        &mut self,
        rotation: &mut Rotation,
        secrets: &mut Secrets,
        key_id: KeyId,
        failure: &Failure,
    ) {
        if self.last_one_refused(rotation, secrets, failure) {
            return;
        }
        self.trouble(rotation, secrets, step_name::REVOKE, failure);
        let retry_at = rotation.trouble.as_ref().map(|trouble| trouble.retry_at);
        if let (Some(debt), Some(retry_at)) = (debt(rotation, key_id), retry_at) {
            debt.attempts += 1;
            debt.next_at = retry_at;
        }
    }
}

fn debt(rotation: &mut Rotation, key_id: KeyId) -> Option<&mut Debt> {
    rotation.debts.iter_mut().find(|debt| debt.key_id == key_id)
}
