mod addresses;

use std::fmt;
use std::mem;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::TryFutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use reqwest::{Certificate, Client, ClientBuilder};
use thiserror::Error;
use tokio::time::timeout;

use self::addresses::Addresses;
use super::{FreshConnection, HttpSend, TransportError, TransportErrorKind};

/// [`HttpSend`] over reqwest, HTTP/1.1 and rustls.
///
/// Build one and share it: it reads the system's certificate store once and keeps a pool of connections.
/// Clones share both. Redirects are not followed, proxies are taken from the usual environment
/// variables, and `http:` is accepted because [`Cloud`](crate::Cloud) limits it to loopback hosts.
///
/// ```
/// use keywheel_core::ReqwestSend;
///
/// let http = ReqwestSend::builder().build()?;
/// # Ok::<(), keywheel_core::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReqwestSend(Arc<Inner>);

struct Inner {
    addresses: Addresses,
    options: ReqwestSendBuilder,
    pooled: Client,
    /// Made when the first proof asks for it: most processes never do.
    unpooled: OnceLock<Client>,
}

impl ReqwestSend {
    /// Returns a builder with the defaults.
    #[must_use]
    pub fn builder() -> ReqwestSendBuilder {
        ReqwestSendBuilder::default()
    }

    fn client(&self, fresh: bool) -> Result<&Client, TransportError> {
        if !fresh {
            return Ok(&self.0.pooled);
        }
        if let Some(client) = self.0.unpooled.get() {
            return Ok(client);
        }
        let client = self
            .0
            .options
            .client()
            .and_then(|client| client.pool_max_idle_per_host(0).build())
            .map_err(into_transport)?;
        Ok(self.0.unpooled.get_or_init(|| client))
    }

    fn begin(
        &self,
        request: Request<Bytes>,
    ) -> Result<
        impl Future<Output = Result<reqwest::Response, TransportError>> + use<>,
        TransportError,
    > {
        let fresh = request.extensions().get::<FreshConnection>().is_some();
        let sent = self.client(fresh)?.execute(self.request(request)?);
        Ok(sent.map_err(into_transport))
    }

    fn request(&self, request: Request<Bytes>) -> Result<reqwest::Request, TransportError> {
        let (head, body) = request.into_parts();
        let url =
            self.0.addresses.url(&head.uri).map_err(|error| {
                TransportError::new(TransportErrorKind::Other).with_source(error)
            })?;
        let mut request = reqwest::Request::new(head.method, url);
        *request.headers_mut() = head.headers;
        *request.body_mut() = Some(body.into());
        Ok(request)
    }

    async fn answer(
        &self,
        sent: Result<
            impl Future<Output = Result<reqwest::Response, TransportError>>,
            TransportError,
        >,
    ) -> Result<Response<Bytes>, TransportError> {
        let mut answer = sent?.await?;
        let mut response = Response::new(self.body(&mut answer).await?);
        *response.status_mut() = answer.status();
        *response.headers_mut() = mem::take(answer.headers_mut());
        Ok(response)
    }

