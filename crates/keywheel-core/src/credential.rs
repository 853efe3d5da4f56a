use std::error::Error;
use std::fmt;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use thiserror::Error;

use crate::Secret;

/// Gives access tokens.
///
/// # Contract
///
/// * Implementations cache: callers ask before every request and keep no token of their own.
/// * A token that is returned is valid at that moment. A caller whose token is refused by the resource
///   asks again with [`TokenRequest::rejecting`], and gets another one or an error.
/// * Getting a token changes nothing but caches: it may be done any number of times, and a dropped
///   future leaves nothing behind.
/// * Secrets and tokens never reach a log, an error or `Debug`.
#[cfg_attr(feature = "test-util", mockall::automock)]
#[async_trait]
pub trait TokenCredential: Debug + Send + Sync {
    /// Returns a token for `request`, from a cache or from the issuer.
    ///
    /// # Errors
    ///
    /// Returns an error when there is no valid token and none could be obtained. Its
    /// [`kind`](CredentialError::kind) says what to do about it.
    async fn get_token(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError>;

    /// Returns a token that is at hand, without waiting and without I/O.
    ///
    /// The way that is taken before nearly every request, and so kept free of allocation. The default
    /// has none at hand.
    fn cached_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        let _ = request;
        None
    }
}

#[async_trait]
impl<T: TokenCredential + ?Sized> TokenCredential for Arc<T> {
    async fn get_token(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        (**self).get_token(request).await
    }

    fn cached_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        (**self).cached_token(request)
    }
}

/// What a token is wanted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TokenRequest {
    /// What the token is for; nearly always one `/.default` scope.
    pub scopes: Vec<Scope>,
    /// The claims challenge of a 401 answer, decoded: the resource wants a token with more in it.
    pub claims: Option<String>,
    /// When the token that the resource refused was obtained: no token from then or before will do.
    pub rejected: Option<DateTime<Utc>>,
}

impl TokenRequest {
    /// Returns a request for a token of `scope`.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self {
            scopes: vec![scope],
            claims: None,
            rejected: None,
        }
    }

    /// Asks for another token than `token`, which the resource refused.
    #[must_use]
    pub fn rejecting(mut self, token: &AccessToken) -> Self {
        self.rejected = Some(token.obtained_on);
        self
    }

    /// Answers the claims challenge of a 401 answer.
    #[must_use]
    pub fn with_claims(mut self, claims: impl Into<String>) -> Self {
        self.claims = Some(claims.into());
        self
    }
}

/// A bearer token and the time it is good for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AccessToken {
    /// The token. Opaque: Microsoft says not to read tokens of its own APIs.
    pub token: Secret,
    /// When it was asked for.
    pub obtained_on: DateTime<Utc>,
    /// When it ends.
    pub expires_on: DateTime<Utc>,
    /// When to get the next one, if the issuer said so (`refresh_in`).
    pub refresh_on: Option<DateTime<Utc>>,
}

impl AccessToken {
    /// Returns a token that was asked for at `obtained_on` and ends at `expires_on`.
    #[must_use]
    pub fn new(token: Secret, obtained_on: DateTime<Utc>, expires_on: DateTime<Utc>) -> Self {
        Self {
            token,
            obtained_on,
            expires_on,
            refresh_on: None,
        }
    }

    /// Sets when to get the next one.
    #[must_use]
    pub fn with_refresh_on(mut self, refresh_on: Option<DateTime<Utc>>) -> Self {
        self.refresh_on = refresh_on;
        self
    }
}

/// What a token is for: a resource and a permission, as in `https://graph.microsoft.com/.default`.
///
/// ```
/// use keywheel_core::Scope;
///
/// let scope: Scope = "https://graph.microsoft.com/.default".parse()?;
/// assert!("two scopes".parse::<Scope>().is_err());
/// # Ok::<(), keywheel_core::InvalidScope>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Arc<str>);

/// A text that is not one scope.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "scope: expected one scope without white space, such as https://graph.microsoft.com/.default"
)]
#[non_exhaustive]
pub struct InvalidScope;

impl Scope {
    pub(crate) fn default_of(resource: &str) -> Self {
        Self(format!("{resource}/.default").into())
    }

    /// Returns the scope as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Scope {
    type Err = InvalidScope;

    /// Accepts a `scope-token` of RFC 6749, section 3.3.
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let token = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if !text.is_empty() && text.bytes().all(token) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidScope)
        }
    }
}

