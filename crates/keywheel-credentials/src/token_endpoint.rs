#[cfg(feature = "authorization-code")]
mod document;
mod form;
mod grant;
mod refusal;

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Uri};
use keywheel_core::{
    ClientSecret, Clock, Cloud, CredentialError, CredentialErrorKind, Entropy, FreshConnection,
    HttpSend, RequestIds, RetryPolicy, SystemClock, SystemEntropy, TenantId, TransportError,
    TransportErrorKind,
};
use tracing::{Instrument, Span, debug, debug_span};
use url::Url;
use uuid::Uuid;
use zeroize::Zeroize;

use crate::assertion::ClientAssertion;
use crate::patience::Patience;

pub(crate) use self::form::{Form, GrantType};
pub(crate) use self::grant::Grant;
use self::refusal::{AGREEING, Refused, is_out_of_time, skew};

/// The token endpoint of one tenant: where the credentials of this crate get their tokens.
///
/// Clones share everything. One endpoint serves any number of credentials of its tenant.
///
/// ```
/// use keywheel_core::{Cloud, ReqwestSend};
/// use keywheel_credentials::TokenEndpoint;
///
/// let http = ReqwestSend::builder().build()?;
/// let endpoint = TokenEndpoint::new(http, &Cloud::china(), &"contoso.partner.onmschina.cn".parse()?);
/// assert_eq!(
///     endpoint.url().as_str(),
///     "https://login.partner.microsoftonline.cn/contoso.partner.onmschina.cn/oauth2/v2.0/token",
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TokenEndpoint(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    http: Arc<dyn HttpSend>,
    cloud: Cloud,
    tenant: TenantId,
    url: Url,
    /// The same, as requests have it: read once.
    uri: Option<Uri>,
    ids: RequestIds,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    retry: RetryPolicy,
    /// How many seconds our clock is ahead of Entra's, once an assertion was refused for its times.
    ahead: Arc<AtomicI64>,
}

