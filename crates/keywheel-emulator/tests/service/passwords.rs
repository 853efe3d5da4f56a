use chrono::TimeDelta;
use http::Method;
use keywheel_emulator::{ApplicationSeed, PolicySeed, TenantSeed};
use serde_json::{Value, json};

use crate::client::{Bench, failed};

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

#[tokio::test]
async fn the_default_lifetime_is_two_years() {
    let bench = Bench::start().await;
    bench.emulator.clock().stop();

    let answer = bench
        .graph(
            Method::POST,
            &bench.application("/addPassword"),
            Some(json!({})),
        )
        .await
        .json();

    let date = |name: &str| {
        answer[name]
            .as_str()
            .unwrap()
            .parse::<chrono::DateTime<chrono::Utc>>()
            .unwrap()
    };
    assert_eq!(date("startDateTime"), bench.emulator.clock().now());
    assert_eq!(
        date("endDateTime"),
        date("startDateTime")
            .checked_add_months(chrono::Months::new(24))
            .unwrap()
    );
    assert!(answer["displayName"].is_null(), "{answer}");
}

#[tokio::test]
async fn what_the_service_generates_it_takes_from_nobody() {
    let bench = Bench::start().await;
    let add = async |credential: Value| {
        let body = json!({ "passwordCredential": credential });
        bench
            .graph(Method::POST, &bench.application("/addPassword"), Some(body))
            .await
    };

    for credential in [
        json!({ "secretText": "mine" }),
        json!({ "keyId": "11111111-2222-4333-8444-555555555555" }),
        json!({ "hint": "abc" }),
        json!({ "nope": 1 }),
        json!({ "displayName": 5 }),
        json!({ "endDateTime": "tomorrow" }),
        json!({ "startDateTime": "2030-01-01T00:00:00Z", "endDateTime": "2029-01-01T00:00:00Z" }),
    ] {
        let answer = add(credential.clone()).await;
        assert_eq!(answer.graph_error().0, 400, "{credential}");
    }
    assert_eq!(
        add(json!({ "keyId": null, "secretText": null }))
            .await
            .status,
        200
    );
    assert_eq!(
        bench.emulator.live_secrets(bench.app().client_id()).len(),
        2
    );
}

#[tokio::test]
async fn a_key_id_must_be_a_guid_and_comes_in_any_case() {
    let bench = Bench::start().await;
    let (key_id, _) = bench.add_password("x").await;
    let remove = async |body: Value| {
        bench
            .graph(
                Method::POST,
                &bench.application("/removePassword"),
                Some(body),
            )
            .await
    };

    for body in [
        json!({}),
        json!({ "keyId": "x" }),
        json!({ "keyId": 5 }),
        json!({ "keyId": key_id, "x": 1 }),
    ] {
        assert_eq!(
            remove(body.clone()).await.graph_error(),
            failed(400, "BadRequest"),
            "{body}"
        );
    }
    assert_eq!(
        remove(json!({ "keyId": key_id.to_uppercase() }))
            .await
            .status,
        204
    );
}

#[tokio::test]
async fn an_application_for_personal_accounts_holds_two_secrets() {
    let bench = Bench::start().await;
    let id = bench.app().client_id().to_owned();
    bench
        .emulator
        .set_property(&id, "signInAudience", "AzureADandPersonalMicrosoftAccount")
        .unwrap();
    let add = async || {
        bench
            .graph(
                Method::POST,
                &bench.application("/addPassword"),
                Some(json!({})),
            )
            .await
    };

    assert_eq!(add().await.status, 200);
    let third = add().await;

    assert_eq!(third.graph_error(), failed(400, "TooManyAppPasswords"));
    let message = third.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        message,
        "Not allowed to add 3 passwords. You can only add a maximum of 2 passwords."
    );
    bench
        .emulator
        .set_property(&id, "signInAudience", "AzureADMyOrg")
        .unwrap();
    assert_eq!(add().await.status, 200);
}

#[tokio::test]
async fn an_object_that_is_full_takes_no_more() {
    let bench = Bench::start().await;
    let items = 1 + 1 + 1 + 2; // a secret, a certificate, a required permission, two redirect URIs
    bench.emulator.behave(|it| it.object_items = items + 1);
    let add = async || {
        bench
            .graph(
                Method::POST,
                &bench.application("/addPassword"),
                Some(json!({})),
            )
            .await
    };

    assert_eq!(add().await.status, 200);
    assert_eq!(
        add().await.graph_error(),
        failed(403, "Directory_ResourceSizeExceeded")
    );
}

