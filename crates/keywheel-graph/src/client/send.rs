use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use keywheel_core::{AccessToken, RequestIds, TokenRequest, retry_after};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::{GraphClient, claims};
use crate::call::{Call, Repeat, Target};
use crate::{GraphError, GraphErrorKind};

impl GraphClient {
    /// Sends a call and reads its answer.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, GraphError> {
        let response = self.send(call).await?;
        serde_json::from_slice(response.body()).map_err(|_| {
            let error = GraphError::unreadable(response.status(), response.headers());
            if call.is_read() {
                error.without_effect()
            } else {
                error
            }
        })
    }

    /// Sends a call until it succeeds, may not be sent again, or the retry policy gives up.
    ///
    /// The write's turn is kept in between, so that nobody else's write comes in the way of the next try.
    pub(crate) async fn send(&self, call: &Call) -> Result<Response<Bytes>, GraphError> {
        let _turn = match &call.lane {
            Some(lane) => Some(self.0.traffic.turn(lane).await),
            None => None,
        };
        let started = Instant::now();
        let (mut attempts, mut wait) = (0, Duration::ZERO);
        loop {
            attempts += 1;
            let error = match self.attempt(call).await {
                Ok(response) => return Ok(response),
                Err(error) => error.after(attempts),
            };
            let next = call
                .repeat
                .allows(&error)
                .then(|| self.wait(attempts, started.elapsed(), wait, &error));
            let Some(next) = next.flatten() else {
                return Err(if call.is_read() {
                    error.without_effect()
                } else {
                    error
                });
            };
            wait = next;
            tracing::debug!(
                call = call.name, attempts, ?wait, kind = ?error.kind(), code = error.code(),
                request_id = error.request_id(), "graph.retry"
            );
            sleep(wait).await;
        }
    }

    fn wait(
        &self,
        attempts: u32,
        elapsed: Duration,
        last: Duration,
        error: &GraphError,
    ) -> Option<Duration> {
        let (asked, entropy) = (error.retry_after(), self.entropy());
        self.retry().wait(attempts, elapsed, last, asked, entropy)
    }

    /// Sends a call once; once more with a new token when Graph does not accept the one at hand.
    async fn attempt(&self, call: &Call) -> Result<Response<Bytes>, GraphError> {
        let token = self.token(&self.0.token).await?;
        let (response, id) = self.once(call, &token).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.check(response, &id);
        }
        let mut request = self.0.token.clone().rejecting(&token);
        if let Some(claims) = claims::challenge(response.headers()) {
            request = request.with_claims(claims);
        }
        tracing::debug!(
            call = call.name,
            claims = request.claims.is_some(),
            "graph.token_refused"
        );
        let token = self.token(&request).await?;
        let (response, id) = self.once(call, &token).await?;
        self.check(response, &id)
    }

    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, GraphError> {
        match self.0.credential.cached_token(request) {
            Some(token) => Ok(token),
            None => {
                let token = self.0.credential.get_token(request).await;
                token.map_err(GraphError::credential)
            }
        }
    }

    async fn once(
        &self,
        call: &Call,
        token: &AccessToken,
    ) -> Result<(Response<Bytes>, RequestId), GraphError> {
        let id = RequestId::new(self);
        let request = self.request(call, token, &id)?;
        self.0.traffic.admit(call, self.entropy()).await;
        let response = (*self.0.http)
            .send(request)
            .await
            .map_err(|error| GraphError::transport(error).with_client_request_id(id.as_str()))?;
        self.0
            .traffic
            .observe(call, response.status(), response.headers());
        tracing::trace!(
            call = call.name,
            status = response.status().as_u16(),
            client_request_id = id.as_str(),
            "graph.answer"
        );
        Ok((response, id))
    }

    fn check(
        &self,
        response: Response<Bytes>,
        id: &RequestId,
    ) -> Result<Response<Bytes>, GraphError> {
        if response.status().is_success() {
            return Ok(response);
        }
        let asked = retry_after(response.headers(), self.0.clock.now());
        let error = GraphError::refused(&response, asked).with_client_request_id(id.as_str());
        if let (GraphErrorKind::Throttled, Some(asked)) = (error.kind(), asked) {
            self.0.traffic.hold(asked.min(self.retry().cap));
        }
        Err(error)
    }

    fn request(
        &self,
        call: &Call,
        token: &AccessToken,
        id: &RequestId,
    ) -> Result<Request<Bytes>, GraphError> {
        let mut request = Request::new(call.body.clone());
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = self.uri(call)?;
        let headers = request.headers_mut();
        // With those that the transport adds.
        headers.reserve(8);
        headers.insert(ACCEPT, JSON);
        if call.method != Method::GET && !call.body.is_empty() {
            headers.insert(CONTENT_TYPE, JSON);
        }
        if call.eventual {
            headers.insert(CONSISTENCY_LEVEL, HeaderValue::from_static("eventual"));
        }
        headers.insert(RequestIds::HEADER, id.0.clone());
        headers.insert(AUTHORIZATION, bearer(token)?);
        Ok(request)
    }

    fn uri(&self, call: &Call) -> Result<Uri, GraphError> {
        let uri = match &call.target {
            Target::Path(path) => self.0.root.with(path),
            Target::Link(link) => Uri::try_from(link.as_str()).ok(),
        };
        uri.ok_or_else(|| GraphError::protocol("the address of the request is no URL; report it"))
    }
}

const CONSISTENCY_LEVEL: HeaderName = HeaderName::from_static("consistencylevel");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl Repeat {
    pub(crate) fn allows(self, error: &GraphError) -> bool {
        // The credential has tried again itself.
        if error.kind() == GraphErrorKind::Credential {
            return false;
        }
        let unsent = error.kind() == GraphErrorKind::Transport && !error.may_have_effect();
        let refused = matches!(
            error.kind(),
            GraphErrorKind::Conflict | GraphErrorKind::Throttled
        );
        match self {
            Self::Never => false,
            Self::IfUnsent => unsent,
            Self::IfRefused => unsent || refused,
            Self::Freely => error.is_transient(),
        }
    }
}

/// The id that we give a request, in the form in which it is sent.
struct RequestId(HeaderValue);

impl RequestId {
    fn new(client: &GraphClient) -> Self {
        Self(RequestIds::header(client.0.ids.next(client.entropy())))
    }

    fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

fn bearer(token: &AccessToken) -> Result<HeaderValue, GraphError> {
    let text = Bytes::from(["Bearer ", token.token.expose()].concat());
    let mut bearer = HeaderValue::from_maybe_shared(text).map_err(|_| {
        GraphError::protocol("the access token can't be sent in a header; report it")
    })?;
    bearer.set_sensitive(true);
    Ok(bearer)
}
