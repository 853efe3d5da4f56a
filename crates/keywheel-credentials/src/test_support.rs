//! What the unit tests share.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use http::{Request, Response};
use keywheel_core::{ClientId, Clock, Cloud, HttpSend, TokenRequest, TransportError};
use proptest::test_runner::Config;
use tokio::time::Instant;

use crate::TokenEndpoint;

/// How many cases a property is tried with: 100,000 when `KEYWHEEL_TEST_FULL` is set.
pub(crate) fn cases() -> Config {
    let full = std::env::var_os("KEYWHEEL_TEST_FULL").is_some();
    Config::with_cases(if full { 100_000 } else { 256 })
}

/// A wall clock that goes with tokio's time, which tests pause.
#[derive(Debug)]
pub(crate) struct TokioClock(Instant);

impl TokioClock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TokioClock {
    fn now(&self) -> DateTime<Utc> {
        noon() + TimeDelta::from_std(self.0.elapsed()).unwrap()
    }
}

pub(crate) fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap()
}

pub(crate) fn client_id() -> ClientId {
    "11111111-2222-3333-4444-555555555555".parse().unwrap()
}

pub(crate) fn graph() -> TokenRequest {
    TokenRequest::new(Cloud::public().graph_scope())
}

/// An HTTP service that answers by a function of the request's number and form.
pub(crate) struct Service<F> {
    answer: F,
    seen: Mutex<Vec<Request<Bytes>>>,
}

pub(crate) type Answer = Result<Response<Bytes>, TransportError>;

impl<F: Fn(usize, &Fields) -> Answer + Send + Sync + 'static> Service<F> {
    pub(crate) fn new(answer: F) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self {
            answer,
            seen: Mutex::default(),
        })
    }

    pub(crate) fn endpoint(self: &std::sync::Arc<Self>) -> TokenEndpoint {
        let tenant = "contoso.onmicrosoft.com".parse().unwrap();
        TokenEndpoint::new(std::sync::Arc::clone(self), &Cloud::public(), &tenant)
            .with_clock(TokioClock::new())
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(crate) fn form(&self, number: usize) -> Fields {
        Fields::of(&self.seen.lock().unwrap()[number])
    }

    pub(crate) fn with_request<T>(
        &self,
        number: usize,
        look: impl FnOnce(&Request<Bytes>) -> T,
    ) -> T {
        look(&self.seen.lock().unwrap()[number])
    }
}

impl<F> std::fmt::Debug for Service<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
}

#[async_trait]
impl<F: Fn(usize, &Fields) -> Answer + Send + Sync> HttpSend for Service<F> {
    async fn send(&self, request: Request<Bytes>) -> Answer {
        // A round trip takes time, and so others get their turn.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let fields = Fields::of(&request);
        let number = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(request);
            seen.len() - 1
        };
        (self.answer)(number, &fields)
    }
}

/// The path of a request and the fields of its form.
#[derive(Clone, Debug)]
pub(crate) struct Fields(String, Vec<(String, String)>);

impl Fields {
    fn of(request: &Request<Bytes>) -> Self {
        let fields = url::form_urlencoded::parse(request.body());
        Self(
            request.uri().path().to_owned(),
            fields.into_owned().collect(),
        )
    }

    pub(crate) fn path(&self) -> &str {
        &self.0
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        let field = self.1.iter().find(|(key, _)| key == name);
        field.map_or("", |(_, value)| value)
    }
}

pub(crate) fn reply(status: u16, body: impl ToString) -> Answer {
    let body = Bytes::from(body.to_string());
    Ok(Response::builder().status(status).body(body).unwrap())
}

/// An answer with the token `token`, good for an hour.
pub(crate) fn granted(token: &str) -> Answer {
    reply(
        200,
        serde_json::json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token}),
    )
}

/// A refusal by `code`.
pub(crate) fn refused(error: &str, code: u32) -> Answer {
    reply(
        401,
        serde_json::json!({"error": error, "error_codes": [code],
            "error_description": format!("AADSTS{code}: Words.")}),
    )
}
