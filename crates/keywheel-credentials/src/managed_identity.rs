use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use keywheel_core::{
    AccessToken, ClientId, Clock, CredentialError, CredentialErrorKind, HttpSend, RetryPolicy,
    Scope, Secret, ServicePrincipalObjectId, SystemClock, SystemEntropy, TokenCredential,
    TokenRequest, TransportError, retry_after,
};
use serde_json::Value;
use tracing::debug;
use url::Url;

use crate::patience::Patience;
use crate::token_cache::{TokenCache, TokenSource};
use crate::token_endpoint::Grant;
use crate::wording::Description;

/// Gets tokens for the identity that Azure gave to a machine: no secret at all.
///
/// See <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview>. Clones
/// are handles to one credential with one cache.
///
/// ```
/// use keywheel_core::HttpSend;
/// use keywheel_credentials::{ManagedIdentity, ManagedIdentityCredential};
///
/// fn connect(http: impl HttpSend + 'static) -> Result<ManagedIdentityCredential, Box<dyn std::error::Error>> {
///     let identity = ManagedIdentity::imds().with_client_id("11111111-2222-3333-4444-555555555555".parse()?);
///     Ok(ManagedIdentityCredential::new(http, identity))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ManagedIdentityCredential {
    tokens: TokenCache<Source>,
}

/// Which identity it is, and who gives out its tokens.
#[derive(Clone, Debug)]
pub struct ManagedIdentity {
    giver: Giver,
    identity: Option<(Key, String)>,
}

#[derive(Clone, Debug)]
enum Giver {
    AppService { endpoint: Url, header: Secret },
    Imds,
}

/// What an identity is named by.
#[derive(Clone, Copy, Debug)]
enum Key {
    Client,
    Object,
    Resource,
}

/// The address of the instance metadata service, the same on every virtual machine.
const IMDS: &str = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01";

impl ManagedIdentity {
    /// Returns the identity of a virtual machine, a scale set, or a cluster's node.
    #[must_use]
    pub fn imds() -> Self {
        Self {
            giver: Giver::Imds,
            identity: None,
        }
    }

    /// Returns the identity of an App Service, a Function or a Container App: `endpoint` and `header` are
    /// what they find in `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`.
    #[must_use]
    pub fn app_service(endpoint: Url, header: Secret) -> Self {
        Self {
            giver: Giver::AppService { endpoint, header },
            identity: None,
        }
    }

    /// Chooses the user-assigned identity with this client id. Default: the system-assigned one.
    #[must_use]
    pub fn with_client_id(self, id: ClientId) -> Self {
        self.named(Key::Client, id.to_string())
    }

    /// Chooses the user-assigned identity with this object id.
    #[must_use]
    pub fn with_object_id(self, id: ServicePrincipalObjectId) -> Self {
        self.named(Key::Object, id.to_string())
    }

    /// Chooses the user-assigned identity with this Azure resource id,
    /// `/subscriptions/…/userAssignedIdentities/…`.
    #[must_use]
    pub fn with_resource_id(self, id: impl Into<String>) -> Self {
        self.named(Key::Resource, id.into())
    }

    fn named(mut self, key: Key, id: String) -> Self {
        self.identity = Some((key, id));
        self
    }
}

impl ManagedIdentityCredential {
    /// Returns the credential of `identity`, asked over `http`.
    #[must_use]
    pub fn new(http: impl HttpSend + 'static, identity: ManagedIdentity) -> Self {
        Self::with_clock(http, identity, SystemClock::new())
    }

    /// Returns the credential of `identity`, by a clock other than the system's.
    #[must_use]
    pub fn with_clock(
        http: impl HttpSend + 'static,
        identity: ManagedIdentity,
        clock: impl Clock + 'static,
    ) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let source = Source {
            http: Arc::new(http),
            clock: Arc::clone(&clock),
            entropy: SystemEntropy::new(),
            retry: RetryPolicy::default(),
            identity,
        };
        Self {
            tokens: TokenCache::new(source, &clock),
        }
    }
}

#[async_trait]
impl TokenCredential for ManagedIdentityCredential {
    async fn get_token(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        self.tokens.get(request).await
    }

    fn cached_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.tokens.cached(request)
    }
}

#[derive(Debug)]
struct Source {
    http: Arc<dyn HttpSend>,
    clock: Arc<dyn Clock>,
    entropy: SystemEntropy,
    retry: RetryPolicy,
    identity: ManagedIdentity,
}

impl TokenSource for Source {
    async fn fetch(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        let resource = resource(&request.scopes)?;
        let mut patience = Patience::new(&self.retry, &self.entropy);
        loop {
            let error = match self.attempt(resource).await {
                Ok(token) => return Ok(token),
                Err(error) => error,
            };
            if !error.is_transient() || !patience.lasts_after(&error).await {
                return Err(error);
            }
        }
    }
}

