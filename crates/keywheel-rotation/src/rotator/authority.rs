use keywheel_connection::{Access, Candidate, Connection, Held, SealError};
use keywheel_core::Secret;

use super::Rotator;
use crate::authority::{self, Authority};
use crate::failure::Failure;

impl Rotator {
    /// Opens the secrets of who authenticates for `connection`.
    pub(super) async fn authority(&self, connection: &Connection) -> Result<Authority, Failure> {
        let authority = Authority::of(self.parts(), connection).await;
        authority.map_err(|error| Failure::from(&error))
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
        authority::open(self.parts(), connection, held).await
    }
}
