use keywheel_connection::{
    Access, Actor, Cause, Connection, ConnectionId, Credential, EventKind, Held, Offer, Origin,
    RotationId, Secrets,
};
use keywheel_core::{ClientId, ClientSecret, Cloud, KeyId, TenantId};

use super::adopt::adopt;
use super::{ConnectionError, Connections, Requested, Result, changed, rotation_of};

impl Connections {
    /// Gives a secret by hand: the way out when Entra accepts none that is held, and the way in for one
    /// that somebody else made.
    ///
    /// It is tried out, proven like any new secret, and then used; the one before is revoked after its
    /// grace.
    ///
    /// # Errors
    ///
    /// Returns an error when Entra refuses the secret, when the key id does not fit it, when a rotation
    /// runs (abort it first), or the store fails.
    pub async fn supply_secret(
        &self,
        id: ConnectionId,
        secret: &ClientSecret,
        key_id: Option<KeyId>,
        actor: &Actor,
    ) -> Result<Requested> {
        let connection = self.load(id).await?.connection;
        let rotation = rotation_of(&connection)?;
        nothing_proving(rotation)?;
        let generation = next_generation(&connection);
        let access = Access::new(&connection, generation, secret.value().clone());
        self.parts.issuer.prove(&access).await?;
        let read = self.parts.issuer.inspect(&access).await?;
        let adopted = adopt(&read, key_id, secret)?;
        let key_id = adopted.key_id.ok_or_else(no_key_id)?;
        let place = (&connection.namespace, id, generation);
        let sealed = self.seal(place, secret.value()).await?;
        let what = (key_id, Origin::Given);
        let rotation = RotationId::from(self.parts.entropy.uuid());
        let offer = Offer::new(
            (rotation, Cause::Supplied),
            what,
            generation,
            sealed,
            adopted.end,
        );
        self.offer(id, offer, actor).await
    }

    /// Takes back the secret before, while it is in its grace. It is proven again, and the newer one is
    /// revoked after its own grace.
    ///
    /// # Errors
    ///
    /// Returns an error when there is no secret before, or when its revocation has begun: that can't be
    /// taken back.
    pub async fn roll_back(&self, id: ConnectionId, actor: &Actor) -> Result<Requested> {
        let connection = self.load(id).await?.connection;
        nothing_proving(rotation_of(&connection)?)?;
        let previous = in_grace(&connection)?;
        let key_id = previous.key_id.ok_or_else(no_key_id)?;
        let context = connection.seal_context(previous.generation);
        let secret = self.parts.sealer.open(&previous.sealed, &context).await?;
        let generation = next_generation(&connection);
        let sealed = self
            .seal((&connection.namespace, id, generation), &secret)
            .await?;
        let rotation = RotationId::from(self.parts.entropy.uuid());
        let what = (key_id, previous.origin);
        let offer = Offer::new(
            (rotation, Cause::RollBack),
            what,
            generation,
            sealed,
            previous.end,
        );
        self.offer(id, offer, actor).await
    }

    async fn offer(&self, id: ConnectionId, offer: Offer, actor: &Actor) -> Result<Requested> {
        let rotation_id = offer.rotation;
        self.rewrite(id, actor, |connection| {
            if next_generation(connection) != offer.generation {
                return Err(ConnectionError::state(
                    "the secret was rotated meanwhile; look at the status and try again",
                ));
            }
            if offer.cause == Cause::RollBack {
                in_grace(connection)?;
            }
            if let Some(rotation) = &mut connection.rotation {
                nothing_proving(rotation)?;
                rotation.offer = Some(offer.clone());
                rotation.pause = None;
            }
            Ok(changed("secret offered"))
        })
        .await?;
        Ok(Requested {
            rotation: rotation_id,
            joined: false,
        })
    }

