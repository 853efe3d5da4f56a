use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::{
    CredentialError, CredentialErrorKind, Report, Secret, TokenCredential, TokenRequest,
};
use keywheel_credentials::{
    AssertionCallback, Certificate, CertificateCredential, ClientAssertionCredential,
    ClientSecretCredential, ClientSecrets, CredentialChain, ManagedIdentity,
    ManagedIdentityCredential, prove_secret,
};
use keywheel_emulator::{Clock, Effect, Emulator, ExternalIssuer, Fault, Route};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::rig::{ISSUER, Rig, SUBJECT, client_secret};

/// The key ids that tokens were issued for, oldest first.
fn issued_by(emulator: &Emulator) -> Vec<String> {
    let effects = emulator.effects().into_iter();
    effects
        .filter_map(|record| match record.effect {
            Effect::TokenIssued { credential, .. } => credential,
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_secret_gets_a_token_that_graph_takes() {
    let rig = Rig::start().await;
    let token = rig.by_secret().get_token(&rig.graph()).await.unwrap();

    assert!(token.expires_on - token.obtained_on > TimeDelta::minutes(50));
    let graph = rig.cloud.graph().join("v1.0/organization").unwrap();
    let request = http::Request::get(graph.as_str())
        .header("authorization", format!("Bearer {}", token.token.expose()))
        .body(bytes::Bytes::new());
    let answer = keywheel_core::HttpSend::send(&rig.http, request.unwrap());
    assert_eq!(answer.await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_certificate_gets_a_token_by_either_algorithm() {
    let rig = Rig::start().await;
    let certificate = Certificate::read(rig.pem().as_bytes(), None).unwrap();
    for certificate in [certificate.clone(), certificate.with_rs256()] {
        let credential =
            CertificateCredential::new(rig.endpoint(), rig.client_id(), certificate).unwrap();

        credential.get_token(&rig.graph()).await.unwrap();
    }

    let registered = rig.emulator.live_keys(&rig.client_id().to_string());
    assert_eq!(
        issued_by(&rig.emulator),
        [registered[0].clone(), registered[0].clone()]
    );
}

/// A clock that is off by as much from the emulator's.
#[derive(Debug)]
struct Off(Clock, TimeDelta);

impl keywheel_core::Clock for Off {
    fn now(&self) -> DateTime<Utc> {
        self.0.now() + self.1
    }
}

#[tokio::test]
async fn p35_an_assertion_by_a_clock_that_is_off_is_made_anew_by_entras() {
    for off in [TimeDelta::hours(3), -TimeDelta::minutes(30)] {
        let rig = Rig::start().await;
        let certificate = Certificate::read(rig.pem().as_bytes(), None).unwrap();
        let clock = Off(rig.emulator.clock().clone(), off);
        let endpoint = rig.endpoint().with_clock(clock);
        let credential =
            CertificateCredential::new(endpoint.clone(), rig.client_id(), certificate).unwrap();
        let shown = endpoint.assertion_time();

        credential.get_token(&rig.graph()).await.unwrap();

        // Once is enough: what was learnt is kept.
        let other = TokenRequest::new("api://other/.default".parse().unwrap());
        drop(credential.get_token(&other).await);
        assert_eq!(rig.answers(Route::Token)[..2], [401, 200], "{off}");
        assert_eq!(rig.answers(Route::Token).len(), 3, "{off}");
        let corrected = shown - endpoint.assertion_time();
        assert!(
            (corrected - off).abs() < TimeDelta::minutes(1),
            "{off} {corrected}"
        );
    }
}

/// Entra verifies a chain for applications alone that trust a subject, which Microsoft's own do. The emulator
/// has none, and like Entra refuses another certificate's subject where a chain came, and its key where none did.
#[tokio::test]
async fn a_chain_goes_along_when_it_is_asked_for_and_not_otherwise() {
    let rig = Rig::start().await;
    let by = async |pem: &str, chain: bool| {
        let certificate = Certificate::read(pem.as_bytes(), None).unwrap();
        let certificate = match chain {
            true => certificate.with_x5c(),
            false => certificate,
        };
        let credential =
            CertificateCredential::new(rig.endpoint(), rig.client_id(), certificate).unwrap();
        credential.get_token(&rig.graph()).await
    };
    let refusal = async |chain| {
        let error = by(&stranger(), chain).await.unwrap_err();
        assert_eq!(error.kind(), CredentialErrorKind::InvalidClient, "{error}");
        error.aadsts_codes().to_vec()
    };

    assert_eq!(
        refusal(true).await,
        [700_030],
        "of this subject nobody knows"
    );
    assert_eq!(refusal(false).await, [700_027], "of this key nobody knows");

    by(&rig.pem(), true).await.unwrap();
    by(&rig.pem(), false).await.unwrap();
}

/// A certificate that no application has, its issuer and its key; the leaf stands last.
fn stranger() -> String {
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let mut leaf = CertificateParams::new(Vec::new()).unwrap();
    leaf.not_before = rcgen::date_time_ymd(2024, 1, 1);
    leaf.not_after = rcgen::date_time_ymd(2120, 1, 1);
    let leaf = leaf.signed_by(&key, &root).unwrap();
    root.pem() + &key.serialize_pem() + &leaf.pem()
}

#[tokio::test]
async fn an_issuer_outside_stands_for_the_application() {
    let rig = Rig::start().await;
    let clock = rig.emulator.clock().clone();
    let subject = Arc::new(std::sync::Mutex::new(SUBJECT));
    let told = Arc::clone(&subject);
    let assertion = AssertionCallback::new(move |audience: String| {
        let subject = *told.lock().unwrap();
        let jwt = ExternalIssuer::new(ISSUER).assertion(subject, &audience, clock.now());
        async move { Ok(Secret::new(jwt.expose())) }
    });
    let credential = ClientAssertionCredential::new(rig.endpoint(), rig.client_id(), assertion);

    let token = credential.get_token(&rig.graph()).await.unwrap();

    *subject.lock().unwrap() = "system:serviceaccount:default:other";
    let again = rig.graph().rejecting(&token);
    let error = credential.get_token(&again).await.unwrap_err();
    assert_eq!(error.aadsts_codes(), [700_213]);
    assert!(error.to_string().contains("letter by letter"), "{error}");
}

#[tokio::test]
async fn a_refusal_says_what_happened_under_which_code_and_what_to_do() {
    let rig = Rig::start().await;
    let wrong = client_secret("kq~8Q~not-the-applications");
    let by = |endpoint, secret| ClientSecretCredential::new(endpoint, rig.client_id(), secret);
    let foreign = keywheel_credentials::TokenEndpoint::new(
        rig.http.clone(),
        &rig.cloud,
        &"nobody.example".parse().unwrap(),
    );

    for (credential, kind, code, advice) in [
        (
            by(rig.endpoint(), wrong),
            CredentialErrorKind::InvalidClient,
            7_000_215,
            "not its id",
        ),
        (
            by(foreign, rig.secret()),
            CredentialErrorKind::Denied,
            90_002,
            "check the tenant id",
        ),
    ] {
        let error = credential.get_token(&rig.graph()).await.unwrap_err();

        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert_eq!(error.aadsts_codes(), [code], "{text}");
        assert!(text.contains(&format!("AADSTS{code}")), "{text}");
        assert!(text.contains(error.correlation_id().unwrap()), "{text}");
        assert!(text.contains(advice), "{text}");
        assert!(error.trace_id().is_some() && !error.is_transient());
    }
    let request = TokenRequest::new("https://nowhere.example/.default".parse().unwrap());
    let error = rig.by_secret().get_token(&request).await.unwrap_err();
    assert_eq!(error.aadsts_codes(), [500_011]);
}

#[tokio::test]
async fn a_rotation_replaces_the_secret_under_running_requests_and_falls_back_once_in_its_grace() {
    let rig = Rig::start().await;
    let client_id = rig.client_id().to_string();
    let credential = rig.by_secret();
    credential.get_token(&rig.graph()).await.unwrap();
    let old = issued_by(&rig.emulator).remove(0);
    // The new secret is known here before it is known everywhere.
    rig.emulator.behave(|service| {
        let minute = TimeDelta::minutes(1);
        service.secret_propagation = keywheel_emulator::Span::exactly(minute);
    });
    let added = rig.emulator.add_secret(&client_id, "two").unwrap();
    let new = client_secret(added.text.expose());
    let until = rig.emulator.clock().now() + TimeDelta::hours(1);
    let secrets = ClientSecrets::new(new)
        .with_generation(1)
        .with_previous(rig.secret(), until);

    rig.emulator.clear_log();
    assert!(credential.replace(secrets));
    credential.get_token(&rig.graph()).await.unwrap();

    assert_eq!(issued_by(&rig.emulator), [old]);
    assert_eq!(rig.answers(Route::Token), [401, 200], "once each");
    let refusal = credential.fallback().unwrap();
    assert_eq!(refusal.aadsts_codes(), [7_000_215]);

    rig.emulator.clock().advance(TimeDelta::hours(2));
    credential.get_token(&rig.graph()).await.unwrap();
    assert_eq!(issued_by(&rig.emulator)[1], added.key_id);
    assert!(credential.fallback().is_none());
}

#[tokio::test]
async fn a_proof_is_by_exactly_this_secret_on_a_connection_of_its_own() {
    let rig = Rig::start().await;
    let (client, secret) = (rig.client_id(), rig.secret());
    let added = rig.emulator.add_secret(&client.to_string(), "two").unwrap();
    let new = client_secret(added.text.expose());
    rig.by_secret().get_token(&rig.graph()).await.unwrap();

    let endpoint = rig.endpoint();
    let prove = async |secret| prove_secret(&endpoint, client, secret, &rig.graph()).await;
    let proofs = [
        prove(&new).await.unwrap(),
        prove(&new).await.unwrap(),
        prove(&secret).await.unwrap(),
    ];

    let by = issued_by(&rig.emulator);
    assert_eq!(by[1..3], [added.key_id.clone(), added.key_id]);
    assert_ne!(by[3], by[2]);
    assert_ne!(
        proofs[0].token.expose(),
        proofs[1].token.expose(),
        "no cache"
    );
}

#[tokio::test]
async fn trouble_that_passes_is_sat_out_and_says_so_if_it_stays() {
    let rig = Rig::start().await;
    rig.emulator
        .inject(Fault::respond(503).on(Route::Token).times(1));
    rig.emulator.inject(
        Fault::respond(429)
            .body("Too Many Requests")
            .on(Route::Token)
            .times(1),
    );
    rig.emulator
        .inject(Fault::reset().on(Route::Token).times(1));
    rig.by_secret().get_token(&rig.graph()).await.unwrap();

    rig.emulator.inject(
        Fault::respond(502)
            .body("<html>Bad Gateway</html>")
            .on(Route::Token)
            .forever(),
    );
    let impatient = keywheel_core::RetryPolicy::never();
    let endpoint = rig.endpoint().with_retry(impatient);
    let credential = ClientSecretCredential::new(endpoint, rig.client_id(), rig.secret());
    let error = credential.get_token(&rig.graph()).await.unwrap_err();

    assert_eq!(error.kind(), CredentialErrorKind::Unavailable);
    assert!(error.is_transient() && !Report(&error).to_string().contains("html"));
}

#[tokio::test]
async fn a_chain_goes_on_to_what_is_set_up_here() {
    let rig = Rig::start().await;
    let file = keywheel_credentials::AssertionFile::new("/var/run/secrets/there-is-none");
    let workload = ClientAssertionCredential::new(rig.endpoint(), rig.client_id(), file);
    let chain = CredentialChain::of(workload).or(rig.by_secret());

    chain.get_token(&rig.graph()).await.unwrap();

    assert!(chain.cached_token(&rig.graph()).is_some());
}

#[tokio::test]
async fn outside_azure_there_is_no_managed_identity() {
    let nobody = Nobody;
    let credential = ManagedIdentityCredential::new(nobody, ManagedIdentity::imds());
    let scope = "https://graph.microsoft.com/.default".parse().unwrap();

    let error: CredentialError = credential
        .get_token(&TokenRequest::new(scope))
        .await
        .unwrap_err();

    assert_eq!(error.kind(), CredentialErrorKind::NotConfigured);
}

/// A network on which nothing answers.
#[derive(Debug)]
struct Nobody;

#[async_trait::async_trait]
impl keywheel_core::HttpSend for Nobody {
    async fn send(
        &self,
        _: http::Request<bytes::Bytes>,
    ) -> Result<http::Response<bytes::Bytes>, keywheel_core::TransportError> {
        let kind = keywheel_core::TransportErrorKind::Connect;
        Err(keywheel_core::TransportError::new(kind))
    }
}
