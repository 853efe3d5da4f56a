use async_trait::async_trait;
use chrono::{DateTime, Utc};
use keywheel_connection::{Connection, ConnectionId, Held, Secrets};
use keywheel_core::{ClientSecret, CredentialError};
use keywheel_credentials::{ClientSecrets, SecretSource};

use crate::parts::{EntraParts, invalid};

/// The store as the place where the newest secret is.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) id: ConnectionId,
    pub(super) parts: EntraParts,
}

#[async_trait]
impl SecretSource for Source {
    async fn newest(&self) -> Result<ClientSecrets, CredentialError> {
        let connection = self.parts.load(self.id).await?.connection;
        let Some(held) = connection.secrets() else {
            return Err(invalid(
                "the connection does not authenticate with a client secret any more; load its credential anew",
            ));
        };
        self.secrets(&connection, held).await
    }
}

impl Source {
    pub(super) async fn secrets(
        &self,
        connection: &Connection,
        held: &Secrets,
    ) -> Result<ClientSecrets, CredentialError> {
        let current = self.open(connection, &held.current).await?;
        let mut secrets = ClientSecrets::new(current).with_generation(held.current.generation);
        if let Some(previous) = &held.previous
            && let Some(until) = grace_end(connection, previous)
            && let Ok(previous) = self.open(connection, previous).await
        {
            secrets = secrets.with_previous(previous, until);
        }
        Ok(secrets)
    }

    async fn open(
        &self,
        connection: &Connection,
        held: &Held,
    ) -> Result<ClientSecret, CredentialError> {
        let context = connection.seal_context(held.generation);
        let secret = self.parts.open(&held.sealed, &context).await?;
        ClientSecret::new(secret).map_err(|error| invalid(error.to_string()))
    }
}

fn grace_end(connection: &Connection, previous: &Held) -> Option<DateTime<Utc>> {
    let debts = &connection.rotation.as_ref()?.debts;
    let debt = debts
        .iter()
        .find(|debt| Some(debt.key_id) == previous.key_id)?;
    Some(debt.due)
}