impl Source {
    async fn attempt(&self, resource: &str) -> Result<AccessToken, CredentialError> {
        let sent_at = self.clock.now();
        let request = self.identity.request(resource)?;
        let answer = self.http.send(request).await;
        let (head, body) = answer.map_err(|error| self.no_answer(error))?.into_parts();
        debug!(status = head.status.as_u16(), "managed_identity.answer");
        if head.status.is_success() {
            let grant = Grant::read(&body, sent_at).map_err(flawed)?;
            return Ok(grant.token);
        }
        let asked = retry_after(&head.headers, sent_at);
        Err(refused(head.status, &body).with_retry_after(asked))
    }

    /// Outside Azure nobody answers at the address of the metadata service.
    fn no_answer(&self, error: TransportError) -> CredentialError {
        let (kind, message) = match self.identity.giver {
            Giver::Imds if error.is_unsent() => (
                CredentialErrorKind::NotConfigured,
                "there is no managed identity here: this is not an Azure machine, or a firewall or proxy keeps \
                 169.254.169.254 away",
            ),
            _ => (
                CredentialErrorKind::Transport,
                "the managed identity endpoint gave no whole answer: try again",
            ),
        };
        CredentialError::new(kind, message).with_source(error)
    }
}

impl ManagedIdentity {
    fn request(&self, resource: &str) -> Result<Request<Bytes>, CredentialError> {
        let mut url = match &self.giver {
            Giver::AppService { endpoint, .. } => endpoint.clone(),
            Giver::Imds => Url::parse(IMDS).map_err(misplaced)?,
        };
        let mut query = url.query_pairs_mut();
        if let Giver::AppService { .. } = self.giver {
            query.append_pair("api-version", "2019-08-01");
        }
        query.append_pair("resource", resource);
        if let Some((key, id)) = &self.identity {
            query.append_pair(self.giver.parameter(*key), id);
        }
        drop(query);
        let request = Request::get(url.as_str());
        let request = match &self.giver {
            Giver::AppService { header, .. } => {
                let mut header = HeaderValue::from_str(header.expose()).map_err(misplaced)?;
                header.set_sensitive(true);
                request.header("x-identity-header", header)
            }
            Giver::Imds => request.header("metadata", "true"),
        };
        request.body(Bytes::new()).map_err(misplaced)
    }
}

impl Giver {
    fn parameter(&self, key: Key) -> &'static str {
        match (key, self) {
            (Key::Client, _) => "client_id",
            (Key::Object, Self::Imds) => "object_id",
            (Key::Object, Self::AppService { .. }) => "principal_id",
            (Key::Resource, Self::Imds) => "msi_res_id",
            (Key::Resource, Self::AppService { .. }) => "mi_res_id",
        }
    }
}

/// Managed identities are asked for a resource, which is a scope without `/.default`.
fn resource(scopes: &[Scope]) -> Result<&str, CredentialError> {
    match scopes {
        [scope] => {
            let scope = scope.as_str();
            Ok(scope.strip_suffix("/.default").unwrap_or(scope))
        }
        _ => {
            let message =
                "a managed identity gets tokens for one resource: ask for one `/.default` scope";
            let kind = CredentialErrorKind::InvalidConfiguration;
            Err(CredentialError::new(kind, message))
        }
    }
}

fn refused(status: StatusCode, body: &[u8]) -> CredentialError {
    let code = status.as_u16();
    let (kind, then) = match status {
        StatusCode::TOO_MANY_REQUESTS => {
            (CredentialErrorKind::Throttled, "wait before asking again")
        }
        // While a machine starts the service answers these
        // (https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token).
        StatusCode::NOT_FOUND | StatusCode::REQUEST_TIMEOUT | StatusCode::GONE => {
            (CredentialErrorKind::Unavailable, "try again later")
        }
        status if status.is_server_error() => (CredentialErrorKind::Unavailable, "try again later"),
        _ => (
            CredentialErrorKind::Denied,
            "assign the identity to this machine, and check its id",
        ),
    };
    let message = format!("the managed identity endpoint answered {code}: {then}");
    let error = CredentialError::new(kind, message);
    match description(body) {
        Some(description) => error.with_source(description),
        None => error,
    }
}

fn description(body: &[u8]) -> Option<Description> {
    let body: Value = serde_json::from_slice(body.get(..16 << 10).unwrap_or(body)).ok()?;
    let text = body
        .get("error_description")
        .or_else(|| body.get("message"));
    let description = Description::of(text?.as_str()?);
    (!description.is_empty()).then_some(description)
}

fn flawed(flaw: &str) -> CredentialError {
    let message =
        format!("the managed identity endpoint's answer {flaw}: look who answers in its place");
    CredentialError::new(CredentialErrorKind::Protocol, message)
}

