use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Access, Actor, Cause, Connection, ConnectionId, ConnectionName, Credential, Entry, EventKind,
    Held, Inspection, Namespace, Rotation, RotationId, RotationRequest, RotationSettings,
    SealContext, Sealed, Secrets, StoreError, Versioned,
};
use keywheel_core::{ClientId, ClientSecret, Cloud, KeyId, Secret, TenantId};
use keywheel_schedule::Jitter;
use tokio::time::timeout;

use super::adopt::{adopt, fitting, has_room};
use super::{ConnectionError, Connections, Result};
use crate::authority::{Authority, ITSELF, open};
use crate::rotator::wake_at;

/// A connection by client secret, to be created.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewConnection {
    /// Its name.
    pub name: ConnectionName,
    /// The tenant of the embedding backend. Default: `default`.
    pub namespace: Namespace,
    /// The cloud. Default: the public one.
    pub cloud: Cloud,
    /// The customer's tenant.
    pub tenant: TenantId,
    /// The application (client) id.
    pub client: ClientId,
    /// The client secret.
    pub secret: ClientSecret,
    /// The key id of the secret. When it is not given, it is found by the secret's first characters if
    /// exactly one secret of the application has them.
    pub key_id: Option<KeyId>,
    /// When and how to rotate. Default: never.
    pub rotation: Option<RotationSettings>,
    /// The span that runs of connections which are due together are spread over. Default: none, because the
    /// local time of day is a promise to whoever chose it: at 02:30 is not at 04:10. Nothing stampedes without
    /// it either: a worker drives a limited number of connections at once, of one tenant fewer, and is fair
    /// between tenants (see [`Worker`](crate::Worker)); but the last of ten thousand of one tenant waits for
    /// two hours then, which a span tells beforehand, in `next_due`.
    pub spread: Duration,
}

impl NewConnection {
    /// Returns a connection that does not rotate.
    #[must_use]
    pub fn client_secret(
        name: ConnectionName,
        tenant: TenantId,
        client: ClientId,
        secret: ClientSecret,
    ) -> Self {
        Self {
            name,
            namespace: Namespace::default(),
            cloud: Cloud::default(),
            tenant,
            client,
            secret,
            key_id: None,
            rotation: None,
            spread: Duration::ZERO,
        }
    }

    /// Sets the cloud.
    #[must_use]
    pub fn in_cloud(mut self, cloud: Cloud) -> Self {
        self.cloud = cloud;
        self
    }

    /// Sets the tenant of the embedding backend.
    #[must_use]
    pub fn in_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets the key id of the secret.
    #[must_use]
    pub fn with_key_id(mut self, key_id: Option<KeyId>) -> Self {
        self.key_id = key_id;
        self
    }

    /// Rotates the secret. The first rotation follows at once, and revokes the secret given here.
    #[must_use]
    pub fn rotating(mut self, settings: RotationSettings) -> Self {
        self.rotation = Some(settings);
        self
    }

    /// Delays each run by a part of `span` that is fixed for the connection, so that ten thousand
    /// connections with one schedule do not all begin in one second.
    #[must_use]
    pub fn spread_over(mut self, span: Duration) -> Self {
        self.spread = span;
        self
    }
}

/// The client secrets of another application, to be minted and rotated through a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewManaged {
    /// The name of what is created.
    pub name: ConnectionName,
    /// The connection whose application may write to the other one: one by client secret or certificate. A user's
    /// sign-in manages nothing, since it ends when the user leaves.
    pub via: ConnectionId,
    /// The application (client) id of the other application.
    pub client: ClientId,
    /// When and how to rotate. The first secret is minted at once.
    pub rotation: RotationSettings,
    /// The span that runs which are due together are spread over. Default: none, as of
    /// [`NewConnection::spread`].
    pub spread: Duration,
}

impl NewManaged {
    /// Returns the secrets of the application `client`, managed through `via`.
    #[must_use]
    pub fn new(
        name: ConnectionName,
        via: ConnectionId,
        client: ClientId,
        rotation: RotationSettings,
    ) -> Self {
        Self {
            name,
            via,
            client,
            rotation,
            spread: Duration::ZERO,
        }
    }

    /// Delays each run by a part of `span` that is fixed, as [`NewConnection::spread_over`] does.
    #[must_use]
    pub fn spread_over(mut self, span: Duration) -> Self {
        self.spread = span;
        self
    }
}

/// A connection that was tried out and not stored yet.
#[derive(Clone, Debug)]
pub struct Validated {
    connection: Connection,
    entries: Vec<Entry>,
}

