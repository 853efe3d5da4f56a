use std::collections::HashMap;

use chrono::TimeDelta;
use keywheel_core::{
    ClientSecret, Cloud, CredentialErrorKind, ManualClock, Report, TransportError,
    TransportErrorKind,
};
use proptest::prelude::*;
use serde_json::json;

use super::id_token::tests::{claims, publish, sign};
use super::*;
use crate::test_support::{Answer, Fields, Service, cases, client_id, noon, refused, reply};
use crate::{ClientSecretCredential, TokenEndpoint};

const REDIRECT: &str = "https://app.example/callback";

type AnswerAll = Box<dyn Fn(usize, &Fields) -> Answer + Send + Sync>;
type Entra = Service<AnswerAll>;

/// What the user's browser and Entra know of a sign-in.
struct SignIn {
    clock: ManualClock,
    flow: AuthorizationCodeFlow,
}

impl SignIn {
    /// Has `redeem` answer at the token endpoint.
    fn at(redeem: impl Fn(&Fields) -> Answer + Send + Sync + 'static) -> (Self, Arc<Entra>) {
        let answer: AnswerAll = Box::new(move |_: usize, request: &Fields| {
            if request.path().ends_with("/token") {
                redeem(request)
            } else {
                publish(request.path())
            }
        });
        let service = Service::new(answer);
        let clock = ManualClock::new(noon());
        let flow = flow(&service.endpoint().with_clock(clock.clone()), REDIRECT);
        (Self { clock, flow }, service)
    }

    fn begin(&self) -> (Url, PendingAuthorization) {
        self.flow
            .begin(&AuthorizationRequest::new(Cloud::public().graph_scope()))
    }
}

fn flow(endpoint: &TokenEndpoint, redirect_uri: &str) -> AuthorizationCodeFlow {
    let secret = ClientSecret::new(Secret::new("kq~8Q~made-up")).unwrap();
    let credential = ClientSecretCredential::new(endpoint.clone(), client_id(), secret);
    AuthorizationCodeFlow::new(credential.client(), redirect_uri).unwrap()
}

fn query(url: &Url) -> HashMap<String, String> {
    url.query_pairs().into_owned().collect()
}

fn answer(pending: &PendingAuthorization) -> Callback {
    let state = pending.state().expose();
    Callback::parse(&format!("code=the-code&state={state}&session_state=1")).unwrap()
}

fn signed_in(nonce: &str) -> Answer {
    reply(
        200,
        json!({"token_type": "Bearer", "expires_in": 3600, "access_token": "a", "refresh_token": "r",
            "scope": "openid profile User.Read", "id_token": sign(&claims(nonce))}),
    )
}

/// Entra remembers the nonce by the code; here the code is the nonce.
fn redeemed(form: &Fields) -> Answer {
    signed_in(form.get("code"))
}

