//! Whole flows, their logs and what `Debug` shows searched for every secret that they used.

use std::collections::BTreeSet;
use std::fmt::Debug;

use keywheel_core::{Report, ReqwestSend, Secret, TokenCredential, TokenRequest};
use keywheel_credentials::{
    AssertionCallback, AssertionFile, AuthorizationCodeFlow, Callback, Certificate,
    CertificateCredential, ClientAssertionCredential, ClientSecretCredential, ClientSecrets,
    CredentialChain, ManagedIdentity, ManagedIdentityCredential, PendingAuthorization, Prompt,
    RefreshTokenCredential, SealKey, prove_secret,
};
use keywheel_emulator::ExternalIssuer;
use keywheel_testkit::CapturedLogs;

use crate::rig::{Drawer, ISSUER, REDIRECT, Rig, SUBJECT, USER, client_secret};
use crate::user::{sign_in, user_read};

/// What was shown, and what must not have been.
#[derive(Default)]
struct Watch {
    shown: String,
    types: BTreeSet<&'static str>,
    secrets: Vec<(&'static str, String)>,
}

impl Watch {
    fn show<T: Debug>(&mut self, value: &T) {
        let name = std::any::type_name::<T>();
        let name = name.split('<').next().unwrap_or(name);
        self.types.insert(name.rsplit("::").next().unwrap());
        self.shown.push_str(&format!("{value:?}\n{value:#?}\n"));
    }

    fn hide(&mut self, what: &'static str, secret: &str) {
        assert!(secret.len() >= 6, "{what} is too short to be looked for");
        self.secrets.push((what, secret.to_owned()));
    }

    /// Checks that a value of every type that this crate gives out was shown.
    fn check_types(&self) {
        let source = include_str!("../../src/lib.rs");
        let exports = source.split("pub use self::").skip(1);
        let exports = exports.flat_map(|export| {
            let list = export.split(';').next().unwrap();
            list.split(|c: char| !c.is_alphanumeric())
        });
        let types = exports.filter(|name| name.starts_with(char::is_uppercase));
        let missing: Vec<_> = types
            .filter(|name| !self.types.contains(name) && !TRAITS.contains(name))
            .collect();
        assert!(missing.is_empty(), "show these too: {missing:?}");
    }

    fn check(&self) {
        for (what, secret) in &self.secrets {
            for line in self.shown.lines() {
                assert!(!line.contains(secret.as_str()), "{what}: {line}");
            }
        }
    }
}

/// What the crate exports that has no values.
const TRAITS: [&str; 3] = ["ClientAssertion", "RefreshTokenStore", "SecretSource"];

#[tokio::test]
async fn no_flow_logs_or_shows_a_secret() {
    let (logs, _guard) = CapturedLogs::capture();
    let rig = Rig::start().await;
    let mut watch = Watch::default();

    secrets(&rig, &mut watch).await;
    assertions(&rig, &mut watch).await;
    users(&rig, &mut watch).await;
    machines(&mut watch).await;
    words(&rig, &mut watch);

    watch.shown.push_str(&logs.text());
    assert!(
        watch.shown.contains("token.exchange"),
        "the flows log: {}",
        watch.shown
    );
    assert!(watch.secrets.len() > 12);
    watch.check_types();
    watch.check();
}

async fn secrets(rig: &Rig, watch: &mut Watch) {
    let credential = rig.by_secret();
    let token = credential.get_token(&rig.graph()).await.unwrap();
    watch.hide("client secret", rig.secret().value().expose());
    watch.hide("access token", token.token.expose());
    watch.show(&token);

    let added = rig
        .emulator
        .add_secret(&rig.client_id().to_string(), "two")
        .unwrap();
    let new = client_secret(added.text.expose());
    watch.hide("new client secret", added.text.expose());
    let proof = prove_secret(&rig.endpoint(), rig.client_id(), &new, &rig.graph()).await;
    watch.hide("proof's token", proof.unwrap().token.expose());

    let wrong = "kq~8Q~a-secret-that-was-never-theirs";
    watch.hide("wrong secret", wrong);
    let until = rig.emulator.clock().now() + chrono::TimeDelta::hours(1);
    let secrets = ClientSecrets::new(client_secret(wrong)).with_previous(rig.secret(), until);
    watch.show(&secrets);
    let falls_back = ClientSecretCredential::new(rig.endpoint(), rig.client_id(), secrets);
    falls_back.get_token(&rig.graph()).await.unwrap();
    watch.show(&falls_back.fallback());
    let refused =
        ClientSecretCredential::new(rig.endpoint(), rig.client_id(), client_secret(wrong));
    let error = refused.get_token(&rig.graph()).await.unwrap_err();
    watch.show(&error);
    watch.shown.push_str(&Report(&error).to_string());

    watch.show(&credential);
    watch.show(&credential.client());
    watch.show(&rig.endpoint());
    watch.show(&CredentialChain::of(credential.clone()));
    #[cfg(feature = "azure-core")]
    watch.show(&keywheel_credentials::AzureSdkCredential::new(credential));
}

/// The one secret of managed identities stands in a header.
async fn machines(watch: &mut Watch) {
    let header = Secret::new("the-identity-header");
    watch.hide("identity header", header.expose());
    let endpoint = "http://127.0.0.1:9/msi/token".parse().unwrap();
    let identity = ManagedIdentity::app_service(endpoint, header);
    watch.show(&identity);
    let http = ReqwestSend::builder()
        .without_system_roots()
        .build()
        .unwrap();
    let credential = ManagedIdentityCredential::new(http, identity);
    watch.show(&credential);
    watch.show(&AssertionFile::new("/var/run/secrets/token"));
}

/// Requests, errors and what else has words of its own.
fn words(rig: &Rig, watch: &mut Watch) {
    let flow = AuthorizationCodeFlow::new(rig.client(), REDIRECT).unwrap();
    watch.show(&user_read());
    watch.show(&Prompt::Login);
    watch.show(&AuthorizationCodeFlow::new(rig.client(), "http://app.example").unwrap_err());
    watch.show(&PendingAuthorization::unseal("x", &SealKey::new(&[7; 32])).unwrap_err());

    let (_, consent) = flow.begin_admin_consent(&rig.cloud.graph_scope());
    watch.hide("state of a consent", consent.state().expose());
    watch.show(&consent);
    let foreign = "code=a-code-of-somebody-else&state=a-state-of-somebody-else";
    watch.hide("foreign code", "a-code-of-somebody-else");
    watch.hide("foreign state", "a-state-of-somebody-else");
    let foreign = Callback::parse(foreign).unwrap();
    let error = consent.complete(foreign, rig.emulator.clock().now());
    let error = error.unwrap_err();
    watch.show(&error);
    watch.show(&error.kind());

    let certificate = Certificate::read(rig.pem().as_bytes(), None).unwrap();
    let end = certificate.not_after();
    watch.show(&certificate.warning(end).unwrap());
    watch.show(&certificate.check(end).unwrap_err());
}

async fn assertions(rig: &Rig, watch: &mut Watch) {
    let pem = rig.pem();
    let certificate = Certificate::read(pem.as_bytes(), None).unwrap();
    watch.show(&certificate);
    let key = pem
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with('-'));
    for line in key {
        watch.hide("private key", line);
    }
    let credential =
        CertificateCredential::new(rig.endpoint(), rig.client_id(), certificate).unwrap();
    let token = credential.get_token(&rig.graph()).await.unwrap();
    watch.hide("token by certificate", token.token.expose());
    watch.show(&credential);

