mod adopt;
mod control;
mod create;
mod error;
mod leave;
mod read;
mod secrets;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use keywheel_connection::{
    Actor, Connection, ConnectionId, ConnectionStoreExt, Entry, EventKind, Held, Rotation, Save,
    StoreError, StoreErrorKind, Versioned,
};

pub use self::control::{Disabled, Requested};
pub use self::create::{NewConnection, NewManaged, Validated};
pub use self::error::{ConnectionError, ConnectionErrorKind};
pub use self::leave::Farewell;
pub(crate) use self::leave::strays;
pub use self::read::LiveSecrets;
use crate::apply::recovered;
use crate::decide::is_moot;
use crate::history::{broken_at, verified};
use crate::rotator::wake_at;
use crate::{History, Plan, Policy, RotatorParts, Status};

/// What people do with connections: create them, steer their rotation, look at them, delete them.
///
/// Nothing here mints or removes a secret. What is asked for is stored, and a
/// [`Rotator`](crate::Rotator) carries it out, in this process or another. Every change names who made
/// it, and stands in the journal.
#[derive(Clone)]
pub struct Connections {
    parts: RotatorParts,
    policy: Policy,
}

type Result<T, E = ConnectionError> = std::result::Result<T, E>;

impl Connections {
    /// Returns the verbs over these parts.
    #[must_use]
    pub fn new(parts: RotatorParts, mut policy: Policy) -> Self {
        policy.name_sinks(&parts.sinks);
        Self { parts, policy }
    }

    /// Reads how a connection is.
    ///
    /// # Errors
    ///
    /// Returns an error when the connection does not exist or the store fails.
    pub async fn status(&self, id: ConnectionId) -> Result<Status> {
        let stored = self.load(id).await?;
        let policy = self.policy_of(&stored.connection);
        Ok(Status::of(&stored.connection, self.now(), &policy))
    }

    /// Reads what happened to a connection, rotation by rotation. It outlives the connection.
    ///
    /// A journal that was meddled with is told as it stands, and [`History::broken`] says from where on that is
    /// not to be relied on.
    ///
    /// # Errors
    ///
    /// Returns an error when the journal can't be read.
    pub async fn history(&self, id: ConnectionId) -> Result<History> {
        let store = self.parts.store.as_ref();
        let mut history = History::default();
        for entry in store.whole_journal(id).await? {
            history.add(&entry);
        }
        if let Err(error) = verified(store, id).await {
            history.broken = Some(broken_at(&error).ok_or(error)?);
        }
        Ok(history)
    }

    /// Says what a rotation that began now would do: every call, with key ids, and when. Nothing is done.
    ///
    /// # Errors
    ///
    /// Returns an error when the connection does not exist or has no rotation, or the store fails.
    pub async fn plan(&self, id: ConnectionId) -> Result<Plan> {
        let stored = self.load(id).await?;
        rotation_of(&stored.connection)?;
        let policy = self.policy_of(&stored.connection);
        Ok(Plan::of(&stored.connection, self.now(), &policy))
    }

    fn now(&self) -> DateTime<Utc> {
        self.parts.clock.now()
    }

    /// What holds for one connection.
    fn policy_of(&self, connection: &Connection) -> Cow<'_, Policy> {
        self.policy.of(connection, &self.parts.sinks)
    }

    async fn load(&self, id: ConnectionId) -> Result<Versioned> {
        let stored = self.parts.store.load(id).await?;
        Ok(stored.ok_or_else(StoreError::not_found)?)
    }

    /// Changes the newest version of a connection's rotation; again when somebody else was faster.
    /// `change` gets the rotation and the current secret, and returns what happened, or nothing when all is as it should be.
    async fn change(
        &self,
        id: ConnectionId,
        actor: &Actor,
        mut change: impl FnMut(&mut Rotation, &Held) -> Result<Option<EventKind>> + Send,
    ) -> Result<Connection> {
        self.rewrite(id, actor, |connection| {
            rotation_of(connection)?;
            match (&mut connection.rotation, connection.credential.secrets()) {
                (Some(rotation), Some(secrets)) => change(rotation, &secrets.current),
                _ => Ok(None),
            }
        })
        .await
    }

    async fn rewrite(
        &self,
        id: ConnectionId,
        actor: &Actor,
        mut change: impl FnMut(&mut Connection) -> Result<Option<EventKind>> + Send,
    ) -> Result<Connection> {
        loop {
            let Versioned {
                connection,
                version,
            } = self.load(id).await?;
            let mut connection = Arc::unwrap_or_clone(connection);
            let trouble = connection.rotation.as_ref().and_then(|r| r.trouble.clone());
            let Some(event) = change(&mut connection)? else {
                return Ok(connection);
            };
            if is_moot(&connection, self.now())
                && let Some(rotation) = &mut connection.rotation
            {
                rotation.trouble = None;
            }
            let rotation = connection.rotation.as_ref();
            let recovered = rotation.and_then(|rotation| recovered(trouble, rotation));
            let events = [event].into_iter().chain(recovered);
            let record = |event| connection.record(actor, self.now(), event);
            let entries: Vec<_> = events.map(record).collect();
            let wake_at = wake_at(&connection, self.now(), &self.policy_of(&connection));
            let save = Save::new(&connection, version, &entries).wake_at(wake_at);
            match self.parts.store.save(save).await {
                Ok(_) => {
                    self.tell(&entries);
                    return Ok(connection);
                }
                Err(error) if error.kind() == StoreErrorKind::Conflict => {}
                Err(error) if error.is_transient() && self.is_stored(&connection).await => {
                    self.tell(&entries);
                    return Ok(connection);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A write that got no answer may have been made all the same, and somebody may have changed the
    /// connection since: the journal tells.
    async fn is_stored(&self, connection: &Connection) -> bool {
        let ours = connection.journal;
        let last = ours.seq.saturating_sub(1);
        let journal = self.parts.store.journal(connection.id, last, 1).await;
        let entry = journal.ok().and_then(|entries| entries.into_iter().next());
        entry.is_some_and(|entry| entry.digest == ours.digest)
    }

    fn tell(&self, entries: &[Entry]) {
        if let Some(events) = &self.parts.events {
            events.committed(entries);
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

fn rotation_of(connection: &Connection) -> Result<&Rotation> {
    connection.rotation.as_ref().ok_or_else(|| {
        ConnectionError::invalid("the connection does not rotate; enable its rotation first")
    })
}

/// A connection that is being deleted takes nothing new on.
fn stays(rotation: &Rotation) -> Result<()> {
    if rotation.farewell.is_some() {
        return Err(ConnectionError::state(
            "the connection is being deleted, and its secrets revoked; create it anew",
        ));
    }
    Ok(())
}