impl TokenEndpoint {
    /// Returns the token endpoint that `tenant` has in `cloud`, asked over `http`.
    #[must_use]
    pub fn new(http: impl HttpSend + 'static, cloud: &Cloud, tenant: &TenantId) -> Self {
        let url = cloud.token_endpoint(tenant);
        Self(Arc::new(Inner {
            http: Arc::new(http),
            cloud: cloud.clone(),
            tenant: tenant.clone(),
            uri: Uri::try_from(url.as_str()).ok(),
            url,
            ids: RequestIds::default(),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy::new()),
            retry: RetryPolicy::default(),
            ahead: Arc::default(),
        }))
    }

    /// Sets the clock. Default: the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock + 'static) -> Self {
        Arc::make_mut(&mut self.0).clock = Arc::new(clock);
        self
    }

    /// Sets the source of chance, for request ids, `state` values and the spreading of retries.
    /// Default: the system's.
    #[must_use]
    pub fn with_entropy(mut self, entropy: impl Entropy + 'static) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.entropy = Arc::new(entropy);
        inner.ids = RequestIds::default();
        self
    }

    /// Sets how often a request is tried that got no answer, or a passing refusal. Default:
    /// [`RetryPolicy::default`].
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        Arc::make_mut(&mut self.0).retry = retry;
        self
    }

    /// Returns the address, which client assertions carry as their audience.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0.url
    }

    /// Returns the cloud.
    #[must_use]
    pub fn cloud(&self) -> &Cloud {
        &self.0.cloud
    }

    /// Returns the tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }

    /// Returns the time that an assertion is to be made at: the clock's, corrected by what Entra's showed
    /// when it last refused an assertion for its times.
    #[must_use]
    pub fn assertion_time(&self) -> DateTime<Utc> {
        self.0.clock.now() - TimeDelta::seconds(self.0.ahead.load(Ordering::Relaxed))
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        &*self.0.entropy
    }

    /// The one exchange that every method goes through: sends `form` until there is an answer that
    /// counts, or the patience of the retry policy ends.
    pub(crate) async fn exchange(
        &self,
        form: &Form,
        proof: Proof<'_>,
    ) -> Result<Grant, CredentialError> {
        let patience = Patience::new(&self.0.retry, self.entropy());
        // Pinned first, so that it is not moved into what carries the span.
        let exchange = pin!(self.send_until(form, proof, Some(patience)));
        exchange.instrument(self.span(form)).await
    }

    /// Sends `form` exactly once; again only with an assertion by Entra's clock in place of one that was
    /// refused for its times.
    pub(crate) async fn exchange_once(
        &self,
        form: &Form,
        proof: Proof<'_>,
    ) -> Result<Grant, CredentialError> {
        let exchange = pin!(self.send_until(form, proof, None));
        exchange.instrument(self.span(form)).await
    }

    fn span(&self, form: &Form) -> Span {
        debug_span!("token.exchange", tenant_id = %self.0.tenant, client_id = %form.client(),
            grant_type = form.grant_type().as_str())
    }

    /// Sends `form` for as long as there is patience. Each attempt is made once more at once when an assertion
    /// was refused because our clock is off: who is not let in has redeemed nothing.
    async fn send_until(
        &self,
        form: &Form,
        proof: Proof<'_>,
        mut patience: Option<Patience<'_>>,
    ) -> Result<Grant, CredentialError> {
        let mut by_entras_clock = false;
        loop {
            let failure = match self.send(form, proof).await {
                Ok(grant) => return Ok(grant),
                Err(failure) => failure,
            };
            by_entras_clock = failure.by_our_clock && !by_entras_clock;
            if by_entras_clock {
                continue;
            }
            match &mut patience {
                Some(patience) if failure.allows_repeat(form) => {
                    // Apart, for it is seldom: every request would carry its state.
                    if !Box::pin(patience.lasts_after(&failure.error)).await {
                        return Err(failure.error);
                    }
                }
                _ => return Err(failure.error),
            }
        }
    }

    async fn send(&self, form: &Form, proof: Proof<'_>) -> Result<Grant, Failure> {
        let proven = proof.add_to(form, self).await;
        let mut form = proven.map_err(Failure::before_sending)?;
        let request_id = self.0.ids.next(self.entropy());
        let sent_at = self.0.clock.now();
        let request = self.request(&mut form, request_id)?;
        let answer = (*self.0.http).send(request).await;
        let (head, body) = answer.map_err(|error| self.no_answer(error))?.into_parts();

        debug!(%request_id, status = head.status.as_u16(), "token.exchange.answer");
        let refused = Refused {
            form: &form,
            request_id,
            now: sent_at,
        };
        let result = if head.status.is_success() {
            Grant::read(&body, sent_at).map_err(|flaw| refused.flawed(flaw))
        } else {
            Err(refused.read(&head, &body))
        };
        wipe(body);
        result.map_err(|error| {
            let mut failure = Failure::answered(error);
            failure.by_our_clock = matches!(proof, Proof::Assertion(_))
                && is_out_of_time(&failure.error)
                && skew(&head.headers, sent_at).is_some_and(|skew| self.learn(skew));
            failure
        })
    }

    /// Keeps how far our clock is ahead. Returns whether that was not known.
    fn learn(&self, ahead: TimeDelta) -> bool {
        let seconds = ahead.num_seconds();
        let known = self.0.ahead.swap(seconds, Ordering::Relaxed);
        tracing::warn!(seconds_ahead = seconds, "token.clock_skew");
        (seconds - known).abs() > AGREEING.num_seconds()
    }

    fn request(&self, form: &mut Form, request_id: Uuid) -> Result<Request<Bytes>, Failure> {
        let uri = self.0.uri.clone().ok_or_else(|| {
            let error = TransportError::new(TransportErrorKind::Other);
            self.no_answer(error.with_source("the address of the token endpoint is no URI"))
        })?;
        let mut request = Request::new(form.take_body());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.reserve(4);
        headers.insert(CONTENT_TYPE, FORM);
        headers.insert(ACCEPT, JSON);
        // Entra takes this id for its correlation id, and logs it even if its answer gets lost.
        headers.insert(RequestIds::HEADER, RequestIds::header(request_id));
        if form.wants_fresh_connection() {
            request.extensions_mut().insert(FreshConnection);
        }
        Ok(request)
    }

    fn no_answer(&self, error: TransportError) -> Failure {
        let host = self.0.url.host_str().unwrap_or("the token endpoint");
        let (kind, message) = match error.kind() {
            TransportErrorKind::Connect => (
                CredentialErrorKind::Transport,
                format!(
                    "{host} can't be reached: check the network, the proxy and the authority address"
                ),
            ),
            TransportErrorKind::Interrupt | TransportErrorKind::Timeout => (
                CredentialErrorKind::Transport,
                format!("{host} gave no whole answer: try again"),
            ),
            _ => (
                CredentialErrorKind::Protocol,
                format!(
                    "the exchange with {host} can't be carried out: check the authority address"
                ),
            ),
        };
        Failure {
            without_effect: error.is_unsent(),
            by_our_clock: false,
            error: CredentialError::new(kind, message).with_source(error),
        }
    }
}

/// By what the application proves itself in one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Proof<'a> {
    Assertion(&'a dyn ClientAssertion),
    Secret(&'a ClientSecret),
}

impl Proof<'_> {
    async fn add_to(self, form: &Form, endpoint: &TokenEndpoint) -> Result<Form, CredentialError> {
        Ok(match self {
            Self::Assertion(assertion) => form
                .clone()
                .with("client_assertion_type", ASSERTION_TYPE)
                .with_secret("client_assertion", &assertion.assertion(endpoint).await?),
            Self::Secret(secret) => form.clone().with_secret("client_secret", secret.value()),
        })
    }
}

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// RFC 7523, section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An exchange that gave no token.
struct Failure {
    error: CredentialError,
    /// The request certainly had no effect: it never left, or was turned away unread.
    without_effect: bool,
    /// An assertion was refused for its times, and the answer showed how far our clock is off.
    by_our_clock: bool,
}

impl Failure {
    fn before_sending(error: CredentialError) -> Self {
        Self {
            error,
            without_effect: true,
            by_our_clock: false,
        }
    }

    fn answered(error: CredentialError) -> Self {
        let without_effect = matches!(
            error.kind(),
            CredentialErrorKind::Throttled | CredentialErrorKind::Unavailable
        );
        Self {
            error,
            without_effect,
            by_our_clock: false,
        }
    }

    fn allows_repeat(&self, form: &Form) -> bool {
        self.error.is_transient() && (self.without_effect || form.may_take_effect_twice())
    }
}

/// Overwrites a body that held tokens, if nobody else has a part of it.
fn wipe(body: Bytes) {
    if let Ok(mut body) = body.try_into_mut() {
        body.as_mut().zeroize();
    }
}

#[cfg(test)]
mod tests;
