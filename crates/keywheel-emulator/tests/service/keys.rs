use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use http::Method;
use keywheel_emulator::{ApplicationSeed, PolicySeed, TenantSeed};
use serde_json::{Value, json};

use crate::assertion::Identity;
use crate::client::{Answer, Bench, failed};

/// An application without any permission, with one certificate of its own.
async fn bench() -> Bench {
    let application = ApplicationSeed::new("app").secret("one").certificate();
    Bench::seeded(TenantSeed::new("contoso.example").application(application)).await
}

fn proof_claims(bench: &Bench) -> Value {
    let now = bench.emulator.clock().now().timestamp();
    json!({
        "aud": "00000002-0000-0000-c000-000000000000", "iss": bench.app().object_id(),
        "nbf": now, "exp": now + 600,
    })
}

fn new_key(identity: &Identity) -> Value {
    json!({ "type": "AsymmetricX509Cert", "usage": "Verify", "key": STANDARD.encode(&identity.der) })
}

async fn add_key(bench: &Bench, key: Value, proof: &str) -> Answer {
    let body = json!({ "keyCredential": key, "passwordCredential": null, "proof": proof });
    bench
        .graph(Method::POST, &bench.application("/addKey"), Some(body))
        .await
}

#[tokio::test]
async fn an_application_rolls_its_own_key_by_proof_without_any_permission() {
    let bench = bench().await;
    let (old, new) = (
        Identity::of(&bench),
        Identity::made(bench.emulator.clock().now(), -1, 90),
    );
    let id = bench.app().client_id().to_owned();
    let first = bench.emulator.live_keys(&id)[0].clone();

    let proof = old.sign(&old.header(), &proof_claims(&bench));
    let added = add_key(&bench, new_key(&new), &proof).await;

    assert_eq!(added.status, 200, "{added:?}");
    let key = added.json();
    assert_eq!(key["customKeyIdentifier"], STANDARD.encode(new.sha1()));
    assert!(key["key"].is_null(), "{key}");
    assert_eq!(bench.emulator.live_keys(&id).len(), 2);
    // The new one vouches for the old one's removal.
    let proof = new.sign(&new.header(), &proof_claims(&bench));
    let body = json!({ "keyId": first, "proof": proof });
    let removed = bench
        .graph(Method::POST, &bench.application("/removeKey"), Some(body))
        .await;
    assert_eq!(removed.status, 204, "{removed:?}");
    assert_eq!(
        bench.emulator.live_keys(&id),
        [key["keyId"].as_str().unwrap()]
    );
}

#[tokio::test]
async fn a_proof_that_proves_nothing_is_refused() {
    let bench = bench().await;
    let now = bench.emulator.clock().now();
    let (old, new) = (Identity::of(&bench), Identity::made(now, -1, 90));
    let claims = proof_claims(&bench);
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        old.sign(&old.header(), &claims)
    };
    let at = |minutes: i64| json!((now + TimeDelta::minutes(minutes)).timestamp());

    for (what, proof) in [
        ("missing", String::new()),
        ("nonsense", "a.b.c".to_owned()),
        ("signed with the new key", new.sign(&new.header(), &claims)),
        (
            "for the token endpoint",
            with("aud", json!(bench.token_url())),
        ),
        (
            "issued by the client id",
            with("iss", json!(bench.app().client_id())),
        ),
        ("without an end", with("exp", Value::Null)),
        ("longer than ten minutes", with("exp", at(11))),
        ("not yet valid", with("nbf", at(9))),
    ] {
        let answer = add_key(&bench, new_key(&new), &proof).await;
        assert_eq!(
            answer.graph_error(),
            failed(401, "Authentication_MissingOrMalformed"),
            "{what}"
        );
    }
    let proof = old.sign(&old.header(), &claims);
    bench.emulator.clock().advance(TimeDelta::minutes(11));
    let expired = add_key(&bench, new_key(&new), &proof).await;
    assert_eq!(expired.status, 401, "{expired:?}");
}

#[tokio::test]
async fn a_key_must_be_a_certificate_within_its_own_validity() {
    let bench = bench().await;
    let now = bench.emulator.clock().now();
    let (old, new) = (Identity::of(&bench), Identity::made(now, -1, 90));
    let proof = old.sign(&old.header(), &proof_claims(&bench));
    let with = |name: &str, value: Value| {
        let mut key = new_key(&new);
        key[name] = value;
        key
    };
    let date = |days: i64| json!((now + TimeDelta::days(days)).to_rfc3339());

    for (key, code) in [
        (with("type", json!("Symmetric")), "Request_BadRequest"),
        (with("usage", json!("Guess")), "Request_BadRequest"),
        (with("key", json!("AAAA")), "Request_BadRequest"),
        (with("key", Value::Null), "Request_BadRequest"),
        (
            with("startDateTime", date(-5)),
            "KeyCredentialsInvalidStartDate",
        ),
        (
            with("endDateTime", date(91)),
            "KeyCredentialsInvalidEndDate",
        ),
        (
            with("endDateTime", date(-1)),
            "KeyCredentialsInvalidEndDate",
        ),
    ] {
        let answer = add_key(&bench, key.clone(), &proof).await;
        assert_eq!(answer.graph_error(), failed(400, code), "{key}");
    }
    // The last form is what the Azure CLI sends: the base64 inside of PEM, encoded once more.
    let text = STANDARD.encode(&new.der);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    for form in [text.clone(), STANDARD.encode(pem), STANDARD.encode(&text)] {
        let good = add_key(&bench, with("key", json!(form)), &proof).await;
        assert_eq!(good.status, 200, "{form}: {good:?}");
    }
    bench
        .emulator
        .set_policy("contoso.example", &PolicySeed::certificate_lifetime("P30D"))
        .unwrap();
    let too_long = add_key(&bench, new_key(&new), &proof).await;
    assert_eq!(
        too_long.graph_error(),
        failed(400, "CredentialInvalidLifetimeAsPerAppPolicy")
    );
}