/// No token could be obtained.
///
/// The message says what happened, with Entra's code and correlation id, and what to do next. Clones
/// share one error, so that everyone who waited for the same token gets it.
#[derive(Clone, Debug)]
pub struct CredentialError(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: CredentialErrorKind,
    message: String,
    refusal: Option<EntraRefusal>,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What a caller does about a [`CredentialError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialErrorKind {
    /// Entra won't do what was asked: the tenant, the application, its consent or a policy is in the way.
    /// Have an administrator change that; another credential won't help.
    Denied,
    /// A user must sign in again.
    InteractionRequired,
    /// Entra does not accept the client's secret, certificate or assertion. Replace it.
    InvalidClient,
    /// What was configured can't work. Nothing was sent. Correct it.
    InvalidConfiguration,
    /// This way of getting tokens does not exist here, as a managed identity outside Azure. Use another.
    NotConfigured,
    /// The answer makes no sense. Report it.
    Protocol,
    /// Asked too often: wait for [`retry_after`](CredentialError::retry_after).
    Throttled,
    /// No answer: see the source. Try again.
    Transport,
    /// Entra is in trouble. Try again later.
    Unavailable,
}

/// What Entra said when it refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntraRefusal {
    /// The OAuth error, as in `invalid_client`. The only part that is a contract (RFC 6749, section 5.2).
    pub error: String,
    /// The AADSTS codes, the first one being the cause.
    pub codes: Vec<u32>,
    /// What to quote to Microsoft's support.
    pub correlation_id: Option<String>,
    /// The id of the single request at Entra.
    pub trace_id: Option<String>,
    /// More detail on `invalid_grant`, as in `bad_token`.
    pub suberror: Option<String>,
    /// Claims that the next request must carry.
    pub claims: Option<String>,
}

impl CredentialError {
    /// Returns an error that says `message`: one line that ends in what to do next.
    #[must_use]
    pub fn new(kind: CredentialErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            refusal: None,
            retry_after: None,
            source: None,
        }))
    }

    /// Keeps what Entra said.
    #[must_use]
    pub fn with_refusal(self, refusal: EntraRefusal) -> Self {
        self.map(|inner| inner.refusal = Some(refusal))
    }

    /// Keeps how long Entra wants to be left alone.
    #[must_use]
    pub fn with_retry_after(self, retry_after: Option<Duration>) -> Self {
        self.map(|inner| inner.retry_after = retry_after)
    }

    /// Keeps what caused the error.
    #[must_use]
    pub fn with_source(self, source: impl Error + Send + Sync + 'static) -> Self {
        self.map(|inner| inner.source = Some(Arc::new(source)))
    }

    fn map(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn kind(&self) -> CredentialErrorKind {
        self.0.kind
    }

    /// Tells whether the same request may succeed later with nothing changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.0.kind {
            CredentialErrorKind::Throttled
            | CredentialErrorKind::Transport
            | CredentialErrorKind::Unavailable => true,
            CredentialErrorKind::Denied
            | CredentialErrorKind::InteractionRequired
            | CredentialErrorKind::InvalidClient
            | CredentialErrorKind::InvalidConfiguration
            | CredentialErrorKind::NotConfigured
            | CredentialErrorKind::Protocol => false,
        }
    }

    /// Returns what Entra said, if it was Entra that refused.
    #[must_use]
    pub fn refusal(&self) -> Option<&EntraRefusal> {
        self.0.refusal.as_ref()
    }

    /// Returns the AADSTS codes, or none.
    #[must_use]
    pub fn aadsts_codes(&self) -> &[u32] {
        self.refusal().map_or(&[], |refusal| &refusal.codes)
    }

    /// Returns the correlation id that Microsoft's support asks for.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.refusal()?.correlation_id.as_deref()
    }

    /// Returns the trace id of the request.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.refusal()?.trace_id.as_deref()
    }

    /// Returns the claims that the next request must carry.
    #[must_use]
    pub fn claims(&self) -> Option<&str> {
        self.refusal()?.claims.as_deref()
    }

    /// Returns how long Entra wants to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl Error for CredentialError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Report;

    #[test]
    fn the_cause_of_an_error_is_in_its_chain_and_not_in_its_text() {
        let error = CredentialError::new(CredentialErrorKind::Transport, "no answer: try again")
            .with_source(InvalidScope);

        assert_eq!(error.to_string(), "no answer: try again");
        let chain = Report(&error).to_string();
        assert!(chain.contains("try again: scope:"), "{chain}");
    }
}
