use keywheel_connection::{Debt, EventKind, Rotation, Secrets};
use keywheel_core::KeyId;

use super::Change;
use crate::failure::Failure;

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
        rotation.trouble = None;
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

    pub(super) fn remove_failed(
        &mut self,
        rotation: &mut Rotation,
        secrets: &Secrets,
        key_id: KeyId,
        failure: &Failure,
    ) {
        if let Some(debt) = debt(rotation, key_id) {
            debt.attempts += 1;
            let delay = failure.delay(self.id, debt.attempts, self.policy, self.now, None);
            debt.next_at = self.now + delay;
        }
        self.trouble(rotation, secrets, "revoke", failure);
    }
}

fn debt(rotation: &mut Rotation, key_id: KeyId) -> Option<&mut Debt> {
    rotation.debts.iter_mut().find(|debt| debt.key_id == key_id)
}
