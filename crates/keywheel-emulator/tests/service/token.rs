use chrono::TimeDelta;
use http::Method;
use keywheel_emulator::{ApplicationSeed, Emulator, SecretSeed, Seed, Span, TenantSeed};
use serde_json::json;

use crate::client::{Bench, GRAPH_SCOPE, claims, refused};

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
async fn answers_have_the_recorded_headers() {
    let bench = Bench::start().await;

    for secret in [bench.app().secret().expose(), "wrong"] {
        let answer = bench.with_secret(secret).await;
        assert_eq!(answer.header("cache-control"), "no-store, no-cache");
        assert_eq!(answer.header("pragma"), "no-cache");
        assert_eq!(
            answer.header("content-type"),
            "application/json; charset=utf-8"
        );
        assert!(answer.header("date").ends_with("GMT"), "{answer:?}");
    }
    let answer = bench.with_secret("wrong").await;
    assert_eq!(answer.json()["trace_id"], answer.header("x-ms-request-id"));
    assert_eq!(answer.header("x-ms-clitelem"), "1,7000215,0,,");
    let cookies = answer.headers.get_all("set-cookie").iter();
    let names: Vec<_> = cookies
        .map(|it| it.to_str().unwrap().split('=').next().unwrap())
        .collect();
    assert_eq!(names, ["x-ms-gateway-slice", "stsservicecookie"]);
}

#[tokio::test]
async fn graph_tokens_are_version_1_whatever_the_endpoint() {
    let bench = Bench::start().await;
    let app = bench.app();

    let claims = claims(&bench.token().await);

    assert_eq!(claims["ver"], "1.0");
    assert_eq!(
        claims["iss"],
        format!("https://sts.windows.net/{}/", app.tenant_id())
    );
    assert_eq!(claims["aud"], "https://graph.microsoft.com");
    assert_eq!(claims["appid"], app.client_id());
    assert_eq!(claims["appidacr"], "1");
    assert_eq!(claims["idtyp"], "app");
    assert_eq!(claims["oid"], app.service_principal_id());
    assert_eq!(claims["sub"], app.service_principal_id());
    assert_eq!(claims["roles"], json!(["Application.ReadWrite.OwnedBy"]));
}

