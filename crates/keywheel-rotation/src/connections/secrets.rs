use chrono::{DateTime, Utc};
use keywheel_connection::{
    Access, Actor, Cause, Connection, ConnectionId, Credential, Debt, DebtReason, Delivery,
    EventKind, Held, Inspection, Offer, Origin, Phase, Rotation, RotationId, Secrets,
};
use keywheel_core::{ClientId, ClientSecret, Cloud, KeyId, TenantId};

use super::adopt::{adopt, fitting, has_room};
use super::create::enrolled;
use super::leave::{ours, strays, unresolved};
use super::{ConnectionError, Connections, Requested, Result, rotation_of, stays};
use crate::authority::{Authority, open};

impl Connections {
    /// Gives a secret by hand: the way out when Entra accepts none that is held, and the way in for one
    /// that somebody else made.
    ///
    /// It is tried out, proven like any new secret, and then used; the one before is revoked after its
    /// grace. A pause does not hold it up.
    ///
    /// # Errors
    ///
    /// Returns an error when Entra refuses the secret, when the key id does not fit it, when another new
    /// secret is being minted or proven (abort that rotation first), or the store fails. When the store does
    /// not answer, the secret may have been taken all the same: supply it again, and where a new secret is
    /// on its way already, see by the candidate's key id in the status whether it is this one.
    pub async fn supply_secret(
        &self,
        id: ConnectionId,
        secret: &ClientSecret,
        key_id: Option<KeyId>,
        actor: &Actor,
    ) -> Result<Requested> {
        let connection = self.load(id).await?.connection;
        takes_an_offer(&connection)?;
        let generation = next_generation(&connection);
        let access = Access::new(&connection, generation, secret.value().clone());
        self.parts.issuer.prove(&access).await?;
        let read = self.read_with(&access).await?;
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

    /// Reads the application of a secret that was just proven. Where the application is managed, its own token
    /// need not be good for Graph; there the reader is who manages it.
    async fn read_with(&self, access: &Access<'_>) -> Result<Inspection> {
        let connection = access.connection;
        if connection.credential.via().is_none() {
            return Ok(self.parts.issuer.inspect(access).await?);
        }
        let authority = Authority::of(&self.parts, connection).await?;
        let access = authority.access(connection);
        Ok(self.parts.issuer.inspect(&access).await?)
    }

    /// Takes back the secret before, while it is in its grace. It is proven again, and the newer one is
    /// revoked after its own grace.
    ///
    /// # Errors
    ///
    /// Returns an error when there is no secret before, or when its revocation has begun or is about to:
    /// that can't be taken back.
    pub async fn roll_back(&self, id: ConnectionId, actor: &Actor) -> Result<Requested> {
        let connection = self.load(id).await?.connection;
        takes_an_offer(&connection)?;
        let previous = self.in_grace(&connection)?;
        let key_id = previous.key_id.ok_or_else(no_key_id)?;
        let secret = open(&self.parts, &connection, previous).await?;
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
            takes_an_offer(connection)?;
            if offer.cause == Cause::RollBack {
                self.in_grace(connection)?;
            }
            if let Some(rotation) = &mut connection.rotation {
                rotation.offer = Some(offer.clone());
            }
            Ok(Some(EventKind::SecretGiven {
                rotation: offer.rotation,
                cause: offer.cause,
                generation: offer.generation,
                key_id: offer.key_id,
            }))
        })
        .await?;
        Ok(Requested {
            rotation: rotation_id,
            joined: false,
        })
    }

    /// Gives a connection another credential: of the same application or another one, in the same tenant
    /// or another one. It is a new enrolment: of the old one only its journal is carried over and, on the
    /// same application, what must be revoked there.
    ///
    /// Sinks get the secret at once. What it replaces on the same application is revoked after its grace, and
    /// not before those sinks have it that must have a secret before it is used.
    ///
    /// What is managed through this connection is managed through its new application from then on. Where that is
    /// the managed one itself, it halts and says so.
    ///
    /// Returns the secrets of ours that may live on, on the application before: revoke them there, or
    /// delete the connection and create it anew instead. The journal names them too, and by display name
    /// those that there may be and that were not looked for to the end.
    ///
    /// # Errors
    ///
    /// Returns an error when the new credential is refused, when a new secret is being minted or proven
    /// (abort that rotation first), when the connection authenticates through another one, or the store
    /// fails. When the store does not answer, the credential may have been changed all the same: the key id
    /// of the current secret in the status tells.
    pub async fn change_credential(
        &self,
        id: ConnectionId,
        (cloud, tenant, client): (Cloud, TenantId, ClientId),
        secret: &ClientSecret,
        key_id: Option<KeyId>,
        actor: &Actor,
    ) -> Result<Vec<KeyId>> {
        let before = self.load(id).await?.connection;
        can_be_enrolled_anew(&before)?;
        let mut after = Connection::clone(&before);
        (after.cloud, after.tenant, after.client) = (cloud, tenant, client);
        let generation = next_generation(&before);
        let access = Access::new(&after, generation, secret.value().clone());
        let proof = self.parts.issuer.prove(&access).await?;
        // By the directory's time, as the engine goes: a grace that begins here is ended by it.
        let now = proof.at.unwrap_or_else(|| self.now());
        let read = self.parts.issuer.inspect(&access).await?;
        let adopted = adopt(&read, key_id, secret)?;
        let sealed = self
            .seal((&after.namespace, id, generation), secret.value())
            .await?;
        let mut held = Held::given(sealed, adopted.key_id, now);
        (held.generation, held.end) = (generation, adopted.end);
        after.application = Some(read.application);
        after.credential = Credential::ClientSecret(Secrets::new(held));
        if let Some(rotation) = &mut after.rotation {
            has_room(&read)?;
            rotation.settings = fitting(rotation.settings.clone(), &read);
        }
        self.enrol_anew(after, now, actor).await
    }

    /// Stores the new credential in the place of the old one.
    async fn enrol_anew(
        &self,
        after: Connection,
        now: DateTime<Utc>,
        actor: &Actor,
    ) -> Result<Vec<KeyId>> {
        let first = RotationId::from(self.parts.entropy.uuid());
        let (mut left, mut in_doubt) = (Vec::new(), Vec::new());
        self.rewrite(after.id, actor, |connection| {
            can_be_enrolled_anew(connection)?;
            let same_application = connection.client == after.client;
            if Some(next_generation(connection)) != after.secrets().map(|s| s.current.generation) {
                return Err(ConnectionError::state(
                    "the secret was rotated meanwhile; try again",
                ));
            }
            (left, in_doubt) = if same_application {
                (Vec::new(), Vec::new())
            } else {
                let left = ours(connection).into_iter().chain(strays(connection));
                (left.collect(), unresolved(connection))
            };
            let before = std::mem::replace(connection, after.clone());
            connection.journal = before.journal;
            let policy = self.policy_of(connection);
            if let Some(rotation) = &mut connection.rotation {
                *rotation = enrolled(rotation.settings.clone(), first, now);
                if same_application {
                    carry_over(&before, rotation, now);
                }
                let sinks = policy.sinks_before.iter().chain(&policy.sinks_after);
                rotation.deliveries = sinks.map(|sink| Delivery::new(sink, now)).collect();
                // A secret that was given by hand is the current one now, and goes with its rotation.
                let current = after.secrets().and_then(|secrets| secrets.current.key_id);
                rotation.debts.retain(|debt| Some(debt.key_id) != current);
            }
            Ok(Some(EventKind::Reenrolled {
                client_id: connection.client,
                left: left.clone(),
                unresolved: in_doubt.clone(),
            }))
        })
        .await?;
        Ok(left)
    }

    /// The secret before, if it can still be taken back.
    fn in_grace<'a>(&self, connection: &'a Connection) -> Result<&'a Held> {
        let previous = connection.secrets().and_then(|s| s.previous.as_ref());
        let rotation = connection.rotation.as_ref();
        let kept = |debt: &Debt| {
            // A process that was held up may be about to remove what is due, or was before a pause.
            let soon = self.now() + self.policy.settle;
            let paused = rotation.and_then(|r| r.pause.as_ref());
            let held = paused.is_some_and(|pause| pause.since + self.policy.settle < self.now());
            debt.attempts == 0 && !debt.unconfirmed && (debt.due > soon || held)
        };
        previous
            .filter(|held| {
                let mut debts = rotation.iter().flat_map(|r| &r.debts);
                debts.all(|debt| Some(debt.key_id) != held.key_id || kept(debt))
            })
            .ok_or_else(|| {
                ConnectionError::state(
                    "there is no secret to go back to: the one before is revoked, or its revocation has \
                     begun; rotate again, or supply a secret",
                )
            })
    }
}

