use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{DeadMarker, Inspection, Rotation, Secrets};

use super::{Change, end_trouble, is_ours};
use crate::failure::Failure;
use crate::step_name;

/// How long to go without a read that nothing depends on for now: of a settled marker, and of a marker or
/// a debt that a clock ahead of ours noted.
pub(super) const A_WHILE: TimeDelta = TimeDelta::minutes(5);

impl Change<'_> {
    pub(super) fn inspected(
        &mut self,
        rotation: &mut Rotation,
        secrets: &mut Secrets,
        read: &Inspection,
        sent_at: DateTime<Utc>,
    ) {
        self.look_for_markers(rotation, secrets, read, sent_at);
        self.look_for_debts(rotation, secrets, read, sent_at);
        self.look_for_strays(rotation, secrets, read, sent_at);
        end_trouble(rotation, &[step_name::INSPECT]);
    }

    fn look_for_markers(
        &mut self,
        rotation: &mut Rotation,
        secrets: &Secrets,
        read: &Inspection,
        sent_at: DateTime<Utc>,
    ) {
        let mut kept = Vec::new();
        for mut dead in std::mem::take(&mut rotation.dead_markers) {
            let mut listed = read.secrets.iter();
            let found = listed.find(|secret| secret.marker() == Some(dead.marker));
            if let Some(key_id) = found.and_then(|secret| secret.key_id) {
                // The call is made at most once, so there is nothing more to come under this marker.
                if !is_ours(rotation, secrets, key_id) {
                    self.orphan(rotation, dead.marker, key_id);
                }
            } else if dead.next_at > self.now || self.still_watched(&mut dead, sent_at) {
                kept.push(dead);
            }
        }
        rotation.dead_markers = kept;
    }

    /// Counts a read that did not show the marker, and sets when to look again: soon until it is settled,
    /// then ever more seldom.
    fn still_watched(&self, dead: &mut DeadMarker, sent_at: DateTime<Utc>) -> bool {
        dead.absent_reads = dead.absent_reads.saturating_add(1);
        // The process may have stood still since.
        let age = sent_at - dead.since;
        let agreed = dead.absent_reads >= self.policy.agreeing_reads;
        dead.settled |= agreed && age >= self.policy.settle;
        dead.next_at = if !dead.settled {
            self.next_read(age)
        } else if age < A_WHILE {
            dead.since + A_WHILE
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
        sent_at: DateTime<Utc>,
    ) {
        let mut gone = Vec::new();
        let mut debts = rotation.debts.iter_mut();
        while let Some(debt) = debts.find(|debt| debt.unconfirmed && debt.next_at <= self.now) {
            debt.next_at = self.now + self.policy.read_spacing;
            if read.secret(&debt.key_id).is_some() {
                // It is there after all: remove it again.
                debt.unconfirmed = false;
                debt.attempts += 1;
                continue;
            }
            debt.absent_reads = debt.absent_reads.saturating_add(1);
            // A secret that was just minted may not be known everywhere, whatever became of it since.
            let age = sent_at - debt.since;
            debt.next_at = self.next_read(age);
            let old = age >= self.policy.settle;
            if old && debt.absent_reads >= self.policy.agreeing_reads {
                gone.push(debt.key_id);
            }
        }
        for key_id in gone {
            self.gone(rotation, secrets, key_id, true);
        }
    }

    /// When to read again for what has not come to an age at which reads can settle it. What a clock that ran
    /// ahead noted has an age below zero, and there is no haste until our clock is there.
    pub(super) fn next_read(&self, age: TimeDelta) -> DateTime<Utc> {
        self.now + (-age).min(A_WHILE).max(self.policy.read_spacing)
    }

    pub(super) fn inspect_failed(
        &mut self,
        rotation: &mut Rotation,
        secrets: &mut Secrets,
        failure: &Failure,
    ) {
        if self.last_one_refused(rotation, secrets, failure) {
            return;
        }
        if !self.awaits_a_read(rotation) {
            // It was only to see whether a secret of nobody's is still there: no trouble of the rotation.
            self.look_later(rotation, self.now + A_WHILE);
            return;
        }
        self.trouble(rotation, secrets, step_name::INSPECT, failure);
        let Some(at) = rotation.trouble.as_ref().map(|trouble| trouble.retry_at) else {
            return;
        };
        let markers = rotation.dead_markers.iter_mut().map(|m| &mut m.next_at);
        let debts = rotation.debts.iter_mut().filter(|debt| debt.unconfirmed);
        for next_at in markers.chain(debts.map(|debt| &mut debt.next_at)) {
            *next_at = at.max(*next_at);
        }
        self.look_later(rotation, at);
    }

    /// Whether a marker or a debt waits for the read that was made.
    fn awaits_a_read(&self, rotation: &Rotation) -> bool {
        let markers = rotation.dead_markers.iter().map(|marker| marker.next_at);
        let debts = rotation.debts.iter().filter(|debt| debt.unconfirmed);
        let mut awaited = markers.chain(debts.map(|debt| debt.next_at));
        awaited.any(|next_at| next_at <= self.now)
    }
}
