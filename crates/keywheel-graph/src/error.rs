use std::fmt;
use std::time::Duration;

use http::header::HeaderMap;
use http::{Response, StatusCode};
use keywheel_core::{CredentialError, TransportError};
use serde::Deserialize;
use thiserror::Error;

/// Graph did not do what was asked, or perhaps did.
///
/// The message names Graph's code and the request id that Microsoft's support asks for, and ends in what
/// to do next.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct GraphError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: GraphErrorKind,
    message: String,
    status: Option<StatusCode>,
    code: Option<String>,
    text: Option<String>,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    may_have_effect: bool,
    source: Option<Source>,
}

#[derive(Debug)]
enum Source {
    Credential(CredentialError),
    Transport(TransportError),
}

/// What a caller does about a [`GraphError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GraphErrorKind {
    /// Another write was going on. Try again, spaced.
    Conflict,
    /// No token could be obtained: see [`credential_error`](GraphError::credential_error).
    Credential,
    /// A permission or the ownership is missing. Grant it.
    Forbidden,
    /// Graph refuses the request as it is. Correct it.
    InvalidRequest,
    /// There is no such object, or the replica that answered does not know it yet.
    NotFound,
    /// The answer makes no sense. Report it.
    Protocol,
    /// Asked too often: wait for [`retry_after`](GraphError::retry_after).
    Throttled,
    /// No answer. Try again.
    Transport,
    /// Graph does not accept the token, not even a new one. Check the cloud and the resource.
    Unauthenticated,
    /// Graph is in trouble. Try again later.
    Unavailable,
}

impl GraphError {
    pub(crate) fn credential(error: CredentialError) -> Self {
        let mut inner = Inner::new(GraphErrorKind::Credential, "no token for Microsoft Graph");
        inner.retry_after = error.retry_after();
        inner.source = Some(Source::Credential(error));
        Self(Box::new(inner))
    }

    pub(crate) fn transport(error: TransportError) -> Self {
        let message =
            "Microsoft Graph could not be reached; try again, and check the network if it stays";
        let mut inner = Inner::new(GraphErrorKind::Transport, message);
        inner.may_have_effect = !error.is_unsent();
        inner.source = Some(Source::Transport(error));
        Self(Box::new(inner))
    }

    /// An answer of success that can't be read: what was asked for has been done.
    pub(crate) fn unreadable(status: StatusCode, headers: &HeaderMap) -> Self {
        let message = "Microsoft Graph's answer can't be read; report it with the request id";
        let mut inner = Inner::new(GraphErrorKind::Protocol, message);
        inner.status = Some(status);
        inner.request_id = header(headers, "request-id");
        inner.may_have_effect = true;
        Self(Box::new(inner))
    }

    pub(crate) fn refused(
        response: &Response<impl AsRef<[u8]>>,
        retry_after: Option<Duration>,
    ) -> Self {
        let status = response.status();
        let body = Body::read(response.body().as_ref());
        let kind = kind(status, &body);
        let mut inner = Inner::new(kind, advice(kind));
        inner.status = Some(status);
        inner.request_id = header(response.headers(), "request-id").or(body.request_id);
        inner.retry_after = retry_after;
        inner.may_have_effect = kind == GraphErrorKind::Unavailable;
        inner.code = body.code;
        inner.text = body.message;
        Self(Box::new(inner))
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn kind(&self) -> GraphErrorKind {
        self.0.kind
    }

    /// Returns the status, if Graph answered.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// Returns Graph's code, as in `Authorization_RequestDenied`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// Returns Graph's own words, at most 300 characters of them.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.0.text.as_deref()
    }

    /// Returns the request id that Microsoft's support asks for.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// Returns how long Graph wants to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns why no token could be obtained.
    #[must_use]
    pub fn credential_error(&self) -> Option<&CredentialError> {
        match &self.0.source {
            Some(Source::Credential(error)) => Some(error),
            _ => None,
        }
    }

    /// Tells whether what was asked for may have been done nevertheless.
    #[must_use]
    pub fn may_have_effect(&self) -> bool {
        self.0.may_have_effect
    }

