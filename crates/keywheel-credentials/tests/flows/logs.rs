//! Whole flows, their logs and what `Debug` shows searched for every secret that they used.

use std::fmt::Debug;

use keywheel_core::{Report, Secret, TokenCredential, TokenRequest};
use keywheel_credentials::{
    AssertionCallback, AuthorizationCodeFlow, Callback, Certificate, CertificateCredential,
    ClientAssertionCredential, ClientSecretCredential, ClientSecrets, CredentialChain,
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
    secrets: Vec<(&'static str, String)>,
}

impl Watch {
    fn show(&mut self, value: &impl Debug) {
        self.shown.push_str(&format!("{value:?}\n{value:#?}\n"));
    }

    fn hide(&mut self, what: &'static str, secret: &str) {
        assert!(secret.len() >= 6, "{what} is too short to be looked for");
        self.secrets.push((what, secret.to_owned()));
    }

    fn check(&self) {
        for (what, secret) in &self.secrets {
            for line in self.shown.lines() {
                assert!(!line.contains(secret.as_str()), "{what}: {line}");
            }
        }
    }
}

#[tokio::test]
async fn no_flow_logs_or_shows_a_secret() {
    let (logs, _guard) = CapturedLogs::capture();
    let rig = Rig::start().await;
    let mut watch = Watch::default();

    secrets(&rig, &mut watch).await;
    assertions(&rig, &mut watch).await;
    users(&rig, &mut watch).await;

    watch.shown.push_str(&logs.text());
    assert!(
        watch.shown.contains("token.exchange"),
        "the flows log: {}",
        watch.shown
    );
    assert!(watch.secrets.len() > 12);
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
    watch.show(&CredentialChain::of(credential));
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
