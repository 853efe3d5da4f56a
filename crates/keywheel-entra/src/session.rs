use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::TimeDelta;
use keywheel_connection::{Access, Connection, ConnectionId, Credential};
use keywheel_core::{
    AccessToken, ClientId, ClientSecret, Clock, Cloud, CredentialError, CredentialErrorKind,
    Entropy, HttpSend, RetryPolicy, TenantId, TokenCredential, TokenRequest,
};
use keywheel_credentials::{
    CertificateCredential, ClientSecretCredential, ClientSecrets, TokenEndpoint,
};
use keywheel_graph::{GraphClient, Traffic, TrafficLimits};

use crate::access::Watched;
use crate::{CertificateFile, TenantAccess, refusal};

/// How many connections' tokens are kept. Beyond, all are forgotten: a token more is a request more.
const LIMIT: usize = 4096;

/// What a process has open towards Entra: the tokens and Graph client of each connection's generations.
#[derive(Debug)]
pub(crate) struct Sessions {
    http: Arc<dyn HttpSend>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    limits: TrafficLimits,
    open: Mutex<HashMap<ConnectionId, Vec<(u64, Session)>>>,
    /// What each application asks of each tenant, whichever connection it is for.
    traffic: Mutex<HashMap<(Cloud, TenantId, ClientId), Traffic>>,
}

/// One generation of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) graph: GraphClient,
    credential: Arc<ProvenCredential>,
}

