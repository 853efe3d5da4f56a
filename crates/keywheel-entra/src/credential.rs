use std::sync::Arc;

use async_trait::async_trait;
use keywheel_connection::{
    Connection, ConnectionId, ConnectionStore, Held, SealError, Sealer, StoreError,
};
use keywheel_core::{
    AccessToken, ClientSecret, Clock, CredentialError, CredentialErrorKind, Entropy, HttpSend,
    TokenCredential, TokenRequest,
};
use keywheel_credentials::{ClientSecretCredential, ClientSecrets, SecretSource, TokenEndpoint};

/// The tokens of a stored connection.
///
/// It holds the secret that was current when it was made, and looks into the store when Entra refuses
/// it: so it follows rotations of any process, and never writes to the record.
#[derive(Clone, Debug)]
pub struct ConnectionCredential(ClientSecretCredential);

impl ConnectionCredential {
    /// Loads the connection and opens its secret.
    ///
    /// # Errors
    ///
    /// Returns an error of kind `InvalidConfiguration` when there is no such connection or its secret
    /// can't be opened, and of kind `Unavailable` when the store does not answer.
    pub async fn load(
        id: ConnectionId,
        store: Arc<dyn ConnectionStore>,
        sealer: Arc<dyn Sealer>,
        http: Arc<dyn HttpSend>,
        (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
    ) -> Result<Self, CredentialError> {
        let source = Source { id, store, sealer };
        let connection = source.connection().await?;
        let secrets = source.secrets(&connection).await?;
        let endpoint = TokenEndpoint::new(http, &connection.cloud, &connection.tenant)
            .with_clock(clock)
            .with_entropy(entropy);
        Ok(Self(ClientSecretCredential::with_source(
            endpoint,
            connection.client,
            secrets,
            source,
        )))
    }

    /// Returns the generation of the secret in use.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation()
    }
}

#[async_trait]
impl TokenCredential for ConnectionCredential {
    async fn get_token(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        self.0.get_token(request).await
    }

    fn cached_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.0.cached_token(request)
    }
}

/// The store as the place where the newest secret is.
#[derive(Debug)]
struct Source {
    id: ConnectionId,
    store: Arc<dyn ConnectionStore>,
    sealer: Arc<dyn Sealer>,
}

#[async_trait]
impl SecretSource for Source {
    async fn newest(&self) -> Result<ClientSecrets, CredentialError> {
        self.secrets(&self.connection().await?).await
    }
}

impl Source {
    async fn connection(&self) -> Result<Connection, CredentialError> {
        let stored = self.store.load(self.id).await.map_err(from_store)?;
        let stored = stored.ok_or_else(|| from_store(StoreError::not_found()))?;
        Ok(stored.connection)
    }

    async fn secrets(&self, connection: &Connection) -> Result<ClientSecrets, CredentialError> {
        let Some(held) = connection.secrets() else {
            return Err(CredentialError::new(
                CredentialErrorKind::InvalidConfiguration,
                "the connection does not authenticate with a client secret",
            ));
        };
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
        let opened = self.sealer.open(&held.sealed, &context).await;
        let secret = opened.map_err(from_seal)?;
        ClientSecret::new(secret).map_err(|error| {
            CredentialError::new(CredentialErrorKind::InvalidConfiguration, error.to_string())
        })
    }
}

fn grace_end(connection: &Connection, previous: &Held) -> Option<chrono::DateTime<chrono::Utc>> {
    let debts = &connection.rotation.as_ref()?.debts;
    let debt = debts
        .iter()
        .find(|debt| Some(debt.key_id) == previous.key_id)?;
    Some(debt.due)
}

fn from_store(error: StoreError) -> CredentialError {
    let kind = if error.is_transient() {
        CredentialErrorKind::Unavailable
    } else {
        CredentialErrorKind::InvalidConfiguration
    };
    CredentialError::new(kind, error.to_string()).with_source(error)
}

fn from_seal(error: SealError) -> CredentialError {
    let kind = if error.is_transient() {
        CredentialErrorKind::Unavailable
    } else {
        CredentialErrorKind::InvalidConfiguration
    };
    CredentialError::new(kind, error.to_string()).with_source(error)
}
