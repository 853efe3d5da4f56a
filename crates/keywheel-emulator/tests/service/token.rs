use chrono::TimeDelta;

use crate::client::{Bench, GRAPH_SCOPE};

fn refused(status: u16, error: &str, code: i64) -> (u16, String, i64) {
    (status, error.to_owned(), code)
}

#[tokio::test]
async fn a_secret_is_taken_and_another_text_is_not() {
    let bench = Bench::start().await;

    let good = bench.with_secret(bench.app().secret().expose()).await;
    let bad = bench.with_secret("wrong").await;
    let id_instead_of_value = bench.with_secret(bench.app().secret_key_id()).await;

    let body = good.json();
    let names: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        ["access_token", "expires_in", "ext_expires_in", "token_type"]
    );
    let lifetime = body["expires_in"].as_i64().unwrap();
    assert!((3599..5400).contains(&lifetime), "{lifetime}");
    for answer in [bad, id_instead_of_value] {
        assert_eq!(
            answer.refusal(),
            refused(401, "invalid_client", 7_000_215),
            "{answer:?}"
        );
        let uri = answer.json()["error_uri"].as_str().unwrap().to_owned();
        assert!(uri.ends_with("/error?code=7000215"), "{uri}");
    }
}

#[tokio::test]
async fn a_secret_works_until_it_expires() {
    let bench = Bench::start().await;
    let secret = bench.app().secret().expose().to_owned();

    bench.emulator.clock().advance(TimeDelta::days(729));
    let before = bench.with_secret(&secret).await;
    bench.emulator.clock().advance(TimeDelta::days(2));
    let after = bench.with_secret(&secret).await;

    assert_eq!(before.status, 200, "{before:?}");
    assert_eq!(
        after.refusal(),
        refused(401, "invalid_client", 7_000_222),
        "{after:?}"
    );
    assert!(after.json().get("error_uri").is_none(), "{after:?}");
}

#[tokio::test]
async fn the_scope_must_be_a_known_resource_with_default() {
    let bench = Bench::start().await;
    let own_origin = format!("{}/.default", bench.emulator.graph());
    let stray = format!("openid profile offline_access {GRAPH_SCOPE}");
    let ask = async |scope: &str| {
        let secret = bench.app().secret().expose();
        let pairs = [
            ("grant_type", "client_credentials"),
            ("client_id", bench.app().client_id()),
            ("client_secret", secret),
            ("scope", scope),
            ("client_info", "1"),
            ("x-client-SKU", "whatever"),
        ];
        bench.token_request(&pairs).await
    };

    for scope in [
        GRAPH_SCOPE,
        &own_origin,
        &stray,
        "00000003-0000-0000-c000-000000000000/.default",
    ] {
        let answer = ask(scope).await;
        assert_eq!(answer.status, 200, "{scope}: {answer:?}");
    }
    for (scope, expected) in [
        (
            "https://graph.microsoft.com/User.Read",
            refused(400, "invalid_scope", 1_002_012),
        ),
        ("openid", refused(400, "invalid_scope", 1_002_012)),
        (
            "https://other.example/.default",
            refused(400, "invalid_resource", 500_011),
        ),
        ("", refused(400, "invalid_request", 90_014)),
    ] {
        let answer = ask(scope).await;
        assert_eq!(answer.refusal(), expected, "{scope}: {answer:?}");
    }
}
