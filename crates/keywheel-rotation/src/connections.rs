mod adopt;

use std::fmt;
use std::sync::Arc;

use keywheel_connection::{
    Access, Actor, Cause, Connection, ConnectionId, ConnectionName, ConnectionStore, Credential,
    CredentialIssuer, Entry, EventKind, EventSink, Held, Inspection, IssuerError, IssuerErrorKind,
    Listed, Namespace, Rotation, RotationId, RotationRequest, RotationSettings, Save, SealError,
    Sealer, Secrets, StoreError, StoreErrorKind, Versioned,
};
use keywheel_core::{ClientId, ClientSecret, Clock, Cloud, Entropy, KeyId, Report, TenantId};
use thiserror::Error;

use self::adopt::adopt;
use crate::rotator::wake_at;
use crate::{Policy, RotatorParts, Status};

/// What people do with connections: create them, ask for rotations, look at them.
///
/// Nothing here mints or removes a secret. What is asked for is stored, and a
/// [`Rotator`](crate::Rotator) carries it out, in this process or another.
#[derive(Clone)]
pub struct Connections {
    store: Arc<dyn ConnectionStore>,
    issuer: Arc<dyn CredentialIssuer>,
    sealer: Arc<dyn Sealer>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    events: Option<Arc<dyn EventSink>>,
    policy: Policy,
}

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

/// What became of a request for a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requested {
    /// The rotation to follow.
    pub rotation: RotationId,
    /// Whether it was asked for or running already.
    pub joined: bool,
}

