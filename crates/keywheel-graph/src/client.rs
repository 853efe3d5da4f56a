use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use keywheel_core::{
    AccessToken, Clock, Cloud, Entropy, HttpSend, RetryPolicy, SystemClock, SystemEntropy,
    TokenCredential, TokenRequest, retry_after,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::application::{ApplicationClient, ApplicationKey};
use crate::{GraphError, GraphErrorKind};

/// A client of Microsoft Graph v1.0, with the tokens of one credential.
///
/// Clones share everything.
#[derive(Clone)]
pub struct GraphClient(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    http: Arc<dyn HttpSend>,
    credential: Arc<dyn TokenCredential>,
    root: Url,
    token: TokenRequest,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    retry: RetryPolicy,
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
            root: cloud.graph().clone(),
            token: TokenRequest::new(cloud.graph_scope()),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy::new()),
            retry: RetryPolicy::default(),
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
        Arc::make_mut(&mut self.0).entropy = Arc::new(entropy);
        self
    }

    /// Sets how often a request is sent that may be sent again.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        Arc::make_mut(&mut self.0).retry = retry;
        self
    }

    /// Returns the calls on one application.
    #[must_use]
    pub fn application(&self, key: impl Into<ApplicationKey>) -> ApplicationClient<'_> {
        ApplicationClient::new(self, key.into())
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, GraphError> {
        let response = self.send(call).await?;
        serde_json::from_slice(response.body())
            .map_err(|_| GraphError::unreadable(response.status(), response.headers()))
    }

    /// Sends a call until it succeeds, may not be sent again, or the retry policy gives up.
    pub(crate) async fn send(&self, call: Call) -> Result<Response<Bytes>, GraphError> {
        let started = Instant::now();
        let (mut attempts, mut wait) = (0, Duration::ZERO);
        loop {
            attempts += 1;
            let error = match self.authenticated(&call).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if !call.may_repeat(&error) {
                return Err(error);
            }
            let next = self.0.retry.wait(
                attempts,
                started.elapsed(),
                wait,
                error.retry_after(),
                &self.0.entropy,
            );
            wait = match next {
                Some(wait) => wait,
                None => return Err(error),
            };
            tracing::debug!(attempts, ?wait, kind = ?error.kind(), code = error.code(), "graph.retry");
            sleep(wait).await;
        }
    }

    /// Sends a call once; once more with a new token when Graph does not accept the one at hand.
    async fn authenticated(&self, call: &Call) -> Result<Response<Bytes>, GraphError> {
        let token = self.token(&self.0.token).await?;
        let response = self.once(call, &token).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.check(response);
        }
        let mut request = self.0.token.clone().rejecting(&token);
        if let Some(claims) = claims_challenge(&response) {
            request = request.with_claims(claims);
        }
        let token = self.token(&request).await?;
        let response = self.once(call, &token).await?;
        self.check(response)
    }

    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, GraphError> {
        match self.0.credential.cached_token(request) {
            Some(token) => Ok(token),
            None => self
                .0
                .credential
                .get_token(request)
                .await
                .map_err(GraphError::credential),
        }
    }

    async fn once(&self, call: &Call, token: &AccessToken) -> Result<Response<Bytes>, GraphError> {
        let request = self.request(call, token);
        self.0
            .http
            .send(request)
            .await
            .map_err(GraphError::transport)
    }

    fn check(&self, response: Response<Bytes>) -> Result<Response<Bytes>, GraphError> {
        if response.status().is_success() {
            return Ok(response);
        }
        let retry_after = retry_after(response.headers(), self.0.clock.now());
        Err(GraphError::refused(&response, retry_after))
    }

    fn request(&self, call: &Call, token: &AccessToken) -> Request<Bytes> {
        let mut request = Request::new(call.body.clone());
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = self.url(call).as_str().parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if call.method != Method::GET {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let id = self.0.entropy.uuid().to_string();
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("client-request-id", id);
        }
        let bearer = format!("Bearer {}", token.token.expose());
        if let Ok(mut bearer) = HeaderValue::from_str(&bearer) {
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        request
    }

    fn url(&self, call: &Call) -> Url {
        let mut url = self.0.root.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1.0").extend(&call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        url
    }
}

impl fmt::Debug for GraphClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphClient")
            .field("root", &self.0.root.as_str())
            .finish_non_exhaustive()
    }
}

/// A request to Graph, and whether it may be sent again.
pub(crate) struct Call {
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Bytes,
    idempotent: bool,
}

impl Call {
    pub(crate) fn read(path: Vec<String>) -> Self {
        Self {
            method: Method::GET,
            path,
            query: Vec::new(),
            body: Bytes::new(),
            idempotent: true,
        }
    }

    /// A call with an effect that a second one would repeat or obscure.
    pub(crate) fn write(path: Vec<String>, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("request bodies have only text keys");
        Self {
            method: Method::POST,
            path,
            query: Vec::new(),
            body: body.into(),
            idempotent: false,
        }
    }

    pub(crate) fn query(mut self, query: &[(&'static str, &str)]) -> Self {
        let query = query
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        self.query.extend(query);
        self
    }

    fn may_repeat(&self, error: &GraphError) -> bool {
        let unsent = error.kind() == GraphErrorKind::Transport && !error.may_have_effect();
        let token = error.kind() == GraphErrorKind::Credential;
        // The credential has tried again itself.
        !token && (unsent || (self.idempotent && error.is_transient()))
    }
}

/// Reads the claims that the next token must carry, from `WWW-Authenticate` of a 401 answer: base64 of
/// JSON. <https://learn.microsoft.com/entra/identity-platform/claims-challenge>
fn claims_challenge(response: &Response<Bytes>) -> Option<String> {
    let header = response.headers().get("www-authenticate")?.to_str().ok()?;
    let claims = header.split("claims=\"").nth(1)?.split('"').next()?;
    let json = BASE64_STANDARD.decode(claims).ok()?;
    String::from_utf8(json).ok()
}
