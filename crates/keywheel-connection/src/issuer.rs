use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use keywheel_core::{ApplicationObjectId, KeyId, Secret};
use thiserror::Error;

use crate::{Connection, Marker};

/// Mints, proves and removes the client secrets of a connection's application.
///
/// The port of the rotation engine; Microsoft Graph is one implementation of it.
///
/// # Contract
///
/// * One call is one attempt. Implementations may repeat reads, and may send a mint or a removal again
///   only when it certainly never left.
/// * [`IssuerErrorKind::Unknown`] means that a mint or a removal may have been carried out. Every other
///   kind promises that it was not.
/// * A dropped future equals `Unknown`.
/// * Each call authenticates with the secret in its [`Access`], by the method of the connection that
///   authenticates; [`prove`](Self::prove) is of client secrets only. All but [`prove`](Self::prove) may use a
///   token that was obtained with it before, and may fall back to the previous secret when it is refused.
/// * Secrets and tokens never reach a log, an error or `Debug`.
#[async_trait]
pub trait CredentialIssuer: Debug + Send + Sync {
    /// Obtains a fresh token with exactly this secret: from no cache, on a connection of its own. Tells the
    /// time at which the directory answered, if it said so: no grace is ended on our clock alone.
    ///
    /// # Errors
    ///
    /// [`Refused`](IssuerErrorKind::Refused) when the secret is not accepted, which is normal for some
    /// seconds after it was minted.
    async fn prove(&self, access: &Access<'_>) -> Result<Proof, IssuerError>;

    /// Reads the application and its secrets. What is not in the answer may exist nevertheless.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    async fn inspect(&self, access: &Access<'_>) -> Result<Inspection, IssuerError>;

    /// Adds a secret with the display name `marker`, to end at `end` or before.
    ///
    /// # Errors
    ///
    /// See the contract: only [`Unknown`](IssuerErrorKind::Unknown) leaves a doubt.
    async fn mint(
        &self,
        access: &Access<'_>,
        marker: &Marker,
        end: DateTime<Utc>,
    ) -> Result<Minted, IssuerError>;

    /// Removes the secret with this key id.
    ///
    /// # Errors
    ///
    /// See the contract: only [`Unknown`](IssuerErrorKind::Unknown) leaves a doubt. A key id that the
    /// directory does not know is not an error: see [`Removal::NotFound`].
    async fn remove(&self, access: &Access<'_>, key_id: &KeyId) -> Result<Removal, IssuerError>;
}

/// Which application, and who authenticates with which secret.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Access<'a> {
    /// The connection whose application is meant.
    pub connection: &'a Connection,
    /// The connection that authenticates: the same one, but for managed secrets.
    pub by: &'a Connection,
    /// The generation of its secret. Tokens may be kept by connection and generation: each certificate of a
    /// connection has one of its own too.
    pub generation: u64,
    /// Its secret. Of a connection by certificate, which manages the secrets of another application, what its
    /// [`sealed`](crate::HeldCertificate::sealed) files open to.
    pub secret: Secret,
    /// Its secret before, while that is valid.
    pub previous: Option<Secret>,
}

impl<'a> Access<'a> {
    /// Returns access of a connection to its own application, with its secret of `generation`.
    #[must_use]
    pub fn new(connection: &'a Connection, generation: u64, secret: Secret) -> Self {
        Self {
            connection,
            by: connection,
            generation,
            secret,
            previous: None,
        }
    }

    /// Adds the secret before, to fall back to.
    #[must_use]
    pub fn with_previous(mut self, previous: Option<Secret>) -> Self {
        self.previous = previous;
        self
    }

    /// Turns to the application of another connection.
    #[must_use]
    pub fn to<'b>(self, connection: &'b Connection) -> Access<'b>
    where
        'a: 'b,
    {
        Access { connection, ..self }
    }
}

/// The directory accepted a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proof {
    /// When it answered, by its own clock and to the second, as the `Date` header says.
    pub at: Option<DateTime<Utc>>,
}

impl Proof {
    /// Returns a proof that the directory answered at `at`.
    #[must_use]
    pub fn new(at: Option<DateTime<Utc>>) -> Self {
        Self { at }
    }
}

/// A secret that was just minted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Minted {
    /// Its key id.
    pub key_id: KeyId,
    /// The secret. It is never shown again.
    pub secret: Secret,
    /// When it ends, as the directory answered.
    pub end: Option<DateTime<Utc>>,
}

impl Minted {
    /// Returns a secret that was just minted.
    #[must_use]
    pub fn new(key_id: KeyId, secret: Secret, end: Option<DateTime<Utc>>) -> Self {
        Self {
            key_id,
            secret,
            end,
        }
    }
}

