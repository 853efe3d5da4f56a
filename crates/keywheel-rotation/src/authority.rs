//! Who authenticates for a connection.

use std::sync::Arc;

use keywheel_connection::{
    Access, Connection, ConnectionId, Credential, Held, SealError, Secrets, StoreError,
};
use keywheel_core::Secret;

use crate::RotatorParts;

/// Who authenticates for a connection: itself, or the one that its secrets are managed through.
pub(crate) struct Authority {
    via: Option<Arc<Connection>>,
    opened: Opened,
}

/// What somebody authenticates with.
struct Opened {
    /// Tokens are kept by it.
    generation: u64,
    secret: Secret,
    previous: Option<Secret>,
}

/// Nobody can authenticate.
#[derive(Debug)]
pub(crate) enum NoAuthority {
    /// The managing connection can't be read.
    Managing(StoreError),
    /// What it would be done with can't be opened.
    Seal(SealError),
    /// It can't be done with what there is, and why.
    Unfit(&'static str),
}

/// The application that authenticates would mint and remove secrets of its own beside its own rotation.
pub(crate) const ITSELF: &str = "client id: this is the application that the connection authenticates as; its own secret is \
     rotated by the connection's own rotation, not by managing it";
const WITHOUT_SECRET: &str =
    "the connection does not authenticate with a client secret, so there is none to rotate";
const CANNOT_MANAGE: &str = "via: the managing connection is by a user's sign-in or managed itself; manage through \
     one by client secret or certificate";

impl Authority {
    /// Opens what authenticates for `connection`.
    pub(crate) async fn of(
        parts: &RotatorParts,
        connection: &Connection,
    ) -> Result<Self, NoAuthority> {
        let Some(via) = connection.credential.via() else {
            let secrets = connection.secrets();
            let secrets = secrets.ok_or(NoAuthority::Unfit(WITHOUT_SECRET))?;
            let opened = opened(parts, connection, secrets).await?;
            return Ok(Self { via: None, opened });
        };
        let via = managing(parts, via).await?;
        if via.client == connection.client {
            return Err(NoAuthority::Unfit(ITSELF));
        }
        Self::through(parts, via).await
    }

    /// Opens what `via` authenticates with, for an application that is managed through it.
    pub(crate) async fn through(
        parts: &RotatorParts,
        via: Arc<Connection>,
    ) -> Result<Self, NoAuthority> {
        let opened = match &via.credential {
            Credential::ClientSecret(secrets) => opened(parts, &via, secrets).await?,
            Credential::Certificate(held) => {
                let context = via.certificate_context();
                let secret = parts.sealer.open(&held.sealed, &context).await?;
                Opened {
                    generation: held.since.timestamp_millis().unsigned_abs(),
                    secret,
                    previous: None,
                }
            }
            _ => return Err(NoAuthority::Unfit(CANNOT_MANAGE)),
        };
        let via = Some(via);
        Ok(Self { via, opened })
    }

    /// Returns access to the application of `connection`.
    pub(crate) fn access<'a>(&'a self, connection: &'a Connection) -> Access<'a> {
        let by = self.via.as_deref().unwrap_or(connection);
        let opened = &self.opened;
        Access::new(by, opened.generation, opened.secret.clone())
            .with_previous(opened.previous.clone())
            .to(connection)
    }
}

impl From<SealError> for NoAuthority {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

/// Opens a secret that a connection holds.
pub(crate) async fn open(
    parts: &RotatorParts,
    connection: &Connection,
    held: &Held,
) -> Result<Secret, SealError> {
    let context = connection.seal_context(held.generation);
    parts.sealer.open(&held.sealed, &context).await
}

/// Opens the secret in use and the one before. One before that can't be opened, as when its key was dropped in a
/// grace, takes nobody the one that works.
pub(crate) async fn open_both(
    parts: &RotatorParts,
    connection: &Connection,
    secrets: &Secrets,
) -> Result<(Secret, Option<Secret>), SealError> {
    let current = open(parts, connection, &secrets.current).await?;
    let previous = match &secrets.previous {
        Some(held) => open(parts, connection, held).await.ok(),
        None => None,
    };
    Ok((current, previous))
}

async fn opened(
    parts: &RotatorParts,
    by: &Connection,
    secrets: &Secrets,
) -> Result<Opened, NoAuthority> {
    let (secret, previous) = open_both(parts, by, secrets).await?;
    Ok(Opened {
        generation: secrets.current.generation,
        secret,
        previous,
    })
}

async fn managing(parts: &RotatorParts, via: ConnectionId) -> Result<Arc<Connection>, NoAuthority> {
    let stored = parts.store.load(via).await;
    let stored = stored.map_err(NoAuthority::Managing)?;
    let stored = stored.ok_or_else(|| NoAuthority::Managing(StoreError::not_found()))?;
    Ok(stored.connection)
}

/// What is said of the managing connection before what went wrong with it.
pub(crate) const MANAGING: &str = "the connection that it is managed through";
