//! Django with `django-oauth-toolkit`, by others than `oidc-provider` and in another language, behind TLS.

use std::path::{Path, PathBuf};

use keywheel_core::{CredentialErrorKind, Report, Secret, TokenCredential};
use keywheel_credentials::{
    AuthorizationCodeFlow, AuthorizationErrorKind, AuthorizationRequest, Callback,
    ConfidentialClient, RefreshTokenCredential, RefreshTokenStore,
};
use serde_json::json;
use tokio::process::Command;
use url::Url;

use crate::browser::{Browser, Place};
use crate::foreign::{Foreign, SCOPE, SECRET, folder, request, succeeded};
use crate::rig::{Drawer, PASSWORD, REDIRECT};

/// May get tokens for itself.
const APPLICATION: &str = "c0ffee00-1111-4222-8333-444455556666";
/// May sign users in.
const WEB_APPLICATION: &str = "c0ffee01-1111-4222-8333-444455556666";

async fn start() -> Foreign {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flows/django");
    let python = install(&source.join("requirements.txt")).await;
    let settings = json!({
        "redirect_uri": REDIRECT, "password": PASSWORD, "secret": SECRET,
        "application": APPLICATION, "web_application": WEB_APPLICATION,
    });
    Foreign::start(&source, &[&python, Path::new("server.py")], settings).await
}

/// Makes a virtual environment with what is required, once for each content of the requirements.
async fn install(requirements: &Path) -> PathBuf {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one = ONE.lock().await;
    let folder = folder("django");
    let (python, installed) = (folder.join("bin/python"), folder.join("installed.txt"));
    let wanted = std::fs::read_to_string(requirements).unwrap();
    if std::fs::read_to_string(&installed).is_ok_and(|it| it == wanted) {
        return python;
    }
    let venv = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&folder)
        .output()
        .await;
    succeeded(
        venv,
        "Python 3 with venv is needed: apt-get install python3-venv",
    );
    let pip = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(requirements)
        .output()
        .await;
    succeeded(
        pip,
        "pip must reach a package index for django-oauth-toolkit",
    );
    std::fs::write(installed, wanted).unwrap();
    python
}

/// The user at Django's login page and the toolkit's question.
async fn browse(server: &Foreign, url: &Url) -> String {
    let mut browser = Browser::new(&server.http);
    let mut place = browser.open(url).await;
    for fields in [
        &[("username", "ben"), ("password", PASSWORD)][..],
        &[("allow", "Authorize")],
    ] {
        if matches!(place, Place::Page { .. }) {
            place = browser.submit(&place, fields).await;
        }
    }
    place.query()
}

#[tokio::test]
async fn an_application_signs_in_by_secret() {
    let server = start().await;

    let credential = server.by_secret(APPLICATION, SECRET);
    let first = credential.get_token(&request()).await.unwrap();
    let second = credential.get_token(&request().rejecting(&first)).await;

    assert_ne!(first.token.expose(), second.unwrap().token.expose());
    let wrong = server.by_secret(APPLICATION, "wrong");
    let error = wrong.get_token(&request()).await.unwrap_err();
    assert_eq!(error.kind(), CredentialErrorKind::InvalidClient, "{error}");
    let not_for_itself = server.by_secret(WEB_APPLICATION, SECRET);
    let error = not_for_itself.get_token(&request()).await.unwrap_err();
    assert_eq!(error.kind(), CredentialErrorKind::Denied, "{error}");
}

#[tokio::test]
async fn a_user_signs_in_and_refresh_tokens_rotate() {
    let server = start().await;
    let client = server.by_secret(WEB_APPLICATION, SECRET).client();
    let wanted = AuthorizationRequest::new(SCOPE.parse().unwrap());

    let held = server
        .sign_in_and_refresh(client.clone(), &wanted, async |url: &Url| {
            browse(&server, url).await
        })
        .await;

    assert_eq!(held.len(), 3, "each refresh token is good once");
    a_spent_refresh_token_ends_the_sign_in(client, &held[0]).await;
}

/// Here a token that comes twice is taken for stolen. Entra's would be good still.
async fn a_spent_refresh_token_ends_the_sign_in(client: ConfidentialClient, spent: &Secret) {
    let drawer = Drawer::default();
    drawer.save(spent).await.unwrap();
    let error = RefreshTokenCredential::new(client, drawer)
        .get_token(&request())
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        CredentialErrorKind::InteractionRequired,
        "{error}"
    );
}

#[tokio::test]
async fn the_code_of_another_sign_in_does_not_fit_the_verifier_of_this_one() {
    let server = start().await;
    let client = server.by_secret(WEB_APPLICATION, SECRET).client();
    let flow = AuthorizationCodeFlow::new(client, REDIRECT).unwrap();
    let wanted = AuthorizationRequest::new(SCOPE.parse().unwrap());
    let (theirs, _) = flow.begin(&wanted);
    let (ours, pending) = flow.begin(&wanted);
    let (theirs, ours) = (browse(&server, &theirs).await, browse(&server, &ours).await);

    let injected = ours.replace(&code_of(&ours), &code_of(&theirs));
    let callback = Callback::parse(&injected).unwrap();
    let error = flow.complete(pending, callback).await.unwrap_err();

    assert_eq!(error.kind(), AuthorizationErrorKind::Refused);
    let text = Report(&error).to_string();
    assert!(text.contains("invalid_grant"), "{text}");
}

fn code_of(query: &str) -> String {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let (_, code) = pairs.find(|(name, _)| name == "code").unwrap();
    code.into_owned()
}
