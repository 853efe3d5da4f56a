use std::sync::{Arc, LazyLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256};
use keywheel_core::Cloud;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::AuthorizationErrorKind;
use crate::test_support::{Answer, Fields, Service, cases, client_id, noon, reply};

const TENANT: &str = "8d2b0b4f-54a8-4a8f-9c4e-3c1f0a8f3f11";
const ISSUER: &str = "https://login.microsoftonline.com/8d2b0b4f-54a8-4a8f-9c4e-3c1f0a8f3f11/v2.0";

static KEYS: LazyLock<[KeyPair; 2]> =
    LazyLock::new(|| [(); 2].map(|()| KeyPair::generate(KeySize::Rsa2048).unwrap()));

fn encode(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

fn jwk(id: &str, key: &KeyPair) -> Value {
    let public = key.public_key();
    json!({"kty": "RSA", "use": "sig", "kid": id,
        "n": encode(public.modulus().big_endian_without_leading_zero()),
        "e": encode(public.exponent().big_endian_without_leading_zero())})
}

pub(in crate::authorization_code) fn claims(nonce: &str) -> Value {
    let now = noon().timestamp();
    json!({
        "iss": ISSUER, "aud": client_id(), "tid": TENANT, "nonce": nonce, "sub": "subject",
        "oid": "00000000-0000-0000-0000-00000000000a", "preferred_username": "ada@contoso.com",
        "name": "Ada", "iat": now, "nbf": now, "exp": now + 3600,
    })
}

/// Signs by the first key, as Entra does.
pub(in crate::authorization_code) fn sign(claims: &Value) -> String {
    sign_by(
        &json!({"alg": "RS256", "typ": "JWT", "kid": "one"}),
        claims,
        &KEYS[0],
    )
}

fn sign_by(header: &Value, claims: &Value, key: &KeyPair) -> String {
    let message = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let mut signature = vec![0; key.public_modulus_len()];
    let random = SystemRandom::new();
    if header["alg"] == "PS256" {
        key.sign(&RSA_PSS_SHA256, &random, message.as_bytes(), &mut signature)
    } else {
        key.sign(
            &RSA_PKCS1_SHA256,
            &random,
            message.as_bytes(),
            &mut signature,
        )
    }
    .unwrap();
    format!("{message}.{}", encode(signature))
}

/// Answers for what is published: the discovery document and the keys.
pub(in crate::authorization_code) fn publish(path: &str) -> Answer {
    if path.ends_with("/openid-configuration") {
        let jwks = "https://login.microsoftonline.com/common/discovery/v2.0/keys";
        reply(200, json!({"issuer": ISSUER, "jwks_uri": jwks, "more": []}))
    } else {
        let unknown = json!({"kty": "AKP", "kid": "new", "pub": "x"});
        reply(
            200,
            json!({"keys": [unknown, jwk("two", &KEYS[1]), jwk("one", &KEYS[0])]}),
        )
    }
}

async fn verified_at(
    answer: impl Fn(usize, &Fields) -> Answer + Send + Sync + 'static,
    tenant: &str,
    token: Option<String>,
) -> Result<SignedInUser, AuthorizationError> {
    let service = Service::new(answer);
    let cloud = Cloud::public();
    let endpoint = TokenEndpoint::new(Arc::clone(&service), &cloud, &tenant.parse().unwrap())
        .with_clock(keywheel_core::ManualClock::new(noon()));
    let nonce = Secret::new("n");
    let expected = Expected {
        client: client_id(),
        nonce: &nonce,
    };
    verify(&endpoint, token.map(Secret::new).as_ref(), &expected).await
}

async fn verified(token: Option<String>) -> Result<SignedInUser, AuthorizationError> {
    verified_at(
        |_: usize, request: &Fields| publish(request.path()),
        TENANT,
        token,
    )
    .await
}

#[tokio::test(start_paused = true)]
async fn who_signed_in_is_told() {
    let user = verified(Some(sign(&claims("n")))).await.unwrap();

    assert_eq!(user.tenant.to_string(), TENANT);
    assert_eq!(user.object_id, Some(Uuid::from_u128(10)));
    assert_eq!(user.subject, "subject");
    assert_eq!(user.username.as_deref(), Some("ada@contoso.com"));
    assert_eq!(user.name.as_deref(), Some("Ada"));
}

#[tokio::test(start_paused = true)]
async fn ps256_is_taken_too() {
    let header = json!({"alg": "PS256", "kid": "two"});

    assert!(
        verified(Some(sign_by(&header, &claims("n"), &KEYS[1])))
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_with_anything_wrong_is_refused_by_its_reason() {
    let with = |name: &str, value: Value| {
        let mut claims = claims("n");
        claims[name] = value;
        sign(&claims)
    };
    let now = noon().timestamp();
    let good = sign(&claims("n"));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let swapped = encode(claims("n").to_string().replace("Ada", "Eve"));
    let none = encode(r#"{"alg":"none","kid":"one"}"#);
    let hs256 = encode(r#"{"alg":"HS256","kid":"one"}"#);

    for (what, token, reason) in [
        (
            "another nonce",
            with("nonce", json!("other")),
            "another sign-in",
        ),
        ("no nonce", with("nonce", Value::Null), "another sign-in"),
        (
            "another audience",
            with("aud", json!("other")),
            "another application",
        ),
        (
            "another party",
            with("azp", json!("other")),
            "another application",
        ),
        (
            "another issuer",
            with("iss", json!("https://evil.example/v2.0")),
            "another issuer",
        ),
        ("expired", with("exp", json!(now - 301)), "expired"),
        ("not yet", with("nbf", json!(now + 301)), "not valid yet"),
        (
            "another tenant",
            with("tid", json!(Uuid::from_u128(9))),
            "another tenant",
        ),
        ("no tenant", with("tid", Value::Null), "no tenant"),
        ("no subject", with("sub", Value::Null), "lacks"),
        ("no end", with("exp", json!("soon")), "lacks"),
        (
            "another key",
            sign_by(
                &json!({"alg": "RS256", "kid": "one"}),
                &claims("n"),
                &KEYS[1],
            ),
            "wrong signature",
        ),
        (
            "an unknown key",
            sign_by(&json!({"alg": "RS256", "kid": "?"}), &claims("n"), &KEYS[0]),
            "unknown key",
        ),
        (
            "no key named",
            sign_by(&json!({"alg": "RS256"}), &claims("n"), &KEYS[0]),
            "unknown key",
        ),
        (
            "RS256 said to be PS256",
            sign_by(
                &json!({"alg": "PS256", "kid": "one"}),
                &claims("n"),
                &KEYS[0],
            )
            .replace(&encode(r#"{"alg":"PS256","kid":"one"}"#), header),
            "wrong signature",
        ),
        (
            "other claims",
            format!("{header}.{swapped}.{signature}"),
            "wrong signature",
        ),
        ("no signature", format!("{message}."), "wrong signature"),
        (
            "alg none",
            format!("{none}.{}.", encode(claims("n").to_string())),
            "not a signed JWT",
        ),
        (
            "alg HS256",
            format!("{hs256}.{}.{signature}", encode(claims("n").to_string())),
            "another algorithm",
        ),
        (
            "an encrypted token",
            "a.b.c.d.e".to_owned(),
            "not a signed JWT",
        ),
        ("nothing", String::new(), "not a signed JWT"),
    ] {
        let error = verified(Some(token)).await.expect_err(what);
        let kind = AuthorizationErrorKind::InvalidIdToken;
        assert_eq!(error.kind(), kind, "{what}");
        assert!(error.to_string().contains(reason), "{what}: {error}");
    }
    let error = verified(None).await.unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn clocks_may_be_five_minutes_apart() {
    let now = noon().timestamp();
    for (name, value) in [("exp", now - 290), ("nbf", now + 290)] {
        let mut claims = claims("n");
        claims[name] = json!(value);
        assert!(verified(Some(sign(&claims))).await.is_ok(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_tenant_of_a_domain_is_known_by_its_issuer() {
    let answer = |_: usize, request: &Fields| publish(request.path());
    let token = sign(&claims("n"));
    let user = verified_at(answer, "contoso.onmicrosoft.com", Some(token)).await;
    assert_eq!(user.unwrap().tenant.to_string(), TENANT);

    let any = |_: usize, request: &Fields| match request.path() {
        path if path.ends_with("/openid-configuration") => reply(
            200,
            json!({"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0",
                "jwks_uri": "https://login.microsoftonline.com/keys"}),
        ),
        path => publish(path),
    };
    let token = sign(&claims("n"));
    let error = verified_at(any, "contoso.onmicrosoft.com", Some(token)).await;
    let error = error.expect_err("a template does not say whose the domain is");
    assert_eq!(error.kind(), AuthorizationErrorKind::InvalidIdToken);
}

#[tokio::test(start_paused = true)]
async fn keys_that_come_in_the_clear_prove_nothing() {
    let clear = |_: usize, request: &Fields| match request.path() {
        path if path.ends_with("/openid-configuration") => reply(
            200,
            json!({"issuer": ISSUER, "jwks_uri": "http://keys.example/"}),
        ),
        path => publish(path),
    };
    let error = verified_at(clear, TENANT, Some(sign(&claims("n")))).await;

    assert_eq!(
        error.unwrap_err().kind(),
        AuthorizationErrorKind::InvalidIdToken
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_published_is_trouble_that_passes() {
    for body in ["<html>", "{}", r#"{"issuer":1}"#] {
        let answer = move |_: usize, _: &Fields| reply(200, body);
        let error = verified_at(answer, TENANT, Some(sign(&claims("n")))).await;
        assert_eq!(
            error.unwrap_err().kind(),
            AuthorizationErrorKind::Unavailable
        );
    }
    let answer = |_: usize, _: &Fields| reply(503, "");
    let error = verified_at(answer, TENANT, Some(sign(&claims("n")))).await;
    assert_eq!(
        error.unwrap_err().kind(),
        AuthorizationErrorKind::Unavailable
    );
}

#[tokio::test(start_paused = true)]
async fn trouble_that_passes_costs_nobody_a_sign_in() {
    let answer = |number: usize, request: &Fields| match number {
        0 => reply(503, ""),
        2 => reply(429, "Too Many Requests"),
        _ => publish(request.path()),
    };

    let user = verified_at(answer, TENANT, Some(sign(&claims("n")))).await;

    assert!(user.is_ok(), "{user:?}");
}

fn keys() -> Keys {
    Keys {
        keys: vec![jwk("one", &KEYS[0])],
    }
}

/// Signed once: a signature costs more than all the rest of a case.
static GOOD: LazyLock<String> = LazyLock::new(|| sign(&claims("n")));

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_text_that_is_no_token_is_refused(token in prop_oneof![
        ".{0,80}",
        "[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}",
        "eyJhbGciOiJSUzI1NiIsImtpZCI6Im9uZSJ9\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}",
    ]) {
        let passes = Parts::split(&token).is_some_and(|parts| parts.verify_signature(&keys()).is_ok());
        prop_assert!(!passes);
    }

    #[test]
    fn any_change_of_a_token_is_noticed(at in any::<prop::sample::Index>(), byte in "[A-Za-z0-9_.-]") {
        let good = &*GOOD;
        let mut token = good.clone();
        let at = at.index(token.len());
        token.replace_range(at..=at, &byte);
        // The last character of a part may have bits that don't count; a strict decoder refuses others.
        let passes = Parts::split(&token).is_some_and(|parts| parts.verify_signature(&keys()).is_ok());
        prop_assert_eq!(passes, token == *good);
    }
}
