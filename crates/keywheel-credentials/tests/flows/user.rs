use keywheel_core::TokenRequest;
use keywheel_core::{CredentialErrorKind, Report, Secret, TokenCredential};
use keywheel_credentials::{
    Authorization, AuthorizationCodeFlow, AuthorizationErrorKind, AuthorizationRequest, Callback,
    Certificate, CertificateCredential, ConfidentialClient, PendingAuthorization, Prompt,
    RefreshTokenCredential, SealKey,
};
use url::Url;

use crate::browser::{Browser, Place};
use crate::rig::{ADMIN, Drawer, PASSWORD, REDIRECT, Rig, USER};

fn flow(client: ConfidentialClient) -> AuthorizationCodeFlow {
    AuthorizationCodeFlow::new(client, REDIRECT).unwrap()
}

pub(crate) fn user_read() -> AuthorizationRequest {
    AuthorizationRequest::new("User.Read".parse().unwrap())
}

/// The person at the pages: user name, password, consent.
pub(crate) async fn sign_in(rig: &Rig, url: &Url) -> String {
    let mut browser = Browser::new(&rig.http);
    let page = browser.open(url).await;
    let who = [("login", USER), ("passwd", PASSWORD), ("action", "signin")];
    let consent = browser.submit(&page, &who).await;
    browser
        .submit(&consent, &[("action", "accept")])
        .await
        .query()
}

pub(crate) async fn authorize(rig: &Rig, flow: &AuthorizationCodeFlow) -> Authorization {
    let (url, pending) = flow.begin(&user_read());
    let query = sign_in(rig, &url).await;
    let callback = Callback::parse(&query).unwrap();
    flow.complete(pending, callback).await.unwrap()
}

#[tokio::test]
async fn a_user_signs_in_on_pages_and_the_application_is_told_who() {
    let rig = Rig::start().await;

    let authorization = authorize(&rig, &flow(rig.client())).await;

    let app = rig.emulator.default_app();
    assert_eq!(authorization.user.tenant.to_string(), app.tenant_id());
    assert_eq!(authorization.user.username.as_deref(), Some(USER));
    assert!(authorization.granted.unwrap().contains("User.Read"));
    assert!(authorization.refresh_token.is_some());
}

#[tokio::test]
async fn an_application_with_a_certificate_signs_users_in_without_a_secret() {
    let rig = Rig::start().await;
    let certificate = Certificate::read(rig.pem().as_bytes(), None).unwrap();
    let credential =
        CertificateCredential::new(rig.endpoint(), rig.client_id(), certificate).unwrap();

    let authorization = authorize(&rig, &flow(credential.client())).await;

    assert_eq!(authorization.user.username.as_deref(), Some(USER));
    let bodies = rig.emulator.requests();
    let sent_secret = |body: &serde_json::Value| !body["client_secret"].is_null();
    assert!(!bodies.iter().any(|request| sent_secret(&request.body)));
}

#[tokio::test]
async fn the_callback_may_reach_another_replica_and_counts_once() {
    let rig = Rig::start().await;
    let key = SealKey::new(&[7; 32]);
    let (url, pending) = flow(rig.client()).begin(&user_read());
    let cookie = pending.seal(&key);
    let query = sign_in(&rig, &url).await;

    let other = flow(rig.client());
    let complete = async |flow: &AuthorizationCodeFlow| {
        let pending = PendingAuthorization::unseal(&cookie, &key).unwrap();
        flow.complete(pending, Callback::parse(&query).unwrap())
            .await
    };
    complete(&other).await.unwrap();

    let here = complete(&other).await.unwrap_err();
    assert_eq!(here.kind(), AuthorizationErrorKind::Replayed);
    let elsewhere = complete(&flow(rig.client())).await.unwrap_err();
    assert_eq!(
        elsewhere.kind(),
        AuthorizationErrorKind::Replayed,
        "{}",
        Report(&elsewhere)
    );
}

#[tokio::test]
async fn who_turns_back_declines_or_may_not_consent_is_told_apart() {
    let rig = Rig::start().await;
    let flow = flow(rig.client());

    let (url, pending) = flow.begin(&user_read());
    let mut browser = Browser::new(&rig.http);
    let page = browser.open(&url).await;
    let query = browser.submit(&page, &[("action", "cancel")]).await.query();
    let error = flow
        .complete(pending, Callback::parse(&query).unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), AuthorizationErrorKind::Cancelled, "{query}");

    let (url, pending) = flow.begin(&user_read());
    let mut browser = Browser::new(&rig.http);
    let page = browser.open(&url).await;
    let who = [("login", USER), ("passwd", PASSWORD), ("action", "signin")];
    let consent = browser.submit(&page, &who).await;
    let query = browser
        .submit(&consent, &[("action", "decline")])
        .await
        .query();
    let error = flow
        .complete(pending, Callback::parse(&query).unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), AuthorizationErrorKind::ConsentDeclined);

    let (url, pending) = flow.begin(&user_read().with_prompt(Prompt::None));
    let query = Browser::new(&rig.http).open(&url).await.query();
    let error = flow
        .complete(pending, Callback::parse(&query).unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), AuthorizationErrorKind::Refused, "{error}");
}

#[tokio::test]
async fn hints_spare_the_user_typing() {
    let rig = Rig::start().await;
    let (url, _) = flow(rig.client()).begin(&user_read().with_login_hint(USER));

    let page = Browser::new(&rig.http).open(&url).await;

    let Place::Page { html, .. } = page else {
        panic!("{page:?}");
    };
    assert!(html.contains(&format!("value=\"{USER}\"")), "{html}");
}

#[tokio::test]
async fn a_user_who_signed_in_once_is_acted_for_until_the_sign_in_is_revoked() {
    let rig = Rig::start().await;
    let flow = flow(rig.client());
    let authorization = authorize(&rig, &flow).await;
    let first = authorization.token.clone();
    let drawer = Drawer::default();
    let credential =
        RefreshTokenCredential::from_authorization(authorization, rig.client(), drawer.clone())
            .await
            .unwrap();
    let request = TokenRequest::new("User.Read".parse().unwrap());

    let at_hand = credential.get_token(&request).await.unwrap();
    assert_eq!(at_hand.token.expose(), first.token.expose());
    let next = credential
        .get_token(&request.clone().rejecting(&first))
        .await
        .unwrap();

    assert_ne!(next.token.expose(), first.token.expose());
    let held: Vec<Secret> = drawer.held();
    assert_eq!(held.len(), 2, "rotated");
    assert_ne!(held[0].expose(), held[1].expose());

    rig.emulator.revoke_sessions(USER).unwrap();
    let error = credential
        .get_token(&request.rejecting(&next))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), CredentialErrorKind::InteractionRequired);
    assert_eq!(error.aadsts_codes(), [50_173]);
    assert!(error.to_string().contains("revoked"), "{error}");
}

#[tokio::test]
async fn an_administrator_consents_for_the_tenant() {
    let rig = Rig::start().await;
    let flow = flow(rig.client());
    let (url, pending) = flow.begin_admin_consent(&rig.cloud.graph_scope());
    let mut browser = Browser::new(&rig.http);
    let page = browser.open(&url).await;
    let who = [
        ("login", ADMIN),
        ("passwd", "secret of ada"),
        ("action", "signin"),
    ];
    let consent = browser.submit(&page, &who).await;
    let query = browser
        .submit(&consent, &[("action", "accept")])
        .await
        .query();

    let now = rig.emulator.clock().now();
    pending
        .complete(Callback::parse(&query).unwrap(), now)
        .unwrap();
}