fn misplaced(error: impl std::error::Error + Send + Sync + 'static) -> CredentialError {
    let message = "the managed identity endpoint can't be asked: check its address and header";
    CredentialError::new(CredentialErrorKind::InvalidConfiguration, message).with_source(error)
}

#[cfg(test)]
mod tests {
    use keywheel_core::{Report, TransportErrorKind};
    use serde_json::json;

    use super::*;
    use crate::test_support::{Answer, Fields, Service, TokioClock, graph, reply};

    fn credential<F: Fn(usize, &Fields) -> Answer + Send + Sync + 'static>(
        service: &Arc<Service<F>>,
        identity: ManagedIdentity,
    ) -> ManagedIdentityCredential {
        ManagedIdentityCredential::with_clock(Arc::clone(service), identity, TokioClock::new())
    }

    fn app_service() -> ManagedIdentity {
        let endpoint = "http://127.0.0.1:41/msi/token".parse().unwrap();
        ManagedIdentity::app_service(endpoint, Secret::new("s3cr3t-header"))
    }

    fn given(_: usize, _: &Fields) -> Answer {
        let end = (crate::test_support::noon() + chrono::TimeDelta::hours(24)).timestamp();
        reply(
            200,
            json!({"access_token": "t", "expires_on": end.to_string(), "token_type": "Bearer"}),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn the_metadata_service_is_asked_as_documented() {
        let service = Service::new(given);
        let identity = ManagedIdentity::imds().with_client_id(crate::test_support::client_id());
        let token = credential(&service, identity)
            .get_token(&graph())
            .await
            .unwrap();

        assert_eq!(
            token.expires_on,
            crate::test_support::noon() + chrono::TimeDelta::hours(24)
        );
        service.with_request(0, |request| {
            assert_eq!(request.method(), "GET");
            assert_eq!(request.headers()["metadata"], "true");
            assert_eq!(
                request.uri(),
                "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01\
                 &resource=https%3A%2F%2Fgraph.microsoft.com&client_id=11111111-2222-3333-4444-555555555555"
            );
        });
    }

    #[tokio::test(start_paused = true)]
    async fn app_service_is_asked_as_documented() {
        let service = Service::new(given);
        let identity = app_service().with_resource_id("/subscriptions/1/x");
        credential(&service, identity)
            .get_token(&graph())
            .await
            .unwrap();

        service.with_request(0, |request| {
            assert_eq!(request.headers()["x-identity-header"], "s3cr3t-header");
            assert_eq!(
                request.uri(),
                "http://127.0.0.1:41/msi/token?api-version=2019-08-01\
                 &resource=https%3A%2F%2Fgraph.microsoft.com&mi_res_id=%2Fsubscriptions%2F1%2Fx"
            );
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_starting_is_asked_again() {
        let service = Service::new(|number: usize, form: &Fields| match number {
            0 => reply(404, ""),
            1 => reply(410, ""),
            2 => reply(500, ""),
            3 => Err(TransportError::new(TransportErrorKind::Interrupt)),
            _ => given(number, form),
        });

        let token = credential(&service, ManagedIdentity::imds())
            .get_token(&graph())
            .await;

        assert!(token.is_ok(), "{token:?}");
        assert_eq!(service.count(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn outside_azure_it_is_not_configured_and_not_asked_again() {
        let service = Service::new(|_: usize, _: &Fields| {
            Err(TransportError::new(TransportErrorKind::Connect))
        });
        let error = credential(&service, ManagedIdentity::imds())
            .get_token(&graph())
            .await;

        assert_eq!(
            error.unwrap_err().kind(),
            CredentialErrorKind::NotConfigured
        );
        assert_eq!(service.count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_identity_that_is_not_assigned_is_denied_with_the_services_words() {
        let service = Service::new(|_: usize, _: &Fields| {
            reply(
                400,
                json!({"error": "invalid_request", "error_description": "Identity not found"}),
            )
        });
        let error = credential(&service, app_service())
            .get_token(&graph())
            .await
            .unwrap_err();

        assert_eq!(error.kind(), CredentialErrorKind::Denied);
        let chain = Report(&error).to_string();
        assert!(chain.contains("Identity not found"), "{chain}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_for_two_resources_is_not_asked_for() {
        let service = Service::new(given);
        let mut request = graph();
        request
            .scopes
            .push("https://vault.azure.net/.default".parse().unwrap());

        let error = credential(&service, app_service())
            .get_token(&request)
            .await
            .unwrap_err();

        assert_eq!(error.kind(), CredentialErrorKind::InvalidConfiguration);
        assert_eq!(service.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn debug_shows_no_secret() {
        let service = Service::new(given);
        let credential = credential(&service, app_service());
        credential.get_token(&graph()).await.unwrap();

        let shown = format!("{credential:?} {:?}", app_service());
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}
