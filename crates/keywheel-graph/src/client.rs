mod claims;
mod root;
mod send;

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use keywheel_core::{
    Clock, Cloud, Entropy, HttpSend, RequestIds, RetryPolicy, SystemClock, SystemEntropy,
    TokenCredential, TokenRequest,
};

use self::root::Root;
use crate::application::ApplicationClient;
use crate::batch::Batch;
use crate::service_principal::ServicePrincipalClient;
use crate::{
    Application, ApplicationKey, GraphError, ListOptions, Organization, Pages, ServicePrincipal,
    ServicePrincipalKey, Traffic, User,
};

/// A client of Microsoft Graph v1.0, with the tokens of one credential.
///
/// Clones share everything.
#[derive(Clone)]
pub struct GraphClient(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    http: Arc<dyn HttpSend>,
    credential: Arc<dyn TokenCredential>,
    root: Root,
    token: TokenRequest,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    ids: RequestIds,
    retry: RetryPolicy,
    traffic: Traffic,
}

impl GraphClient {
    /// Returns a client of the Graph of `cloud`.
    #[must_use]
    pub fn new(
        http: impl HttpSend + 'static,
        credential: impl TokenCredential + 'static,
        cloud: &Cloud,
    ) -> Self {
        Self(Arc::new(Inner {
            http: Arc::new(http),
            credential: Arc::new(credential),
            root: Root::new(cloud),
            token: TokenRequest::new(cloud.graph_scope()),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy::new()),
            ids: RequestIds::default(),
            retry: RetryPolicy::default(),
            traffic: Traffic::default(),
        }))
    }

    /// Sets the clock that dates in `Retry-After` are compared with.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock + 'static) -> Self {
        Arc::make_mut(&mut self.0).clock = Arc::new(clock);
        self
    }

    /// Sets where request ids and jitter come from.
    #[must_use]
    pub fn with_entropy(mut self, entropy: impl Entropy + 'static) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.entropy = Arc::new(entropy);
        inner.ids = RequestIds::default();
        self
    }

    /// Sets how often a request is sent that may be sent again.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        Arc::make_mut(&mut self.0).retry = retry;
        self
    }

    /// Sets the account that this client's requests are counted in. Default: one of its own.
    #[must_use]
    pub fn with_traffic(mut self, traffic: Traffic) -> Self {
        Arc::make_mut(&mut self.0).traffic = traffic;
        self
    }

    /// Returns the account that this client's requests are counted in.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.0.traffic
    }

    /// Returns the calls on one application.
    #[must_use]
    pub fn application(&self, key: impl Into<ApplicationKey>) -> ApplicationClient<'_> {
        ApplicationClient::new(self, key.into())
    }

    /// Lists the applications of the tenant.
    ///
    /// With `Application.ReadWrite.OwnedBy` alone Graph refuses it: list the
    /// [owned objects](ServicePrincipalClient::owned_objects) instead.
    /// <https://learn.microsoft.com/graph/api/application-list>
    #[must_use]
    pub fn applications(&self, options: &ListOptions) -> Pages<Application> {
        Pages::new(self, crate::application::list(options))
    }

    /// Returns the calls on one service principal.
    #[must_use]
    pub fn service_principal(
        &self,
        key: impl Into<ServicePrincipalKey>,
    ) -> ServicePrincipalClient<'_> {
        ServicePrincipalClient::new(self, key.into())
    }

    /// Lists the service principals of the tenant.
    /// <https://learn.microsoft.com/graph/api/serviceprincipal-list>
    #[must_use]
    pub fn service_principals(&self, options: &ListOptions) -> Pages<ServicePrincipal> {
        Pages::new(self, crate::service_principal::list(options))
    }

    /// Returns a batch of requests, to be filled.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Reads the signed-in user. <https://learn.microsoft.com/graph/api/user-get>
    ///
    /// # Errors
    ///
    /// With an application's own token: [`DelegatedOnly`](crate::Refusal::DelegatedOnly).
    pub async fn me(&self) -> Result<User, GraphError> {
        self.json(&crate::tenant::me()).await
    }

    /// Reads the tenant. <https://learn.microsoft.com/graph/api/organization-list>
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    pub async fn organization(&self) -> Result<Organization, GraphError> {
        let mut pages = Pages::<Organization>::new(self, crate::tenant::organization());
        let page = pages.next().await?;
        page.and_then(|page| page.value.into_iter().next())
            .ok_or_else(|| {
                GraphError::protocol("Microsoft Graph showed no organization; report it")
            })
    }

    pub(crate) fn base(&self) -> &str {
        self.0.root.as_str()
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        &*self.0.entropy
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.0.clock.now()
    }

    pub(crate) fn retry(&self) -> &RetryPolicy {
        &self.0.retry
    }
}

impl fmt::Debug for GraphClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphClient")
            .field("base", &self.base())
            .finish_non_exhaustive()
    }
}