    /// Gives a connection another credential: of the same application or another one, in the same tenant
    /// or another one. It is a new enrolment: nothing of the old one is carried over but its journal.
    ///
    /// Returns the secrets of ours that may live on, on the application before: revoke them there, or
    /// delete the connection and create it anew instead.
    ///
    /// # Errors
    ///
    /// Returns an error when the new credential is refused, when a rotation is in progress (finish or
    /// abort it first), or the store fails.
    pub async fn change_credential(
        &self,
        id: ConnectionId,
        (cloud, tenant, client): (Cloud, TenantId, ClientId),
        secret: &ClientSecret,
        key_id: Option<KeyId>,
        actor: &Actor,
    ) -> Result<Vec<KeyId>> {
        let before = self.load(id).await?.connection;
        settled(&before)?;
        let mut after = before.clone();
        (after.cloud, after.tenant, after.client) = (cloud, tenant, client);
        let generation = next_generation(&before);
        let access = Access::new(&after, generation, secret.value().clone());
        self.parts.issuer.prove(&access).await?;
        let read = self.parts.issuer.inspect(&access).await?;
        let adopted = adopt(&read, key_id, secret)?;
        let sealed = self
            .seal((&after.namespace, id, generation), secret.value())
            .await?;
        let mut held = Held::given(sealed, adopted.key_id, self.now());
        (held.generation, held.end) = (generation, adopted.end);
        after.application = Some(read.application);
        after.credential = Credential::ClientSecret(Secrets::new(held));
        let left = if after.client == before.client {
            Vec::new()
        } else {
            minted(&before)
        };
        let rotation = RotationId::from(self.parts.entropy.uuid());
        let now = self.now();
        self.rewrite(id, actor, |connection| {
            settled(connection)?;
            if next_generation(connection) != generation {
                return Err(ConnectionError::state(
                    "the secret was rotated meanwhile; try again",
                ));
            }
            let journal = connection.journal;
            let owed = if after.client == before.client {
                minted(connection)
            } else {
                Vec::new()
            };
            let settings = connection.rotation.take().map(|rotation| rotation.settings);
            *connection = after.clone();
            connection.journal = journal;
            connection.rotation =
                settings.map(|settings| reenrolled(settings, rotation, now, &owed));
            Ok(Some(EventKind::Reenrolled {
                client_id: connection.client,
                left: left.clone(),
            }))
        })
        .await?;
        Ok(left)
    }
}

/// The rotation of a new enrolment: the first run is asked for, and what we minted on the same
/// application is owed.
fn reenrolled(
    settings: keywheel_connection::RotationSettings,
    id: RotationId,
    now: chrono::DateTime<chrono::Utc>,
    owed: &[KeyId],
) -> keywheel_connection::Rotation {
    use keywheel_connection::{Debt, DebtReason, Rotation, RotationRequest};

    let mut rotation = Rotation::new(settings, now);
    rotation.request = Some(RotationRequest::new(id, Cause::Initial, now));
    let debt = |key_id: &KeyId| Debt::new(*key_id, DebtReason::Superseded, now, now);
    rotation.debts = owed.iter().map(debt).collect();
    rotation
}

/// The secrets that we minted and hold.
fn minted(connection: &Connection) -> Vec<KeyId> {
    let secrets = connection.secrets();
    let current = secrets.map(|secrets| &secrets.current);
    let previous = secrets.and_then(|secrets| secrets.previous.as_ref());
    current
        .into_iter()
        .chain(previous)
        .filter(|held| matches!(held.origin, Origin::Minted(_)))
        .filter_map(|held| held.key_id)
        .collect()
}

fn next_generation(connection: &Connection) -> u64 {
    connection
        .secrets()
        .map_or(0, |secrets| secrets.current.generation + 1)
}

fn nothing_proving(rotation: &keywheel_connection::Rotation) -> Result<()> {
    if rotation.candidate().is_some() {
        return Err(ConnectionError::state(
            "another new secret is being proven; wait for it or abort its rotation",
        ));
    }
    Ok(())
}

fn settled(connection: &Connection) -> Result<()> {
    let Some(rotation) = &connection.rotation else {
        return Ok(());
    };
    let idle = rotation.in_progress().is_none()
        && rotation.debts.is_empty()
        && rotation.dead_markers.iter().all(|dead| dead.settled);
    if idle {
        Ok(())
    } else {
        Err(ConnectionError::state(
            "a rotation is in progress; wait until it is confirmed, or abort it",
        ))
    }
}

/// The secret before, if it can still be taken back.
fn in_grace(connection: &Connection) -> Result<&Held> {
    let previous = connection.secrets().and_then(|s| s.previous.as_ref());
    let debts = connection.rotation.iter().flat_map(|r| &r.debts);
    previous
        .filter(|held| {
            let mut debts = debts.filter(|debt| Some(debt.key_id) == held.key_id);
            debts.all(|debt| debt.attempts == 0 && !debt.unconfirmed)
        })
        .ok_or_else(|| {
            ConnectionError::state(
                "there is no secret to go back to: the one before is revoked, or its revocation has begun; \
                 rotate again, or supply a secret",
            )
        })
}

fn no_key_id() -> ConnectionError {
    ConnectionError::invalid(
        "key id: the directory lists the secret without one; it can't be rotated",
    )
}
