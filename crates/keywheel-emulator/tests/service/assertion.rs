use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use keywheel_emulator::{ApplicationSeed, TenantSeed};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use crate::client::{Answer, Bench, GRAPH_SCOPE, claims, refused};

/// A certificate with its key, as a client holds it.
pub(crate) struct Identity {
    key: RsaKeyPair,
    pub(crate) der: Vec<u8>,
}

impl Identity {
    pub(crate) fn of(bench: &Bench) -> Self {
        let app = bench.app();
        let key = app.private_key_pem().unwrap();
        let key = PrivatePkcs8KeyDer::from_pem_slice(key.expose().as_bytes()).unwrap();
        let certificate = app.certificate_pem().unwrap();
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        Self {
            key: RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap(),
            der: der.to_vec(),
        }
    }

    /// Makes a new key and a certificate of it that is valid for the given days around `now`.
    pub(crate) fn made(now: chrono::DateTime<chrono::Utc>, from: i64, to: i64) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let at = |days: i64| {
            let seconds = u64::try_from((now + TimeDelta::days(days)).timestamp()).unwrap();
            rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds)
        };
        let mut params = rcgen::CertificateParams::default();
        (params.not_before, params.not_after) = (at(from), at(to));
        let der = params.self_signed(&pair).unwrap().der().to_vec();
        Self {
            key: RsaKeyPair::from_pkcs8(pair.serialized_der()).unwrap(),
            der,
        }
    }

    pub(crate) fn pem(&self) -> String {
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            STANDARD.encode(&self.der)
        )
    }

    pub(crate) fn sha1(&self) -> Vec<u8> {
        digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.der)
            .as_ref()
            .to_vec()
    }

    pub(crate) fn sha256(&self) -> Vec<u8> {
        digest(&SHA256, &self.der).as_ref().to_vec()
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let algorithm: &'static dyn RsaEncoding = match header["alg"].as_str().unwrap() {
            "PS256" => &signature::RSA_PSS_SHA256,
            "PS384" => &signature::RSA_PSS_SHA384,
            "PS512" => &signature::RSA_PSS_SHA512,
            "RS384" => &signature::RSA_PKCS1_SHA384,
            "RS512" => &signature::RSA_PKCS1_SHA512,
            _ => &signature::RSA_PKCS1_SHA256,
        };
        let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let text = format!("{}.{}", encoded(header), encoded(claims));
        let mut signed = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        self.key
            .sign(algorithm, &random, text.as_bytes(), &mut signed)
            .unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signed))
    }

    /// Returns the header that Microsoft documents.
    pub(crate) fn header(&self) -> Value {
        json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": URL_SAFE_NO_PAD.encode(self.sha256()) })
    }
}

fn proper_claims(bench: &Bench) -> Value {
    let now = bench.emulator.clock().now().timestamp();
    let id = bench.app().client_id();
    json!({
        "aud": bench.token_url(), "iss": id, "sub": id, "jti": "one", "nbf": now - 5, "iat": now,
        "exp": now + 600,
    })
}

async fn present(bench: &Bench, assertion: &str) -> Answer {
    bench
        .token_request(&[
            ("grant_type", "client_credentials"),
            ("client_id", bench.app().client_id()),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", assertion),
            ("scope", GRAPH_SCOPE),
        ])
        .await
}

fn with(mut value: Value, name: &str, new: Value) -> Value {
    value[name] = new;
    value
}

#[tokio::test]
async fn every_form_that_clients_send_is_accepted() {
    let bench = Bench::start().await;
    let identity = Identity::of(&bench);
    let claims_of = proper_claims(&bench);
    let (sha1, sha256) = (identity.sha1(), identity.sha256());
    let mut headers = Vec::new();
    for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        headers.push(with(identity.header(), "alg", json!(algorithm)));
    }
    for engine in [&URL_SAFE_NO_PAD, &URL_SAFE, &STANDARD, &STANDARD_NO_PAD] {
        headers.push(json!({ "alg": "PS256", "x5t#S256": engine.encode(&sha256) }));
        headers.push(json!({ "alg": "RS256", "x5t": engine.encode(&sha1) }));
        headers.push(json!({ "alg": "RS256", "kid": engine.encode(&sha1) }));
    }
    let hex: String = sha1.iter().map(|byte| format!("{byte:02X}")).collect();
    headers.push(json!({ "alg": "RS256", "kid": hex }));
    let leaf = STANDARD.encode(&identity.der);
    headers.push(with(identity.header(), "x5c", json!([leaf])));
    headers.push(with(identity.header(), "x5c", json!(leaf)));
    headers.push(with(
        identity.header(),
        "x5c",
        json!([STANDARD.encode(identity.pem())]),
    ));

    for header in headers {
        let answer = present(&bench, &identity.sign(&header, &claims_of)).await;
        assert_eq!(answer.status, 200, "{header}: {answer:?}");
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(claims(&token)["appidacr"], "2");
    }
}

