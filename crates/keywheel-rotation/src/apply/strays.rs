use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{EventKind, Inspection, Listed, Marker, Phase, Rotation, Secrets, Stray};
use keywheel_core::KeyId;

use super::reading::A_WHILE;
use super::{Change, is_ours};

/// How long after it was told of one is looked for again, to see whether somebody removed it.
const A_DAY: TimeDelta = TimeDelta::days(1);

impl Change<'_> {
    /// Takes note of the secrets that bear this connection's marker and are in no ledger of the record. One
    /// of them is told of once enough reads in a row showed it, over longer than a read lags behind: what
    /// is just being removed is gone by then. It is forgotten once as many in a row did not, since a read that is
    /// behind may miss what is there.
    ///
    /// They are looked at whenever the application is read for another reason. Only while there is one, it is
    /// read for their sake too.
    pub(super) fn look_for_strays(
        &mut self,
        rotation: &mut Rotation,
        secrets: &Secrets,
        read: &Inspection,
        sent_at: DateTime<Utc>,
    ) {
        let known = std::mem::take(&mut rotation.strays);
        for (listed, what) in self.of_nobody(rotation, secrets, read) {
            let before = known.iter().find(|known| known.key_id == what.0).copied();
            let found = before.unwrap_or_else(|| Stray::new(what, listed.end, sent_at));
            rotation.strays.push(self.seen(found, sent_at));
        }
        for before in known {
            let seen = rotation.strays.iter().any(|it| it.key_id == before.key_id);
            if !seen && !is_ours(rotation, secrets, before.key_id) {
                rotation.strays.extend(self.missed(before));
            }
        }
    }

    fn missed(&self, mut before: Stray) -> Option<Stray> {
        before.reads = before.reads.saturating_sub(1);
        before.next_at = self.now + A_WHILE / 2;
        let ended = before.end.is_some_and(|end| end <= self.now);
        (before.told && before.reads > 0 && !ended).then_some(before)
    }

    /// The secrets with our marker that are valid, that the record does not hold, owes or looks for, and that
    /// nobody gave.
    fn of_nobody<'a>(
        &self,
        rotation: &Rotation,
        secrets: &Secrets,
        read: &'a Inspection,
    ) -> Vec<(&'a Listed, (KeyId, Marker))> {
        let offered = rotation.offer.as_ref().map(|offer| offer.key_id);
        let nobodys = |listed: &'a Listed| {
            let (key_id, marker) = (listed.key_id?, listed.marker()?);
            let ended = listed.end.is_some_and(|end| end <= self.now);
            let known = is_ours(rotation, secrets, key_id)
                || offered == Some(key_id)
                || is_looked_for(rotation, marker);
            let nobodys = marker.connection() == self.id && !ended && !known;
            nobodys.then_some((listed, (key_id, marker)))
        };
        read.secrets.iter().filter_map(nobodys).collect()
    }

    /// Nothing waits for it.
    pub(super) fn look_later(&self, rotation: &mut Rotation, at: DateTime<Utc>) {
        for stray in &mut rotation.strays {
            stray.next_at = at.max(stray.next_at);
        }
    }

    fn seen(&mut self, mut found: Stray, sent_at: DateTime<Utc>) -> Stray {
        let enough = self.policy.agreeing_reads;
        found.reads = found.reads.saturating_add(1).min(enough);
        let old = sent_at - found.since >= Ord::max(self.policy.settle, A_WHILE);
        if !found.told && old && found.reads >= enough {
            found.told = true;
            self.events.push(EventKind::StrayFound {
                key_id: found.key_id,
                marker: found.marker,
                end: found.end,
            });
        }
        found.next_at = self.now + if found.told { A_DAY } else { A_WHILE / 2 };
        found
    }
}

/// Whether a call under this marker is open, or its outcome.
fn is_looked_for(rotation: &Rotation, marker: Marker) -> bool {
    let intent = matches!(rotation.phase, Phase::Intent { marker: open, .. } if open == marker);
    intent
        || rotation
            .dead_markers
            .iter()
            .any(|dead| dead.marker == marker)
}
