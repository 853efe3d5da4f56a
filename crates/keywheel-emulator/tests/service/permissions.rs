use chrono::TimeDelta;
use http::Method;
use keywheel_emulator::{ApplicationSeed, OwnedByReads, TenantSeed};
use serde_json::json;

use crate::client::{Bench, failed};

#[tokio::test]
async fn graph_takes_only_tokens_that_are_its_own_and_in_time() {
    let bench = Bench::start().await;
    let url = format!("{}/v1.0{}", bench.emulator.graph(), bench.application(""));
    let good = bench.token().await;
    let (text, signature) = good.rsplit_once('.').unwrap();
    let tampered = format!("{text}.{}", signature.chars().rev().collect::<String>());
    let api = bench
        .token_request(&[
            ("grant_type", "client_credentials"),
            ("client_id", bench.app().client_id()),
            ("client_secret", bench.app().secret().expose()),
            ("scope", &format!("{}/.default", bench.app().client_id())),
        ])
        .await
        .json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let ask = async |value: &str| {
        let headers = [("authorization", value)];
        let headers = if value.is_empty() {
            &headers[..0]
        } else {
            &headers[..]
        };
        bench.client.get(&url, headers).await
    };

    assert_eq!(ask(&format!("Bearer {good}")).await.status, 200);
    for value in [
        "",
        "Bearer",
        "Bearer x",
        "Basic YTpi",
        &format!("Bearer {tampered}"),
        &format!("Bearer {api}"),
    ] {
        let answer = ask(value).await;
        assert_eq!(
            answer.graph_error(),
            failed(401, "InvalidAuthenticationToken"),
            "{value}"
        );
        assert!(
            answer
                .header("www-authenticate")
                .starts_with("Bearer realm=\"\""),
            "{answer:?}"
        );
    }
    bench.emulator.clock().advance(TimeDelta::minutes(91));
    assert_eq!(ask(&format!("Bearer {good}")).await.status, 401);
}

#[tokio::test]
async fn owned_by_reaches_only_what_the_application_owns() {
    let tenant = TenantSeed::new("contoso.example")
        .application(
            ApplicationSeed::new("rotator")
                .role("Application.ReadWrite.OwnedBy")
                .secret("one"),
        )
        .application(ApplicationSeed::new("foreign").secret("one"));
    let bench = Bench::seeded(tenant).await;
    let id = bench.app().client_id().to_owned();
    let add = async || {
        let body = Some(json!({ "passwordCredential": { "displayName": "x" } }));
        bench
            .graph(Method::POST, &bench.application("/addPassword"), body)
            .await
    };
    let denied = failed(403, "Authorization_RequestDenied");

    assert_eq!(
        add().await.graph_error(),
        denied,
        "the permission alone is not enough"
    );
    assert_eq!(
        bench
            .graph(Method::GET, &bench.application(""), None)
            .await
            .graph_error(),
        denied
    );
    assert_eq!(
        bench
            .graph(Method::GET, "/applications", None)
            .await
            .graph_error(),
        denied
    );
    bench.emulator.add_owner(&id, &id).unwrap();
    assert_eq!(add().await.status, 200);
    assert_eq!(
        bench
            .graph(Method::GET, &bench.application(""), None)
            .await
            .status,
        200
    );
    bench.emulator.remove_owner(&id, &id).unwrap();
    assert_eq!(add().await.graph_error(), denied);

    bench
        .emulator
        .behave(|it| it.owned_by_reads = OwnedByReads::Any);
    assert_eq!(
        bench.graph(Method::GET, "/applications", None).await.status,
        200
    );
    assert_eq!(add().await.graph_error(), denied, "reading is not changing");
}

#[tokio::test]
async fn each_operation_needs_its_permission() {
    let bench = Bench::seeded(
        TenantSeed::new("contoso.example").application(ApplicationSeed::new("app").secret("one")),
    )
    .await;
    let id = bench.app().client_id().to_owned();
    let password = json!({ "passwordCredential": null });
    let operations = [
        (
            "Application.Read.All",
            Method::GET,
            bench.application(""),
            None,
            200,
        ),
        (
            "Application.Read.All",
            Method::GET,
            "/applications".to_owned(),
            None,
            200,
        ),
        (
            "Application.ReadWrite.All",
            Method::POST,
            bench.application("/addPassword"),
            Some(password.clone()),
            200,
        ),
        (
            "Directory.ReadWrite.All",
            Method::POST,
            bench.application("/addPassword"),
            Some(password),
            200,
        ),
        (
            "Application.ReadWrite.All",
            Method::PATCH,
            bench.application(""),
            Some(json!({ "notes": "x" })),
            204,
        ),
        (
            "Application.ReadWrite.All",
            Method::POST,
            "/applications".to_owned(),
            Some(json!({ "displayName": "x" })),
            201,
        ),
        (
            "AppRegistration.Create",
            Method::POST,
            "/applications".to_owned(),
            Some(json!({ "displayName": "x" })),
            201,
        ),
        (
            "Organization.Read.All",
            Method::GET,
            "/organization".to_owned(),
            None,
            200,
        ),
        (
            "Policy.Read.All",
            Method::GET,
            "/policies/defaultAppManagementPolicy".to_owned(),
            None,
            200,
        ),
    ];

    for (role, method, path, body, expected) in operations {
        let without = bench.graph(method.clone(), &path, body.clone()).await;
        bench.emulator.grant_role(&id, role).unwrap();
        let with = bench.graph(method.clone(), &path, body).await;
        bench.emulator.revoke_role(&id, role).unwrap();

        assert_eq!(
            without.graph_error(),
            failed(403, "Authorization_RequestDenied"),
            "{role} {path}"
        );
        assert_eq!(with.status, expected, "{role} {path}: {with:?}");
    }
}

#[tokio::test]
async fn a_token_keeps_the_roles_it_was_issued_with() {
    let bench = Bench::start().await;
    let id = bench.app().client_id().to_owned();
    let before = bench.token().await;

    bench
        .emulator
        .revoke_role(&id, "Application.ReadWrite.OwnedBy")
        .unwrap();

    let old = bench
        .graph_as(&before, Method::GET, &bench.application(""), None)
        .await;
    let new = bench.graph(Method::GET, &bench.application(""), None).await;
    assert_eq!(old.status, 200, "{old:?}");
    assert_eq!(new.status, 403, "{new:?}");
}