#[tokio::test]
async fn times_may_be_integers_floats_or_strings() {
    let bench = Bench::start().await;
    let identity = Identity::of(&bench);
    let now = bench.emulator.clock().now().timestamp();

    for (start, end) in [
        (json!(now), json!(now + 300)),
        (
            json!(1.5),
            json!(f64::from(i32::try_from(now).unwrap()) + 300.75),
        ),
        (json!(now.to_string()), json!((now + 300).to_string())),
        (Value::Null, json!(now + 300)),
    ] {
        let claims = with(with(proper_claims(&bench), "nbf", start), "exp", end);
        let answer = present(&bench, &identity.sign(&identity.header(), &claims)).await;
        assert_eq!(answer.status, 200, "{claims}: {answer:?}");
    }
}

#[tokio::test]
async fn the_audience_is_the_token_endpoint() {
    let bench = Bench::start().await;
    let identity = Identity::of(&bench);
    let (app, origin) = (bench.app(), bench.emulator.authority());
    let ask = async |audience: Value| {
        let claims = with(proper_claims(&bench), "aud", audience);
        present(&bench, &identity.sign(&identity.header(), &claims)).await
    };
    let v1 = format!("{origin}/{}/oauth2/token", app.tenant_id());

    for audience in [
        json!(bench.token_url()),
        json!([bench.token_url()]),
        json!(format!("{origin}/{}/oauth2/v2.0/token", app.domain())),
        json!(format!(
            "https://login.microsoftonline.com/{}/oauth2/v2.0/token",
            app.tenant_id()
        )),
        json!(format!(
            "https://sts.windows.net/{}/oauth2/v2.0/token",
            app.tenant_id()
        )),
    ] {
        assert_eq!(ask(audience.clone()).await.status, 200, "{audience}");
    }
    for audience in [
        json!(format!("{origin}/fabrikam.example/oauth2/v2.0/token")),
        json!(format!(
            "https://login.example/{}/oauth2/v2.0/token",
            app.tenant_id()
        )),
        json!(v1),
        json!(origin),
        Value::Null,
    ] {
        let answer = ask(audience.clone()).await;
        assert_eq!(
            answer.refusal(),
            refused(401, "invalid_client", 700_023),
            "{audience}"
        );
    }
    bench.emulator.behave(|it| it.lenient_audience = true);
    assert_eq!(ask(json!(v1)).await.status, 200);
}

