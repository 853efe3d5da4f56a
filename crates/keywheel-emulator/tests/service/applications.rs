use http::Method;
use keywheel_emulator::{ApplicationSeed, TenantSeed};
use serde_json::{Value, json};

use crate::client::{Answer, Bench, failed};

async fn bench() -> Bench {
    let mut tenant = TenantSeed::new("contoso.example").application(
        ApplicationSeed::new("admin")
            .role("Application.ReadWrite.All")
            .secret("one"),
    );
    for number in 0..5 {
        tenant = tenant.application(ApplicationSeed::new(format!("app {number}")));
    }
    Bench::seeded(tenant).await
}

fn names(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    let items = body["value"].as_array().unwrap().iter();
    let mut names: Vec<String> = items
        .map(|it| it["displayName"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_application_is_found_by_object_id_and_by_client_id_and_the_two_differ() {
    let bench = bench().await;
    let (object_id, client_id) = (bench.app().object_id(), bench.app().client_id());
    let get = async |path: String| bench.graph(Method::GET, &path, None).await;

    for path in [
        format!("/applications/{object_id}"),
        format!("/applications(appId='{client_id}')"),
    ] {
        let answer = get(path.clone()).await;
        assert_eq!(answer.json()["appId"], client_id, "{path}");
        assert_eq!(answer.json()["id"], object_id, "{path}");
        assert_eq!(answer.header("odata-version"), "4.0");
        assert!(
            answer
                .header("content-type")
                .starts_with("application/json;odata.metadata=minimal")
        );
    }
    for (path, expected) in [
        (
            format!("/applications/{client_id}"),
            failed(404, "Request_ResourceNotFound"),
        ),
        (
            format!("/applications(appId='{object_id}')"),
            failed(404, "Request_ResourceNotFound"),
        ),
        (
            "/applications/no-guid".to_owned(),
            failed(400, "Request_BadRequest"),
        ),
        (
            "/applications(name='x')".to_owned(),
            failed(400, "BadRequest"),
        ),
        (
            format!("/servicePrincipals/{object_id}"),
            failed(404, "Request_ResourceNotFound"),
        ),
        ("/users".to_owned(), failed(404, "ResourceNotFound")),
    ] {
        assert_eq!(get(path.clone()).await.graph_error(), expected, "{path}");
    }
    let principal = get(format!("/servicePrincipals(appId='{client_id}')"))
        .await
        .json();
    assert_eq!(principal["id"], bench.app().service_principal_id());
}

#[tokio::test]
async fn select_keeps_what_it_names() {
    let bench = bench().await;

    let some = bench
        .graph(Method::GET, &bench.application("?$select=id,appId"), None)
        .await
        .json();
    let unknown = bench
        .graph(Method::GET, &bench.application("?$select=id,nope"), None)
        .await;

    let keys: Vec<&String> = some.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["@odata.context", "appId", "id"]);
    assert_eq!(unknown.graph_error(), failed(400, "BadRequest"));
}

#[tokio::test]
async fn lists_are_filtered() {
    let bench = bench().await;
    let list = async |query: &str| {
        bench
            .graph(Method::GET, &format!("/applications?{query}"), None)
            .await
    };
    let by_app_id = format!("$filter=appId eq '{}'", bench.app().client_id()).replace(' ', "%20");

    assert_eq!(names(&list(&by_app_id).await), ["admin"]);
    assert_eq!(
        names(&list("$filter=displayName%20eq%20'App%203'").await),
        ["app 3"]
    );
    assert_eq!(
        names(&list("$filter=startswith(displayName,'app')").await).len(),
        5
    );
    assert_eq!(
        names(
            &list("$filter=startswith(displayName,'app')%20and%20displayName%20eq%20'admin'").await
        )
        .len(),
        0
    );
    for query in [
        "$filter=displayName",
        "$filter=nope%20eq%20'x'",
        "$top=0",
        "$top=1000",
        "$top=x",
        "$skip=1",
        "$skiptoken=x",
    ] {
        let answer = list(query).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        answer.graph_error();
    }
}

#[tokio::test]
async fn advanced_queries_need_eventual_consistency_and_a_count() {
    let bench = bench().await;
    let token = bench.token().await;
    let list = async |query: &str, eventual: bool| {
        let url = format!("{}/v1.0/applications{query}", bench.emulator.graph());
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("consistencylevel", "eventual"),
        ];
        bench
            .client
            .get(&url, &headers[..1 + usize::from(eventual)])
            .await
    };
    let unsupported = failed(400, "Request_UnsupportedQuery");

    for query in [
        "?$filter=displayName%20ne%20'admin'&$count=true",
        "?$filter=endsWith(displayName,'3')&$count=true",
        "?$filter=not(displayName%20eq%20'admin')&$count=true",
        "?$filter=startswith(displayName,'app')&$orderby=displayName&$count=true",
        "?$search=%22displayName:app%22",
        "/$count",
    ] {
        assert_eq!(
            list(query, false).await.graph_error(),
            unsupported,
            "{query}"
        );
        assert_eq!(list(query, true).await.status, 200, "{query}");
    }
    assert_eq!(
        list("?$filter=displayName%20ne%20'admin'", true)
            .await
            .graph_error(),
        unsupported
    );
    let counted = list("?$filter=startswith(displayName,'app')&$count=true", true)
        .await
        .json();
    assert_eq!(counted["@odata.count"], 5);
    assert_eq!(list("/$count", true).await.body, "6");
    assert_eq!(
        names(&list("?$search=%22displayName:app%203%22", true).await),
        ["app 3"]
    );
    assert_eq!(list("?$search=nope", true).await.status, 400);
    let ordered = list("?$orderby=displayName%20desc", false).await.json();
    assert_eq!(ordered["value"][0]["displayName"], "app 4");
}

#[tokio::test]
async fn pages_follow_each_other_on_the_host_that_was_asked() {
    let bench = bench().await;
    let token = bench.token().await;
    let bearer = format!("Bearer {token}");
    let mut url = format!(
        "{}/v1.0/applications?$top=4&$select=displayName",
        bench.emulator.graph()
    );
    let mut found = Vec::new();

    for expected in [4, 2] {
        let page = bench.client.get(&url, &[("authorization", &bearer)]).await;
        let items = names(&page);
        assert_eq!(items.len(), expected, "{url}");
        found.extend(items);
        url = page.json()["@odata.nextLink"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(
            url.is_empty() || url.starts_with(bench.emulator.graph()),
            "{url}"
        );
    }

    assert_eq!(url, "");
    found.sort();
    assert_eq!(
        found,
        ["admin", "app 0", "app 1", "app 2", "app 3", "app 4"]
    );
}

#[tokio::test]
async fn a_page_link_keeps_the_path_prefix() {
    let bench = bench().await;
    let bearer = format!("Bearer {}", bench.token().await);
    let url = format!("{}/graph/v1.0/applications?$top=1", bench.emulator.graph());

    let page = bench
        .client
        .get(&url, &[("authorization", &bearer)])
        .await
        .json();

    let next = page["@odata.nextLink"].as_str().unwrap();
    assert!(next.contains("/graph/v1.0/applications?"), "{next}");
}

#[tokio::test]
async fn applications_are_created_changed_and_deleted() {
    let bench = bench().await;
    let post = async |body: Value| bench.graph(Method::POST, "/applications", Some(body)).await;

    let made = post(json!({ "displayName": "new", "uniqueName": "new", "web": { "redirectUris": ["https://a.example/"] } })).await;

    assert_eq!(made.status, 201, "{made:?}");
    let body = made.json();
    assert_ne!(body["id"], body["appId"]);
    assert_eq!(
        body["signInAudience"], "AzureADandPersonalMicrosoftAccount",
        "the default of Graph"
    );
    assert_eq!(body["publisherDomain"], "contoso.example");
    let path = format!("/applications/{}", body["id"].as_str().unwrap());
    let by_name = bench
        .graph(Method::GET, "/applications(uniqueName='new')", None)
        .await;
    assert_eq!(by_name.json()["id"], body["id"]);
    let patch = async |change: Value| bench.graph(Method::PATCH, &path, Some(change)).await;
    assert_eq!(patch(json!({ "displayName": "changed" })).await.status, 204);
    assert_eq!(
        bench.graph(Method::GET, &path, None).await.json()["displayName"],
        "changed"
    );
    let change =
        json!({ "@odata.type": "#microsoft.graph.application", "web": { "redirectUris": [] } });
    assert_eq!(patch(change).await.status, 204);
    let after = bench.graph(Method::GET, &path, None).await.json();
    assert_eq!(
        after["web"]["implicitGrantSettings"],
        json!({ "enableAccessTokenIssuance": false, "enableIdTokenIssuance": false }),
        "what a change leaves out of an object stays"
    );
    assert!(after.get("@odata.type").is_none(), "{after}");
    for (change, code) in [
        (json!({ "displayName": 5 }), "Request_BadRequest"),
        (json!({ "appId": body["appId"] }), "Request_BadRequest"),
        (json!({ "nope": 1 }), "BadRequest"),
        (
            json!({ "signInAudience": "Everyone" }),
            "Request_BadRequest",
        ),
    ] {
        assert_eq!(
            patch(change.clone()).await.graph_error(),
            failed(400, code),
            "{change}"
        );
    }
    assert_eq!(
        post(json!({ "displayName": "x", "uniqueName": "new" }))
            .await
            .status,
        409
    );
    assert_eq!(post(json!({})).await.status, 400);
    assert_eq!(bench.graph(Method::PUT, &path, None).await.status, 405);
    assert_eq!(bench.graph(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(bench.graph(Method::GET, &path, None).await.status, 404);
}

#[tokio::test]
async fn service_principals_are_made_for_applications_that_exist() {
    let bench = bench().await;
    let made = bench
        .graph(
            Method::POST,
            "/applications",
            Some(json!({ "displayName": "new" })),
        )
        .await
        .json();
    let post = async |app_id: &Value| {
        bench
            .graph(
                Method::POST,
                "/servicePrincipals",
                Some(json!({ "appId": app_id })),
            )
            .await
    };

    assert_eq!(post(&made["appId"]).await.status, 201);
    assert_eq!(
        post(&made["appId"]).await.graph_error(),
        failed(409, "Request_MultipleObjectsWithSameKeyValue")
    );
    assert_eq!(
        post(&json!("11111111-2222-4333-8444-555555555555"))
            .await
            .graph_error(),
        failed(400, "Request_BadRequest")
    );
    assert_eq!(
        post(&json!("x")).await.graph_error(),
        failed(400, "BadRequest")
    );
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused_by_the_layer_above_the_directory() {
    let bench = bench().await;
    let bearer = format!("Bearer {}", bench.token().await);
    let url = format!(
        "{}/v1.0{}",
        bench.emulator.graph(),
        bench.application("/addPassword")
    );
    let send = async |kind: Option<&str>, body: &str| {
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(kind.map(|kind| ("content-type", kind)));
        bench
            .client
            .send(Method::POST, &url, &headers, body)
            .await
            .unwrap()
    };
    let json_type = Some("application/json");

    for (kind, body) in [
        (None, "{}"),
        (json_type, ""),
        (json_type, "{"),
        (json_type, "[]"),
        (Some("text/plain"), "{}"),
        (json_type, r#"{"password":{}}"#),
        (json_type, r#"{"passwordCredential":5}"#),
    ] {
        let answer = send(kind, body).await;
        assert_eq!(
            answer.graph_error(),
            failed(400, "BadRequest"),
            "{kind:?} {body}"
        );
    }
    assert_eq!(send(json_type, "{}").await.status, 200);
}
