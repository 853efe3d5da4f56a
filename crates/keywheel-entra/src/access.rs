use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::{Request, Response};
use keywheel_connection::ConnectionId;
use keywheel_core::{
    AccessToken, ClientId, Clock, Cloud, CredentialError, Entropy, HttpSend, RetryPolicy,
    SystemClock, SystemEntropy, TenantId, TokenCredential, TokenRequest, TransportError,
    answered_at,
};
use keywheel_credentials::TokenEndpoint;
use keywheel_graph::{GraphClient, Traffic};

use crate::{ConnectionCredential, EntraParts};

/// A way into one tenant that is to be looked at: an application and any credential that gets tokens for
/// it, of its own or of a user who signed in.
///
/// [`preflight`](Self::preflight) says what it may do, [`validate`](Self::validate) whether it works, and
/// [`expiries`](Self::expiries) which credentials end when. Nothing here changes anything.
#[derive(Clone, Debug)]
pub struct TenantAccess {
    pub(crate) cloud: Cloud,
    pub(crate) tenant: TenantId,
    pub(crate) client: ClientId,
    credential: Arc<dyn TokenCredential>,
    http: Watched,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    retry: RetryPolicy,
    traffic: Traffic,
}

impl TenantAccess {
    /// Returns the access of `client` to `tenant` by `credential`.
    #[must_use]
    pub fn new(
        http: impl HttpSend + 'static,
        credential: impl TokenCredential + 'static,
        cloud: &Cloud,
        tenant: &TenantId,
        client: ClientId,
    ) -> Self {
        Self {
            cloud: cloud.clone(),
            tenant: tenant.clone(),
            client,
            credential: Arc::new(credential),
            http: Watched::new(Arc::new(http)),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy::new()),
            retry: RetryPolicy::default(),
            traffic: Traffic::default(),
        }
    }

    /// Returns the access of a stored connection, by what it authenticates with.
    ///
    /// # Errors
    ///
    /// As [`ConnectionCredential::load`].
    pub async fn load(id: ConnectionId, parts: EntraParts) -> Result<Self, CredentialError> {
        let connection = parts.load(id).await?.connection;
        let credential = ConnectionCredential::load(id, parts.clone()).await?;
        let (cloud, tenant) = (&connection.cloud, &connection.tenant);
        let access = Self::new(parts.http, credential, cloud, tenant, connection.client);
        Ok(access.with_clock(parts.clock).with_entropy(parts.entropy))
    }

    /// Sets the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets where request ids and jitter come from.
    #[must_use]
    pub fn with_entropy(mut self, entropy: impl Entropy + 'static) -> Self {
        self.entropy = Arc::new(entropy);
        self
    }

    /// Sets how often a request is sent.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the account that requests are counted in.
    #[must_use]
    pub fn with_traffic(mut self, traffic: Traffic) -> Self {
        self.traffic = traffic;
        self
    }

    /// Returns the same way in by another credential.
    pub(crate) fn by(&self, credential: impl TokenCredential + 'static) -> Self {
        Self {
            credential: Arc::new(credential),
            ..self.clone()
        }
    }

    pub(crate) fn endpoint(&self) -> TokenEndpoint {
        TokenEndpoint::new(self.http.clone(), &self.cloud, &self.tenant)
            .with_clock(Arc::clone(&self.clock))
            .with_entropy(Arc::clone(&self.entropy))
    }

    pub(crate) fn graph(&self) -> GraphClient {
        GraphClient::new(self.http.clone(), Arc::clone(&self.credential), &self.cloud)
            .with_clock(Arc::clone(&self.clock))
            .with_entropy(Arc::clone(&self.entropy))
            .with_retry(self.retry)
            .with_traffic(self.traffic.clone())
    }

    pub(crate) async fn token(&self) -> Result<AccessToken, CredentialError> {
        let request = TokenRequest::new(self.cloud.graph_scope());
        self.credential.get_token(&request).await
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Returns how far our clock is ahead of Graph's, to the second, by its last answer.
    pub(crate) fn skew(&self) -> Option<TimeDelta> {
        self.http.date().map(|date| self.now() - date)
    }
}

/// A token that is at hand.
#[derive(Clone, Debug)]
pub(crate) struct Given(pub(crate) AccessToken);

#[async_trait]
impl TokenCredential for Given {
    async fn get_token(&self, _: &TokenRequest) -> Result<AccessToken, CredentialError> {
        Ok(self.0.clone())
    }

    fn cached_token(&self, _: &TokenRequest) -> Option<AccessToken> {
        Some(self.0.clone())
    }
}

/// Keeps the date of the last answer.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    inner: Arc<dyn HttpSend>,
    date: Arc<Mutex<Option<DateTime<Utc>>>>,
}

impl Watched {
    pub(crate) fn new(inner: Arc<dyn HttpSend>) -> Self {
        let date = Arc::default();
        Self { inner, date }
    }

    /// Returns the date of the last answer, to the second.
    pub(crate) fn date(&self) -> Option<DateTime<Utc>> {
        *self.date.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HttpSend for Watched {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let response = self.inner.send(request).await?;
        if let Some(date) = answered_at(response.headers()) {
            *self.date.lock().unwrap_or_else(PoisonError::into_inner) = Some(date);
        }
        Ok(response)
    }
}
