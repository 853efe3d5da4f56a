//! npm's `oidc-provider`, a certified OpenID provider, behind TLS.

use std::path::{Path, PathBuf};

use keywheel_core::{CredentialErrorKind, TokenCredential};
use keywheel_credentials::{AuthorizationRequest, Certificate, CertificateCredential, Prompt};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use tokio::process::Command;

use crate::browser::{Browser, Place};
use crate::foreign::{Foreign, SCOPE, SECRET, folder, id, request, succeeded};
use crate::rig::REDIRECT;

const SECRET_CLIENT: &str = "c0ffee00-1111-4222-8333-444455556666";
const CERTIFICATE_CLIENT: &str = "c0ffee01-1111-4222-8333-444455556666";

/// The provider, and the certificate that it knows an application by.
struct Stage {
    server: Foreign,
    pem: String,
}

impl Stage {
    async fn set() -> Self {
        let modules = install().await;
        let (pem, certificate) = application_certificate();
        let settings = json!({
            "redirect_uri": REDIRECT, "secret_client": SECRET_CLIENT, "secret": SECRET,
            "certificate_client": CERTIFICATE_CLIENT, "certificate": certificate,
        });
        let server =
            Foreign::start(&modules, &["node", "server.mjs"].map(Path::new), settings).await;
        Self { server, pem }
    }

    fn by_certificate(&self) -> CertificateCredential {
        let certificate = Certificate::read(self.pem.as_bytes(), None).unwrap();
        let client = id(CERTIFICATE_CLIENT);
        CertificateCredential::new(self.server.endpoint.clone(), client, certificate).unwrap()
    }
}

/// Installs what the lock file names, once for each content of it.
async fn install() -> PathBuf {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one = ONE.lock().await;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flows/oidc-provider");
    let folder = folder("oidc-provider");
    std::fs::create_dir_all(&folder).unwrap();
    let wanted = std::fs::read_to_string(source.join("package-lock.json")).unwrap();
    std::fs::copy(source.join("server.mjs"), folder.join("server.mjs")).unwrap();
    let installed = folder.join("installed.json");
    if std::fs::read_to_string(&installed).is_ok_and(|it| it == wanted) {
        return folder;
    }
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(source.join(file), folder.join(file)).unwrap();
    }
    let npm = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .current_dir(&folder)
        .output()
        .await;
    succeeded(
        npm,
        "npm must be there (apt-get install nodejs npm) and reach a registry for oidc-provider",
    );
    std::fs::write(installed, wanted).unwrap();
    folder
}

/// A self-signed certificate with its key, and the certificate alone.
fn application_certificate() -> (String, String) {
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2120, 1, 1);
    let certificate = params.self_signed(&key).unwrap().pem();
    (format!("{}{certificate}", key.serialize_pem()), certificate)
}

#[tokio::test]
async fn an_application_signs_in_by_secret_and_by_assertion() {
    let stage = Stage::set().await;

    let by_secret = stage.server.by_secret(SECRET_CLIENT, SECRET);
    let by_secret = by_secret.get_token(&request()).await.unwrap();
    let by_certificate = stage.by_certificate();
    let first = by_certificate.get_token(&request()).await.unwrap();
    // The provider takes no assertion twice.
    let again = request().rejecting(&first);
    let second = by_certificate.get_token(&again).await.unwrap();

    let tokens = [&by_secret, &first, &second].map(|token| token.token.expose());
    assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2]);

    let wrong = stage.server.by_secret(SECRET_CLIENT, "wrong");
    let error = wrong.get_token(&request()).await.unwrap_err();
    assert_eq!(error.kind(), CredentialErrorKind::InvalidClient);
}

#[tokio::test]
async fn a_user_signs_in_and_refresh_tokens_rotate() {
    let stage = Stage::set().await;
    let by_secret = stage.server.by_secret(SECRET_CLIENT, SECRET);
    for client in [by_secret.client(), stage.by_certificate().client()] {
        // This provider gives refresh tokens to whom the user consents to anew.
        let wanted = AuthorizationRequest::new(SCOPE.parse().unwrap()).with_prompt(Prompt::Consent);
        let mut browser = Browser::new(&stage.server.http);
        let browse = async |url: &url::Url| {
            let mut place = browser.open(url).await;
            for _ in 0..2 {
                if matches!(place, Place::Page { .. }) {
                    let who = [("login", "ben"), ("password", "any")];
                    place = browser.submit(&place, &who).await;
                }
            }
            place.query()
        };

        let held = stage.server.sign_in_and_refresh(client, &wanted, browse);

        assert_eq!(held.await.len(), 3, "each refresh token is good once");
    }
}