/// What a read of the application showed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The object id of the application.
    pub application: ApplicationObjectId,
    /// How many secrets the application may hold, if there is such a limit: two when its audience
    /// includes personal accounts.
    pub secret_limit: Option<u8>,
    /// Its secrets, in no order.
    pub secrets: Vec<Listed>,
}

impl Inspection {
    /// Returns what a read showed.
    #[must_use]
    pub fn new(application: ApplicationObjectId, secrets: Vec<Listed>) -> Self {
        Self {
            application,
            secret_limit: None,
            secrets,
        }
    }

    /// Sets how many secrets the application may hold.
    #[must_use]
    pub fn with_secret_limit(mut self, limit: Option<u8>) -> Self {
        self.secret_limit = limit;
        self
    }

    /// Returns the secret with this key id, if the read showed it.
    #[must_use]
    pub fn secret(&self, key_id: &KeyId) -> Option<&Listed> {
        self.secrets
            .iter()
            .find(|secret| secret.key_id == Some(*key_id))
    }
}

/// A secret as the directory lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Its key id.
    pub key_id: Option<KeyId>,
    /// Its display name. Very old secrets have none.
    pub display_name: Option<String>,
    /// The first three characters of the secret.
    pub hint: Option<String>,
    /// When it ends.
    pub end: Option<DateTime<Utc>>,
}

impl Listed {
    /// Returns a listed secret without a hint or an end.
    #[must_use]
    pub fn new(key_id: Option<KeyId>, display_name: Option<String>) -> Self {
        Self {
            key_id,
            display_name,
            hint: None,
            end: None,
        }
    }

    /// Sets the hint and the end.
    #[must_use]
    pub fn with(mut self, hint: Option<String>, end: Option<DateTime<Utc>>) -> Self {
        self.hint = hint;
        self.end = end;
        self
    }

    /// Returns the marker that the secret was minted under, if we minted it.
    #[must_use]
    pub fn marker(&self) -> Option<Marker> {
        self.display_name.as_deref()?.parse().ok()
    }
}

/// What came of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a third outcome must break the engine's match"
)]
pub enum Removal {
    /// The directory knows no such secret. Within minutes of minting that may be lag, so it is believed
    /// only when several reads agree.
    NotFound,
    /// The directory removed it.
    Removed,
}

/// A call to the directory failed.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct IssuerError {
    kind: IssuerErrorKind,
    message: String,
    retry_after: Option<Duration>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What a failed call means for a rotation.
///
/// All but [`Unknown`](Self::Unknown) promise that nothing was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IssuerErrorKind {
    /// The tenant or the application is gone, disabled, or blocked by a policy.
    ApplicationUnusable,
    /// Another write was going on. Try again, spaced.
    Busy,
    /// The secret in the access has ended.
    Expired,
    /// A permission or the ownership is missing.
    Forbidden,
    /// The request or the answer made no sense.
    Invalid,
    /// A policy does not allow a lifetime this long.
    LifetimeTooLong,
    /// The application can't hold another secret.
    LimitReached,
    /// A policy forbids client secrets.
    MethodForbidden,
    /// The secret in the access is not accepted: wrong, removed, or not known everywhere yet.
    Refused,
    /// Asked too often.
    Throttled,
    /// No answer, or one that leaves open whether the call was carried out.
    Unknown,
    /// The service is in trouble, or could not be reached, and nothing was carried out.
    Unavailable,
}

impl IssuerError {
    /// Returns an error that says `message`: one line with the service's code and correlation id that
    /// ends in what to do next.
    #[must_use]
    pub fn new(kind: IssuerErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            source: None,
        }
    }

    /// Keeps how long the service wants to be left alone.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// Keeps what caused the error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns what it means for a rotation.
    #[must_use]
    pub fn kind(&self) -> IssuerErrorKind {
        self.kind
    }

    /// Returns how long the service wants to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

#[async_trait]
impl<T: CredentialIssuer + ?Sized> CredentialIssuer for Arc<T> {
    async fn prove(&self, access: &Access<'_>) -> Result<Proof, IssuerError> {
        (**self).prove(access).await
    }

    async fn inspect(&self, access: &Access<'_>) -> Result<Inspection, IssuerError> {
        (**self).inspect(access).await
    }

    async fn mint(
        &self,
        access: &Access<'_>,
        marker: &Marker,
        end: DateTime<Utc>,
    ) -> Result<Minted, IssuerError> {
        (**self).mint(access, marker, end).await
    }

    async fn remove(&self, access: &Access<'_>, key_id: &KeyId) -> Result<Removal, IssuerError> {
        (**self).remove(access, key_id).await
    }
}
