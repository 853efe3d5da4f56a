use futures_util::{StreamExt, TryStreamExt};
use keywheel_core::{Cloud, ReqwestSend};
use keywheel_graph::{GraphClient, GraphErrorKind, ListOptions};
use serde_json::json;
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::script::{ID, Script, Tokens, client_id, error, graph, ok};

fn page(next: Option<&str>) -> serde_json::Value {
    let mut page = json!({ "value": [{ "id": ID, "appId": ID }] });
    if let Some(next) = next {
        page["@odata.nextLink"] = json!(next);
    }
    page
}

#[tokio::test]
async fn a_next_link_is_followed_verbatim() {
    let server = MockServer::start().await;
    let odd = "/v1.0/elsewhere/%41pplications?$skiptoken=RFNwdAIAAQ%2b%2F_~.!*();:@,&x=%20y";
    let next = format!("{}{odd}", server.uri());
    Mock::given(path("/v1.0/applications"))
        .and(query_param("$top", "999"))
        .respond_with(ResponseTemplate::new(200).set_body_json(page(Some(&next))))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(query_param("x", " y"))
        .respond_with(ResponseTemplate::new(200).set_body_json(page(None)))
        .expect(1)
        .mount(&server)
        .await;
    let address = server.uri().parse().unwrap();
    let cloud = Cloud::from_endpoints(&address, &address).unwrap();
    let http = ReqwestSend::builder()
        .without_system_roots()
        .build()
        .unwrap();
    let graph = GraphClient::new(http, Tokens::default(), &cloud);

    let all = graph
        .applications(&ListOptions::new().page_size(999))
        .all()
        .await
        .unwrap();

    assert_eq!(all.len(), 2);
    let second = &server.received_requests().await.unwrap()[1];
    let sent = second
        .url
        .as_str()
        .strip_prefix(&server.uri())
        .unwrap_or(second.url.as_str());
    assert!(sent.ends_with(odd), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_token_never_goes_where_graph_is_not() {
    for next in [
        "https://evil.example/v1.0/applications?$skiptoken=x",
        "http://graph.microsoft.com/v1.0/applications?$skiptoken=x",
        "https://graph.microsoft.com:444/v1.0/applications",
        "https://graph.microsoft.com.evil.example/v1.0/applications",
        "https://graph.microsoft.com@evil.example/v1.0/applications",
        "https://user:pass@graph.microsoft.com/v1.0/applications",
        "//evil.example/v1.0/applications",
        "/v1.0/applications?$skiptoken=x",
        "data:application/json,{}",
        "",
    ] {
        let script = Script::of([ok(page(Some(next)))]);
        let mut pages = graph(&script).applications(&ListOptions::new());

        assert!(pages.next().await.unwrap().is_some());
        let refused = pages.next().await.unwrap_err();

        assert_eq!(refused.kind(), GraphErrorKind::Protocol, "{next}");
        assert_eq!(script.count(), 1, "{next}");
        assert!(
            next.is_empty() || !refused.to_string().contains(next),
            "{refused}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_leads_back_to_its_own_page_ends_the_list() {
    let next = "https://graph.microsoft.com/v1.0/applications?$skiptoken=x";
    let script = Script::of([ok(page(Some(next)))]);

    let failed = graph(&script)
        .applications(&ListOptions::new())
        .all()
        .await
        .unwrap_err();

    assert_eq!(failed.kind(), GraphErrorKind::Protocol);
    assert_eq!(script.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_failed_can_be_asked_for_again() {
    let next = "https://graph.microsoft.com/v1.0/applications?$skiptoken=x";
    let script = Script::of([
        ok(page(Some(next))),
        error(400, "Directory_ExpiredPageToken", ""),
        ok(page(None)),
    ]);
    let mut pages = graph(&script).applications(&ListOptions::new());

    pages.next().await.unwrap();
    let failed = pages.next().await.unwrap_err();
    assert_eq!(failed.refusal(), Some(keywheel_graph::Refusal::ExpiredPage));
    assert!(pages.next().await.unwrap().is_some());
    assert!(pages.next().await.unwrap().is_none());

    let uris: Vec<_> = script
        .requests()
        .iter()
        .map(|it| it.uri().to_string())
        .collect();
    assert_eq!(uris[1], uris[2]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_after_its_first_error_and_reads_no_page_too_early() {
    let next = "https://graph.microsoft.com/v1.0/applications?$skiptoken=x";
    let script = Script::of([
        ok(page(Some(next))),
        error(403, "Authorization_RequestDenied", ""),
    ]);
    let mut items = std::pin::pin!(graph(&script).applications(&ListOptions::new()).items());

    assert_eq!(items.try_next().await.unwrap().unwrap().app_id, client_id());
    assert_eq!(script.count(), 1);
    assert!(items.next().await.unwrap().is_err());
    assert!(items.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn pages_may_be_empty_and_members_null_or_new() {
    let next = "https://graph.microsoft.com/v1.0/applications?$skiptoken=x";
    let empty = json!({ "value": [], "@odata.nextLink": next });
    let odd = json!({ "new": 1, "value": [{
        "id": ID, "appId": ID, "displayName": null, "passwordCredentials": null, "keyCredentials": null,
        "tags": null, "createdDateTime": "2020-02-29T23:59:59.1234567Z", "futureThing": { "a": [] },
    }] });
    let script = Script::of([ok(empty), ok(odd)]);

    let all = graph(&script)
        .applications(&ListOptions::new())
        .all()
        .await
        .unwrap();

    assert_eq!(all.len(), 1);
    assert!(all[0].created_date_time.is_some() && all[0].password_credentials.is_empty());
}
