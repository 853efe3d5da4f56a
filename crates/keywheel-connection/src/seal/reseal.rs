use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use keywheel_core::Clock;
use thiserror::Error;

use super::{SealContext, SealError, SealErrorKind, Sealed, Sealer};
use crate::{
    Actor, Connection, ConnectionId, ConnectionStore, Credential, EventKind, Phase, Save,
    StoreError, StoreErrorKind, Version,
};

/// Seals anew what former keys sealed, so that those keys can be dropped.
///
/// It works beside everything else: each connection is saved by compare-and-swap, with an entry in its
/// journal, and its rotation goes on. What was sealed anew is known by the name of its key, so there is no
/// progress to keep: after a crash, or for whatever was restored meanwhile, run it again.
///
/// A key may be dropped when a [`pass`](Self::pass) that began after every process had the new key first in
/// its ring [has nothing left](Resealed::is_complete). A backup from before, and a
/// [`Fingerprint`](crate::Fingerprint) made under that key, need it still.
pub struct Resealer {
    store: Arc<dyn ConnectionStore>,
    sealer: Arc<dyn Sealer>,
    clock: Arc<dyn Clock>,
    actor: Actor,
}

/// What a pass over all connections did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resealed {
    /// How many connections were looked at.
    pub connections: u64,
    /// How many sealed values were sealed anew.
    pub values: u64,
    /// By the name of the key, how many values it sealed that could not be opened: the key is missing, or
    /// the value damaged. They are as they were.
    pub unopened: BTreeMap<String, u64>,
    /// The connections whose records can't be read: a newer version wrote them, or they are damaged. What
    /// they hold may be sealed with any key: upgrade this program or restore them, and run another pass.
    pub unread: Vec<ConnectionId>,
}

impl Resealed {
    /// Tells whether there was nothing to do and nothing is left: the pass sealed nothing anew, and found
    /// nothing that it could not open or read. Otherwise run another one.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.values == 0 && self.unopened.is_empty() && self.unread.is_empty()
    }

    fn add(&mut self, other: Self) {
        self.values += other.values;
        for (key_id, count) in other.unopened {
            *self.unopened.entry(key_id).or_default() += count;
        }
    }
}

/// A pass stopped. Run it again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResealError {
    /// The key management service does not answer.
    #[error(transparent)]
    Seal(SealError),
    /// The store does not answer.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for ResealError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Resealer {
    /// Returns a resealer that seals with `sealer`'s present key, on behalf of `actor`.
    #[must_use]
    pub fn new(
        store: Arc<dyn ConnectionStore>,
        sealer: Arc<dyn Sealer>,
        clock: Arc<dyn Clock>,
        actor: Actor,
    ) -> Self {
        Self {
            store,
            sealer,
            clock,
            actor,
        }
    }

    /// Goes through all connections once.
    ///
    /// # Errors
    ///
    /// Returns an error when the store or the key management service does not answer. What was sealed anew
    /// until then stays.
    pub async fn pass(&self) -> Result<Resealed, ResealError> {
        let mut done = Resealed::default();
        let mut last = None;
        loop {
            let ids = self.store.ids(last, PAGE).await?;
            if ids.is_empty() {
                return Ok(done);
            }
            last = ids.last().copied();
            for id in ids {
                done.connections += 1;
                self.reseal(id, &mut done).await?;
            }
        }
    }

    /// Reseals one connection; again when somebody else saved it meanwhile.
    async fn reseal(&self, id: ConnectionId, done: &mut Resealed) -> Result<(), ResealError> {
        loop {
            let stored = match self.store.load(id).await {
                Ok(Some(stored)) => stored,
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == StoreErrorKind::Corrupt => {
                    done.unread.push(id);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            let mut changed = Arc::unwrap_or_clone(stored.connection);
            let found = self.seal_anew(&mut changed).await?;
            let (version, values) = (stored.version, found.values);
            if values == 0 || self.save(&mut changed, version, values).await? {
                done.add(found);
                return Ok(());
            }
        }
    }

    /// Saves a connection; `false` when somebody else did, or deleted it.
    async fn save(
        &self,
        changed: &mut Connection,
        from: Version,
        values: u64,
    ) -> Result<bool, ResealError> {
        let kind = EventKind::Resealed { values };
        let entries = [changed.record(&self.actor, self.clock.now(), kind)];
        match self.store.save(Save::new(changed, from, &entries)).await {
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                StoreErrorKind::Conflict | StoreErrorKind::NotFound => Ok(false),
                _ => Err(error.into()),
            },
        }
    }

    async fn seal_anew(&self, connection: &mut Connection) -> Result<Resealed, ResealError> {
        let mut done = Resealed::default();
        let before = connection.clone();
        for (context, sealed) in sealed_values(connection, &before) {
            if sealed.key_id() == self.sealer.key_id() {
                continue;
            }
            match self.exchange(sealed, &context).await {
                Ok(anew) => {
                    *sealed = anew;
                    done.values += 1;
                }
                Err(error) => match error.kind() {
                    SealErrorKind::Damaged | SealErrorKind::KeyMissing => {
                        let key_id = sealed.key_id().to_owned();
                        *done.unopened.entry(key_id).or_default() += 1;
                    }
                    SealErrorKind::InvalidKey | SealErrorKind::Unavailable => {
                        return Err(ResealError::Seal(error));
                    }
                },
            }
        }
        Ok(done)
    }

    async fn exchange(
        &self,
        sealed: &Sealed,
        context: &SealContext<'_>,
    ) -> Result<Sealed, SealError> {
        let secret = self.sealer.open(sealed, context).await?;
        self.sealer.seal(&secret, context).await
    }
}

impl fmt::Debug for Resealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resealer").finish_non_exhaustive()
    }
}

/// Returns everything sealed in a connection, with what it was sealed for; the contexts are those of
/// `before`, which is the same connection.
fn sealed_values<'a>(
    connection: &'a mut Connection,
    before: &'a Connection,
) -> Vec<(SealContext<'a>, &'a mut Sealed)> {
    let mut values = Vec::new();
    match &mut connection.credential {
        Credential::AuthorizationCode(sign_in) => {
            let context = before.refresh_token_context(sign_in.generation);
            values.push((context, &mut sign_in.sealed));
        }
        Credential::Certificate(held) => {
            values.push((before.certificate_context(), &mut held.sealed));
        }
        Credential::ClientSecret(secrets) | Credential::Managed { secrets, .. } => {
            let held = std::iter::once(&mut secrets.current).chain(&mut secrets.previous);
            values
                .extend(held.map(|held| (before.seal_context(held.generation), &mut held.sealed)));
        }
    }
    if let Some(rotation) = &mut connection.rotation {
        if let Phase::Proving(candidate) = &mut rotation.phase {
            let context = before.seal_context(candidate.generation);
            values.push((context, &mut candidate.sealed));
        }
        let offer = rotation.offer.as_mut();
        values
            .extend(offer.map(|offer| (before.seal_context(offer.generation), &mut offer.sealed)));
    }
    values
}

/// How many connections are read at a time.
const PAGE: u32 = 100;

#[cfg(test)]
mod tests;
