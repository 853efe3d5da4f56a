use std::error::Error;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Actor, BrokenJournal, Cause, ConnectionId, ConnectionStore, ConnectionStoreExt, Entry, Event,
    EventKind, RotationId, StoreError,
};
use keywheel_core::KeyId;
use serde::Serialize;

/// What happened to a connection, rotation by rotation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct History {
    /// The rotations, the oldest first.
    pub rotations: Vec<PastRotation>,
    /// How many entries could not be read: damaged, or written by a newer version.
    pub unreadable: u64,
    /// The number of the first entry that is not as it was written: changed, removed or moved. What is told
    /// here is what stands there now, and is not to be relied on from that number on: compare with a backup,
    /// or with what left through the outbox. `None` for a journal that is whole.
    pub broken: Option<u64>,
}

/// One rotation as it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PastRotation {
    /// Which.
    pub id: RotationId,
    /// Why.
    pub cause: Cause,
    /// When it was asked for or began.
    pub began: DateTime<Utc>,
    /// How it ended, if it did.
    pub ended: Option<(DateTime<Utc>, Ending)>,
    /// How many secrets were minted for it.
    pub attempts: u32,
    /// What happened, in order.
    pub steps: Vec<PastStep>,
}

/// How a rotation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Ending {
    /// It was given up.
    Aborted,
    /// The new secret is in use, and the replaced one is gone.
    Confirmed,
    /// Another rotation began before it was confirmed.
    Overtaken,
}

/// One thing that happened in a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PastStep {
    /// What, as the event is named: `rotation.minted`.
    pub what: String,
    /// When.
    pub at: DateTime<Utc>,
    /// How long after the step before.
    #[serde(serialize_with = "seconds")]
    pub after: TimeDelta,
    /// Who did it.
    pub actor: Actor,
    /// The secret that it is about.
    pub key_id: Option<KeyId>,
    /// What went wrong, and what to do.
    pub message: Option<String>,
}

fn seconds<S: serde::Serializer>(span: &TimeDelta, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_i64(span.num_seconds())
}

impl History {
    /// Adds the next entry of a journal.
    pub(crate) fn add(&mut self, entry: &Entry) {
        match entry.event() {
            Ok(event) => self.add_event(&event, &entry.body),
            Err(_) => self.unreadable += 1,
        }
    }

    fn add_event(&mut self, event: &Event, body: &str) {
        if let Some((id, cause)) = begins(&event.kind)
            && !self.rotations.iter().any(|rotation| rotation.id == id)
        {
            self.rotations.push(PastRotation {
                id,
                cause,
                began: event.at,
                ended: None,
                attempts: 0,
                steps: Vec::new(),
            });
        }
        let rotation = match of(&event.kind) {
            Some(id) => self.rotations.iter_mut().find(|past| past.id == id),
            None => self.rotations.last_mut(),
        };
        if let Some(rotation) = rotation {
            rotation.add(event, body);
        }
    }
}

/// Refuses a journal that was meddled with. A connection that never was or whose record can't be read has no
/// head to compare with: others say so.
pub(crate) async fn verified(
    store: &dyn ConnectionStore,
    id: ConnectionId,
) -> Result<(), StoreError> {
    match store.verify(id).await {
        Err(error) if broken_at(&error).is_some() || error.is_transient() => Err(error),
        _ => Ok(()),
    }
}

/// The number of the first entry that is not as it was written, if that is what the error says.
pub(crate) fn broken_at(error: &StoreError) -> Option<u64> {
    let source = error.source()?.downcast_ref::<BrokenJournal>()?;
    Some(source.seq())
}

impl PastRotation {
    fn add(&mut self, event: &Event, body: &str) {
        let before = self.steps.last().map_or(self.began, |step| step.at);
        self.attempts += u32::from(matches!(event.kind, EventKind::Intent { .. }));
        match event.kind {
            EventKind::Confirmed { .. } => self.ended = Some((event.at, Ending::Confirmed)),
            EventKind::Aborted { .. } | EventKind::Withdrawn { .. } => {
                self.ended = Some((event.at, Ending::Aborted));
            }
            EventKind::Overtaken { .. } => self.ended = Some((event.at, Ending::Overtaken)),
            _ => {}
        }
        let facts: Facts = serde_json::from_str(body).unwrap_or_default();
        self.steps.push(PastStep {
            what: facts.event,
            at: event.at,
            after: event.at - before,
            actor: event.actor.clone(),
            key_id: facts.key_id,
            message: facts.message,
        });
    }
}

/// What many kinds of events have in common.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Facts {
    event: String,
    key_id: Option<KeyId>,
    message: Option<String>,
}

fn begins(event: &EventKind) -> Option<(RotationId, Cause)> {
    match event {
        EventKind::RotationRequested { rotation, cause }
        | EventKind::Intent {
            rotation, cause, ..
        }
        | EventKind::SecretGiven {
            rotation, cause, ..
        }
        | EventKind::Offered {
            rotation, cause, ..
        } => Some((*rotation, *cause)),
        _ => None,
    }
}

/// The rotation that an event names. Others belong to the newest one.
fn of(event: &EventKind) -> Option<RotationId> {
    match event {
        EventKind::RotationRequested { rotation, .. }
        | EventKind::SecretGiven { rotation, .. }
        | EventKind::AbortRequested { rotation }
        | EventKind::Withdrawn { rotation, .. }
        | EventKind::Intent { rotation, .. }
        | EventKind::Offered { rotation, .. }
        | EventKind::Minted { rotation, .. }
        | EventKind::Proved { rotation, .. }
        | EventKind::Promoted { rotation, .. }
        | EventKind::Aborted { rotation, .. }
        | EventKind::Overtaken { rotation, .. }
        | EventKind::Confirmed { rotation, .. } => Some(*rotation),
        _ => None,
    }
}