fn answer_with_nonce(pending: &PendingAuthorization, url: &Url) -> Callback {
    let (state, nonce) = (pending.state().expose(), &query(url)["nonce"]);
    Callback::parse(&format!("code={nonce}&state={state}")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_browser_is_sent_with_all_that_protects_the_flow() {
    let (sign_in, _) = SignIn::at(redeemed);
    let request = AuthorizationRequest::new(Cloud::public().graph_scope())
        .with_prompt(Prompt::SelectAccount)
        .with_login_hint("ada@contoso.com")
        .with_domain_hint("contoso.com");
    let (url, pending) = sign_in.flow.begin(&request);
    let query = query(&url);

    assert!(url.as_str().starts_with(
        "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/authorize?"
    ));
    for (name, value) in [
        ("client_id", client_id().to_string().as_str()),
        ("response_type", "code"),
        ("response_mode", "query"),
        ("redirect_uri", REDIRECT),
        (
            "scope",
            "openid profile offline_access https://graph.microsoft.com/.default",
        ),
        ("state", pending.state().expose()),
        ("nonce", pending.nonce().expose()),
        ("code_challenge_method", "S256"),
        ("prompt", "select_account"),
        ("login_hint", "ada@contoso.com"),
        ("domain_hint", "contoso.com"),
    ] {
        assert_eq!(query[name], value, "{name}");
    }
    assert!(!url.as_str().contains(pending.verifier().expose()), "{url}");
    assert!(!url.as_str().contains("client_secret"), "{url}");
}

/// The example of RFC 7636, appendix B.
#[test]
fn the_challenge_is_the_hash_of_the_verifier() {
    let verifier = Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");

    assert_eq!(
        URL_SAFE_NO_PAD.encode(hash(&verifier)),
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    );
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_gives_the_user_and_both_tokens() {
    let (sign_in, service) = SignIn::at(redeemed);
    let (url, pending) = sign_in.begin();
    let callback = answer_with_nonce(&pending, &url);
    let verifier = pending.verifier().clone();
    let authorization = sign_in.flow.complete(pending, callback).await.unwrap();

    assert_eq!(authorization.user.name.as_deref(), Some("Ada"));
    assert_eq!(authorization.token.token.expose(), "a");
    assert_eq!(authorization.refresh_token.unwrap().expose(), "r");
    assert_eq!(
        authorization.granted.as_deref(),
        Some("openid profile User.Read")
    );
    let form = service.form(0);
    assert_eq!(form.get("grant_type"), "authorization_code");
    assert_eq!(form.get("redirect_uri"), REDIRECT);
    assert_eq!(form.get("client_secret"), "kq~8Q~made-up");
    assert_eq!(form.get("code_verifier"), verifier.expose());
    assert_eq!(
        query(&url)["code_challenge"],
        URL_SAFE_NO_PAD.encode(hash(&verifier))
    );
}

/// Two tabs, say: what a flow remembers is with the flow, and the second one to begin may be the first to end.
#[tokio::test(start_paused = true)]
async fn two_sign_ins_at_a_time_are_completed_each_with_its_own_verifier() {
    let (sign_in, service) = SignIn::at(redeemed);
    let (first, second) = (sign_in.begin(), sign_in.begin());

    for (url, pending) in [second, first] {
        let verifier = pending.verifier().clone();
        let callback = answer_with_nonce(&pending, &url);
        let before = service.count();
        sign_in.flow.complete(pending, callback).await.unwrap();

        let form = service.form(before);
        assert_eq!(form.get("code"), query(&url)["nonce"]);
        assert_eq!(form.get("code_verifier"), verifier.expose());
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_state_an_old_answer_and_a_replay_are_three_errors_and_send_nothing() {
    let (sign_in, service) = SignIn::at(redeemed);

    let ((_, one), (_, two)) = (sign_in.begin(), sign_in.begin());
    let error = sign_in.flow.complete(one, answer(&two)).await.unwrap_err();
    assert_eq!(error.kind(), AuthorizationErrorKind::ForeignState);

    let (_, late) = sign_in.begin();
    let callback = answer(&late);
    sign_in.clock.advance(TimeDelta::minutes(15));
    let error = sign_in.flow.complete(late, callback).await.unwrap_err();
    assert_eq!(error.kind(), AuthorizationErrorKind::Expired);
    assert_eq!(service.count(), 0);

    let (url, pending) = sign_in.begin();
    let callback = answer_with_nonce(&pending, &url);
    sign_in
        .flow
        .complete(pending.clone(), callback.clone())
        .await
        .unwrap();
    let sent = service.count();
    let error = sign_in.flow.complete(pending, callback).await.unwrap_err();
    assert_eq!(error.kind(), AuthorizationErrorKind::Replayed);
    assert_eq!(service.count(), sent);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_of_another_application_or_address_is_foreign() {
    let (sign_in, service) = SignIn::at(redeemed);
    let elsewhere = flow(&service.endpoint(), "https://app.example/other");
    let (_, pending) = sign_in.begin();
    let callback = answer(&pending);

    let error = elsewhere.complete(pending, callback).await.unwrap_err();

    assert_eq!(error.kind(), AuthorizationErrorKind::ForeignState);
}

#[tokio::test(start_paused = true)]
async fn a_replay_on_another_replica_is_told_by_entra() {
    let (sign_in, _) = SignIn::at(|_: &Fields| refused("invalid_grant", 54_005));
    let (_, pending) = sign_in.begin();
    let callback = answer(&pending);

    let error = sign_in.flow.complete(pending, callback).await.unwrap_err();

    assert_eq!(error.kind(), AuthorizationErrorKind::Replayed);
    assert_eq!(error.credential_error().unwrap().aadsts_codes(), [54_005]);
}

#[tokio::test(start_paused = true)]
async fn refusals_of_the_token_endpoint_keep_their_words() {
    let (sign_in, _) = SignIn::at(|_: &Fields| refused("invalid_client", 7_000_222));
    let (_, pending) = sign_in.begin();
    let callback = answer(&pending);
    let error = sign_in.flow.complete(pending, callback).await.unwrap_err();

    assert_eq!(error.kind(), AuthorizationErrorKind::Refused);
    let cause = error.credential_error().unwrap();
    assert_eq!(cause.kind(), CredentialErrorKind::InvalidClient);
    let chain = Report(&error).to_string();
    assert!(chain.contains("the client secret has expired"), "{chain}");
    assert_eq!(
        chain.matches("AADSTS7000222").count(),
        2,
        "code and Entra's words: {chain}"
    );

    let (sign_in, service) =
        SignIn::at(|_: &Fields| Err(TransportError::new(TransportErrorKind::Interrupt)));
    let (_, pending) = sign_in.begin();
    let callback = answer(&pending);
    let error = sign_in.flow.complete(pending, callback).await.unwrap_err();
    assert_eq!(error.kind(), AuthorizationErrorKind::Unavailable);
    assert_eq!(service.count(), 1, "a code is good once");
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_sign_in_signs_nobody_in() {
    let (sign_in, _) = SignIn::at(|_: &Fields| signed_in("another nonce"));
    let (_, pending) = sign_in.begin();
    let callback = answer(&pending);

    let error = sign_in.flow.complete(pending, callback).await.unwrap_err();

    assert_eq!(error.kind(), AuthorizationErrorKind::InvalidIdToken);
}

#[tokio::test(start_paused = true)]
async fn refusals_that_the_browser_brings_are_told_apart() {
    use AuthorizationErrorKind::{
        AdminConsentRequired, Cancelled, ConsentDeclined, Refused, Unavailable,
    };

    for (refusal, kind, words) in [
        (
            "error=access_denied&error_subcode=cancel",
            Cancelled,
            "turned back",
        ),
        (
            "error=access_denied&error_description=AADSTS65004%3A+User+declined",
            ConsentDeclined,
            "declined to consent",
        ),
        (
            "error=access_denied",
            ConsentDeclined,
            "declined to consent",
        ),
        (
            "error=consent_required&error_description=AADSTS65001",
            AdminConsentRequired,
            "lacks consent",
        ),
        (
            "error=access_denied&error_description=AADSTS90094",
            AdminConsentRequired,
            "an administrator has to consent",
        ),
        ("error=login_required", Refused, "user to act"),
        (
            "error=invalid_client&error_description=AADSTS53003",
            Refused,
            "Conditional Access",
        ),
        ("error=server_error", Unavailable, "in trouble"),
        (
            "error=%0Aodd%0A&error_description=odd%0Awords",
            Refused,
            "refused",
        ),
    ] {
        let (sign_in, service) = SignIn::at(redeemed);
        let (_, pending) = sign_in.begin();
        let state = pending.state().expose();
        let callback = Callback::parse(&format!("{refusal}&state={state}&code=x")).unwrap();
        let error = sign_in.flow.complete(pending, callback).await.unwrap_err();

        assert_eq!(error.kind(), kind, "{refusal}");
        let chain = Report(&error).to_string();
        assert!(chain.contains(words), "{refusal}: {chain}");
        assert!(!chain.contains(char::is_control), "{refusal}: {chain}");
        assert_eq!(service.count(), 0, "{refusal}");
    }
}

#[test]
fn what_is_no_answer_is_malformed() {
    for query in [
        "",
        "code=x",
        "state=x",
        "state=&code=x",
        "state=x&code=",
        "state=x&state=y&code=z",
        "state=x&code=y&code=z",
        "admin_consent=false&state=x",
        "<html>",
    ] {
        let error = Callback::parse(query).unwrap_err();
        assert_eq!(error.kind(), AuthorizationErrorKind::Malformed, "{query}");
    }
    let long = format!("state=x&code={}", "y".repeat(20_000));
    assert!(Callback::parse(&long).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_sealed_sign_in_is_completed_by_another_replica() {
    let (here, _) = SignIn::at(redeemed);
    let (there, _) = SignIn::at(redeemed);
    let key = SealKey::new(&[7; 32]);
    let (url, pending) = here.begin();
    let sealed = pending.seal(&key);
    assert!(sealed.len() < 1_000, "{}", sealed.len());

    let opened = PendingAuthorization::unseal(&sealed, &SealKey::new(&[7; 32])).unwrap();

    let callback = answer_with_nonce(&opened, &url);
    assert!(there.flow.complete(opened, callback).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_seal_hides_and_protects_what_it_holds() {
    let (sign_in, _) = SignIn::at(redeemed);
    let key = SealKey::new(&[7; 32]);
    let (_, pending) = sign_in.begin();
    let (_, consent) = sign_in
        .flow
        .begin_admin_consent(&Cloud::public().graph_scope());
    let sealed = pending.seal(&key);
    assert_ne!(sealed, pending.seal(&key), "no nonce twice");

    let open = |text: &str| PendingAuthorization::unseal(text, &key).map(drop);
    assert_eq!(open(&sealed), Ok(()));
    let mut changed = sealed.clone().into_bytes();
    for at in 0..changed.len() {
        changed[at] ^= 1;
        let text = String::from_utf8_lossy(&changed).into_owned();
        assert_eq!(open(&text), Err(UnsealError), "{at}");
        changed[at] ^= 1;
    }
    assert_eq!(open(""), Err(UnsealError));
    assert_eq!(
        open(&consent.seal(&key)),
        Err(UnsealError),
        "another purpose"
    );
    let other = SealKey::new(&[8; 32]);
    assert!(PendingAuthorization::unseal(&sealed, &other).is_err());
}

#[tokio::test(start_paused = true)]
async fn consent_of_an_administrator_is_asked_for_and_answered() {
    let (sign_in, _) = SignIn::at(redeemed);
    let (url, pending) = sign_in
        .flow
        .begin_admin_consent(&Cloud::public().graph_scope());
    let state = pending.state().expose().to_owned();
    assert!(url.as_str().starts_with(
        "https://login.microsoftonline.com/contoso.onmicrosoft.com/v2.0/adminconsent?"
    ));
    assert_eq!(query(&url)["scope"], "https://graph.microsoft.com/.default");
    assert_eq!(query(&url)["state"], state);

    let complete = |query: String, minutes| {
        let callback = Callback::parse(&query).unwrap();
        let result = pending
            .clone()
            .complete(callback, noon() + TimeDelta::minutes(minutes));
        result.map_err(|error| error.kind())
    };
    let yes =
        format!("admin_consent=True&tenant=8d2b0b4f-54a8-4a8f-9c4e-3c1f0a8f3f11&state={state}");
    let no = format!(
        "admin_consent=True&error=access_denied&error_description=AADSTS65004&state={state}"
    );
    assert_eq!(complete(yes.clone(), 59), Ok(()));
    assert_eq!(complete(yes, 60), Err(AuthorizationErrorKind::Expired));
    assert_eq!(
        complete(no, 1),
        Err(AuthorizationErrorKind::ConsentDeclined)
    );
    let other = "admin_consent=True&state=other".to_owned();
    assert_eq!(
        complete(other, 1),
        Err(AuthorizationErrorKind::ForeignState)
    );
    let code = format!("code=x&state={state}");
    assert_eq!(complete(code, 1), Err(AuthorizationErrorKind::Malformed));
}

#[tokio::test(start_paused = true)]
async fn a_consent_is_no_sign_in() {
    let (sign_in, service) = SignIn::at(redeemed);
    let (_, pending) = sign_in.begin();
    let consent = format!("admin_consent=True&state={}", pending.state().expose());
    let callback = Callback::parse(&consent).unwrap();

    let error = sign_in.flow.complete(pending, callback).await.unwrap_err();

    assert_eq!(error.kind(), AuthorizationErrorKind::Malformed);
    assert_eq!(service.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn redirect_uris_that_entra_would_refuse_are_refused_here() {
    let (_, service) = SignIn::at(redeemed);
    let secret = ClientSecret::new(Secret::new("x")).unwrap();
    let credential = ClientSecretCredential::new(service.endpoint(), client_id(), secret);
    let new = |uri: &str| AuthorizationCodeFlow::new(credential.client(), uri).map(drop);

    for uri in [
        "https://app.example",
        "https://app.example/a?b=c",
        "http://localhost:8080/x",
        "http://127.0.0.1/x",
    ] {
        assert_eq!(new(uri), Ok(()), "{uri}");
    }
    let long = format!("https://app.example/{}", "x".repeat(256));
    for uri in [
        "",
        "/callback",
        "http://app.example/x",
        "https://[::1]/x",
        "https://app.example/#x",
        "https://u:p@app.example/",
        "myapp://x",
        &long,
    ] {
        let error = new(uri).expect_err(uri);
        assert!(error.to_string().starts_with("redirect URI: "), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn debug_shows_no_secret() {
    let (sign_in, _) = SignIn::at(redeemed);
    let (url, pending) = sign_in.begin();
    let callback = answer_with_nonce(&pending, &url);
    let secrets = [pending.state(), pending.nonce(), pending.verifier()].map(Secret::clone);
    let mut shown = format!("{pending:?} {callback:?} {:?}", SealKey::new(&[7; 32]));
    let authorization = sign_in.flow.complete(pending, callback).await.unwrap();
    shown += &format!("{authorization:?} {:?}", sign_in.flow);

    for secret in secrets {
        assert!(!shown.contains(secret.expose()), "{shown}");
    }
    assert!(!shown.contains("[7, 7"), "{shown}");
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_query_is_read_or_refused(query in prop_oneof![
        ".{0,200}",
        "((code|state|error|error_description|error_subcode|admin_consent)=[a-zA-Z0-9%+._~-]{0,20}&?){0,8}",
    ]) {
        match Callback::parse(&query) {
            Ok(callback) => prop_assert!(!callback.state().expose().is_empty()),
            Err(error) => {
                let shown = Report(&error).to_string();
                prop_assert!(!shown.contains(char::is_control), "{}", shown);
            }
        }
    }

    #[test]
    fn any_text_is_unsealed_or_refused(text in "[A-Za-z0-9_-]{0,200}") {
        prop_assert!(PendingAuthorization::unseal(&text, &SealKey::new(&[7; 32])).is_err());
    }
}
