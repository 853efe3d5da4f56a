mod body;
mod refusal;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderMap;
use http::{Response, StatusCode};
use keywheel_core::{CredentialError, TransportError};
use thiserror::Error;

pub(crate) use self::body::Body;
use self::body::{cut, header};
pub use self::refusal::{Detail, Refusal};

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
    refusal: Option<Refusal>,
    message: &'static str,
    status: Option<StatusCode>,
    body: Body,
    client_request_id: Option<String>,
    retry_after: Option<Duration>,
    may_have_effect: bool,
    attempts: u32,
    source: Option<Source>,
}

#[derive(Debug)]
enum Source {
    Batch(Arc<GraphError>),
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
        inner.body.request_id = header(headers, "request-id");
        inner.may_have_effect = true;
        Self(Box::new(inner))
    }

    /// Something that keeps us from asking, or an answer that must not be followed.
    pub(crate) fn protocol(message: &'static str) -> Self {
        Self(Box::new(Inner::new(GraphErrorKind::Protocol, message)))
    }

    /// Reads that do not come to agree: somebody is writing, or replicas lag behind.
    pub(crate) fn unsettled(message: &'static str) -> Self {
        Self(Box::new(Inner::new(GraphErrorKind::Conflict, message)))
    }

    pub(crate) fn refused(
        response: &Response<impl AsRef<[u8]>>,
        retry_after: Option<Duration>,
    ) -> Self {
        let mut body = Body::read(response.body().as_ref());
        let of_header = header(response.headers(), "request-id");
        body.request_id = of_header.or(body.request_id);
        Self::answered(response.status(), body, retry_after)
    }

    pub(crate) fn answered(status: StatusCode, body: Body, retry_after: Option<Duration>) -> Self {
        let refusal = Refusal::of(&body);
        let kind = kind(status, refusal);
        let message = refusal.map_or_else(|| advice(kind), Refusal::advice);
        let mut inner = Inner::new(kind, message);
        inner.refusal = refusal;
        inner.status = Some(status);
        inner.retry_after = retry_after;
        inner.may_have_effect = kind == GraphErrorKind::Unavailable;
        inner.body = body;
        Self(Box::new(inner))
    }

    /// What kept a whole batch from being answered, as the error of one of its requests.
    pub(crate) fn of_batch(error: &Arc<Self>) -> Self {
        let mut inner = Inner::new(error.kind(), "the batch that the request was in failed");
        inner.refusal = error.refusal();
        inner.retry_after = error.retry_after();
        inner.may_have_effect = error.may_have_effect();
        inner.source = Some(Source::Batch(Arc::clone(error)));
        Self(Box::new(inner))
    }

    pub(crate) fn with_client_request_id(mut self, id: &str) -> Self {
        self.0.client_request_id = Some(cut(id, 64));
        self
    }

    /// A read leaves no doubt: there was nothing to be done.
    pub(crate) fn without_effect(mut self) -> Self {
        self.0.may_have_effect = false;
        self
    }

    pub(crate) fn after(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn kind(&self) -> GraphErrorKind {
        self.0.kind
    }

    /// Returns which of the refusals that a caller treats by itself this is, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.0.refusal
    }

    /// Returns the status, if Graph answered.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// Returns Graph's code, as in `Authorization_RequestDenied`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.body.code.as_deref()
    }

    /// Returns Graph's own words, at most 300 characters of them.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.0.body.message.as_deref()
    }

    /// Returns what Graph's words are about, as in `EndDate`.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        let of_details = || self.details().iter().find_map(Detail::target);
        self.0.body.target.as_deref().or_else(of_details)
    }

    /// Returns the single objections, at most eight of them.
    #[must_use]
    pub fn details(&self) -> &[Detail] {
        &self.0.body.details
    }

    /// Returns the request id that Microsoft's support asks for.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.body.request_id.as_deref()
    }

    /// Returns the id that we gave the request; logs of both sides have it.
    #[must_use]
    pub fn client_request_id(&self) -> Option<&str> {
        self.0.client_request_id.as_deref()
    }

    /// Returns how long Graph wants to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns how often the request was sent, or was about to be.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Returns why no token could be obtained.
    #[must_use]
    pub fn credential_error(&self) -> Option<&CredentialError> {
        match &self.0.source {
            Some(Source::Credential(error)) => Some(error),
            Some(Source::Batch(error)) => error.credential_error(),
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
            GraphErrorKind::Conflict | GraphErrorKind::Throttled | GraphErrorKind::Unavailable => {
                true
            }
            GraphErrorKind::Transport => !matches!(
                &self.0.source,
                Some(Source::Transport(error)) if !error.is_transient()
            ),
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
    fn new(kind: GraphErrorKind, message: &'static str) -> Self {
        Self {
            kind,
            refusal: None,
            message,
            status: None,
            body: Body::default(),
            client_request_id: None,
            retry_after: None,
            may_have_effect: false,
            attempts: 0,
            source: None,
        }
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(status) = self.status else {
            return f.write_str(self.message);
        };
        write!(f, "Microsoft Graph answered {}", status.as_u16())?;
        if let Some(code) = &self.body.code {
            write!(f, " {code}")?;
        }
        if let Some(text) = &self.body.message {
            write!(f, " ({})", text.trim_end_matches('.'))?;
        }
        if let Some(id) = &self.body.request_id {
            write!(f, ", request id {id}")?;
        }
        if self.attempts > 1 {
            write!(f, ", asked {} times", self.attempts)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Inner {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.source.as_ref()? {
            Source::Batch(error) => Some(error),
            Source::Credential(error) => Some(error),
            Source::Transport(error) => Some(error),
        }
    }
}

fn kind(status: StatusCode, refusal: Option<Refusal>) -> GraphErrorKind {
    match refusal {
        Some(Refusal::ConcurrentWrites) => return GraphErrorKind::Conflict,
        // With 409 it looks like a conflict, which would be tried again.
        Some(Refusal::AlreadyExists) => return GraphErrorKind::InvalidRequest,
        _ => {}
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
        GraphErrorKind::Conflict => "another change was going on; try again in a moment",
        GraphErrorKind::Forbidden => {
            "grant Application.ReadWrite.OwnedBy with admin consent and make the service principal an owner \
             of its own application (az ad app owner add)"
        }
        GraphErrorKind::InvalidRequest => "read Graph's words and correct what they name",
        GraphErrorKind::NotFound => {
            "check the tenant and the client id; right after it was created an object may be missing for a while"
        }
        GraphErrorKind::Throttled => "asked too often; try again later",
        GraphErrorKind::Unauthenticated => {
            "Graph does not accept the token; check that authority and Graph address belong to one cloud"
        }
        GraphErrorKind::Unavailable => "Graph is in trouble; try again later",
        GraphErrorKind::Credential | GraphErrorKind::Protocol | GraphErrorKind::Transport => {
            "report it with the request id"
        }
    }
}

#[cfg(test)]
mod tests;
