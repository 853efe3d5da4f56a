use http::Method;
use keywheel_emulator::{Effect, Fault, Route};
use serde_json::json;

use crate::assertion::Identity;
use crate::client::Bench;

#[tokio::test]
async fn requests_and_effects_are_logged_and_belong_together() {
    let bench = Bench::start().await;
    let (key_id, _) = bench.add_password("named").await;
    bench
        .remove_password("11111111-2222-4333-8444-555555555555")
        .await;

    let requests = bench.emulator.requests();
    let effects = bench.emulator.effects();

    let routes: Vec<Route> = requests.iter().map(|it| it.route).collect();
    assert_eq!(
        routes,
        [
            Route::Token,
            Route::AddPassword,
            Route::Token,
            Route::RemovePassword
        ]
    );
    assert!(
        requests
            .iter()
            .all(|it| it.client_id.as_deref() == Some(bench.app().client_id()))
    );
    assert_eq!(
        requests[1].body["passwordCredential"]["displayName"],
        "named"
    );
    assert_eq!(
        (requests[3].status, requests[3].code.as_deref()),
        (400, Some("Request_BadRequest"))
    );
    assert_eq!(
        bench.emulator.requests_after(requests[1].number),
        requests[2..]
    );
    assert_eq!(
        bench.emulator.effects_after(effects[0].number),
        effects[1..]
    );
    let added = effects
        .iter()
        .find(|it| matches!(it.effect, Effect::SecretAdded { .. }))
        .unwrap();
    assert_eq!(added.request, Some(requests[1].number));
    assert!(
        matches!(&added.effect, Effect::SecretAdded { key_id: id, display_name: Some(name), .. } if *id == key_id && name == "named")
    );
    let issued = effects
        .iter()
        .find(|it| matches!(it.effect, Effect::TokenIssued { .. }))
        .unwrap();
    assert!(
        matches!(&issued.effect, Effect::TokenIssued { credential: Some(id), .. } if id == bench.app().secret_key_id())
    );
}

#[tokio::test]
async fn a_lost_answer_is_in_the_log() {
    let bench = Bench::start().await;
    bench.emulator.inject(Fault::close().on(Route::Token));
    let _ = bench
        .client
        .send(Method::POST, &bench.token_url(), &[], "")
        .await;

    let requests = bench.emulator.requests();

    assert_eq!((requests[0].route, requests[0].status), (Route::Token, 0));
    assert_eq!(requests[0].fault.as_deref(), Some("Close"));
}

#[tokio::test]
async fn no_secret_appears_in_log_debug_output_or_admin_answers() {
    let bench = Bench::start().await;
    let identity = Identity::of(&bench);
    let token = bench.token().await;
    let (_, added) = bench.add_password("x").await;
    bench
        .with_secret("abc8Q~a-wrong-one-that-is-secret-too")
        .await;
    let claims = json!({ "iss": bench.app().object_id() });
    let proof = identity.sign(&identity.header(), &claims);
    let body = json!({ "keyCredential": null, "proof": proof });
    bench
        .graph(Method::POST, &bench.application("/addKey"), Some(body))
        .await;
    let admin = async |path: &str| {
        let url = format!("{}/_emulator/{path}", bench.emulator.authority());
        bench.client.get(&url, &[]).await.body
    };

    let secrets = [
        bench.app().secret().expose(),
        &added,
        &token,
        &proof,
        "abc8Q~a-wrong-one-that-is-secret-too",
    ];
    let outputs = [
        format!("{:?}", bench.emulator.requests()),
        serde_json::to_string(&bench.emulator.requests()).unwrap(),
        format!("{:?}", bench.emulator.effects()),
        format!("{:?} {:?}", bench.emulator, bench.app()),
        format!(
            "{:?} {:?}",
            bench.emulator.snapshot(),
            bench.emulator.key_material()
        ),
        format!("{:?}", bench.emulator.live_secrets(bench.app().client_id())),
        admin("requests").await,
        admin("effects").await,
        admin("applications").await,
    ];
    for output in outputs {
        for secret in secrets {
            assert!(!output.contains(secret), "{secret} in {output}");
        }
        assert!(!output.contains("PRIVATE KEY"), "{output}");
    }
}
