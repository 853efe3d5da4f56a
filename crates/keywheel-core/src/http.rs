#[cfg(feature = "reqwest")]
mod reqwest;

use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use thiserror::Error;

#[cfg(feature = "reqwest")]
pub use self::reqwest::{BuildError, ReqwestSend, ReqwestSendBuilder};

/// Sends one HTTP request.
///
/// # Contract
///
/// * One call is one request: no redirects are followed and nothing is sent again, since `addPassword`
///   is not idempotent. Any status is `Ok`.
/// * On `Err` the request may have been carried out, unless the kind is
///   [`Connect`](TransportErrorKind::Connect): only that one promises that nothing left.
/// * A request with the extension [`FreshConnection`] goes over a connection that no request used
///   before.
/// * A dropped future equals [`Interrupt`](TransportErrorKind::Interrupt).
/// * Bodies, header values and queries are never logged.
#[cfg_attr(feature = "test-util", mockall::automock)]
#[async_trait]
pub trait HttpSend: Debug + Send + Sync {
    /// Sends `request` and reads the whole answer.
    ///
    /// # Errors
    ///
    /// Returns an error when no answer arrived, or not the whole of it.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError>;
}

#[async_trait]
impl<T: HttpSend + ?Sized> HttpSend for Arc<T> {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        (**self).send(request).await
    }
}

/// A request extension: use a connection of its own.
///
/// Entra answers from many replicas, and a connection tends to stay with one. The proof of a new secret
/// asks on a fresh connection each time, so that it meets several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a marker")]
pub struct FreshConnection;

/// No whole answer arrived.
#[derive(Debug, Error)]
#[error("{}", describe(*kind))]
pub struct TransportError {
    kind: TransportErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What is known of a request that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// No connection was made, so nothing was sent: any request may be sent again.
    Connect,
    /// The connection broke: the request may have been carried out.
    Interrupt,
    /// The request itself can't be sent, or the answer can't be taken: sending it again won't help.
    Other,
    /// Time ran out: the request may have been carried out.
    Timeout,
}

impl TransportError {
    /// Returns an error of `kind` without a cause.
    #[must_use]
    pub fn new(kind: TransportErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// Keeps what caused the error. Its text must not hold a URL's query, a header or a body.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns what is known of the request.
    #[must_use]
    pub fn kind(&self) -> TransportErrorKind {
        self.kind
    }

    /// Tells whether the request certainly never left.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        match self.kind {
            TransportErrorKind::Connect => true,
            TransportErrorKind::Interrupt
            | TransportErrorKind::Other
            | TransportErrorKind::Timeout => false,
        }
    }

    /// Tells whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind {
            TransportErrorKind::Connect
            | TransportErrorKind::Interrupt
            | TransportErrorKind::Timeout => true,
            TransportErrorKind::Other => false,
        }
    }
}

fn describe(kind: TransportErrorKind) -> &'static str {
    match kind {
        TransportErrorKind::Connect => "no connection could be made",
        TransportErrorKind::Interrupt => "the connection broke before the answer was complete",
        TransportErrorKind::Other => "the request could not be sent or its answer not be read",
        TransportErrorKind::Timeout => "no answer came in time",
    }
}