impl Validated {
    /// Returns the connection as it will be stored.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Connections {
    /// Validates a connection and stores it.
    ///
    /// What [`validate`](Self::validate) does, then [`create_validated`](Self::create_validated).
    ///
    /// # Errors
    ///
    /// Returns the errors of both. Nothing was stored then, but for one case: when the store does not answer
    /// ([`is_transient`](ConnectionError::is_transient), of the kind
    /// [`Store`](super::ConnectionErrorKind::Store)), the connection may have been stored all the same, and
    /// its first rotation begun. Create it again under the same name: that the name is taken says that it
    /// was, and the connection of that name is the one. What comes of the secret given here stands in its
    /// status and journal; keep the secret until then.
    pub async fn create(&self, new: NewConnection, actor: &Actor) -> Result<Versioned> {
        let store = &self.parts.store;
        if store.find(&new.namespace, &new.name).await?.is_some() {
            return Err(StoreError::name_taken().into());
        }
        let validated = self.validate(&new, actor).await?;
        self.create_validated(validated).await
    }

    /// Tries a connection out, and stores nothing.
    ///
    /// A token is obtained with the secret; for a connection that rotates, the application is read and
    /// the key id of the secret found or checked. For one that does not, it is read too, so that somebody can
    /// be told before the secret ends; but where that is not permitted, does not succeed within ten seconds,
    /// or does not tell which of its secrets this is, the end stays unknown and nothing else is amiss.
    ///
    /// # Errors
    ///
    /// Returns an error when Entra refuses the secret, Graph the read, or when the key id does not fit
    /// the secret.
    pub async fn validate(&self, new: &NewConnection, actor: &Actor) -> Result<Validated> {
        let mut connection = self.unsaved(new).await?;
        let access = Access::new(&connection, 0, new.secret.value().clone());
        self.parts.issuer.prove(&access).await?;
        let read = match &new.rotation {
            Some(_) => Some(self.parts.issuer.inspect(&access).await?),
            None => self.read_if_permitted(&access).await,
        };
        let mut entries = vec![self.created(&mut connection, actor)];
        match (read, &new.rotation) {
            (Some(read), Some(settings)) => {
                adopt_into(&mut connection, &read, new)?;
                let settings = fitting(spread(settings, connection.id, new.spread)?, &read);
                entries.push(self.enrol(&mut connection, settings, actor));
            }
            (Some(read), None) => watch_the_end(&mut connection, &read, new),
            (None, _) => {}
        }
        Ok(Validated {
            connection,
            entries,
        })
    }

    /// Stores a connection that was just validated. The first rotation is stored as requested: a rotator
    /// begins it at once.
    ///
    /// The same `validated` may be stored again after an error: where it was stored already, that is the
    /// answer.
    ///
    /// # Errors
    ///
    /// Returns an error when the name is taken or the store fails.
    pub async fn create_validated(&self, validated: Validated) -> Result<Versioned> {
        let Validated {
            connection,
            entries,
        } = validated;
        let wake_at = wake_at(&connection, self.now(), &self.policy_of(&connection));
        let store = &self.parts.store;
        let created = match store.create(&connection, wake_at, &entries).await {
            Ok(version) => Versioned {
                connection: connection.into(),
                version,
            },
            Err(_) if self.is_stored(&connection).await => self.load(connection.id).await?,
            Err(error) => return Err(error.into()),
        };
        self.tell(&entries);
        Ok(created)
    }

    /// Takes on the client secrets of another application. The first one is minted at once; none that is
    /// there already is touched.
    ///
    /// # Errors
    ///
    /// Returns an error when `client` is the application that the connection itself authenticates as, when
    /// the connection is by a user's sign-in or managed itself, when it may not read the other application, or
    /// when the store fails.
    pub async fn create_managed(&self, new: NewManaged, actor: &Actor) -> Result<Versioned> {
        let via = self.load(new.via).await?.connection;
        if let Some(by) = via.credential.via() {
            return Err(ConnectionError::invalid(format!(
                "via: this connection is managed itself and authenticates nothing; give the one that it is \
                 managed through, {by}",
            )));
        }
        if via.client == new.client {
            return Err(ConnectionError::invalid(ITSELF));
        }
        let authority = Authority::through(&self.parts, Arc::clone(&via)).await?;
        let id = self.new_id();
        let sealed = self.seal((&via.namespace, id, 0), &Secret::new("")).await?;
        let secrets = Secrets::new(Held::none_yet(sealed, self.now()));
        let credential = Credential::Managed {
            via: via.id,
            secrets,
        };
        let place = (via.tenant.clone(), new.client);
        let mut connection = Connection::new(id, new.name, place, credential, self.now());
        connection.namespace = via.namespace.clone();
        connection.cloud = via.cloud.clone();
        let read = self
            .parts
            .issuer
            .inspect(&authority.access(&connection))
            .await?;
        has_room(&read)?;
        connection.application = Some(read.application);
        let settings = fitting(spread(&new.rotation, id, new.spread)?, &read);
        let created = self.created(&mut connection, actor);
        let entries = vec![created, self.enrol(&mut connection, settings, actor)];
        let validated = Validated {
            connection,
            entries,
        };
        self.create_validated(validated).await
    }

    fn new_id(&self) -> ConnectionId {
        self.parts.entropy.uuid_of(self.now()).into()
    }

