use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use http::Method;
use keywheel_emulator::{ApplicationSeed, Emulator, Seed, TenantSeed, UserSeed};
use serde_json::json;
use url::Url;

use crate::client::{Answer, Bench, claims, failed, form, refused};

const REDIRECT: &str = "https://app.example/callback";
const ADMIN: &str = "ada@contoso.example";
const USER: &str = "ben@contoso.example";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

fn tenant() -> TenantSeed {
    TenantSeed::new("contoso.example")
        .user(UserSeed::new(ADMIN, "secret of ada").role("Global Administrator"))
        .user(UserSeed::new(USER, "secret of ben"))
        .application(
            ApplicationSeed::new("web app")
                .secret("one")
                .redirect_uri(REDIRECT)
                .redirect_uri("http://localhost/callback")
                .spa_redirect_uri("https://spa.example/")
                .public_redirect_uri("http://localhost/native")
                .role("Organization.Read.All")
                .scope("User.Read"),
        )
}

async fn bench() -> Bench {
    Bench::seeded(tenant()).await
}

/// An authorization request that the service takes, and what a test changes about it.
fn authorize_url(bench: &Bench, changes: &[(&str, &str)]) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()));
    let mut pairs = vec![
        ("client_id", bench.app().client_id()),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("scope", "openid profile offline_access User.Read"),
        ("state", "st/ate"),
        ("nonce", "n0nce"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in changes {
        pairs.retain(|(known, _)| known != name);
        if !value.is_empty() {
            pairs.push((name, value));
        }
    }
    let (origin, tenant) = (bench.emulator.authority(), bench.app().tenant_id());
    format!("{origin}/{tenant}/oauth2/v2.0/authorize?{}", form(&pairs))
}

fn parameter(location: &str, name: &str) -> String {
    let url = Url::parse(location).unwrap();
    let found = url.query_pairs().find(|(key, _)| key == name);
    found
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// Signs a user in, past the pages, and returns the code.
fn code(bench: &Bench, changes: &[(&str, &str)], user: &str) -> String {
    let location = bench
        .emulator
        .sign_in(&authorize_url(bench, changes), user)
        .unwrap();
    let code = parameter(&location, "code");
    assert!(!code.is_empty(), "{location}");
    code
}

/// A redemption that the service takes, and what a test changes about it.
async fn redeem(bench: &Bench, code: &str, changes: &[(&str, &str)]) -> Answer {
    let mut pairs = vec![
        ("grant_type", "authorization_code"),
        ("client_id", bench.app().client_id()),
        ("client_secret", bench.app().secret().expose()),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    for (name, value) in changes {
        pairs.retain(|(known, _)| known != name);
        if !value.is_empty() {
            pairs.push((name, value));
        }
    }
    bench.token_request(&pairs).await
}

async fn refresh(bench: &Bench, token: &str, changes: &[(&str, &str)]) -> Answer {
    let mut pairs = vec![
        ("grant_type", "refresh_token"),
        ("client_id", bench.app().client_id()),
        ("client_secret", bench.app().secret().expose()),
        ("refresh_token", token),
    ];
    pairs.extend(changes);
    bench.token_request(&pairs).await
}

fn text(answer: &Answer, name: &str) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()[name].as_str().unwrap().to_owned()
}

/// Returns the hidden value that a page's form carries.
fn context(page: &Answer) -> String {
    let (_, rest) = page
        .body
        .split_once("name=\"ctx\" value=\"")
        .unwrap_or_else(|| panic!("{page:?}"));
    rest.split('"').next().unwrap().to_owned()
}

async fn post(bench: &Bench, path: &str, pairs: &[(&str, &str)]) -> Answer {
    let tenant = bench.app().tenant_id();
    let url = format!("{}/{tenant}/{path}", bench.emulator.authority());
    bench.client.post_form(&url, pairs).await
}

#[tokio::test]
async fn a_person_signs_in_and_consents_on_pages() {
    let bench = bench().await;
    let page = bench.client.get(&authorize_url(&bench, &[]), &[]).await;
    let login = async |page: &Answer, password: &str| {
        let pairs = [
            ("ctx", &*context(page)),
            ("login", USER),
            ("passwd", password),
            ("action", "signin"),
        ];
        post(&bench, "login", &pairs).await
    };

    let again = login(&page, "wrong").await;
    let consent = login(&again, "secret of ben").await;
    let done = post(
        &bench,
        "consent",
        &[("ctx", &context(&consent)), ("action", "accept")],
    )
    .await;

    assert!(again.body.contains("AADSTS50126"), "{again:?}");
    assert!(
        consent.body.contains("Permissions requested") && consent.body.contains("User.Read"),
        "{consent:?}"
    );
    assert_eq!(done.status, 302, "{done:?}");
    let location = done.header("location");
    assert!(location.starts_with(REDIRECT), "{location}");
    assert_eq!(parameter(location, "state"), "st/ate");
    let tokens = redeem(&bench, &parameter(location, "code"), &[]).await;
    assert_eq!(tokens.status, 200, "{tokens:?}");

    // The browser is remembered: no page the second time.
    let cookie = consent
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let silent = bench
        .client
        .get(
            &authorize_url(&bench, &[("prompt", "none")]),
            &[("cookie", &cookie)],
        )
        .await;
    assert_eq!(silent.status, 302, "{silent:?}");
    assert!(
        !parameter(silent.header("location"), "code").is_empty(),
        "{silent:?}"
    );
    let asked = bench
        .client
        .get(
            &authorize_url(&bench, &[("prompt", "login")]),
            &[("cookie", &cookie)],
        )
        .await;
    assert_eq!(asked.status, 200, "{asked:?}");
}

#[tokio::test]
async fn a_person_may_cancel_or_decline() {
    let bench = bench().await;
    let page = bench.client.get(&authorize_url(&bench, &[]), &[]).await;
    let cancelled = post(
        &bench,
        "login",
        &[("ctx", &context(&page)), ("action", "cancel")],
    )
    .await;
    let page = bench.client.get(&authorize_url(&bench, &[]), &[]).await;
    let pairs = [
        ("ctx", &*context(&page)),
        ("login", USER),
        ("passwd", "secret of ben"),
    ];
    let consent = post(&bench, "login", &pairs).await;
    let declined = post(
        &bench,
        "consent",
        &[("ctx", &context(&consent)), ("action", "decline")],
    )
    .await;

    let location = cancelled.header("location");
    assert_eq!(parameter(location, "error"), "access_denied");
    assert_eq!(parameter(location, "error_subcode"), "cancel");
    let location = declined.header("location");
    assert_eq!(parameter(location, "error"), "access_denied");
    assert!(
        parameter(location, "error_description").starts_with("AADSTS65004: "),
        "{location}"
    );
    assert_eq!(parameter(location, "state"), "st/ate");
    let used = post(
        &bench,
        "consent",
        &[("ctx", &context(&consent)), ("action", "accept")],
    )
    .await;
    assert_eq!(used.status, 400, "a page's form works once: {used:?}");
}

#[tokio::test]
async fn what_only_an_administrator_may_grant_is_not_offered_to_others() {
    let bench = bench().await;
    let url = authorize_url(&bench, &[("scope", "openid Application.ReadWrite.All")]);
    let page = bench.client.get(&url, &[]).await;
    let sign_in = [
        ("ctx", &*context(&page)),
        ("login", USER),
        ("passwd", "secret of ben"),
    ];
    let refused = post(&bench, "login", &sign_in).await;

    assert!(refused.body.contains("Need admin approval"), "{refused:?}");
    let forced = post(
        &bench,
        "consent",
        &[("ctx", &context(&refused)), ("action", "accept")],
    )
    .await;
    assert_eq!(
        parameter(forced.header("location"), "error"),
        "access_denied",
        "{forced:?}"
    );
    assert!(
        bench
            .emulator
            .sign_in(&url, ADMIN)
            .unwrap()
            .contains("code=")
    );
}

#[tokio::test]
async fn the_answer_comes_by_query_fragment_or_form() {
    let bench = bench().await;
    let walk = |mode: &str| {
        bench
            .emulator
            .sign_in(&authorize_url(&bench, &[("response_mode", mode)]), ADMIN)
            .unwrap()
    };

    let query = walk("query");
    let fragment = walk("fragment");

    assert!(
        Url::parse(&query)
            .unwrap()
            .query()
            .unwrap()
            .contains("code="),
        "{query}"
    );
    assert!(
        Url::parse(&fragment)
            .unwrap()
            .fragment()
            .unwrap()
            .contains("code="),
        "{fragment}"
    );
    let url = authorize_url(
        &bench,
        &[("response_mode", "form_post"), ("prompt", "none")],
    );
    let page = bench.client.get(&url, &[]).await;
    assert!(
        page.body.contains(&format!("action=\"{REDIRECT}\"")),
        "{page:?}"
    );
    assert!(
        page.body
            .contains("name=\"error\" value=\"login_required\""),
        "{page:?}"
    );
}

#[tokio::test]
async fn errors_about_client_and_redirect_uri_are_shown_never_sent() {
    let bench = bench().await;

    for (changes, code) in [
        (
            ("client_id", "11111111-2222-4333-8444-555555555555"),
            "AADSTS700016",
        ),
        (("client_id", ""), "AADSTS900144"),
        (
            ("redirect_uri", "https://evil.example/callback"),
            "AADSTS50011",
        ),
        (
            ("redirect_uri", "https://app.example/CALLBACK"),
            "AADSTS50011",
        ),
        (("redirect_uri", ""), "AADSTS900971"),
    ] {
        let page = bench
            .client
            .get(&authorize_url(&bench, &[changes]), &[])
            .await;
        assert_eq!(page.status, 200, "{page:?}");
        assert!(
            page.body.contains(code) && page.header("location").is_empty(),
            "{changes:?}: {page:?}"
        );
    }
    let local = authorize_url(
        &bench,
        &[("redirect_uri", "http://localhost:5173/callback")],
    );
    assert!(
        bench
            .emulator
            .sign_in(&local, USER)
            .unwrap()
            .starts_with("http://localhost:5173/callback?")
    );
}

#[tokio::test]
async fn other_errors_go_back_to_the_application() {
    let bench = bench().await;
    let too_long = "x".repeat(129);

    for (changes, error, code) in [
        (
            ("response_type", "id_token"),
            "unsupported_response_type",
            "AADSTS700054",
        ),
        (("response_type", ""), "invalid_request", "AADSTS900144"),
        (("scope", ""), "invalid_request", "AADSTS900144"),
        (
            ("scope", "openid Nonsense.Read"),
            "invalid_client",
            "AADSTS650053",
        ),
        (
            ("scope", "https://other.example/x"),
            "invalid_resource",
            "AADSTS500011",
        ),
        (
            ("scope", "https://graph.microsoft.com/User.Read api://x/y"),
            "invalid_request",
            "AADSTS28000",
        ),
        (
            ("code_challenge", "short"),
            "invalid_request",
            "AADSTS501491",
        ),
        (
            ("code_challenge", &too_long),
            "invalid_request",
            "AADSTS501491",
        ),
        (
            ("code_challenge_method", "S512"),
            "invalid_request",
            "AADSTS50149",
        ),
        (("prompt", "none"), "login_required", "AADSTS50058"),
    ] {
        let answer = bench
            .client
            .get(&authorize_url(&bench, &[changes]), &[])
            .await;
        let location = answer.header("location");
        assert_eq!(
            parameter(location, "error"),
            error,
            "{changes:?}: {answer:?}"
        );
        assert!(
            parameter(location, "error_description").starts_with(code),
            "{changes:?}: {location}"
        );
        assert_eq!(parameter(location, "state"), "st/ate");
    }
}

#[tokio::test]
async fn a_code_brings_tokens_for_the_user() {
    let bench = bench().await;

    let answer = redeem(&bench, &code(&bench, &[], USER), &[("client_info", "1")]).await;

    let body = answer.json();
    assert_eq!(body["scope"], "openid profile User.Read");
    let access = claims(body["access_token"].as_str().unwrap());
    assert_eq!(
        (&access["scp"], &access["upn"]),
        (&json!("openid profile User.Read"), &json!(USER))
    );
    assert!(access.get("roles").is_none(), "{access}");
    let id = claims(body["id_token"].as_str().unwrap());
    assert_eq!(id["nonce"], "n0nce");
    assert_eq!(id["aud"], bench.app().client_id());
    assert_eq!(id["tid"], bench.app().tenant_id());
    assert_eq!(
        id["iss"],
        format!(
            "{}/{}/v2.0",
            bench.emulator.authority(),
            bench.app().tenant_id()
        )
    );
    assert_ne!(id["sub"], access["sub"], "subjects are pairwise");
    let info = URL_SAFE_NO_PAD
        .decode(body["client_info"].as_str().unwrap())
        .unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
    assert_eq!(info, json!({ "uid": id["oid"], "utid": id["tid"] }));

    let token = body["access_token"].as_str().unwrap();
    let me = bench.graph_as(token, Method::GET, "/me", None).await;
    assert_eq!(me.json()["userPrincipalName"], USER);
    let list = bench
        .graph_as(token, Method::GET, "/applications", None)
        .await;
    assert_eq!(
        list.graph_error(),
        failed(403, "Authorization_RequestDenied")
    );
}

#[tokio::test]
async fn what_was_not_asked_for_does_not_come() {
    let bench = bench().await;
    let graph = "https://graph.microsoft.com/User.Read";

    let answer = redeem(&bench, &code(&bench, &[("scope", graph)], USER), &[])
        .await
        .json();

    assert_eq!(answer["scope"], graph, "in the form it was asked for");
    for absent in ["refresh_token", "id_token", "client_info"] {
        assert!(answer.get(absent).is_none(), "{absent}: {answer}");
    }
}

#[tokio::test]
async fn a_code_is_redeemed_once_by_its_client_in_its_time_with_its_proof() {
    let bench = bench().await;
    let grant = |code| refused(400, "invalid_grant", code);
    let fresh = || code(&bench, &[], USER);

    let used = fresh();
    assert_eq!(redeem(&bench, &used, &[]).await.status, 200);
    for (code, change, expected) in [
        (used.clone(), ("x", ""), grant(54_005)),
        ("nonsense".to_owned(), ("x", ""), grant(9_002_313)),
        (fresh(), ("code_verifier", "wrong"), grant(501_481)),
        (fresh(), ("code_verifier", ""), grant(50_148)),
        (
            fresh(),
            ("redirect_uri", "https://app.example/other"),
            refused(401, "invalid_client", 500_112),
        ),
        (
            fresh(),
            ("client_secret", "wrong"),
            refused(401, "invalid_client", 7_000_215),
        ),
        (
            fresh(),
            ("client_secret", ""),
            refused(401, "invalid_client", 7_000_218),
        ),
    ] {
        let answer = redeem(&bench, &code, &[change]).await;
        assert_eq!(answer.refusal(), expected, "{change:?}: {answer:?}");
    }
    let (in_time, late) = (fresh(), fresh());
    bench.emulator.clock().advance(TimeDelta::minutes(9));
    assert_eq!(redeem(&bench, &in_time, &[]).await.status, 200);
    bench.emulator.clock().advance(TimeDelta::minutes(2));
    assert_eq!(redeem(&bench, &late, &[]).await.refusal(), grant(70_008));
}

#[tokio::test]
async fn a_plain_challenge_is_assumed_where_no_method_is_named() {
    let bench = bench().await;
    let plain = [("code_challenge", VERIFIER), ("code_challenge_method", "")];

    let good = redeem(&bench, &code(&bench, &plain, USER), &[]).await;
    let without = redeem(
        &bench,
        &code(&bench, &[("code_challenge", "")], USER),
        &[("code_verifier", "")],
    )
    .await;

    assert_eq!(good.status, 200, "{good:?}");
    assert_eq!(
        without.status, 200,
        "PKCE is no duty for web applications: {without:?}"
    );
}

#[tokio::test]
async fn public_clients_and_single_page_applications_bring_no_secret() {
    let bench = bench().await;
    let native = "http://localhost/native";
    let spa = "https://spa.example/";
    let fresh = |uri| code(&bench, &[("redirect_uri", uri)], USER);
    let cross_origin = async |code: &str, secret: &str| {
        let mut pairs = vec![
            ("grant_type", "authorization_code"),
            ("client_id", bench.app().client_id()),
            ("code", code),
            ("redirect_uri", spa),
            ("code_verifier", VERIFIER),
        ];
        if !secret.is_empty() {
            pairs.push(("client_secret", secret));
        }
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", "https://spa.example"),
        ];
        bench
            .client
            .send(Method::POST, &bench.token_url(), &headers, &form(&pairs))
            .await
            .unwrap()
    };
    let bare = [("client_secret", ""), ("redirect_uri", native)];

    assert_eq!(redeem(&bench, &fresh(native), &bare).await.status, 200);
    let with_secret = redeem(&bench, &fresh(native), &[("redirect_uri", native)]).await;
    assert_eq!(
        with_secret.refusal(),
        refused(401, "invalid_client", 700_025)
    );
    let good = cross_origin(&fresh(spa), "").await;
    assert_eq!(good.status, 200, "{good:?}");
    assert_eq!(good.header("access-control-allow-origin"), "*");
    let secret = bench.app().secret().expose().to_owned();
    assert_eq!(
        cross_origin(&fresh(spa), &secret).await.refusal().2,
        700_025
    );
    let same_origin = redeem(
        &bench,
        &fresh(spa),
        &[("client_secret", ""), ("redirect_uri", spa)],
    )
    .await;
    assert_eq!(
        same_origin.refusal(),
        refused(400, "invalid_request", 9_002_327)
    );
    let no_pkce = authorize_url(&bench, &[("redirect_uri", spa), ("code_challenge", "")]);
    let location = bench.emulator.sign_in(&no_pkce, USER).unwrap();
    assert!(
        parameter(&location, "error_description").starts_with("AADSTS9002325"),
        "{location}"
    );
}

#[tokio::test]
async fn refresh_tokens_roll_and_their_use_revokes_nothing() {
    let bench = bench().await;
    let first = text(
        &redeem(&bench, &code(&bench, &[], USER), &[]).await,
        "refresh_token",
    );

    let second = text(&refresh(&bench, &first, &[]).await, "refresh_token");
    let again = refresh(&bench, &first, &[]).await;

    assert_ne!(first, second);
    assert_eq!(again.status, 200, "the used one still works: {again:?}");
    assert!(again.json()["id_token"].is_string(), "{again:?}");
    assert_eq!(
        refresh(&bench, "nonsense", &[]).await.refusal(),
        refused(400, "invalid_grant", 70_000)
    );
    let unconsented = refresh(&bench, &second, &[("scope", "Application.Read.All")]).await;
    assert_eq!(unconsented.refusal(), refused(400, "invalid_grant", 65_001));
    assert_eq!(unconsented.json()["suberror"], "consent_required");
    bench
        .emulator
        .sign_in(
            &authorize_url(&bench, &[("scope", "Application.Read.All")]),
            ADMIN,
        )
        .unwrap();
    assert_eq!(
        refresh(&bench, &second, &[("scope", "Application.Read.All")])
            .await
            .status,
        400,
        "consent is per user"
    );
}

#[tokio::test]
async fn refresh_tokens_end_by_idleness_and_by_revocation() {
    let bench = bench().await;
    let first = text(
        &redeem(&bench, &code(&bench, &[], USER), &[]).await,
        "refresh_token",
    );

    bench.emulator.clock().advance(TimeDelta::days(89));
    let second = text(&refresh(&bench, &first, &[]).await, "refresh_token");
    bench.emulator.clock().advance(TimeDelta::days(2));
    let idle = refresh(&bench, &first, &[]).await;

    assert_eq!(
        idle.refusal(),
        refused(400, "invalid_grant", 700_082),
        "{idle:?}"
    );
    assert_eq!(refresh(&bench, &second, &[]).await.status, 200);
    bench.emulator.revoke_sessions(USER).unwrap();
    let revoked = refresh(&bench, &second, &[]).await;
    assert_eq!(revoked.refusal(), refused(400, "invalid_grant", 50_173));
    assert_eq!(revoked.json()["suberror"], "bad_token");
}

#[tokio::test]
async fn a_single_page_applications_refresh_tokens_end_after_a_day() {
    let bench = bench().await;
    let spa = "https://spa.example/";
    let send = async |pairs: &[(&str, &str)]| {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", "https://spa.example"),
        ];
        bench
            .client
            .send(Method::POST, &bench.token_url(), &headers, &form(pairs))
            .await
            .unwrap()
    };
    let id = bench.app().client_id();
    let code = code(&bench, &[("redirect_uri", spa)], USER);
    let first = text(
        &send(&[
            ("grant_type", "authorization_code"),
            ("client_id", id),
            ("code", &code),
            ("redirect_uri", spa),
            ("code_verifier", VERIFIER),
        ])
        .await,
        "refresh_token",
    );

    bench.emulator.clock().advance(TimeDelta::hours(23));
    let second = text(
        &send(&[
            ("grant_type", "refresh_token"),
            ("client_id", id),
            ("refresh_token", &first),
        ])
        .await,
        "refresh_token",
    );
    bench.emulator.clock().advance(TimeDelta::hours(2));
    let late = send(&[
        ("grant_type", "refresh_token"),
        ("client_id", id),
        ("refresh_token", &second),
    ])
    .await;

    assert_eq!(late.refusal(), refused(400, "invalid_grant", 700_084));
}

