//! The exchange on the wire, one layer above a mocked sender and over a real connection.

use bytes::Bytes;
use http::{Response, StatusCode};
use keywheel_core::{AccessToken, Cloud, MockHttpSend, MockTokenCredential, ReqwestSend, Secret};
use keywheel_graph::{Filter, GraphClient, ListOptions, NewPassword};
use wiremock::matchers::{body_json, header, header_exists, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::script::{ID, Tokens, application, client_id, start};

fn graph(server: &MockServer) -> GraphClient {
    let address = server.uri().parse().unwrap();
    let cloud = Cloud::from_endpoints(&address, &address).unwrap();
    let http = ReqwestSend::builder()
        .without_system_roots()
        .build()
        .unwrap();
    GraphClient::new(http, Tokens::default(), &cloud)
}

#[tokio::test]
async fn add_password_is_sent_as_it_is_recorded() {
    let server = MockServer::start().await;
    let end = "2026-07-01T00:00:00Z";
    let answer = serde_json::json!({
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#microsoft.graph.passwordCredential",
        "customKeyIdentifier": null, "displayName": "marker", "endDateTime": "2026-07-01T00:00:00.1234567Z",
        "hint": "[6g", "keyId": ID.to_uppercase(), "secretText": "[6gvalue", "startDateTime": null,
        "somethingNew": { "deep": [1, 2] },
    });
    Mock::given(method("POST"))
        .and(path(format!(
            "/v1.0/applications(appId='{ID}')/addPassword"
        )))
        .and(header("authorization", "Bearer token-1"))
        .and(header("content-type", "application/json"))
        .and(header_exists("client-request-id"))
        .and(body_json(serde_json::json!({
            "passwordCredential": { "displayName": "marker", "endDateTime": end }
        })))
        .respond_with(ResponseTemplate::new(200).set_body_json(answer))
        .expect(1)
        .mount(&server)
        .await;

    let new = NewPassword::new("marker", end.parse().unwrap());
    let added = graph(&server)
        .application(client_id())
        .add_password(&new)
        .await
        .unwrap();

    assert_eq!(added.key_id, Some(ID.parse().unwrap()));
    assert_eq!(added.secret_text.unwrap().expose(), "[6gvalue");
    assert_eq!(
        added.end_date_time.unwrap().timestamp_subsec_nanos(),
        123_456_700
    );
}

#[tokio::test]
async fn searches_ask_for_eventual_consistency_and_a_count() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/v1.0/applications"))
        .and(header("consistencylevel", "eventual"))
        .respond_with(ResponseTemplate::new(200).set_body_json(serde_json::json!({ "value": [] })))
        .expect(1)
        .mount(&server)
        .await;

    let options = ListOptions::new()
        .search("displayName", "say \"hi\" & more")
        .filter(&Filter::equal("displayName", "O'Hara & co?"))
        .page_size(0);
    graph(&server).applications(&options).all().await.unwrap();

    let query: Vec<(String, String)> = server.received_requests().await.unwrap()[0]
        .url
        .query_pairs()
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let value = |name| &query.iter().find(|(it, _)| it == name).unwrap().1;
    assert_eq!(value("$search"), "\"displayName:say hi & more\"");
    assert_eq!(value("$filter"), "displayName eq 'O''Hara & co?'");
    assert_eq!(
        (value("$count").as_str(), value("$top").as_str()),
        ("true", "1")
    );
    let selected = "id,appId,displayName,signInAudience,passwordCredentials";
    assert_eq!(value("$select"), selected);
}

#[tokio::test]
async fn throttled_once_is_asked_again_over_the_wire() {
    let server = MockServer::start().await;
    let at = || Mock::given(method("GET"));
    at().respond_with(ResponseTemplate::new(429).insert_header("retry-after", "0"))
        .up_to_n_times(1)
        .expect(1)
        .mount(&server)
        .await;
    at().respond_with(ResponseTemplate::new(200).set_body_json(application()))
        .expect(1)
        .mount(&server)
        .await;
    let mut retry = keywheel_core::RetryPolicy::default();
    retry.base = std::time::Duration::from_millis(1);

    let graph = graph(&server).with_retry(retry);
    graph.application(client_id()).get().await.unwrap();
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = MockServer::start().await;
    let away = ResponseTemplate::new(302).insert_header("location", "https://evil.example/");
    Mock::given(method("GET"))
        .respond_with(away)
        .expect(1)
        .mount(&server)
        .await;

    let failed = graph(&server)
        .application(client_id())
        .get()
        .await
        .unwrap_err();

    assert_eq!(failed.status(), Some(StatusCode::FOUND));
}

/// One layer up: what a service that embeds the client would mock.
#[tokio::test]
async fn a_client_works_over_mocked_seams() {
    let mut http = MockHttpSend::new();
    http.expect_send()
        .withf(|request| {
            request.uri().path() == format!("/v1.0/applications(appId='{ID}')")
                && request.headers()["authorization"] == "Bearer mocked"
        })
        .times(1)
        .returning(|_| Ok(Response::new(Bytes::from(application().to_string()))));
    let mut tokens = MockTokenCredential::new();
    tokens.expect_cached_token().times(1).returning(|request| {
        assert_eq!(
            request.scopes[0].as_str(),
            "https://graph.microsoft.com/.default"
        );
        let end = start() + chrono::TimeDelta::hours(1);
        Some(AccessToken::new(Secret::new("mocked"), start(), end))
    });

    let graph = GraphClient::new(http, tokens, &Cloud::public());

    assert_eq!(
        graph.application(client_id()).get().await.unwrap().app_id,
        client_id()
    );
}

#[test]
fn handles_may_cross_threads_and_futures_too() {
    fn shareable<T: Send + Sync + Clone + std::fmt::Debug>() {}
    fn sendable(_: impl Send) {}

    shareable::<GraphClient>();
    shareable::<keywheel_graph::Traffic>();
    shareable::<keywheel_graph::Pages<keywheel_graph::Application>>();
    let graph = GraphClient::new(
        MockHttpSend::new(),
        MockTokenCredential::new(),
        &Cloud::public(),
    );
    sendable(graph.application(client_id()).get());
    sendable(graph.applications(&ListOptions::new()).items());
    sendable(graph.batch().send());
}