#[tokio::test]
async fn an_assertion_that_proves_nothing_is_refused() {
    let bench = Bench::start().await;
    let identity = Identity::of(&bench);
    let stranger = Identity::made(bench.emulator.clock().now(), -1, 30);
    let (header, claims) = (identity.header(), proper_claims(&bench));
    let sign = |header: &Value, claims: &Value| identity.sign(header, claims);
    let other = json!("11111111-2222-4333-8444-555555555555");
    let good = sign(&header, &claims);
    let tampered = {
        let (text, _) = good.rsplit_once('.').unwrap();
        let forged = sign(&header, &with(claims.clone(), "jti", json!("two")));
        format!("{text}.{}", forged.rsplit_once('.').unwrap().1)
    };
    let stolen_header = stranger.sign(&header, &claims);
    let unregistered = stranger.sign(&stranger.header(), &claims);
    let with_chain = with(
        stranger.header(),
        "x5c",
        json!([STANDARD.encode(&stranger.der)]),
    );
    let wrong_order = json!([
        STANDARD.encode(&identity.der),
        STANDARD.encode(&stranger.der)
    ]);
    let wrong_order = with(stranger.header(), "x5c", wrong_order);
    let client = |code| refused(401, "invalid_client", code);
    let request = |code| refused(400, "invalid_request", code);

    for (what, assertion, expected) in [
        ("tampered", tampered, client(700_027)),
        ("signed with another key", stolen_header, client(700_027)),
        ("unregistered certificate", unregistered, client(700_027)),
        (
            "unregistered with its chain",
            stranger.sign(&with_chain, &claims),
            client(700_030),
        ),
        (
            "chain in the wrong order",
            stranger.sign(&wrong_order, &claims),
            client(700_027),
        ),
        (
            "another issuer",
            sign(&header, &with(claims.clone(), "iss", other.clone())),
            client(700_021),
        ),
        (
            "another subject",
            sign(&header, &with(claims.clone(), "sub", other)),
            client(700_021),
        ),
        (
            "no thumbprint",
            sign(&json!({ "alg": "PS256" }), &claims),
            request(50_027),
        ),
        (
            "ES256",
            sign(&with(header.clone(), "alg", json!("ES256")), &claims),
            request(5_002_738),
        ),
        (
            "no algorithm",
            sign(&with(header.clone(), "alg", json!("none")), &claims),
            request(5_002_738),
        ),
        (
            "no expiry",
            sign(&header, &with(claims.clone(), "exp", Value::Null)),
            request(50_027),
        ),
        (
            "no issuer",
            sign(&header, &with(claims.clone(), "iss", Value::Null)),
            request(50_027),
        ),
        ("no token", "nonsense".to_owned(), request(50_027)),
    ] {
        let answer = present(&bench, &assertion).await;
        assert_eq!(answer.refusal(), expected, "{what}: {answer:?}");
    }
    assert_eq!(present(&bench, &good).await.status, 200);
}

#[tokio::test]
async fn an_assertion_is_good_for_its_time_and_the_customary_skew() {
    let bench = Bench::start().await;
    let identity = Identity::of(&bench);
    let now = bench.emulator.clock().now().timestamp();
    let ask = async |start: i64, end: i64| {
        let claims = with(proper_claims(&bench), "nbf", json!(now + start));
        let claims = with(claims, "exp", json!(now + end));
        present(&bench, &identity.sign(&identity.header(), &claims)).await
    };

    assert_eq!(ask(200, 800).await.status, 200);
    assert_eq!(ask(-800, -200).await.status, 200);
    for (start, end) in [(400, 800), (-800, -400)] {
        let answer = ask(start, end).await;
        assert_eq!(
            answer.refusal(),
            refused(401, "invalid_client", 700_024),
            "{answer:?}"
        );
    }
    bench
        .emulator
        .behave(|it| it.clock_skew = TimeDelta::zero());
    assert_eq!(ask(200, 800).await.refusal().2, 700_024);
}

#[tokio::test]
async fn a_certificate_serves_until_it_expires() {
    let bench = Bench::start().await;
    let identity = Identity::of(&bench);
    let ask = async || {
        present(
            &bench,
            &identity.sign(&identity.header(), &proper_claims(&bench)),
        )
        .await
    };

    bench.emulator.clock().advance(TimeDelta::days(729));
    assert_eq!(ask().await.status, 200);
    bench.emulator.clock().advance(TimeDelta::days(2));
    assert_eq!(
        ask().await.refusal(),
        refused(401, "invalid_client", 1_000_502)
    );
}

#[tokio::test]
async fn a_seed_may_bring_a_certificate_and_it_must_be_rsa() {
    let now = Bench::start().await.emulator.clock().now();
    let own = Identity::made(now, -1, 30);
    let application = ApplicationSeed::new("app").certificate_pem(own.pem());
    let bench = Bench::seeded(TenantSeed::new("contoso.example").application(application)).await;

    let good = present(&bench, &own.sign(&own.header(), &proper_claims(&bench))).await;

    assert_eq!(good.status, 200, "{good:?}");
    let curve = rcgen::generate_simple_self_signed(["app".to_owned()]).unwrap();
    let application = ApplicationSeed::new("app").certificate_pem(curve.cert.pem());
    let bench = Bench::seeded(TenantSeed::new("contoso.example").application(application)).await;
    let sha256 = digest(&SHA256, curve.cert.der());
    let header = json!({ "alg": "PS256", "x5t#S256": URL_SAFE_NO_PAD.encode(sha256) });
    let bad = present(&bench, &own.sign(&header, &proper_claims(&bench))).await;
    assert_eq!(
        bad.refusal(),
        refused(400, "invalid_request", 5_002_730),
        "{bad:?}"
    );
}
