use http::Method;
use keywheel_emulator::{ApplicationSeed, TenantSeed, UserSeed};
use serde_json::{Value, json};

use crate::client::{Bench, failed};

async fn bench() -> Bench {
    let tenant = TenantSeed::new("contoso.example")
        .user(UserSeed::new("ada@contoso.example", "pw"))
        .application(
            ApplicationSeed::new("admin")
                .role("Application.ReadWrite.All")
                .role("Directory.Read.All")
                .role("AppRoleAssignment.ReadWrite.All")
                .secret("one"),
        )
        .application(ApplicationSeed::new("other").secret("one"));
    Bench::seeded(tenant).await
}

fn ids(list: &Value) -> Vec<String> {
    let items = list["value"].as_array().unwrap();
    items
        .iter()
        .map(|it| it["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn owners_are_added_by_reference() {
    let bench = bench().await;
    let principal = bench.app().service_principal_id().to_owned();
    let link = |id: &str| json!({ "@odata.id": format!("https://graph.microsoft.com/v1.0/directoryObjects/{id}") });
    let post = async |rest: &str, body: Value| {
        bench
            .graph(Method::POST, &bench.application(rest), Some(body))
            .await
    };

    assert_eq!(
        post("/owners", link(&principal)).await.graph_error(),
        failed(400, "Request_BadRequest")
    );
    assert_eq!(post("/owners/$ref", json!({})).await.status, 400);
    let unknown = link("11111111-2222-4333-8444-555555555555");
    assert_eq!(
        post("/owners/$ref", unknown).await.graph_error(),
        failed(404, "Request_ResourceNotFound")
    );
    assert_eq!(post("/owners/$ref", link(&principal)).await.status, 204);
    assert_eq!(
        post("/owners/$ref", link(&principal)).await.graph_error(),
        failed(400, "Request_BadRequest")
    );

    let listed = bench
        .graph(Method::GET, &bench.application("/owners"), None)
        .await
        .json();
    assert_eq!(ids(&listed), [principal.as_str()]);
    assert_eq!(
        listed["value"][0]["@odata.type"],
        "#microsoft.graph.servicePrincipal"
    );
    let owned = format!("/servicePrincipals/{principal}/ownedObjects");
    let owned = bench.graph(Method::GET, &owned, None).await.json();
    assert_eq!(ids(&owned), [bench.app().object_id()]);

    let remove = bench.application(&format!("/owners/{principal}/$ref"));
    assert_eq!(bench.graph(Method::DELETE, &remove, None).await.status, 204);
    assert_eq!(bench.graph(Method::DELETE, &remove, None).await.status, 404);
}

#[tokio::test]
async fn adding_an_owner_also_needs_to_read_the_directory() {
    let bench = bench().await;
    let id = bench.app().client_id().to_owned();
    bench
        .emulator
        .revoke_role(&id, "Directory.Read.All")
        .unwrap();
    let link = format!(
        "{}/v1.0/directoryObjects/{}",
        bench.emulator.graph(),
        bench.app().service_principal_id()
    );
    let body = json!({ "@odata.id": link });

    let answer = bench
        .graph(Method::POST, &bench.application("/owners/$ref"), Some(body))
        .await;

    assert_eq!(
        answer.graph_error(),
        failed(403, "Authorization_RequestDenied")
    );
}

#[tokio::test]
async fn a_granted_role_shows_in_new_tokens() {
    let bench = bench().await;
    let principal = bench.app().service_principal_id().to_owned();
    let graph = "/servicePrincipals(appId='00000003-0000-0000-c000-000000000000')";
    let resource = bench.graph(Method::GET, graph, None).await.json();
    let role = resource["appRoles"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["value"] == "Organization.Read.All");
    let body = json!({ "principalId": principal, "resourceId": resource["id"], "appRoleId": role.unwrap()["id"] });
    let path = format!("/servicePrincipals/{principal}/appRoleAssignments");
    let before = bench.graph(Method::GET, "/organization", None).await;

    let granted = bench.graph(Method::POST, &path, Some(body.clone())).await;
    let again = bench.graph(Method::POST, &path, Some(body.clone())).await;
    let after = bench.graph(Method::GET, "/organization", None).await;

    assert_eq!(
        before.status, 200,
        "Directory.Read.All suffices: {before:?}"
    );
    assert_eq!(granted.status, 201, "{granted:?}");
    assert_eq!(again.graph_error(), failed(400, "Request_BadRequest"));
    assert_eq!(after.status, 200, "{after:?}");
    let listed = bench.graph(Method::GET, &path, None).await.json();
    assert_eq!(listed["value"].as_array().unwrap().len(), 4);
    assert_eq!(listed["value"][0]["resourceDisplayName"], "Microsoft Graph");
    let id = granted.json()["id"].as_str().unwrap().to_owned();
    let one = format!("{path}/{id}");
    assert_eq!(bench.graph(Method::DELETE, &one, None).await.status, 204);
    assert_eq!(bench.graph(Method::DELETE, &one, None).await.status, 404);
    let unknown_role =
        json!({ "principalId": principal, "resourceId": resource["id"], "appRoleId": principal });
    assert_eq!(
        bench
            .graph(Method::POST, &path, Some(unknown_role))
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn federated_credentials_are_kept_by_name_and_limited() {
    let bench = bench().await;
    let path = bench.application("/federatedIdentityCredentials");
    let credential = |name: &str, subject: &str| {
        json!({
            "name": name, "issuer": "https://issuer.example", "subject": subject,
            "audiences": ["api://AzureADTokenExchange"],
        })
    };
    let post = async |body: Value| bench.graph(Method::POST, &path, Some(body)).await;
    let with = |name: &str, value: Value| {
        let mut body = credential("other", "other");
        body[name] = value;
        body
    };

    let made = post(credential("first", "one")).await;

    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(post(credential("first", "two")).await.status, 409);
    assert_eq!(post(credential("second", "one")).await.status, 409);
    for body in [
        with("name", json!("ab")),
        with("issuer", json!("x".repeat(601))),
        with("subject", json!("")),
        with("audiences", json!([])),
        with("audiences", json!(["a", "b"])),
        with("unknown", json!(1)),
    ] {
        assert_eq!(post(body.clone()).await.status, 400, "{body}");
    }
    let by_name = format!("{path}/first");
    let by_key = bench.application("/federatedIdentityCredentials(name='first')");
    for path in [&by_name, &by_key] {
        let read = bench.graph(Method::GET, path, None).await;
        assert_eq!(read.json()["subject"], "one", "{path}");
    }
    let patch = Some(json!({ "subject": "changed" }));
    assert_eq!(
        bench.graph(Method::PATCH, &by_name, patch).await.status,
        204
    );
    for place in 1..20 {
        assert_eq!(
            post(credential(&format!("number{place}"), &format!("{place}")))
                .await
                .status,
            201
        );
    }
    assert_eq!(
        post(credential("one too many", "x")).await.graph_error(),
        failed(400, "Request_BadRequest")
    );
    assert_eq!(
        bench.graph(Method::DELETE, &by_name, None).await.status,
        204
    );
    assert_eq!(bench.graph(Method::GET, &by_name, None).await.status, 404);
    let listed = bench.graph(Method::GET, &path, None).await.json();
    assert_eq!(listed["value"].as_array().unwrap().len(), 19);
}

#[tokio::test]
async fn me_is_for_signed_in_users_only() {
    let bench = bench().await;

    let answer = bench.graph(Method::GET, "/me", None).await;

    assert_eq!(answer.graph_error(), failed(400, "BadRequest"));
    let message = answer.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        message,
        "/me request is only valid with delegated authentication flow."
    );
}

#[tokio::test]
async fn the_organization_shows_its_verified_domains() {
    let bench = bench().await;

    let answer = bench.graph(Method::GET, "/organization", None).await.json();

    assert_eq!(answer["value"][0]["id"], bench.app().tenant_id());
    assert_eq!(
        answer["value"][0]["verifiedDomains"][0]["name"],
        "contoso.example"
    );
}

#[tokio::test]
async fn a_batch_answers_each_request_on_its_own() {
    let bench = bench().await;
    let get = |id: &str, url: &str| json!({ "id": id, "method": "GET", "url": url });
    let post = async |requests: Value| {
        bench
            .graph(
                Method::POST,
                "/$batch",
                Some(json!({ "requests": requests })),
            )
            .await
    };
    let path = bench.application("");
    let add = json!({
        "id": "add", "method": "POST", "url": bench.application("/addPassword"),
        "headers": { "Content-Type": "application/json" }, "body": { "passwordCredential": { "displayName": "b" } },
    });
    let after = json!({ "id": "after", "method": "GET", "url": path, "dependsOn": ["missing"] });

    let answer = post(json!([
        get("one", &path),
        get("missing", "/applications(appId='x')"),
        after,
        add
    ]))
    .await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    let status = |id: &str| {
        let found = body["responses"]
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["id"] == id);
        found.unwrap()["status"].as_u64().unwrap()
    };
    assert_eq!(
        [
            status("one"),
            status("missing"),
            status("after"),
            status("add")
        ],
        [200, 400, 424, 200]
    );
    assert_eq!(
        bench.emulator.live_secrets(bench.app().client_id()).len(),
        2
    );

    let many: Vec<Value> = (0..21)
        .map(|it| get(&it.to_string(), "/organization"))
        .collect();
    assert_eq!(
        post(json!(many)).await.graph_error(),
        failed(400, "BadRequest")
    );
    assert_eq!(post(json!(many[..20])).await.status, 200);
    for bad in [
        json!([get("a", "/me"), get("a", "/me")]),
        json!([{ "id": "a" }]),
        json!([{ "id": "a", "method": "GET", "url": "/me", "dependsOn": ["later"] }]),
        json!("x"),
    ] {
        assert_eq!(post(bad.clone()).await.status, 400, "{bad}");
    }
    let nested = post(json!([{ "id": "a", "method": "POST", "url": "/$batch", "body": {} }])).await;
    assert_eq!(nested.json()["responses"][0]["status"], 400);
}
