use std::sync::Arc;

use keywheel_connection::{
    Actor, Connection, ConnectionId, EventKind, Marker, Origin, Phase, Save, StoreErrorKind,
};
use keywheel_core::KeyId;

use super::{Connections, Result};

/// What happens to the secrets that we minted when a connection is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Farewell {
    /// They stay valid, and are listed.
    Leave,
    /// They are revoked, the current one last, and then the connection is deleted. What can't be revoked
    /// keeps the connection; see its status.
    Revoke,
}

impl Connections {
    /// Deletes a connection: at once, or after everything that we minted was revoked.
    ///
    /// Returns the secrets of ours that live on; none when they are to be revoked, which a rotator does.
    /// Its journal stays, and its last entry names them too, and by display name those that there may be
    /// and that could not be looked for.
    ///
    /// # Errors
    ///
    /// Returns an error when the connection does not exist or the store fails. When the store does not answer,
    /// the connection may be deleted all the same: delete it again. That it does not exist any more says that it
    /// was, and the last entry of its journal names what lives on.
    pub async fn delete(
        &self,
        id: ConnectionId,
        farewell: Farewell,
        actor: &Actor,
    ) -> Result<Vec<KeyId>> {
        let now = self.now();
        let revoke = farewell == Farewell::Revoke;
        let connection = self
            .rewrite(id, actor, |connection| {
                let Some(rotation) = &mut connection.rotation else {
                    return Ok(None);
                };
                if !revoke || rotation.farewell.is_some() {
                    return Ok(None);
                }
                rotation.farewell = Some(now);
                rotation.pause = None;
                Ok(Some(EventKind::Farewell { revoke }))
            })
            .await?;
        if revoke && connection.rotation.is_some() {
            return Ok(Vec::new());
        }
        self.delete_now(id, actor).await
    }

    async fn delete_now(&self, id: ConnectionId, actor: &Actor) -> Result<Vec<KeyId>> {
        loop {
            let stored = self.load(id).await?;
            let mut connection = Arc::unwrap_or_clone(stored.connection);
            let mut left = ours(&connection);
            left.extend(strays(&connection));
            let kind = EventKind::ConnectionDeleted {
                left: left.clone(),
                unresolved: unresolved(&connection),
            };
            let entries = [connection.record(actor, self.now(), kind)];
            let save = Save::new(&connection, stored.version, &entries).deleting();
            match self.parts.store.save(save).await {
                Ok(_) => {
                    self.tell(&entries);
                    return Ok(left);
                }
                Err(error) if error.kind() == StoreErrorKind::Conflict => {}
                Err(error) if error.is_transient() && self.is_stored(&connection).await => {
                    self.tell(&entries);
                    return Ok(left);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The markers of secrets that there may be.
pub(super) fn unresolved(connection: &Connection) -> Vec<Marker> {
    let Some(rotation) = &connection.rotation else {
        return Vec::new();
    };
    let intent = match rotation.phase {
        Phase::Intent { marker, .. } => Some(marker),
        _ => None,
    };
    let dead = rotation.dead_markers.iter().map(|dead| dead.marker);
    dead.chain(intent).collect()
}

/// The secrets that bear the connection's display name and that its record does not know.
pub(crate) fn strays(connection: &Connection) -> impl Iterator<Item = KeyId> {
    let rotation = connection.rotation.iter();
    let strays = rotation.flat_map(|rotation| &rotation.strays);
    strays.filter(|it| it.told).map(|it| it.key_id)
}

/// The secrets of ours that may be valid.
pub(super) fn ours(connection: &Connection) -> Vec<KeyId> {
    let secrets = connection.secrets();
    let current = secrets.map(|secrets| &secrets.current);
    let previous = secrets.and_then(|secrets| secrets.previous.as_ref());
    let held = current.into_iter().chain(previous);
    let minted = held.filter(|held| matches!(held.origin, Origin::Minted(_)));
    let mut ours: Vec<_> = minted.filter_map(|held| held.key_id).collect();
    if let Some(rotation) = &connection.rotation {
        let candidate = rotation.candidate();
        let minted = candidate.filter(|c| matches!(c.origin, Origin::Minted(_)));
        ours.extend(minted.map(|candidate| candidate.key_id));
        ours.extend(rotation.debts.iter().map(|debt| debt.key_id));
    }
    ours.sort_unstable();
    ours.dedup();
    ours
}