#[tokio::test]
async fn tokens_for_an_own_api_are_of_the_version_that_it_asked_for() {
    let api = |name: &str, version: i64| {
        let settings = format!("requestedAccessTokenVersion = {version}")
            .parse::<toml::Table>()
            .unwrap();
        ApplicationSeed::new(name)
            .identifier_uri(format!("api://{name}"))
            .property("api", settings)
    };
    let tenant = TenantSeed::new("contoso.example")
        .application(ApplicationSeed::new("client").secret("one"))
        .application(api("old", 1))
        .application(api("new", 2));
    let bench = Bench::seeded(tenant).await;
    let ask = async |resource: &str| {
        let answer = bench
            .token_request(&[
                ("grant_type", "client_credentials"),
                ("client_id", bench.app().client_id()),
                ("client_secret", bench.app().secret().expose()),
                ("scope", &format!("{resource}/.default")),
            ])
            .await;
        claims(answer.json()["access_token"].as_str().unwrap())
    };

    let (old, new) = (ask("api://old").await, ask("api://new").await);

    assert_eq!(
        (&old["ver"], &old["aud"]),
        (&json!("1.0"), &json!("api://old"))
    );
    assert_eq!(new["ver"], "2.0");
    assert_eq!(new["azp"], bench.app().client_id());
    assert!(
        new.get("idtyp").is_none() && new.get("roles").is_none(),
        "{new}"
    );
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
async fn a_secret_does_not_work_before_its_start() {
    let start = Emulator::start().await.unwrap().clock().now() + TimeDelta::hours(1);
    let secret = SecretSeed::new("abc8Q~later").starting(start);
    let application = ApplicationSeed::new("app").with_secret(secret);
    let bench = Bench::seeded(TenantSeed::new("contoso.example").application(application)).await;

    let before = bench.with_secret("abc8Q~later").await;
    bench.emulator.clock().set(start);
    let after = bench.with_secret("abc8Q~later").await;

    assert_eq!(before.refusal().2, 7_000_215);
    assert_eq!(after.status, 200, "{after:?}");
}

#[tokio::test]
async fn basic_authentication_is_form_decoded_first() {
    let application = ApplicationSeed::new("app").with_secret(SecretSeed::new("a+b/c=d:e%&"));
    let bench = Bench::seeded(TenantSeed::new("contoso.example").application(application)).await;
    let ask = async |secret: &str| {
        let pair = format!("{}:{secret}", bench.app().client_id());
        let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
        let headers = [
            ("authorization", format!("Basic {basic}")),
            (
                "content-type",
                "application/x-www-form-urlencoded".to_owned(),
            ),
        ];
        let headers = headers
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let body =
            crate::client::form(&[("grant_type", "client_credentials"), ("scope", GRAPH_SCOPE)]);
        bench
            .client
            .send(Method::POST, &bench.token_url(), &headers, &body)
            .await
            .unwrap()
    };

    let good = ask("a%2Bb%2Fc%3Dd%3Ae%25%26").await;
    let bad = ask("a+b/c=d:e%25%26").await;

    assert_eq!(good.status, 200, "{good:?}");
    assert_eq!(bad.refusal().2, 7_000_215);
}

#[tokio::test]
async fn the_scope_must_be_a_known_resource_with_default() {
    let bench = Bench::start().await;
    let own_origin = format!("{}/.default", bench.emulator.graph());
    let stray = format!("openid profile offline_access {GRAPH_SCOPE}");
    let two = format!("{GRAPH_SCOPE} https://other.example/.default");
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
        (&two, refused(400, "invalid_scope", 28_002)),
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

#[tokio::test]
async fn the_tenant_goes_by_id_or_domain_and_must_exist() {
    let bench = Bench::start().await;
    let ask = async |tenant: &str| {
        let url = format!("{}/{tenant}/oauth2/v2.0/token", bench.emulator.authority());
        let pairs = [
            ("grant_type", "client_credentials"),
            ("client_id", bench.app().client_id()),
            ("client_secret", bench.app().secret().expose()),
            ("scope", GRAPH_SCOPE),
        ];
        bench.client.post_form(&url, &pairs).await
    };

    let by_domain = ask("CONTOSO.example").await;
    let token = by_domain.json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();

    assert_eq!(
        claims(&token)["tid"],
        bench.app().tenant_id(),
        "tokens carry the id"
    );
    for tenant in ["fabrikam.example", "11111111-2222-4333-8444-555555555555"] {
        assert_eq!(
            ask(tenant).await.refusal(),
            refused(400, "invalid_request", 90_002),
            "{tenant}"
        );
    }
    for tenant in ["common", "organizations", "consumers"] {
        assert_eq!(
            ask(tenant).await.refusal(),
            refused(400, "invalid_request", 9_001_023),
            "{tenant}"
        );
    }
}

#[tokio::test]
async fn the_client_must_exist_in_the_tenant_be_installed_and_enabled() {
    let bench = Bench::start().await;
    let ask = async |client_id: &str| {
        bench
            .token_request(&[
                ("grant_type", "client_credentials"),
                ("client_id", client_id),
                ("client_secret", "x"),
                ("scope", GRAPH_SCOPE),
            ])
            .await
    };
    let unauthorized = |code| refused(400, "unauthorized_client", code);

    assert_eq!(
        ask("11111111-2222-4333-8444-555555555555").await.refusal(),
        unauthorized(700_016)
    );
    assert_eq!(ask("no-guid").await.refusal(), unauthorized(700_016));
    assert_eq!(
        ask("00000000-0000-0000-0000-000000000000").await.refusal(),
        unauthorized(700_038)
    );
    bench
        .emulator
        .set_property(bench.app().client_id(), "isDisabled", true)
        .unwrap();
    assert_eq!(
        ask(bench.app().client_id()).await.refusal(),
        unauthorized(7_000_112)
    );
    bench
        .emulator
        .set_property(bench.app().client_id(), "isDisabled", false)
        .unwrap();
    assert_eq!(ask(bench.app().client_id()).await.refusal().2, 7_000_215);

    let token = bench.token().await;
    let principal = format!("/servicePrincipals/{}", bench.app().service_principal_id());
    let gone = bench
        .graph_as(&token, Method::DELETE, &principal, None)
        .await;
    assert_eq!(gone.status, 204, "{gone:?}");
    let answer = ask(bench.app().client_id()).await;
    assert_eq!(answer.refusal(), refused(401, "invalid_client", 7_000_229));
}

#[tokio::test]
async fn a_malformed_request_is_refused_for_what_it_lacks() {
    let bench = Bench::start().await;
    let id = bench.app().client_id().to_owned();
    let grant = ("grant_type", "client_credentials");
    let client = ("client_id", id.as_str());
    let scope = ("scope", GRAPH_SCOPE);
    let invalid = |code| refused(400, "invalid_request", code);

    for (pairs, expected) in [
        (vec![client, scope], invalid(900_144)),
        (vec![grant, scope], invalid(900_144)),
        (
            vec![grant, client, scope],
            refused(401, "invalid_client", 7_000_216),
        ),
        (vec![grant, client, client, scope], invalid(9_000_411)),
        (
            vec![
                grant,
                client,
                scope,
                ("resource", "https://graph.microsoft.com"),
            ],
            invalid(901_002),
        ),
        (
            vec![("grant_type", "password"), client],
            refused(400, "unsupported_grant_type", 70_003),
        ),
        (
            vec![grant, client, scope, ("client_assertion", "x")],
            invalid(900_144),
        ),
        (
            vec![("grant_type", "authorization_code"), client],
            invalid(900_144),
        ),
        (
            vec![("grant_type", "refresh_token"), client],
            invalid(900_144),
        ),
    ] {
        let answer = bench.token_request(&pairs).await;
        assert_eq!(answer.refusal(), expected, "{pairs:?}: {answer:?}");
    }
    let by_get = bench.client.get(&bench.token_url(), &[]).await;
    assert_eq!(by_get.refusal(), invalid(900_561));
    let headers = [("content-type", "application/json")];
    let as_json = bench
        .client
        .send(Method::POST, &bench.token_url(), &headers, "{}")
        .await
        .unwrap();
    assert_eq!(as_json.refusal(), invalid(900_144));
}

#[tokio::test]
async fn the_correlation_id_is_the_clients_where_it_sent_one() {
    let bench = Bench::start().await;
    let id = "6ae91953-06b9-4292-94ab-b5149ff0f5cd";
    let wrong = [("grant_type", "nope"), ("client-request-id", id)];

    let in_form = bench.token_request(&wrong).await;
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("client-request-id", id),
    ];
    let in_header = bench
        .client
        .send(Method::POST, &bench.token_url(), &headers, "")
        .await
        .unwrap();
    let none = bench.token_request(&wrong[..1]).await;

    assert_eq!(in_form.json()["correlation_id"], id);
    assert_eq!(in_header.json()["correlation_id"], id);
    assert_ne!(none.json()["correlation_id"], id);
    assert_ne!(none.json()["correlation_id"], none.json()["trace_id"]);
}

#[tokio::test]
async fn token_lifetimes_follow_policy_and_capability() {
    let bench = Bench::start().await;
    bench
        .emulator
        .behave(|it| it.token_lifetime = Span::exactly(TimeDelta::minutes(10)));
    let secret = bench.app().secret().expose().to_owned();
    let claims = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;

    let short = bench.with_secret(&secret).await;
    let long = bench
        .token_request(&[
            ("grant_type", "client_credentials"),
            ("client_id", bench.app().client_id()),
            ("client_secret", &secret),
            ("scope", GRAPH_SCOPE),
            ("claims", claims),
        ])
        .await;

    assert_eq!(short.json()["expires_in"], 599);
    assert_eq!(long.json()["expires_in"], 86_399);
}

#[tokio::test]
async fn what_nobody_has_recorded_can_be_set() {
    let bench = Bench::start().await;
    bench.emulator.behave(|it| {
        it.line_breaks = true;
        it.statuses.insert("7000215".to_owned(), 400);
    });

    let answer = bench.with_secret("wrong").await;

    assert_eq!(answer.refusal(), refused(400, "invalid_client", 7_000_215));
    let text = answer.json()["error_description"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(text.contains("\r\nTrace ID: "), "{text}");
}

#[tokio::test]
async fn an_application_of_another_tenant_acts_where_it_is_installed() {
    let fabrikam = TenantSeed::new("fabrikam.example").application(
        ApplicationSeed::new("multi")
            .audience("AzureADMultipleOrgs")
            .secret("one"),
    );
    let contoso = TenantSeed::new("contoso.example").application(
        ApplicationSeed::new("admin")
            .role("Application.ReadWrite.All")
            .secret("one"),
    );
    let seed = Seed::of([contoso, fabrikam]);
    let bench = Bench::with(Emulator::builder().seed(seed).start().await.unwrap());
    let listed = bench
        .client
        .get(
            &format!("{}/_emulator/applications", bench.emulator.authority()),
            &[],
        )
        .await
        .json();
    let multi = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["display_name"] == "multi")
        .unwrap();
    let client_id = multi["client_id"].as_str().unwrap();
    let secret = bench
        .emulator
        .add_secret(client_id, "another")
        .unwrap()
        .text;
    let ask = async || {
        bench
            .token_request(&[
                ("grant_type", "client_credentials"),
                ("client_id", client_id),
                ("client_secret", secret.expose()),
                ("scope", GRAPH_SCOPE),
            ])
            .await
    };

    let before = ask().await;
    let body = json!({ "appId": client_id });
    let installed = bench
        .graph(Method::POST, "/servicePrincipals", Some(body))
        .await;
    let after = ask().await;

    assert_eq!(before.refusal(), refused(401, "invalid_client", 7_000_229));
    assert_eq!(installed.status, 201, "{installed:?}");
    assert_eq!(after.status, 200, "{after:?}");
}
