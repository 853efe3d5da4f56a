mod key;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use keywheel_connection::Entry;
use keywheel_core::{Clock, HttpSend, retry_after};
use thiserror::Error;
use url::{Host, Url};

pub use self::key::{InvalidWebhookKey, WebhookKey};
use super::{EventHandler, HandleError};

/// Posts each event to a URL, signed as [Standard Webhooks](https://www.standardwebhooks.com/) says, so
/// that receivers in any language have a library for it.
///
/// | header | what it is |
/// |---|---|
/// | `webhook-id` | the connection's id, a dot and the event's `seq`: the same for every attempt |
/// | `webhook-timestamp` | when this attempt was made, in seconds since 1970 |
/// | `webhook-signature` | `v1,` and HMAC-SHA256 of `id.timestamp.body` in Base64, once for each key |
///
/// The body is the event's JSON as the journal has it: see [`Event`](keywheel_connection::Event). It
/// never holds a secret.
///
/// An answer of 2xx means that it has arrived. 408, 425, 429, 5xx and no answer are tried again, and
/// `Retry-After` is obeyed up to the longest wait of the
/// [delivery](crate::DeliveryOptions::retry); any other status is a refusal. Redirects are not followed.
pub struct Webhook {
    http: Arc<dyn HttpSend>,
    clock: Arc<dyn Clock>,
    url: Url,
    keys: Vec<WebhookKey>,
}

impl Webhook {
    /// Returns a webhook to `url`, signed with `key`.
    ///
    /// # Errors
    ///
    /// Returns an error when the URL is not HTTPS and not on loopback, or names a user.
    pub fn new(
        http: impl HttpSend + 'static,
        clock: impl Clock + 'static,
        url: Url,
        key: WebhookKey,
    ) -> Result<Self, InvalidWebhook> {
        if !(url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url)) {
            return Err(InvalidWebhook {
                problem: "expected https://, since events name customers",
            });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidWebhook {
                problem: "expected no user and no password in it; the signature says who sends",
            });
        }
        Ok(Self {
            http: Arc::new(http),
            clock: Arc::new(clock),
            url,
            keys: vec![key],
        })
    }

    /// Signs with this key too, while receivers change from one to the other.
    #[must_use]
    pub fn also_signed_with(mut self, key: WebhookKey) -> Self {
        self.keys.push(key);
        self
    }

    fn request(&self, entry: &Entry) -> Result<Request<Bytes>, http::Error> {
        let id = format!("{}.{}", entry.connection, entry.seq);
        let timestamp = self.clock.now().timestamp();
        let signatures: Vec<_> = self
            .keys
            .iter()
            .map(|key| key.sign(&id, timestamp, entry.body.as_bytes()))
            .collect();
        Request::post(self.url.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signatures.join(" "))
            .body(Bytes::from(entry.body.clone()))
    }
}

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("keywheel/", env!("CARGO_PKG_VERSION")));

#[async_trait]
impl EventHandler for Webhook {
    async fn handle(&self, entry: &Entry) -> Result<(), HandleError> {
        let request = self
            .request(entry)
            .map_err(|_| HandleError::refused("webhook: the event makes no valid request"))?;
        let answer = self.http.send(request).await;
        let answer = answer.map_err(|error| {
            HandleError::unavailable("webhook: the receiver did not answer").with_source(error)
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let message = format!("webhook: the receiver answered {status}");
        if is_passing(status) {
            let wait = retry_after(answer.headers(), self.clock.now());
            return Err(HandleError::unavailable(message).retry_after(wait));
        }
        Err(HandleError::refused(message))
    }
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The path and query may hold a token.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("host", &self.url.host_str().unwrap_or_default())
            .finish_non_exhaustive()
    }
}

/// A URL can't be posted to.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("webhook URL: {problem}")]
pub struct InvalidWebhook {
    problem: &'static str,
}
