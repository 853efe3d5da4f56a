use http::Method;
use serde_json::json;

use crate::client::Bench;

#[tokio::test]
async fn an_added_secret_works_and_a_removed_one_does_not() {
    let bench = Bench::start().await;

    let (key_id, text) = bench.add_password("second").await;
    let with_new = bench.with_secret(&text).await;
    let removed = bench.remove_password(&key_id).await;
    let with_removed = bench.with_secret(&text).await;

    assert_eq!(with_new.status, 200, "{with_new:?}");
    assert_eq!((removed.status.as_u16(), removed.body.as_str()), (204, ""));
    assert_eq!(with_removed.refusal().2, 7_000_215);
    assert_eq!(
        bench.emulator.live_secrets(bench.app().client_id()).len(),
        1
    );
}

#[tokio::test]
async fn add_password_answers_in_the_recorded_shape_and_the_text_is_shown_once() {
    let bench = Bench::start().await;
    let body = json!({ "passwordCredential": {
        "displayName": "named", "startDateTime": "2026-01-01T00:00:00Z", "endDateTime": "2030-07-01T00:00:00Z",
    }});

    let answer = bench
        .graph(Method::POST, &bench.application("/addPassword"), Some(body))
        .await;
    let read = bench
        .graph(
            Method::GET,
            &bench.application("?$select=passwordCredentials"),
            None,
        )
        .await;

    let added = answer.json();
    let names: Vec<&String> = added.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "@odata.context",
            "customKeyIdentifier",
            "displayName",
            "endDateTime",
            "hint",
            "keyId",
            "secretText",
            "startDateTime",
        ]
    );
    assert_eq!(added["endDateTime"], "2030-07-01T00:00:00Z");
    assert_eq!(added["hint"], added["secretText"].as_str().unwrap()[..3]);
    let listed = &read.json()["passwordCredentials"];
    assert_eq!(listed[0]["keyId"], added["keyId"], "newest first");
    assert!(listed[0]["secretText"].is_null(), "{listed}");
    assert_eq!(listed.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_unknown_key_id_is_a_bad_request_with_the_recorded_text() {
    let bench = Bench::start().await;

    let answer = bench
        .remove_password("11111111-2222-4333-8444-555555555555")
        .await;

    assert_eq!(answer.graph_error(), (400, "Request_BadRequest".to_owned()));
    let message = answer.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.starts_with("No password credential found with keyId "),
        "{message}"
    );
}
