//! The same through keywheel.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta};
use keywheel_core::{
    AccessToken, ClientId, Cloud, CredentialError, ReqwestSend, Secret, TokenCredential,
    TokenRequest,
};
use keywheel_graph::{GraphClient, ListOptions, NewPassword, Traffic, TrafficLimits};

use crate::server::Server;

pub(crate) const CLIENT: &str = "c0ffee00-1111-4222-8333-444455556666";
pub(crate) const TOKEN: &str =
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL2dyYXBoIn0.c2ln";

/// A token that is at hand, as nearly always.
#[derive(Clone, Debug)]
pub(crate) struct Held(AccessToken);

impl Held {
    pub(crate) fn new() -> Self {
        let start = DateTime::UNIX_EPOCH;
        let end = start + TimeDelta::days(365_000);
        Self(AccessToken::new(Secret::new(TOKEN), start, end))
    }
}

#[async_trait]
impl TokenCredential for Held {
    async fn get_token(&self, _request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        Ok(self.0.clone())
    }

    fn cached_token(&self, _request: &TokenRequest) -> Option<AccessToken> {
        Some(self.0.clone())
    }
}

/// Returns a client whose limits are out of the way: the server has none.
pub(crate) fn unlimited() -> Traffic {
    let mut limits = TrafficLimits::default();
    limits.write_spacing = Duration::ZERO;
    (limits.units_in_ten_seconds, limits.writes_in_150_seconds) = (u32::MAX, u32::MAX);
    Traffic::new(limits)
}

pub(crate) fn graph(server: &Server) -> GraphClient {
    let origin = server.origin().parse().unwrap();
    let cloud = Cloud::from_endpoints(&origin, &origin).unwrap();
    let http = ReqwestSend::builder()
        .without_system_roots()
        .build()
        .unwrap();
    GraphClient::new(http, Held::new(), &cloud).with_traffic(unlimited())
}

pub(crate) fn password() -> NewPassword {
    NewPassword::new("marker", DateTime::UNIX_EPOCH + TimeDelta::days(20_000))
}

pub(crate) async fn passwords(graph: &GraphClient) {
    let client: ClientId = CLIENT.parse().unwrap();
    let application = graph.application(client);
    let added = application.add_password(&password()).await.unwrap();
    application
        .remove_password(&added.key_id.unwrap())
        .await
        .unwrap();
}

pub(crate) async fn listing(graph: &GraphClient) -> usize {
    let mut pages = graph.applications(&ListOptions::new());
    let mut count = 0;
    while let Some(page) = pages.next().await.unwrap() {
        count += page.value.len();
    }
    count
}