/// What must be revoked on an application that stays the same.
fn carry_over(before: &Connection, rotation: &mut Rotation, now: DateTime<Utc>) {
    if let Some(old) = &before.rotation {
        rotation.debts.clone_from(&old.debts);
        rotation.dead_markers.clone_from(&old.dead_markers);
        rotation.strays.clone_from(&old.strays);
    }
    let due = now + rotation.settings.grace.delta();
    for key_id in ours(before) {
        let known = |debt: &Debt| debt.key_id == key_id;
        if !rotation.debts.iter().any(known) {
            let debt = Debt::new(key_id, DebtReason::Superseded, now, due);
            rotation.debts.push(debt);
        }
    }
}

fn next_generation(connection: &Connection) -> u64 {
    connection
        .secrets()
        .map_or(0, |secrets| secrets.current.generation + 1)
}

/// Only one new secret at a time is on its way.
fn takes_an_offer(connection: &Connection) -> Result<()> {
    let rotation = rotation_of(connection)?;
    stays(rotation)?;
    if rotation.phase == Phase::Idle && rotation.offer.is_none() {
        return Ok(());
    }
    Err(ConnectionError::state(
        "another new secret is being minted or proven; wait for it, or abort its rotation",
    ))
}

fn can_be_enrolled_anew(connection: &Connection) -> Result<()> {
    if let Some(via) = connection.credential.via() {
        return Err(ConnectionError::invalid(format!(
            "the connection holds the secrets of an application that is managed through the connection \
             {via}; it has no credential of its own to change",
        )));
    }
    match &connection.rotation {
        Some(_) => takes_an_offer(connection),
        None => Ok(()),
    }
}

fn no_key_id() -> ConnectionError {
    ConnectionError::invalid(
        "key id: the directory lists the secret without one; it can't be rotated",
    )
}