    /// Tells whether the same request may succeed later with nothing changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.0.kind {
            GraphErrorKind::Conflict
            | GraphErrorKind::Throttled
            | GraphErrorKind::Transport
            | GraphErrorKind::Unavailable => true,
            GraphErrorKind::Credential => self
                .credential_error()
                .is_some_and(CredentialError::is_transient),
            GraphErrorKind::Forbidden
            | GraphErrorKind::InvalidRequest
            | GraphErrorKind::NotFound
            | GraphErrorKind::Protocol
            | GraphErrorKind::Unauthenticated => false,
        }
    }
}

impl Inner {
    fn new(kind: GraphErrorKind, message: &str) -> Self {
        Self {
            kind,
            message: message.to_owned(),
            status: None,
            code: None,
            text: None,
            request_id: None,
            retry_after: None,
            may_have_effect: false,
            source: None,
        }
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(status) = self.status else {
            return f.write_str(&self.message);
        };
        write!(f, "Microsoft Graph answered {}", status.as_u16())?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(text) = &self.text {
            write!(f, " ({})", text.trim_end_matches('.'))?;
        }
        if let Some(id) = &self.request_id {
            write!(f, ", request id {id}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Inner {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.source.as_ref()? {
            Source::Credential(error) => Some(error),
            Source::Transport(error) => Some(error),
        }
    }
}

fn kind(status: StatusCode, body: &Body) -> GraphErrorKind {
    if body.is_concurrency() {
        return GraphErrorKind::Conflict;
    }
    match status.as_u16() {
        401 => GraphErrorKind::Unauthenticated,
        403 => GraphErrorKind::Forbidden,
        404 => GraphErrorKind::NotFound,
        409 | 412 => GraphErrorKind::Conflict,
        429 => GraphErrorKind::Throttled,
        400..=499 => GraphErrorKind::InvalidRequest,
        500..=599 => GraphErrorKind::Unavailable,
        _ => GraphErrorKind::Protocol,
    }
}

fn advice(kind: GraphErrorKind) -> &'static str {
    match kind {
        GraphErrorKind::Conflict => "another change was going on; it is tried again",
        GraphErrorKind::Forbidden => {
            "grant Application.ReadWrite.OwnedBy with admin consent and make the service principal an owner \
             of its own application (az ad app owner add)"
        }
        GraphErrorKind::InvalidRequest => "read Graph's words and correct what they name",
        GraphErrorKind::NotFound => {
            "check the tenant and the client id; right after it was created an object may be missing for a while"
        }
        GraphErrorKind::Throttled => "asked too often; it is tried again later",
        GraphErrorKind::Unauthenticated => {
            "Graph does not accept the token; check that authority and Graph address belong to one cloud"
        }
        GraphErrorKind::Unavailable => "Graph is in trouble; it is tried again later",
        GraphErrorKind::Credential | GraphErrorKind::Protocol | GraphErrorKind::Transport => {
            "report it with the request id"
        }
    }
}

/// What is kept of an error body: it comes from outside, so little and cut short.
#[derive(Default)]
struct Body {
    code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
}

impl Body {
    /// Reads Graph's error shape. Gateways answer with HTML, or with `message` as an object.
    fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Outer {
            error: Error,
        }
        #[derive(Deserialize)]
        struct Error {
            code: Option<String>,
            #[serde(default)]
            message: serde_json::Value,
            #[serde(default, rename = "innerError")]
            inner: serde_json::Value,
        }
        let Ok(Outer { error }) = serde_json::from_slice(body) else {
            return Self::default();
        };
        let message = error
            .message
            .as_str()
            .or_else(|| error.message["value"].as_str());
        Self {
            code: error.code.map(|code| cut(&code, 100)),
            message: message.map(|message| cut(message, 300)),
            request_id: error.inner["request-id"].as_str().map(|id| cut(id, 64)),
        }
    }

    /// One trouble in three shapes: 409 and 503 with the code, and 400 with only the words.
    fn is_concurrency(&self) -> bool {
        let code = self.code.as_deref() == Some("Directory_ConcurrencyViolation");
        let words = self
            .message
            .as_deref()
            .is_some_and(|message| message.to_ascii_lowercase().contains("concurrent requests"));
        code || words
    }
}

fn cut(text: &str, limit: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(limit)
        .collect()
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(|text| cut(text, 64))
}
