//! What the servers of others have in common: a process behind TLS, at the addresses that Entra has.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use keywheel_core::{ClientId, Cloud, ReqwestSend, Secret, TokenCredential, TokenRequest};
use keywheel_credentials::{
    AuthorizationCodeFlow, AuthorizationRequest, Callback, ClientSecretCredential,
    ConfidentialClient, RefreshTokenCredential, TokenEndpoint,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use url::Url;

use crate::rig::{Drawer, client_secret};

pub(crate) const TENANT: &str = "7e4a4700-1111-4222-8333-444455556666";
pub(crate) const USER_ID: &str = "0b1ec700-1111-4222-8333-444455556666";
pub(crate) const SECRET: &str = "p+/gJ0cQ1w==~as-old-as-the-hills";
pub(crate) const SCOPE: &str = "https://graph.example/.default";

/// A server that runs, and a client that trusts it.
pub(crate) struct Foreign {
    _process: Child,
    /// With its settings, and for what it writes.
    _papers: TempDir,
    pub(crate) endpoint: TokenEndpoint,
    pub(crate) http: ReqwestSend,
}

impl Foreign {
    /// Starts `program` in `folder` with its settings in a file; it prints its origin when it is ready.
    pub(crate) async fn start(folder: &Path, program: &[&Path], mut settings: Value) -> Self {
        let tls = Tls::make();
        settings["tenant"] = TENANT.into();
        settings["user"] = USER_ID.into();
        settings["scope"] = SCOPE.into();
        settings["tls"] = json!({"certificate": tls.certificate, "key": tls.key});
        let papers = tempfile::tempdir().unwrap();
        let file = papers.path().join("settings.json");
        std::fs::write(&file, settings.to_string()).unwrap();
        let (process, origin) = serve(folder, program, &file).await;
        let http = ReqwestSend::builder()
            .root_certificates(tls.root)
            .without_system_roots()
            .build()
            .unwrap();
        let cloud = Cloud::from_endpoints(&origin, &origin).unwrap();
        let tenant = TENANT.parse().unwrap();
        Self {
            _process: process,
            _papers: papers,
            endpoint: TokenEndpoint::new(http.clone(), &cloud, &tenant),
            http,
        }
    }

    pub(crate) fn by_secret(&self, client: &str, secret: &str) -> ClientSecretCredential {
        ClientSecretCredential::new(self.endpoint.clone(), id(client), client_secret(secret))
    }

    /// Lets a user sign in whom `browse` leads through the pages, and gets two more tokens after that.
    pub(crate) async fn sign_in_and_refresh(
        &self,
        client: ConfidentialClient,
        wanted: &AuthorizationRequest,
        browse: impl AsyncFnOnce(&Url) -> String,
    ) -> Vec<Secret> {
        let flow = AuthorizationCodeFlow::new(client.clone(), crate::rig::REDIRECT).unwrap();
        let (url, pending) = flow.begin(wanted);
        let callback = Callback::parse(&browse(&url).await).unwrap();
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
        drawer.held()
    }
}

pub(crate) fn id(text: &str) -> ClientId {
    text.parse().unwrap()
}

pub(crate) fn request() -> TokenRequest {
    TokenRequest::new(SCOPE.parse().unwrap())
}

/// Returns the folder of this name that the tests' servers are installed in.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

pub(crate) fn succeeded(output: std::io::Result<Output>, remedy: &str) {
    let output = output.unwrap_or_else(|error| panic!("{error}: {remedy}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{remedy}\n{errors}");
}

async fn serve(folder: &Path, program: &[&Path], settings: &Path) -> (Child, Url) {
    let mut process = Command::new(program[0])
        .args(&program[1..])
        .arg(settings)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| {
            let program = program[0].display();
            panic!("{error}: {program} is needed: apt-get install nodejs python3")
        });
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let origin = lines.next_line().await.unwrap();
    let origin = origin.expect("the server starts: see its words above");
    // It goes on talking, and would end if nobody listened.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (process, origin.parse().unwrap())
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