/// A connection was not created, or not changed. Nothing was stored.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct CreateError {
    kind: CreateErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What to do about a [`CreateError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CreateErrorKind {
    /// Entra or Graph refuses: the credential, the permission, or the application. Correct it there.
    Denied,
    /// What was given can't work. Correct it.
    Invalid,
    /// The secret can't be sealed. Correct the sealing key.
    Seal,
    /// The store refuses or does not answer.
    Store,
    /// The service does not answer. Try again.
    Unavailable,
}

impl CreateError {
    fn invalid(message: impl Into<String>) -> Self {
        Self {
            kind: CreateErrorKind::Invalid,
            message: message.into(),
            source: None,
        }
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn kind(&self) -> CreateErrorKind {
        self.kind
    }
}

impl From<IssuerError> for CreateError {
    fn from(error: IssuerError) -> Self {
        let kind = match error.kind() {
            IssuerErrorKind::Busy
            | IssuerErrorKind::Throttled
            | IssuerErrorKind::Unavailable
            | IssuerErrorKind::Unknown => CreateErrorKind::Unavailable,
            _ => CreateErrorKind::Denied,
        };
        Self {
            kind,
            message: Report(&error).to_string(),
            source: None,
        }
    }
}

impl From<SealError> for CreateError {
    fn from(error: SealError) -> Self {
        Self {
            kind: CreateErrorKind::Seal,
            message: error.to_string(),
            source: Some(error.into()),
        }
    }
}

impl From<StoreError> for CreateError {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind() {
            StoreErrorKind::NameTaken => CreateErrorKind::Invalid,
            _ => CreateErrorKind::Store,
        };
        Self {
            kind,
            message: error.to_string(),
            source: Some(error.into()),
        }
    }
}

impl Connections {
    /// Returns the verbs over these parts.
    #[must_use]
    pub fn new(parts: RotatorParts, policy: Policy) -> Self {
        let RotatorParts {
            store,
            issuer,
            sealer,
            clock,
            entropy,
            events,
        } = parts;
        Self {
            store,
            issuer,
            sealer,
            clock,
            entropy,
            events,
            policy,
        }
    }

    /// Validates a connection and stores it.
    ///
    /// What [`validate`](Self::validate) does, then [`create_validated`](Self::create_validated).
    ///
    /// # Errors
    ///
    /// Returns the errors of both. Nothing was stored then.
    pub async fn create(
        &self,
        new: NewConnection,
        actor: &Actor,
    ) -> Result<Versioned, CreateError> {
        if self.store.find(&new.namespace, &new.name).await?.is_some() {
            return Err(StoreError::name_taken().into());
        }
        let validated = self.validate(&new, actor).await?;
        self.create_validated(validated).await
    }

    /// Tries a connection out, and stores nothing.
    ///
    /// A token is obtained with the secret; for a connection that rotates, the application is read and
    /// the key id of the secret found or checked.
    ///
    /// # Errors
    ///
    /// Returns an error when Entra refuses the secret, Graph the read, or when the key id does not fit
    /// the secret.
    pub async fn validate(
        &self,
        new: &NewConnection,
        actor: &Actor,
    ) -> Result<Validated, CreateError> {
        let mut connection = self.unsaved(new).await?;
        let access = Access::new(&connection, 0, new.secret.value().clone());
        self.issuer.prove(&access).await?;
        let read = match &new.rotation {
            Some(_) => Some(self.issuer.inspect(&access).await?),
            None => None,
        };
        let entries = self.enrol(&mut connection, new, read.as_ref(), actor)?;
        Ok(Validated {
            connection,
            entries,
        })
    }

    /// Stores a connection that was just validated. The first rotation is stored as requested: a rotator
    /// begins it at once.
    ///
    /// # Errors
    ///
    /// Returns an error when the name is taken or the store fails.
    pub async fn create_validated(&self, validated: Validated) -> Result<Versioned, CreateError> {
        let Validated {
            connection,
            entries,
        } = validated;
        let wake_at = wake_at(&connection, self.clock.now(), &self.policy);
        let version = self.store.create(&connection, wake_at, &entries).await?;
        self.tell(&entries);
        Ok(Versioned {
            connection,
            version,
        })
    }

    async fn unsaved(&self, new: &NewConnection) -> Result<Connection, CreateError> {
        let now = self.clock.now();
        let id = ConnectionId::from(self.entropy.uuid());
        let context = keywheel_connection::SealContext {
            namespace: &new.namespace,
            connection: id,
            field: "client-secret",
            generation: 0,
        };
        let sealed = self.sealer.seal(new.secret.value(), &context).await?;
        let held = Held::given(sealed, new.key_id, now);
        let credential = Credential::ClientSecret(Secrets::new(held));
        let place = (new.tenant.clone(), new.client);
        let mut connection = Connection::new(id, new.name.clone(), place, credential, now);
        connection.namespace = new.namespace.clone();
        connection.cloud = new.cloud.clone();
        Ok(connection)
    }

    /// Completes an unsaved connection from what was read, and writes the first journal entries.
    fn enrol(
        &self,
        connection: &mut Connection,
        new: &NewConnection,
        read: Option<&Inspection>,
        actor: &Actor,
    ) -> Result<Vec<Entry>, CreateError> {
        let now = self.clock.now();
        let created = EventKind::ConnectionCreated {
            tenant: connection.tenant.clone(),
            client_id: connection.client,
            method: connection.credential.method().to_owned(),
        };
        let mut entries = vec![connection.record(actor, now, created)];
        if let (Some(read), Some(settings)) = (read, &new.rotation) {
            let adopted = adopt(read, new.key_id, &new.secret)?;
            connection.application = Some(read.application);
            if let Credential::ClientSecret(secrets) = &mut connection.credential {
                secrets.current.key_id = adopted.key_id;
                secrets.current.end = adopted.end;
            }
            let mut rotation = Rotation::new(settings.clone(), first_due(settings, now));
            let request =
                RotationRequest::new(RotationId::from(self.entropy.uuid()), Cause::Initial, now);
            rotation.request = Some(request);
            connection.rotation = Some(rotation);
            let requested = EventKind::RotationRequested {
                rotation: request.id,
                cause: request.cause,
            };
            entries.push(connection.record(actor, now, requested));
        }
        Ok(entries)
    }

    /// Asks for a rotation now, or joins the one that is asked for or running.
    ///
    /// # Errors
    ///
    /// Returns an error when the connection does not exist or has no rotation, or the store fails.
    pub async fn rotate_now(
        &self,
        id: ConnectionId,
        cause: Cause,
        actor: &Actor,
    ) -> Result<Requested, CreateError> {
        let now = self.clock.now();
        let fresh = RotationId::from(self.entropy.uuid());
        let mut requested = None;
        self.change(id, |connection| {
            let Some(rotation) = &mut connection.rotation else {
                return Err(CreateError::invalid(
                    "the connection has no rotation; enable it first",
                ));
            };
            if let Some(rotation) = rotation.in_progress() {
                requested = Some(Requested {
                    rotation,
                    joined: true,
                });
                return Ok(Vec::new());
            }
            rotation.request = Some(RotationRequest::new(fresh, cause, now));
            requested = Some(Requested {
                rotation: fresh,
                joined: false,
            });
            let kind = EventKind::RotationRequested {
                rotation: fresh,
                cause,
            };
            Ok(vec![connection.record(actor, now, kind)])
        })
        .await?;
        requested.ok_or_else(|| StoreError::not_found().into())
    }

    /// Changes when and how a connection rotates. Takes effect at once; a rotation that has begun goes
    /// on.
    ///
    /// # Errors
    ///
    /// Returns an error when the connection does not exist or has no rotation, or the store fails.
    pub async fn change_settings(
        &self,
        id: ConnectionId,
        settings: RotationSettings,
        actor: &Actor,
    ) -> Result<(), CreateError> {
        let now = self.clock.now();
        self.change(id, |connection| {
            let Some(rotation) = &mut connection.rotation else {
                return Err(CreateError::invalid(
                    "the connection has no rotation; enable it first",
                ));
            };
            if rotation.settings == settings {
                return Ok(Vec::new());
            }
            if rotation.settings.schedule != settings.schedule {
                rotation.covered_until = rotation.covered_until.min(now);
            }
            rotation.settings = settings.clone();
            let kind = EventKind::Changed {
                what: "settings".to_owned(),
            };
            Ok(vec![connection.record(actor, now, kind)])
        })
        .await
    }

    /// Reads a connection's status.
    ///
    /// # Errors
    ///
    /// Returns an error when the connection does not exist or the store fails.
    pub async fn status(&self, id: ConnectionId) -> Result<Status, StoreError> {
        let stored = self.store.load(id).await?;
        let stored = stored.ok_or_else(StoreError::not_found)?;
        Ok(Status::of(
            &stored.connection,
            self.clock.now(),
            &self.policy,
        ))
    }

    /// Changes the newest version of a connection; again when somebody else was faster.
    async fn change(
        &self,
        id: ConnectionId,
        mut change: impl FnMut(&mut Connection) -> Result<Vec<Entry>, CreateError> + Send,
    ) -> Result<(), CreateError> {
        loop {
            let stored = self.store.load(id).await?;
            let Versioned {
                mut connection,
                version,
            } = stored.ok_or_else(StoreError::not_found)?;
            let entries = change(&mut connection)?;
            if entries.is_empty() {
                return Ok(());
            }
            let wake_at = wake_at(&connection, self.clock.now(), &self.policy);
            let save = Save::new(&connection, version, &entries).wake_at(wake_at);
            match self.store.save(save).await {
                Ok(_) => {
                    self.tell(&entries);
                    return Ok(());
                }
                Err(error) if error.kind() == StoreErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn tell(&self, entries: &[Entry]) {
        if let Some(events) = &self.events {
            events.committed(entries);
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

/// The day of the enrolment is covered by the first rotation, which follows at once.
fn first_due(
    settings: &RotationSettings,
    now: chrono::DateTime<chrono::Utc>,
) -> chrono::DateTime<chrono::Utc> {
    let day = now + chrono::TimeDelta::days(1);
    match settings.schedule.next_after(now) {
        Some(due) if due.at() < day => due.at(),
        _ => now,
    }
}
