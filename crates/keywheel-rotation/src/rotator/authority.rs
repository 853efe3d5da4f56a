use std::sync::Arc;

use keywheel_connection::{
    Access, Candidate, Connection, Held, SealError, StoreError, TroubleKind,
};
use keywheel_core::{Report, Secret};

use super::Rotator;
use crate::failure::Failure;

/// Who authenticates for a connection: itself, or the one that its secrets are managed through.
pub(super) struct Authority {
    via: Option<Arc<Connection>>,
    generation: u64,
    secret: Secret,
    previous: Option<Secret>,
}

impl Authority {
    /// Returns access to the application of `connection`.
    pub(super) fn access<'a>(&'a self, connection: &'a Connection) -> Access<'a> {
        let by = self.via.as_deref().unwrap_or(connection);
        Access::new(by, self.generation, self.secret.clone())
            .with_previous(self.previous.clone())
            .to(connection)
    }
}

impl Rotator {
    /// Opens the secrets of who authenticates for `connection`.
    pub(super) async fn authority(&self, connection: &Connection) -> Result<Authority, Failure> {
        let via = match connection.credential.via() {
            Some(via) => Some(self.load_via(via).await?),
            None => None,
        };
        let by = via.as_deref().unwrap_or(connection);
        let Some(secrets) = by.secrets() else {
            return Err(Failure::without_secret());
        };
        let current = self.open(by, &secrets.current).await;
        let previous = match &secrets.previous {
            Some(held) => self.open(by, held).await.ok(),
            None => None,
        };
        Ok(Authority {
            generation: secrets.current.generation,
            secret: current.map_err(|error| Failure::from(&error))?,
            previous,
            via,
        })
    }

    async fn load_via(
        &self,
        id: keywheel_connection::ConnectionId,
    ) -> Result<Arc<Connection>, Failure> {
        let failed = |error: &StoreError| {
            let kind = if error.is_transient() {
                TroubleKind::Transient
            } else {
                TroubleKind::ApplicationUnusable
            };
            let message = format!(
                "the connection that it is managed through: {}",
                Report(error)
            );
            Failure::new(kind, message)
        };
        let stored = self.parts().store.load(id).await;
        let stored = stored.map_err(|error| failed(&error))?;
        let stored = stored.ok_or_else(|| failed(&StoreError::not_found()))?;
        Ok(stored.connection)
    }

    /// Access with exactly the candidate.
    pub(super) async fn with_candidate<'a>(
        &self,
        connection: &'a Connection,
        candidate: &Candidate,
    ) -> Result<Access<'a>, Failure> {
        let context = connection.seal_context(candidate.generation);
        let secret = self.parts().sealer.open(&candidate.sealed, &context).await;
        match secret {
            Ok(secret) => Ok(Access::new(connection, candidate.generation, secret)),
            Err(error) => Err(self.unopened(connection, &error).await),
        }
    }

    /// What it means that the candidate can't be opened. One that this process has no key for may be for another
    /// one, and locks nobody out, as long as there is a key for the secret in use.
    async fn unopened(&self, connection: &Connection, error: &SealError) -> Failure {
        let failure = Failure::from(error).passing();
        let Some(secrets) = connection.secrets().filter(|_| !error.is_transient()) else {
            return failure;
        };
        match self.open(connection, &secrets.current).await {
            Err(error) => Failure::from(&error),
            Ok(_) => failure,
        }
    }

    pub(super) async fn open(
        &self,
        connection: &Connection,
        held: &Held,
    ) -> Result<Secret, SealError> {
        let context = connection.seal_context(held.generation);
        self.parts().sealer.open(&held.sealed, &context).await
    }
}
