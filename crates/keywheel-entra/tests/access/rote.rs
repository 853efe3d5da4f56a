//! A Graph and a token that are whatever a test says.

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::{Request, Response};
use keywheel_core::{
    AccessToken, Cloud, CredentialError, HttpSend, ManualClock, Secret, TokenCredential,
    TokenRequest, TransportError,
};
use keywheel_entra::TenantAccess;
use serde_json::{Value, json};

pub(crate) const CLIENT: &str = "11111111-2222-4333-8444-555555555555";
pub(crate) const OWNER: &str = "99999999-2222-4333-8444-555555555555";
pub(crate) const TENANT: &str = "77777777-2222-4333-8444-555555555555";

/// Answers by path, and 403 to all that it was not told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rote {
    pub(crate) answers: Vec<(&'static str, Value)>,
    pub(crate) date: Option<&'static str>,
}

impl Rote {
    pub(crate) fn answering(mut self, path: &'static str, body: Value) -> Self {
        self.answers.push((path, body));
        self
    }
}

#[async_trait]
impl HttpSend for Rote {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let path = request.uri().path();
        let told = self.answers.iter().find(|(end, _)| path.ends_with(end));
        let denied =
            json!({ "error": { "code": "Authorization_RequestDenied", "message": "No." } });
        let (status, body) = told.map_or((403, denied), |(_, body)| (200, body.clone()));
        let mut response = Response::builder().status(status);
        if let Some(date) = self.date {
            response = response.header("date", date);
        }
        Ok(response.body(Bytes::from(body.to_string())).unwrap())
    }
}

/// A token that is at hand.
#[derive(Clone, Debug)]
pub(crate) struct Token(pub(crate) String);

#[async_trait]
impl TokenCredential for Token {
    async fn get_token(&self, _request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        let token = Secret::new(self.0.clone());
        Ok(AccessToken::new(token, now(), now() + TimeDelta::hours(1)))
    }
}

pub(crate) fn now() -> DateTime<Utc> {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn access(rote: Rote, claims: &Value) -> TenantAccess {
    let token = format!(
        "e30.{}.x",
        BASE64_URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    access_with(rote, token, &Cloud::public())
}

pub(crate) fn access_with(rote: Rote, token: impl Into<String>, cloud: &Cloud) -> TenantAccess {
    let (tenant, client) = (TENANT.parse().unwrap(), CLIENT.parse().unwrap());
    TenantAccess::new(rote, Token(token.into()), cloud, &tenant, client)
        .with_clock(ManualClock::new(now()))
}