#[tokio::test]
async fn single_tenant_applications_do_not_sign_in_at_common() {
    let fabrikam = TenantSeed::new("fabrikam.example")
        .user(UserSeed::new("eve@fabrikam.example", "pw").role("Global Administrator"));
    let multi = ApplicationSeed::new("multi")
        .audience("AzureADMultipleOrgs")
        .secret("one")
        .redirect_uri(REDIRECT);
    let seed = Seed::of([tenant().application(multi), fabrikam]);
    let bench = Bench::with(Emulator::builder().seed(seed).start().await.unwrap());
    let common = |url: String| url.replace(bench.app().tenant_id(), "common");
    let listed = format!("{}/_emulator/applications", bench.emulator.authority());
    let listed = bench.client.get(&listed, &[]).await.json();
    let multi = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["display_name"] == "multi")
        .unwrap();
    let multi = multi["client_id"].as_str().unwrap();
    let secret = bench.emulator.add_secret(multi, "x").unwrap().text;

    let single = bench
        .client
        .get(&common(authorize_url(&bench, &[])), &[])
        .await;
    let location = bench.emulator.sign_in(
        &common(authorize_url(&bench, &[("client_id", multi)])),
        "eve@fabrikam.example",
    );

    assert!(single.body.contains("AADSTS50194"), "{single:?}");
    let code = parameter(&location.unwrap(), "code");
    let own_tenant = redeem(
        &bench,
        &code,
        &[("client_id", multi), ("client_secret", secret.expose())],
    )
    .await;
    assert_eq!(own_tenant.refusal(), refused(400, "invalid_grant", 700_005));
    let url = common(bench.token_url());
    let pairs = [
        ("grant_type", "authorization_code"),
        ("client_id", multi),
        ("client_secret", secret.expose()),
        ("code", &code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    let tokens = bench.client.post_form(&url, &pairs).await;
    assert_eq!(tokens.status, 200, "{tokens:?}");
    assert_ne!(
        claims(&text(&tokens, "id_token"))["tid"],
        bench.app().tenant_id()
    );
}

#[tokio::test]
async fn an_administrator_consents_for_the_whole_tenant() {
    let bench = bench().await;
    let url = |rest: &str| {
        let (origin, tenant) = (bench.emulator.authority(), bench.app().tenant_id());
        let pairs = [
            ("client_id", bench.app().client_id()),
            ("redirect_uri", REDIRECT),
            ("state", "5"),
        ];
        format!("{origin}/{tenant}/{rest}?{}", form(&pairs))
    };
    let id = bench.app().client_id().to_owned();
    bench
        .emulator
        .revoke_role(&id, "Organization.Read.All")
        .unwrap();
    let before = bench.graph(Method::GET, "/organization", None).await;

    let page = bench.client.get(&url("v2.0/adminconsent"), &[]).await;
    let sign_in = [
        ("ctx", &*context(&page)),
        ("login", USER),
        ("passwd", "secret of ben"),
    ];
    let refused = post(&bench, "login", &sign_in).await;
    let location = bench.emulator.sign_in(&url("adminconsent"), ADMIN).unwrap();
    let after = bench.graph(Method::GET, "/organization", None).await;

    assert!(refused.body.contains("Need admin approval"), "{refused:?}");
    assert_eq!(before.status, 403, "{before:?}");
    assert_eq!(after.status, 200, "{after:?}");
    assert_eq!(parameter(&location, "admin_consent"), "True");
    assert_eq!(parameter(&location, "tenant"), bench.app().tenant_id());
    assert_eq!(parameter(&location, "state"), "5");
    let declined = post(
        &bench,
        "consent",
        &[("ctx", &context(&refused)), ("action", "decline")],
    )
    .await;
    let location = declined.header("location");
    assert_eq!(parameter(location, "error"), "access_denied");
    assert_eq!(parameter(location, "tenant"), "", "absent on failure");
    // Consent for all covers the user who never saw a page.
    let silent = bench
        .client
        .get(&authorize_url(&bench, &[("scope", "User.Read")]), &[])
        .await;
    let sign_in = [
        ("ctx", &*context(&silent)),
        ("login", USER),
        ("passwd", "secret of ben"),
    ];
    let done = post(&bench, "login", &sign_in).await;
    assert_eq!(done.status, 302, "{done:?}");
}

#[tokio::test]
async fn a_signed_in_administrator_manages_applications_and_another_user_what_he_owns() {
    let bench = bench().await;
    let scope = "Application.ReadWrite.All";
    let everyone = format!(
        "{}/{}/v2.0/adminconsent?{}",
        bench.emulator.authority(),
        bench.app().tenant_id(),
        form(&[
            ("client_id", bench.app().client_id()),
            ("redirect_uri", REDIRECT),
            (
                "scope",
                "https://graph.microsoft.com/Application.ReadWrite.All"
            )
        ])
    );
    bench.emulator.sign_in(&everyone, ADMIN).unwrap();
    let token = async |user: &str| {
        let answer = redeem(&bench, &code(&bench, &[("scope", scope)], user), &[]).await;
        text(&answer, "access_token")
    };
    let add = async |token: &str| {
        bench
            .graph_as(
                token,
                Method::POST,
                &bench.application("/addPassword"),
                Some(json!({})),
            )
            .await
    };
    let (admin, user) = (token(ADMIN).await, token(USER).await);

    let global_administrator = "62e90394-69f5-4237-9190-012177145e10";
    let every_user = "b79fbf4d-3ef9-4689-8143-76b194e85509";
    assert_eq!(
        claims(&admin)["wids"],
        json!([global_administrator, every_user])
    );
    assert_eq!(claims(&user)["wids"], json!([every_user]));
    assert_eq!(add(&admin).await.status, 200);
    assert_eq!(
        add(&user).await.graph_error(),
        failed(403, "Authorization_RequestDenied")
    );
    bench
        .emulator
        .add_owner(bench.app().client_id(), USER)
        .unwrap();
    assert_eq!(add(&user).await.status, 200);
}

#[tokio::test]
async fn userinfo_and_logout_answer() {
    let bench = bench().await;
    let tokens = redeem(&bench, &code(&bench, &[], USER), &[]).await;
    let bearer = format!("Bearer {}", text(&tokens, "access_token"));
    let info = format!("{}/oidc/userinfo", bench.emulator.graph());
    let logout = format!(
        "{}/common/oauth2/v2.0/logout?post_logout_redirect_uri=https%3A%2F%2Fapp.example%2F",
        bench.emulator.authority()
    );

    let info = bench.client.get(&info, &[("authorization", &bearer)]).await;
    let logout = bench.client.get(&logout, &[]).await;

    assert_eq!(info.json()["email"], USER);
    let identity = claims(&text(&tokens, "id_token"));
    assert_eq!(info.json()["sub"], identity["sub"], "clients compare them");
    assert_eq!(logout.header("location"), "https://app.example/");
}
