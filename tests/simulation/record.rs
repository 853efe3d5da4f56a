use std::sync::Arc;

use chrono::TimeDelta;
use keywheel_connection::{
    Connection, Debt, DebtReason, Entry, EventKind, Marker, Origin, Phase, Rotation, RotationId,
};
use keywheel_core::KeyId;

use super::directory::Secret;
use super::world::Moment;

/// A connection as it was last written.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) connection: Arc<Connection>,
    pub(crate) deleted: bool,
    /// The secrets that people handed over by key id, and when.
    pub(crate) adopted: Vec<(KeyId, Moment)>,
    /// The secrets of ours that people were told live on.
    pub(crate) let_go: Vec<KeyId>,
    /// The markers that people were told of when they left the application.
    pub(crate) unsettled: Vec<Marker>,
    /// The secrets that were forgotten with a store that was restored.
    pub(crate) beyond: Vec<KeyId>,
    /// When the store was restored last.
    pub(crate) restored: Option<Moment>,
    /// When the current secret was promoted, and its grace.
    pub(crate) promoted: (Moment, TimeDelta),
    /// The last rotation that the schedule began.
    pub(crate) scheduled: Option<(RotationId, Moment)>,
    /// How far a clock may have misled us, in milliseconds.
    pub(crate) misled: i64,
}

impl Record {
    pub(crate) fn new(connection: &Connection, now: Moment, misled: i64) -> Self {
        Self {
            connection: Arc::new(connection.clone()),
            deleted: false,
            adopted: given(connection).map(|id| (id, now)).collect(),
            let_go: Vec::new(),
            unsettled: Vec::new(),
            beyond: Vec::new(),
            restored: None,
            promoted: (now, TimeDelta::zero()),
            scheduled: None,
            misled,
        }
    }

    pub(crate) fn rotation(&self) -> Option<&Rotation> {
        self.connection.rotation.as_ref()
    }

    /// Whether a secret is a candidate that was read with, by what is stored.
    pub(crate) fn has_read_with(&self, key_id: KeyId) -> bool {
        let candidate = self.rotation().and_then(Rotation::candidate);
        candidate.is_some_and(|candidate| candidate.key_id == key_id && candidate.read)
    }

    /// Whether a secret is to be removed because nobody holds it.
    pub(crate) fn owes_an_orphan(&self, key_id: Option<KeyId>) -> bool {
        let debts = self.rotation().map_or(&[][..], |rotation| &rotation.debts);
        let orphan = |debt: &Debt| debt.reason == DebtReason::Orphan && Some(debt.key_id) == key_id;
        debts.iter().any(orphan)
    }

    /// Whether people deleted the connection, and not all of it is gone.
    pub(crate) fn is_leaving(&self) -> bool {
        self.rotation()
            .is_some_and(|rotation| rotation.farewell.is_some())
    }

    /// Whether the record is answerable for the secret, or nobody is.
    pub(crate) fn accounts_for(&self, secret: &Secret) -> bool {
        self.is_aware_of(secret) || self.excuses(secret)
    }

    /// Whether the record knows the secret by key id, or will look for its marker.
    pub(crate) fn is_aware_of(&self, secret: &Secret) -> bool {
        knows(&self.connection, secret.key_id)
            || secret
                .marker
                .is_some_and(|marker| seeks(&self.connection, marker))
    }

    /// Whether nobody expects the record to know the secret.
    pub(crate) fn excuses(&self, secret: &Secret) -> bool {
        let unsettled = |marker| self.unsettled.contains(&marker);
        self.let_go.contains(&secret.key_id)
            || self.beyond.contains(&secret.key_id)
            || secret.marker.is_some_and(unsettled)
    }

    /// Another credential is a new enrolment: what was given before is its owner's again, and what lives
    /// on at another application was listed.
    pub(crate) fn enrolled_anew(&mut self, before: &Connection, entries: &[Entry], now: Moment) {
        if before.client != self.connection.client {
            self.let_go.extend(all(before));
            self.unsettled.extend(named(entries));
        }
        let connection = &self.connection;
        self.adopted
            .retain(|(key_id, _)| knows(connection, *key_id));
        self.promoted = (now, TimeDelta::zero());
    }

    /// Whether the secret is ours: minted for this connection, or handed to it.
    pub(crate) fn owns(&self, secret: &Secret) -> bool {
        let minted = secret.marker.map(|marker| marker.connection());
        minted == Some(self.connection.id) || self.adopted_at(secret.key_id).is_some()
    }

    /// When people handed the secret over.
    pub(crate) fn adopted_at(&self, key_id: KeyId) -> Option<Moment> {
        let mut adopted = self.adopted.iter();
        Some(adopted.find(|(adopted, _)| *adopted == key_id)?.1)
    }
}

/// The markers that journal entries name.
pub(crate) fn named(entries: &[Entry]) -> Vec<Marker> {
    let events = entries.iter().filter_map(|entry| entry.event().ok());
    let named = events.map(|event| match event.kind {
        EventKind::ConnectionDeleted { unresolved, .. }
        | EventKind::Reenrolled { unresolved, .. } => unresolved,
        _ => Vec::new(),
    });
    named.flatten().collect()
}

/// The secrets in a record that people handed over.
pub(crate) fn given(connection: &Connection) -> impl Iterator<Item = KeyId> {
    let secrets = connection.secrets();
    let current = secrets.map(|secrets| &secrets.current);
    let held = current.filter(|held| held.origin == Origin::Given);
    let offer = connection.rotation.as_ref().and_then(|r| r.offer.as_ref());
    let offered = offer.map(|offer| offer.key_id);
    held.and_then(|held| held.key_id).into_iter().chain(offered)
}

/// Every key id that a record knows.
pub(crate) fn all(connection: &Connection) -> impl Iterator<Item = KeyId> {
    let secrets = connection.secrets();
    let current = secrets.and_then(|secrets| secrets.current.key_id);
    let previous = secrets.and_then(|secrets| secrets.previous.as_ref()?.key_id);
    let rotating = connection.rotation.iter().flat_map(|rotation| {
        let candidate = rotation.candidate().map(|candidate| candidate.key_id);
        let debts = rotation.debts.iter().map(|debt| debt.key_id);
        let offer = rotation.offer.as_ref().map(|offer| offer.key_id);
        debts.chain(candidate).chain(offer)
    });
    current.into_iter().chain(previous).chain(rotating)
}

pub(crate) fn knows(connection: &Connection, key_id: KeyId) -> bool {
    all(connection).any(|known| known == key_id)
}

/// Whether a record will look for what was minted under a marker.
pub(crate) fn seeks(connection: &Connection, marker: Marker) -> bool {
    connection.rotation.as_ref().is_some_and(|rotation| {
        let intent = matches!(rotation.phase, Phase::Intent { marker: m, .. } if m == marker);
        intent
            || rotation
                .dead_markers
                .iter()
                .any(|dead| dead.marker == marker)
    })
}