#[tokio::test]
async fn a_patch_replaces_the_keys_as_a_whole() {
    let bench = Bench::start().await;
    let new = Identity::made(bench.emulator.clock().now(), -1, 90);
    let id = bench.app().client_id().to_owned();
    let first = bench.emulator.live_keys(&id)[0].clone();
    let patch = async |keys: Value| {
        let body = json!({ "keyCredentials": keys });
        bench
            .graph(Method::PATCH, &bench.application(""), Some(body))
            .await
    };

    let kept =
        json!({ "keyId": first, "key": null, "type": "AsymmetricX509Cert", "usage": "Verify" });
    assert_eq!(patch(json!([kept, new_key(&new)])).await.status, 204);
    assert_eq!(bench.emulator.live_keys(&id).len(), 2);
    assert_eq!(patch(json!([kept])).await.status, 204);
    assert_eq!(bench.emulator.live_keys(&id), [first]);
    let unknown = json!({ "keyId": "11111111-2222-4333-8444-555555555555", "type": "AsymmetricX509Cert", "usage": "Verify" });
    assert_eq!(patch(json!([unknown])).await.status, 400);
    assert_eq!(patch(json!("none")).await.status, 400);
    assert_eq!(patch(json!([])).await.status, 204);
    assert!(bench.emulator.live_keys(&id).is_empty());
}

#[tokio::test]
async fn a_patched_entry_may_bring_its_key_id_and_none_is_changed() {
    let bench = Bench::start().await;
    let now = bench.emulator.clock().now();
    let (old, new) = (Identity::of(&bench), Identity::made(now, -1, 90));
    let id = bench.app().client_id().to_owned();
    let first = bench.emulator.live_keys(&id)[0].clone();
    let patch = async |keys: Value| {
        let body = json!({ "keyCredentials": keys });
        bench
            .graph(Method::PATCH, &bench.application(""), Some(body))
            .await
    };
    let with_id = |identity: &Identity, key_id: &str| {
        let mut key = new_key(identity);
        key["keyId"] = json!(key_id);
        key
    };
    let chosen = "11111111-2222-4333-8444-555555555555";

    let both = json!([with_id(&old, &first), with_id(&new, chosen)]);
    assert_eq!(patch(both).await.status, 204);
    assert_eq!(
        bench.emulator.live_keys(&id),
        [first.clone(), chosen.to_owned()]
    );
    let changed = patch(json!([with_id(&new, &first)])).await;
    assert_eq!(changed.graph_error(), failed(400, "Request_BadRequest"));
    let nonsense = patch(json!([with_id(&new, "one")])).await;
    assert_eq!(nonsense.status, 400);
    assert_eq!(bench.emulator.live_keys(&id).len(), 2);
}

#[tokio::test]
async fn an_administrator_registers_and_removes_certificates_by_hand() {
    let bench = Bench::start().await;
    let id = bench.app().client_id().to_owned();
    let new = Identity::made(bench.emulator.clock().now(), -1, 90);
    // The application's own is made in the background: this waits for it.
    drop(Identity::of(&bench));
    let before = bench.emulator.live_keys(&id);

    let added = bench.emulator.add_key(&id, &new.pem()).unwrap().unwrap();

    assert!(bench.emulator.live_keys(&id).contains(&added));
    assert!(bench.emulator.remove_key(&id, &added).unwrap());
    assert!(!bench.emulator.remove_key(&id, &added).unwrap());
    assert_eq!(bench.emulator.live_keys(&id), before);
    assert_eq!(bench.emulator.add_key(&id, "a diary").unwrap(), None);
}

#[tokio::test]
async fn the_certificate_itself_is_shown_only_where_it_is_selected() {
    let bench = Bench::start().await;

    let whole = bench
        .graph(Method::GET, &bench.application(""), None)
        .await
        .json();
    let selected = bench
        .graph(
            Method::GET,
            &bench.application("?$select=keyCredentials"),
            None,
        )
        .await
        .json();

    assert!(whole["keyCredentials"][0]["key"].is_null(), "{whole}");
    let key = selected["keyCredentials"][0]["key"].as_str().unwrap();
    assert_eq!(STANDARD.decode(key).unwrap(), Identity::of(&bench).der);
}
