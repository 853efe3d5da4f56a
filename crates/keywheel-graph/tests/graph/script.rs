//! A Graph that answers from a script, on virtual time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use keywheel_core::{
    AccessToken, Cloud, CredentialError, HttpSend, RetryPolicy, Secret, TokenCredential,
    TokenRequest, TransportError, TransportErrorKind,
};
use keywheel_graph::GraphClient;
use keywheel_testkit::{SeededEntropy, TokioClock};
use tokio::time::Instant;

/// What happens to one request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Answer(u16, Vec<(&'static str, String)>, String),
    Fail(TransportErrorKind),
}

pub(crate) fn answer(status: u16, body: impl Into<String>) -> Act {
    Act::Answer(status, Vec::new(), body.into())
}

pub(crate) fn ok(body: serde_json::Value) -> Act {
    answer(200, body.to_string())
}

pub(crate) fn error(status: u16, code: &str, message: &str) -> Act {
    let body = serde_json::json!({ "error": { "code": code, "message": message } });
    answer(status, body.to_string())
}

impl Act {
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Self::Answer(_, headers, _) = &mut self {
            headers.push((name, value.into()));
        }
        self
    }
}

/// A request, and when it came.
type Seen = (Duration, Request<Bytes>);

/// Plays its acts in order; the last one for ever.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    acts: Arc<Mutex<Vec<Act>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    start: Instant,
}

impl Script {
    pub(crate) fn of(acts: impl IntoIterator<Item = Act>) -> Self {
        Self {
            acts: Arc::new(Mutex::new(acts.into_iter().collect())),
            seen: Arc::default(),
            start: Instant::now(),
        }
    }

    pub(crate) fn requests(&self) -> Vec<Request<Bytes>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|(_, request)| request.clone()).collect()
    }

    /// When each request came.
    pub(crate) fn times(&self) -> Vec<Duration> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().map(|(after, _)| *after).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.times().len()
    }
}

#[async_trait]
impl HttpSend for Script {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let after = self.start.elapsed();
        self.seen.lock().unwrap().push((after, request));
        let act = {
            let mut acts = self.acts.lock().unwrap();
            if acts.len() > 1 {
                acts.remove(0)
            } else {
                acts[0].clone()
            }
        };
        match act {
            Act::Fail(kind) => Err(TransportError::new(kind)),
            Act::Answer(status, headers, body) => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                Ok(response.body(Bytes::from(body)).unwrap())
            }
        }
    }
}

/// Tokens with a number, and what was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens(Arc<Mutex<Vec<TokenRequest>>>);

impl Tokens {
    pub(crate) fn asked(&self) -> Vec<TokenRequest> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl TokenCredential for Tokens {
    async fn get_token(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        let mut asked = self.0.lock().unwrap();
        asked.push(request.clone());
        let now = start() + chrono::TimeDelta::seconds(i64::try_from(asked.len()).unwrap());
        let token = Secret::new(format!("token-{}", asked.len()));
        Ok(AccessToken::new(
            token,
            now,
            now + chrono::TimeDelta::hours(1),
        ))
    }
}

pub(crate) fn start() -> chrono::DateTime<chrono::Utc> {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn graph(script: &Script) -> GraphClient {
    graph_with(script, &Tokens::default())
}

pub(crate) fn graph_with(script: &Script, tokens: &Tokens) -> GraphClient {
    GraphClient::new(script.clone(), tokens.clone(), &Cloud::public())
        .with_clock(TokioClock::starting_at(start()))
        .with_entropy(SeededEntropy::new(7))
        .with_retry(RetryPolicy::default())
}

pub(crate) const ID: &str = "11111111-2222-4333-8444-555555555555";

pub(crate) fn client_id() -> keywheel_core::ClientId {
    ID.parse().unwrap()
}

pub(crate) fn application() -> serde_json::Value {
    serde_json::json!({ "id": ID, "appId": ID, "passwordCredentials": [] })
}