    /// What comes in one piece, as nearly all that is short does, is not copied.
    async fn body(&self, from: &mut reqwest::Response) -> Result<Bytes, TransportError> {
        let announced = from.content_length();
        let first = self.chunk(from, 0).await?.unwrap_or_default();
        if announced == Some(first.len() as u64) {
            return Ok(first);
        }
        let Some(second) = self.chunk(from, first.len()).await? else {
            return Ok(first);
        };
        let mut body = BytesMut::with_capacity(room(announced));
        body.extend_from_slice(&first);
        body.extend_from_slice(&second);
        while let Some(chunk) = self.chunk(from, body.len()).await? {
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    async fn chunk(
        &self,
        from: &mut reqwest::Response,
        before: usize,
    ) -> Result<Option<Bytes>, TransportError> {
        let chunk = from.chunk().await.map_err(into_transport)?;
        let length = chunk.as_ref().map_or(0, Bytes::len);
        if before + length > self.0.options.max_body {
            return Err(TransportError::new(TransportErrorKind::Other)
                .with_source("the answer is larger than any that Entra or Graph gives"));
        }
        Ok(chunk)
    }
}

#[async_trait]
impl HttpSend for ReqwestSend {
    /// Written out, so that what is carried while the answer is waited for does not hold the request too.
    fn send<'a, 'async_trait>(
        &'a self,
        request: Request<Bytes>,
    ) -> BoxFuture<'async_trait, Result<Response<Bytes>, TransportError>>
    where
        'a: 'async_trait,
    {
        let sent = self.begin(request);
        Box::pin(async move {
            let answer = pin!(self.answer(sent));
            // One timer for all of it: reqwest's own guards the body by a box and a second look.
            let in_time = timeout(self.0.options.timeout, answer).await;
            in_time.unwrap_or_else(|_| Err(TransportError::new(TransportErrorKind::Timeout)))
        })
    }
}

/// Returns room for the whole answer at once, but no more on a server's mere word than a page takes.
fn room(announced: Option<u64>) -> usize {
    usize::try_from(announced.unwrap_or(0).min(1 << 20)).unwrap_or(0)
}

/// Settings of a [`ReqwestSend`].
#[derive(Clone, Debug)]
pub struct ReqwestSendBuilder {
    connect_timeout: Duration,
    idle_timeout: Duration,
    max_body: usize,
    roots: Vec<Bytes>,
    system_roots: bool,
    timeout: Duration,
}

impl Default for ReqwestSendBuilder {
    fn default() -> Self {
        Self {
            // A TLS handshake across the world takes under a second; ten allow for a slow link.
            connect_timeout: Duration::from_secs(10),
            // Nearly all connections to Entra are used once in a while, or in a burst.
            idle_timeout: Duration::from_secs(30),
            // The largest answer asked for is a page of 999 applications, a few megabytes.
            max_body: 64 << 20,
            roots: Vec::new(),
            system_roots: true,
            // Graph ends its own requests well before this.
            timeout: Duration::from_secs(60),
        }
    }
}

impl ReqwestSendBuilder {
    /// Sets how long making a connection may take. Default: 10 seconds.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long a request may take, connecting included. Default: 60 seconds.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long a connection is kept that nobody uses. Default: 30 seconds.
    ///
    /// The buffers of a connection hold parts of its last request and answer, secrets among them, until
    /// it is used again or closed.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Trusts the certificates in `pem` too, beside those of the system.
    #[must_use]
    pub fn root_certificates(mut self, pem: impl Into<Bytes>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// Trusts only what [`root_certificates`](Self::root_certificates) gave.
    #[must_use]
    pub fn without_system_roots(mut self) -> Self {
        self.system_roots = false;
        self
    }

    /// Builds the sender.
    ///
    /// # Errors
    ///
    /// Returns an error when a given certificate is not PEM, or the system has no certificate store and
    /// none was given.
    pub fn build(self) -> Result<ReqwestSend, BuildError> {
        let pooled = self
            .client()
            .and_then(ClientBuilder::build)
            .map_err(|error| BuildError(error.to_string()))?;
        Ok(ReqwestSend(Arc::new(Inner {
            addresses: Addresses::default(),
            options: self,
            pooled,
            unpooled: OnceLock::new(),
        })))
    }

    #[expect(clippy::disallowed_types, reason = "mapped by both callers")]
    fn client(&self) -> Result<ClientBuilder, reqwest::Error> {
        let mut roots = Vec::new();
        for pem in &self.roots {
            roots.extend(Certificate::from_pem_bundle(pem)?);
        }
        let client = Client::builder()
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(self.idle_timeout)
            .redirect(reqwest::redirect::Policy::none())
            // Without a number, a copy of each request is made for the next try.
            .retry(reqwest::retry::never().max_retries_per_request(0))
            .referer(false)
            .user_agent(concat!("keywheel/", env!("CARGO_PKG_VERSION")));
        Ok(if self.system_roots {
            client.tls_certs_merge(roots)
        } else {
            client.tls_certs_only(roots)
        })
    }
}

/// The HTTP client can't be built.
#[derive(Debug, Error)]
#[error("HTTP client: {0}")]
pub struct BuildError(String);

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)
    }
}

/// The one place where reqwest's error is seen. Its URL, which may hold a query, is dropped.
#[expect(clippy::disallowed_types, reason = "the one place that maps it")]
fn into_transport(error: reqwest::Error) -> TransportError {
    let kind = if error.is_connect() {
        TransportErrorKind::Connect
    } else if error.is_timeout() {
        TransportErrorKind::Timeout
    } else if error.is_builder() {
        TransportErrorKind::Other
    } else {
        TransportErrorKind::Interrupt
    };
    TransportError::new(kind).with_source(error.without_url())
}