    let jwt = ExternalIssuer::new(ISSUER).assertion(
        SUBJECT,
        rig.cloud.exchange_audience(),
        rig.emulator.clock().now(),
    );
    watch.hide("assertion", jwt.expose());
    let jwt = Secret::new(jwt.expose());
    let assertion = AssertionCallback::new(move |_| std::future::ready(Ok(jwt.clone())));
    watch.show(&assertion);
    let credential = ClientAssertionCredential::new(rig.endpoint(), rig.client_id(), assertion);
    credential.get_token(&rig.graph()).await.unwrap();
    watch.show(&credential);
}

async fn users(rig: &Rig, watch: &mut Watch) {
    let flow = AuthorizationCodeFlow::new(rig.client(), REDIRECT).unwrap();
    let (url, pending) = flow.begin(&user_read());
    watch.hide("state", pending.state().expose());
    let nonce = url.query_pairs().find(|(name, _)| name == "nonce").unwrap();
    watch.hide("nonce", &nonce.1);
    let key = SealKey::new(&[7; 32]);
    watch.show(&key);
    watch.show(&pending);
    watch.show(&flow);

    let query = sign_in(rig, &url).await;
    let callback = Callback::parse(&query).unwrap();
    let code = url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "code")
        .unwrap()
        .1
        .into_owned();
    watch.hide("code", &code);
    watch.show(&callback);
    let authorization = flow.complete(pending, callback).await.unwrap();
    watch.hide("user's token", authorization.token.token.expose());
    let refresh_token = authorization.refresh_token.clone().unwrap();
    watch.hide("refresh token", refresh_token.expose());
    watch.show(&authorization);
    watch.show(&authorization.user);

    let request = TokenRequest::new("User.Read".parse().unwrap());
    let first = authorization.token.clone();
    let drawer = Drawer::default();
    let credential =
        RefreshTokenCredential::from_authorization(authorization, rig.client(), drawer.clone())
            .await
            .unwrap();
    let next = credential
        .get_token(&request.clone().rejecting(&first))
        .await;
    let next = next.unwrap();
    watch.hide("refreshed token", next.token.expose());
    watch.hide("next refresh token", drawer.held()[1].expose());
    rig.emulator.revoke_sessions(USER).unwrap();
    let error = credential.get_token(&request.rejecting(&next)).await;
    watch.show(&error.unwrap_err());
    watch.show(&credential);
}