    /// Nothing depends on it: many an application may not read itself, and need not.
    async fn read_if_permitted(&self, access: &Access<'_>) -> Option<Inspection> {
        let read = self.parts.issuer.inspect(access);
        match timeout(A_MOMENT, read).await {
            Ok(Ok(read)) => return Some(read),
            Ok(Err(error)) => tracing::debug!(%error, "connection.end_unknown"),
            Err(_) => tracing::debug!("connection.end_unknown"),
        }
        None
    }

    async fn unsaved(&self, new: &NewConnection) -> Result<Connection> {
        let id = self.new_id();
        let place = (&new.namespace, id, 0);
        let sealed = self.seal(place, new.secret.value()).await?;
        let held = Held::given(sealed, new.key_id, self.now());
        let credential = Credential::ClientSecret(Secrets::new(held));
        let place = (new.tenant.clone(), new.client);
        let mut connection = Connection::new(id, new.name.clone(), place, credential, self.now());
        connection.namespace = new.namespace.clone();
        connection.cloud = new.cloud.clone();
        Ok(connection)
    }

    pub(super) async fn seal(
        &self,
        (namespace, connection, generation): (&Namespace, ConnectionId, u64),
        secret: &Secret,
    ) -> Result<Sealed> {
        let context = SealContext {
            namespace,
            connection,
            field: "client-secret",
            generation,
        };
        Ok(self.parts.sealer.seal(secret, &context).await?)
    }

    /// Access with the stored current secret of a connection.
    pub(super) async fn access<'a>(&self, connection: &'a Connection) -> Result<Access<'a>> {
        let Some(secrets) = connection.secrets() else {
            return Err(ConnectionError::invalid(
                "the connection does not authenticate with a client secret",
            ));
        };
        let current = &secrets.current;
        let secret = open(&self.parts, connection, current).await?;
        Ok(Access::new(connection, current.generation, secret))
    }

    fn created(&self, connection: &mut Connection, actor: &Actor) -> Entry {
        let created = EventKind::ConnectionCreated {
            tenant: connection.tenant.clone(),
            client_id: connection.client,
            method: connection.credential.method().to_owned(),
        };
        connection.record(actor, self.now(), created)
    }

    /// Enables the rotation of an unsaved connection, and asks for the first one.
    pub(super) fn enrol(
        &self,
        connection: &mut Connection,
        settings: RotationSettings,
        actor: &Actor,
    ) -> Entry {
        let now = self.now();
        let rotation = RotationId::from(self.parts.entropy.uuid());
        connection.rotation = Some(enrolled(settings, rotation, now));
        let requested = EventKind::RotationRequested {
            rotation,
            cause: Cause::Initial,
        };
        connection.record(actor, now, requested)
    }
}

fn adopt_into(connection: &mut Connection, read: &Inspection, new: &NewConnection) -> Result<()> {
    let adopted = adopt(read, new.key_id, &new.secret)?;
    has_room(read)?;
    connection.application = Some(read.application);
    if let Some(secrets) = connection.credential.secrets_mut() {
        secrets.current.key_id = adopted.key_id;
        secrets.current.end = adopted.end;
    }
    Ok(())
}

/// How long to wait for what is good to know.
const A_MOMENT: Duration = Duration::from_secs(10);

/// Notes which secret of the application a connection has that does not rotate, and when it ends, if the read
/// tells.
fn watch_the_end(connection: &mut Connection, read: &Inspection, new: &NewConnection) {
    let Ok(adopted) = adopt(read, new.key_id, &new.secret) else {
        return;
    };
    connection.application = Some(read.application);
    if let Some(secrets) = connection.credential.secrets_mut() {
        secrets.current.key_id = adopted.key_id;
        secrets.current.end = adopted.end;
    }
}

/// A rotation that begins with one that is asked for.
pub(super) fn enrolled(
    settings: RotationSettings,
    first: RotationId,
    now: DateTime<Utc>,
) -> Rotation {
    let since = first_due(&settings, now);
    let mut rotation = Rotation::new(settings, since);
    rotation.request = Some(RotationRequest::new(first, Cause::Initial, now));
    rotation
}

/// The day of the enrolment is done with by the first rotation, which follows at once.
fn first_due(settings: &RotationSettings, now: DateTime<Utc>) -> DateTime<Utc> {
    match settings.plan.schedule().next_after(now) {
        Some(due) if due.at() < now + TimeDelta::days(1) => due.at(),
        _ => now,
    }
}

pub(super) fn spread(
    settings: &RotationSettings,
    id: ConnectionId,
    span: Duration,
) -> Result<RotationSettings> {
    let mut settings = settings.clone();
    if !span.is_zero() {
        let jitter = Jitter::new(&id.to_string(), span);
        let plan = settings.plan.to_builder().jitter(jitter).build();
        settings.plan = plan.map_err(|error| ConnectionError::invalid(error.to_string()))?;
    }
    Ok(settings)
}