impl Sessions {
    pub(crate) fn new(
        http: Arc<dyn HttpSend>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            http,
            clock,
            entropy,
            limits: TrafficLimits::default(),
            open: Mutex::default(),
            traffic: Mutex::default(),
        }
    }

    /// Returns the same, with nothing open yet, and with other limits.
    pub(crate) fn with_limits(&self, limits: TrafficLimits) -> Self {
        Self {
            limits,
            ..Self::new(
                Arc::clone(&self.http),
                Arc::clone(&self.clock),
                Arc::clone(&self.entropy),
            )
        }
    }

    /// Returns a client that keeps the date of the last answer.
    pub(crate) fn watched(&self) -> Watched {
        Watched::new(Arc::clone(&self.http))
    }

    /// Returns the token endpoint of who authenticates, asked over `http`.
    pub(crate) fn endpoint(
        &self,
        http: impl HttpSend + 'static,
        access: &Access<'_>,
    ) -> TokenEndpoint {
        let connection = access.by;
        TokenEndpoint::new(http, &connection.cloud, &connection.tenant)
            .with_clock(Arc::clone(&self.clock))
            .with_entropy(Arc::clone(&self.entropy))
    }

    /// Returns the session of the generation in `access`, with this token to begin with.
    pub(crate) fn seed(
        &self,
        access: &Access<'_>,
        token: AccessToken,
    ) -> Result<(), CredentialError> {
        *self.get(access)?.credential.proven() = Some(token);
        Ok(())
    }

    /// Returns the session of the generation in `access`.
    pub(crate) fn get(&self, access: &Access<'_>) -> Result<Session, CredentialError> {
        let id = access.by.id;
        let found = self.lock().get(&id).and_then(|sessions| {
            let mut sessions = sessions.iter();
            sessions.find_map(|(generation, session)| {
                (*generation == access.generation).then(|| session.clone())
            })
        });
        if let Some(session) = found {
            return Ok(session);
        }
        let session = self.make(access)?;
        let mut open = self.lock();
        if open.len() >= LIMIT {
            open.clear();
        }
        let sessions = open.entry(id).or_default();
        // The current and the next generation are in use at one time, older ones never again.
        sessions.retain(|(generation, _)| generation + 1 == access.generation);
        sessions.push((access.generation, session.clone()));
        Ok(session)
    }

    /// Closes what is open for a connection: its tokens and secrets leave the memory with the last call.
    pub(crate) fn forget(&self, id: ConnectionId) {
        self.lock().remove(&id);
    }

    fn make(&self, access: &Access<'_>) -> Result<Session, CredentialError> {
        let inner: Arc<dyn TokenCredential> = match &access.by.credential {
            Credential::Certificate(_) => Arc::new(self.by_certificate(access)?),
            _ => Arc::new(self.by_secret(access)?),
        };
        let credential = Arc::new(ProvenCredential {
            proven: Mutex::default(),
            inner,
            clock: Arc::clone(&self.clock),
        });
        let graph = GraphClient::new(
            Arc::clone(&self.http),
            Arc::clone(&credential),
            &access.by.cloud,
        )
        .with_clock(Arc::clone(&self.clock))
        .with_entropy(Arc::clone(&self.entropy))
        .with_retry(retry())
        .with_traffic(self.traffic(access.by));
        Ok(Session { graph, credential })
    }

    fn by_secret(&self, access: &Access<'_>) -> Result<ClientSecretCredential, CredentialError> {
        let mut secrets =
            ClientSecrets::new(secret(&access.secret)?).with_generation(access.generation);
        if let Some(previous) = &access.previous {
            // The record says how long it is held; the directory says how long it is accepted.
            let until = self.clock.now() + TimeDelta::days(365);
            secrets = secrets.with_previous(secret(previous)?, until);
        }
        let endpoint = self.endpoint(Arc::clone(&self.http), access);
        let client = access.by.client;
        Ok(ClientSecretCredential::new(endpoint, client, secrets))
    }

    fn by_certificate(
        &self,
        access: &Access<'_>,
    ) -> Result<CertificateCredential, CredentialError> {
        let certificate = CertificateFile::stored(&access.secret)?;
        let endpoint = self.endpoint(Arc::clone(&self.http), access);
        CertificateCredential::new(endpoint, access.by.client, certificate)
            .map_err(refusal::certificate)
    }

    /// Returns the same access as [`get`](Self::get), to be looked at.
    pub(crate) fn access(&self, access: &Access<'_>) -> Result<TenantAccess, CredentialError> {
        let (by, credential) = (access.by, self.get(access)?.credential);
        let looked = TenantAccess::new(
            Arc::clone(&self.http),
            credential,
            &by.cloud,
            &by.tenant,
            by.client,
        );
        Ok(looked
            .with_clock(Arc::clone(&self.clock))
            .with_entropy(Arc::clone(&self.entropy))
            .with_retry(retry())
            .with_traffic(self.traffic(by)))
    }

    fn traffic(&self, by: &Connection) -> Traffic {
        let key = (by.cloud.clone(), by.tenant.clone(), by.client);
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        if traffic.len() >= LIMIT {
            traffic.clear();
        }
        let made = || Traffic::new(self.limits);
        traffic.entry(key).or_insert_with(made).clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionId, Vec<(u64, Session)>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine tries again by itself, and durably: a step is not to last long.
fn retry() -> RetryPolicy {
    let mut retry = RetryPolicy::default();
    retry.max_attempts = 3;
    retry.max_elapsed = std::time::Duration::from_secs(15);
    retry
}

fn secret(secret: &keywheel_core::Secret) -> Result<ClientSecret, CredentialError> {
    ClientSecret::new(secret.clone()).map_err(|error| {
        CredentialError::new(CredentialErrorKind::InvalidConfiguration, error.to_string())
    })
}

/// A credential that begins with the token of its proof, so that a rotation asks for no token twice.
#[derive(Debug)]
pub(crate) struct ProvenCredential {
    proven: Mutex<Option<AccessToken>>,
    inner: Arc<dyn TokenCredential>,
    clock: Arc<dyn Clock>,
}

impl ProvenCredential {
    fn proven(&self) -> MutexGuard<'_, Option<AccessToken>> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TokenCredential for ProvenCredential {
    async fn get_token(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        match self.cached_token(request) {
            Some(token) => Ok(token),
            None => self.inner.get_token(request).await,
        }
    }

    /// The engine asks for one scope only, so the proof's token fits every plain request.
    fn cached_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        let soon = self.clock.now() + TimeDelta::minutes(5);
        let plain = request.claims.is_none() && request.rejected.is_none();
        let proven = self.proven().clone();
        proven
            .filter(|token| plain && token.expires_on > soon)
            .or_else(|| self.inner.cached_token(request))
    }
}
