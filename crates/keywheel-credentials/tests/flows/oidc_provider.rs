//! npm's `oidc-provider`, a certified OpenID provider, behind TLS.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use keywheel_core::{
    ClientId, Cloud, CredentialErrorKind, ReqwestSend, Secret, TenantId, TokenCredential,
    TokenRequest,
};
use keywheel_credentials::{
    AuthorizationCodeFlow, AuthorizationRequest, Callback, Certificate, CertificateCredential,
    ClientSecretCredential, ConfidentialClient, Prompt, RefreshTokenCredential, TokenEndpoint,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::browser::{Browser, Place};
use crate::rig::{Drawer, REDIRECT, client_secret};

const TENANT: &str = "7e4a4700-1111-4222-8333-444455556666";
const USER_ID: &str = "0b1ec700-1111-4222-8333-444455556666";
const SECRET_CLIENT: &str = "c0ffee00-1111-4222-8333-444455556666";
const CERTIFICATE_CLIENT: &str = "c0ffee01-1111-4222-8333-444455556666";
const SECRET: &str = "p+/gJ0cQ1w==~as-old-as-the-hills";
const SCOPE: &str = "https://graph.example/.default";

/// The provider, and a client that trusts it.
struct Stage {
    _process: Child,
    endpoint: TokenEndpoint,
    http: ReqwestSend,
    pem: String,
}

impl Stage {
    async fn set() -> Self {
        let modules = install().await;
        let tls = Tls::make();
        let (pem, certificate) = application_certificate();
        let settings = json!({
            "tenant": TENANT, "user": USER_ID, "redirect_uri": REDIRECT, "scope": SCOPE,
            "secret_client": SECRET_CLIENT, "secret": SECRET,
            "certificate_client": CERTIFICATE_CLIENT, "certificate": certificate,
            "tls": {"certificate": tls.certificate, "key": tls.key},
        });
        let (process, origin) = serve(&modules, &settings).await;
        let http = ReqwestSend::builder()
            .root_certificates(tls.root)
            .without_system_roots()
            .build()
            .unwrap();
        let origin = origin.parse().unwrap();
        let cloud = Cloud::from_endpoints(&origin, &origin).unwrap();
        let tenant: TenantId = TENANT.parse().unwrap();
        Self {
            _process: process,
            endpoint: TokenEndpoint::new(http.clone(), &cloud, &tenant),
            http,
            pem,
        }
    }

    fn by_secret(&self, secret: &str) -> ClientSecretCredential {
        let client = id(SECRET_CLIENT);
        ClientSecretCredential::new(self.endpoint.clone(), client, client_secret(secret))
    }

    fn by_certificate(&self) -> CertificateCredential {
        let certificate = Certificate::read(self.pem.as_bytes(), None).unwrap();
        let client = id(CERTIFICATE_CLIENT);
        CertificateCredential::new(self.endpoint.clone(), client, certificate).unwrap()
    }
}

fn id(text: &str) -> ClientId {
    text.parse().unwrap()
}

fn request() -> TokenRequest {
    TokenRequest::new(SCOPE.parse().unwrap())
}

/// Installs what the lock file names, once for each content of it.
async fn install() -> PathBuf {
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one = ONE.lock().await;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flows/oidc-provider");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oidc-provider");
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

fn succeeded(output: std::io::Result<Output>, remedy: &str) {
    let output = output.unwrap_or_else(|error| panic!("{error}: {remedy}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{remedy}\n{errors}");
}

async fn serve(folder: &Path, settings: &serde_json::Value) -> (Child, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), settings.to_string()).unwrap();
    let mut process = Command::new("node")
        .arg("server.mjs")
        .arg(file.path())
        .current_dir(folder)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{error}: Node 20 is needed: apt-get install nodejs"));
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let origin = lines.next_line().await.unwrap();
    let origin = origin.expect("the provider starts: see its words above");
    // It goes on talking, and would end if nobody listened.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (process, origin)
}

/// What the server shows and what its clients trust.
struct Tls {
    root: String,
    certificate: String,
    key: String,
}

impl Tls {
    fn make() -> Self {
        let mut root = CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = leaf.signed_by(&key, &root).unwrap();
        Self {
            root: root.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
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

    let by_secret = stage.by_secret(SECRET).get_token(&request()).await.unwrap();
    let by_certificate = stage.by_certificate();
    let first = by_certificate.get_token(&request()).await.unwrap();
    // The provider takes no assertion twice.
    let again = request().rejecting(&first);
    let second = by_certificate.get_token(&again).await.unwrap();

    let tokens = [&by_secret, &first, &second].map(|token| token.token.expose());
    assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2]);

    let error = stage.by_secret("wrong").get_token(&request()).await;
    assert_eq!(
        error.unwrap_err().kind(),
        CredentialErrorKind::InvalidClient
    );
}

#[tokio::test]
async fn a_user_signs_in_and_refresh_tokens_rotate() {
    let stage = Stage::set().await;
    for client in [
        stage.by_secret(SECRET).client(),
        stage.by_certificate().client(),
    ] {
        a_user_of(&stage, client).await;
    }
}

async fn a_user_of(stage: &Stage, client: ConfidentialClient) {
    let flow = AuthorizationCodeFlow::new(client.clone(), REDIRECT).unwrap();
    // This provider gives refresh tokens to whom the user consents to anew.
    let wanted = AuthorizationRequest::new(SCOPE.parse().unwrap()).with_prompt(Prompt::Consent);
    let (url, pending) = flow.begin(&wanted);
    let mut browser = Browser::new(&stage.http);
    let mut place = browser.open(&url).await;
    for _ in 0..2 {
        if matches!(place, Place::Page { .. }) {
            let who = [("login", "ben"), ("password", "any")];
            place = browser.submit(&place, &who).await;
        }
    }
    let callback = Callback::parse(&place.query()).unwrap();
    let authorization = flow.complete(pending, callback).await.unwrap();

    assert_eq!(authorization.user.tenant.to_string(), TENANT);
    assert_eq!(authorization.user.username.as_deref(), Some("ben"));

    let drawer = Drawer::default();
    let first = authorization.token.clone();
    let credential =
        RefreshTokenCredential::from_authorization(authorization, client, drawer.clone())
            .await
            .unwrap();
    let second = credential.get_token(&request().rejecting(&first)).await;
    let second = second.unwrap();
    let third = credential.get_token(&request().rejecting(&second)).await;
    assert_ne!(third.unwrap().token.expose(), second.token.expose());
    let held: Vec<Secret> = drawer.held();
    assert_eq!(held.len(), 3, "each refresh token is good once");
}