#[tokio::test]
async fn policies_limit_lifetime_or_forbid_secrets() {
    let bench = Bench::start().await;
    let now = bench.emulator.clock().now();
    let add = async |days: i64| {
        let end = now + TimeDelta::days(days);
        let body = json!({ "passwordCredential": { "startDateTime": now, "endDateTime": end } });
        bench
            .graph(Method::POST, &bench.application("/addPassword"), Some(body))
            .await
    };
    let policy = |policy| {
        bench
            .emulator
            .set_policy("contoso.example", &policy)
            .unwrap()
    };

    policy(PolicySeed::secret_lifetime("P90D"));
    assert_eq!(add(90).await.status, 200);
    let too_long = add(91).await;
    assert_eq!(
        too_long.graph_error(),
        failed(400, "CredentialInvalidLifetimeAsPerAppPolicy")
    );
    let details = &too_long.json()["error"]["details"][0];
    assert_eq!(
        (&details["code"], &details["target"]),
        (&json!("InvalidKeyEndDate"), &json!("EndDate"))
    );
    policy(PolicySeed::no_secrets());
    assert_eq!(
        add(1).await.graph_error(),
        failed(400, "CredentialTypeNotAllowedAsPerAppPolicy")
    );
    let mut later = PolicySeed::no_secrets();
    later.created_after = Some(now + TimeDelta::days(1));
    policy(later);
    assert_eq!(
        add(1).await.status,
        200,
        "the application is older than the restriction"
    );
}

#[tokio::test]
async fn an_application_may_have_a_policy_of_its_own() {
    let application = ApplicationSeed::new("app")
        .role("Application.ReadWrite.All")
        .secret("one")
        .policy(PolicySeed::secret_lifetime("P1D"));
    let bench = Bench::seeded(TenantSeed::new("contoso.example").application(application)).await;

    let answer = bench
        .graph(
            Method::POST,
            &bench.application("/addPassword"),
            Some(json!({})),
        )
        .await;

    assert_eq!(
        answer.graph_error(),
        failed(400, "CredentialInvalidLifetimeAsPerAppPolicy")
    );
}

#[tokio::test]
async fn service_principals_are_locked_unless_the_application_unlocks_them() {
    let bench = Bench::start().await;
    let path = format!(
        "/servicePrincipals(appId='{}')/addPassword",
        bench.app().client_id()
    );
    let add = async || bench.graph(Method::POST, &path, Some(json!({}))).await;

    let locked = add().await;
    let unlocked = json!({ "isEnabled": false });
    bench
        .emulator
        .set_property(
            bench.app().client_id(),
            "servicePrincipalLockConfiguration",
            unlocked,
        )
        .unwrap();
    let added = add().await;

    assert_eq!(
        locked.graph_error(),
        failed(403, "CannotUpdateLockedServicePrincipalProperty")
    );
    assert_eq!(added.status, 200, "{added:?}");
    let text = added.json()["secretText"].as_str().unwrap().to_owned();
    assert_eq!(
        bench.with_secret(&text).await.status,
        200,
        "a secret of either object works"
    );
}

#[tokio::test]
async fn secrets_are_not_changed_by_patch() {
    let bench = Bench::start().await;
    let read = bench
        .graph(Method::GET, &bench.application(""), None)
        .await
        .json();
    let own = read["passwordCredentials"][0].clone();
    let patch = async |list: Value| {
        let body = json!({ "passwordCredentials": list });
        bench
            .graph(Method::PATCH, &bench.application(""), Some(body))
            .await
    };
    let mut renamed = own.clone();
    renamed["displayName"] = json!("other");

    assert_eq!(
        patch(json!([own])).await.status,
        204,
        "what is there may be sent back"
    );
    assert_eq!(
        patch(json!([renamed])).await.graph_error(),
        failed(400, "KeyNotUpdatable")
    );
    assert_eq!(
        patch(json!([])).await.graph_error(),
        failed(400, "KeyNotUpdatable")
    );
    assert_eq!(
        patch(json!([own, { "displayName": "new" }]))
            .await
            .graph_error(),
        failed(400, "Request_BadRequest")
    );
}

#[tokio::test]
async fn a_secret_may_come_with_a_new_application_but_not_its_key_id() {
    let application = ApplicationSeed::new("app")
        .role("Application.ReadWrite.All")
        .secret("one");
    let bench = Bench::seeded(TenantSeed::new("contoso.example").application(application)).await;
    let create = async |credential: Value| {
        let body = json!({ "displayName": "new", "passwordCredentials": [credential] });
        bench.graph(Method::POST, "/applications", Some(body)).await
    };

    let made = create(json!({ "displayName": "first" })).await;
    let refused = create(json!({ "keyId": "11111111-2222-4333-8444-555555555555" })).await;

    assert_eq!(made.status, 201, "{made:?}");
    assert!(
        made.json()["passwordCredentials"][0]["secretText"].is_string(),
        "{made:?}"
    );
    assert_eq!(refused.graph_error(), failed(400, "Request_BadRequest"));
}
