use chrono::{DateTime, TimeDelta, Utc};
use http::Method;
use keywheel_emulator::{Emulator, KeyMaterial, Snapshot};
use serde_json::{Value, json};

use crate::client::{Answer, Bench};

async fn admin(bench: &Bench, method: Method, path: &str, body: Option<Value>) -> Answer {
    let url = format!("{}/_emulator/{path}", bench.emulator.authority());
    let body = body.map_or_else(String::new, |body| body.to_string());
    bench
        .client
        .send(method, &url, &[("content-type", "application/json")], &body)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_clock_is_set_and_stepped() {
    let bench = Bench::start().await;
    let patch = async |body: Value| admin(&bench, Method::PATCH, "clock", Some(body)).await;

    let stopped = patch(json!({ "now": "2027-01-01T00:00:00Z", "running": false }))
        .await
        .json();
    let stepped = patch(json!({ "advance": 86_400 })).await.json();

    assert_eq!(
        stopped,
        json!({ "now": "2027-01-01T00:00:00Z", "running": false })
    );
    assert_eq!(stepped["now"], "2027-01-02T00:00:00Z");
    assert_eq!(
        bench.emulator.clock().now(),
        "2027-01-02T00:00:00Z".parse::<DateTime<Utc>>().unwrap()
    );
    assert_eq!(patch(json!({ "tomorrow": true })).await.status, 400);
}

#[tokio::test]
async fn behaviours_change_by_field() {
    let bench = Bench::start().await;
    let change = json!({ "replicas": 3, "secret_propagation": { "min": 4, "max": 18 } });

    let changed = admin(&bench, Method::PATCH, "behaviours", Some(change)).await;
    let unknown = admin(
        &bench,
        Method::PATCH,
        "behaviours",
        Some(json!({ "replicsa": 3 })),
    )
    .await;

    assert_eq!(
        changed.json()["token_lifetime"],
        json!({ "min": 3600.0, "max": 5400.0 }),
        "the rest stays"
    );
    assert_eq!(bench.emulator.behaviours().replicas, 3);
    assert_eq!(unknown.status, 400);
}

#[tokio::test]
async fn faults_are_added_listed_and_withdrawn() {
    let bench = Bench::start().await;
    let fault = json!({ "route": "token", "action": { "respond": { "status": 503 } } });

    let added = admin(&bench, Method::POST, "faults", Some(fault)).await;
    let struck = bench.with_secret("x").await;
    let listed = admin(&bench, Method::GET, "faults", None).await.json();
    let id = added.json()["id"].as_u64().unwrap();

    assert_eq!(struck.status, 503, "{struck:?}");
    assert_eq!(
        (&listed[0]["id"], &listed[0]["hits"]),
        (&json!(id), &json!(1))
    );
    assert_eq!(
        admin(&bench, Method::DELETE, &format!("faults/{id}"), None)
            .await
            .status,
        204
    );
    assert_eq!(
        admin(&bench, Method::DELETE, &format!("faults/{id}"), None)
            .await
            .status,
        404
    );
    assert_eq!(
        admin(
            &bench,
            Method::POST,
            "faults",
            Some(json!({ "action": "explode" }))
        )
        .await
        .status,
        400
    );
    assert_eq!(
        admin(&bench, Method::DELETE, "faults", None).await.status,
        204
    );
}

#[tokio::test]
async fn the_log_is_queried_and_cleared() {
    let bench = Bench::start().await;
    bench.add_password("x").await;
    let get = async |path: &str| admin(&bench, Method::GET, path, None).await.json();

    let all = get("requests").await;
    let some = get("requests?route=addPassword&after=1").await;
    let effects = get("effects?after=1").await;

    assert_eq!(all.as_array().unwrap().len(), 2, "{all}");
    assert_eq!(some[0]["route"], "addPassword");
    assert_eq!(effects[0]["effect"], "secret_added");
    assert_eq!(
        admin(&bench, Method::DELETE, "requests", None).await.status,
        204
    );
    assert_eq!(get("requests").await, json!([]));
}

#[tokio::test]
async fn an_administrator_adds_and_removes_what_graph_guards() {
    let bench = Bench::start().await;
    let client_id = bench.app().client_id().to_owned();
    let at = |rest: &str| format!("applications/{client_id}/{rest}");
    let call = async |method: Method, rest: &str, body: Option<Value>| {
        admin(&bench, method, &at(rest), body).await
    };

    let added = call(
        Method::POST,
        "secrets",
        Some(json!({ "display_name": "by hand" })),
    )
    .await
    .json();
    let text = added["text"].as_str().unwrap();
    assert_eq!(bench.with_secret(text).await.status, 200);
    let accepts = call(Method::POST, "accepts", Some(json!({ "secret": text })))
        .await
        .json();
    assert_eq!(accepts, json!({ "accepts": true }));
    let listed = call(Method::GET, "secrets", None).await.json();
    assert_eq!(listed[0]["display_name"], "by hand");
    let one = format!("secrets/{}", added["key_id"].as_str().unwrap());
    assert_eq!(call(Method::DELETE, &one, None).await.status, 204);
    assert_eq!(call(Method::DELETE, &one, None).await.status, 404);
    assert_eq!(
        call(Method::PUT, "roles/Organization.Read.All", None)
            .await
            .status,
        204
    );
    assert_eq!(
        bench.graph(Method::GET, "/organization", None).await.status,
        200
    );
    assert_eq!(
        call(Method::DELETE, "roles/Organization.Read.All", None)
            .await
            .status,
        204
    );
    assert_eq!(call(Method::PUT, "roles/Nonsense", None).await.status, 404);
    assert_eq!(
        call(Method::DELETE, &format!("owners/{client_id}"), None)
            .await
            .status,
        204
    );
    assert_eq!(
        call(Method::PUT, "owners/ada@contoso.example", None)
            .await
            .status,
        204
    );
    assert_eq!(call(Method::PUT, "owners/nobody", None).await.status, 404);
    let patch = admin(
        &bench,
        Method::PATCH,
        &format!("applications/{client_id}"),
        Some(json!({ "isDisabled": true })),
    )
    .await;
    assert_eq!(patch.status, 204);
    let policy = Some(json!({ "forbid_secrets": true }));
    assert_eq!(
        admin(
            &bench,
            Method::PUT,
            "tenants/contoso.example/policy",
            policy
        )
        .await
        .status,
        204
    );
    assert_eq!(
        admin(
            &bench,
            Method::POST,
            "users/ada@contoso.example/revoke",
            None
        )
        .await
        .status,
        204
    );
    assert_eq!(
        admin(&bench, Method::POST, "users/nobody/revoke", None)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn pages_in_a_browser_do_not_steer_the_emulator() {
    let bench = Bench::start().await;
    let url = format!("{}/_emulator/faults", bench.emulator.authority());

    let answer = bench
        .client
        .send(
            Method::DELETE,
            &url,
            &[("origin", "https://evil.example")],
            "",
        )
        .await
        .unwrap();

    assert_eq!(answer.status, 403, "{answer:?}");
}

#[tokio::test]
async fn an_emulator_goes_on_from_a_snapshot() {
    let bench = Bench::start().await;
    let (key_id, text) = bench.add_password("kept").await;
    bench.emulator.clock().advance(TimeDelta::days(3));
    let token = bench.token().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    bench.emulator.snapshot().write(&path).unwrap();
    drop(bench.emulator);

    let snapshot = Snapshot::from_json(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let emulator = Emulator::builder().restore(snapshot).start().await.unwrap();
    let bench = Bench {
        emulator,
        client: bench.client,
    };

    assert_eq!(
        bench.with_secret(&text).await.status,
        200,
        "the old CA is still trusted"
    );
    let read = bench
        .graph_as(&token, Method::GET, &bench.application(""), None)
        .await;
    assert_eq!(read.status, 200, "old tokens are still good: {read:?}");
    assert_eq!(
        bench.emulator.live_secrets(bench.app().client_id())[0].key_id,
        key_id
    );
    assert!(bench.app().certificate_pem().is_some());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    assert!(Snapshot::from_json("{}").is_err());
}

#[tokio::test]
async fn a_running_emulator_goes_back_to_a_snapshot() {
    let bench = Bench::start().await;
    let before = admin(&bench, Method::GET, "state", None).await.json();
    bench.add_password("later").await;

    let put = admin(&bench, Method::PUT, "state", Some(before)).await;

    assert_eq!(put.status, 204, "{put:?}");
    assert_eq!(
        bench.emulator.live_secrets(bench.app().client_id()).len(),
        1
    );
    assert_eq!(
        admin(&bench, Method::PUT, "state", Some(json!({})))
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn key_material_makes_two_emulators_look_the_same() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let material = KeyMaterial::from_pem(bench.emulator.key_material().to_pem().expose()).unwrap();

    let emulator = Emulator::builder()
        .key_material(material)
        .start()
        .await
        .unwrap();
    let twin = Bench {
        emulator,
        client: bench.client.clone(),
    };

    let read = twin
        .graph_as(&token, Method::GET, &twin.application(""), None)
        .await;
    assert_eq!(read.status, 200, "{read:?}");
    assert!(KeyMaterial::from_pem("nonsense").is_err());
}

#[tokio::test]
async fn unknown_admin_paths_are_not_found_and_the_index_lists_the_known() {
    let bench = Bench::start().await;

    assert_eq!(admin(&bench, Method::GET, "nope", None).await.status, 404);
    assert_eq!(
        admin(&bench, Method::POST, "clock", Some(json!({})))
            .await
            .status,
        404
    );
    assert!(
        admin(&bench, Method::GET, "", None)
            .await
            .body
            .contains("/_emulator/clock")
    );
}
