use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bytes::Bytes;
use http::{Method, Request};
use keywheel::core::{HttpSend, ReqwestSend};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use uuid::Uuid;

/// The emulator as a process, with a fleet of applications.
pub(crate) struct Azure {
    /// Ends with us.
    _child: tokio::process::Child,
    folder: TempDir,
    pub(crate) login: String,
    pub(crate) http: ReqwestSend,
    pub(crate) applications: Vec<Application>,
}

/// An application that owns itself, and holds a secret for keywheel and one for somebody else.
#[derive(Clone, Debug)]
pub(crate) struct Application {
    pub(crate) tenant: String,
    pub(crate) client: Uuid,
    pub(crate) secret: String,
    pub(crate) foreign: String,
}

impl Azure {
    /// Starts it with `count` applications in tenants of fifty.
    pub(crate) async fn start(count: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let applications: Vec<_> = (0..count).map(Application::number).collect();
        let seed = folder.path().join("seed.toml");
        std::fs::write(&seed, seed_of(&applications)).unwrap();
        let files = folder.path().join("files");
        let mut command = tokio::process::Command::new(program("keywheel-emulator"));
        let mut child = command
            .args(["--port", "0", "--dir"])
            .arg(&files)
            .arg("--seed")
            .arg(&seed)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.next_line().await.unwrap().unwrap();
        let login = ready.split(' ').nth(3).unwrap().to_owned();
        let ca = std::fs::read(files.join("ca.pem")).unwrap();
        let http = ReqwestSend::builder()
            .root_certificates(ca)
            .without_system_roots()
            .build();
        Self {
            _child: child,
            folder,
            login,
            http: http.unwrap(),
            applications,
        }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("files/ca.pem")
    }

    /// Lets a few of all calls go wrong, and replicas lag.
    pub(crate) async fn go_wrong(&self) {
        let behaviours = json!({
            "replicas": 3,
            "secret_propagation": { "min": 0.1, "max": 1.0 },
            "read_lag": { "min": 0.0, "max": 0.5 },
            "concurrency": { "probability": 0.01, "answer": "mixed" },
        });
        self.admin(Method::PATCH, "behaviours", Some(behaviours))
            .await;
        for fault in [
            json!({ "route": "token", "probability": 0.01, "action": { "respond": { "status": 503 } } }),
            json!({ "route": "token", "probability": 0.01, "action": "close" }),
            json!({ "route": "addPassword", "probability": 0.02, "action": "reset" }),
            json!({ "route": "addPassword", "probability": 0.03, "after_effect": true, "action": "reset" }),
            json!({ "route": "addPassword", "probability": 0.01, "action": { "truncate": 40 }, "after_effect": true }),
            json!({ "route": "removePassword", "probability": 0.03, "after_effect": true, "action": "close" }),
            json!({ "route": "removePassword", "probability": 0.02, "action": { "respond": { "status": 503 } } }),
            json!({ "route": "get", "probability": 0.02, "action": {
                "respond": { "status": 429, "headers": { "retry-after": "1" } } } }),
        ] {
            let mut fault = fault;
            fault["times"] = Value::Null;
            self.admin(Method::POST, "faults", Some(fault)).await;
        }
    }

    /// Ends what goes wrong, and returns how often it did.
    pub(crate) async fn recover(&self) -> u64 {
        let faults = self.admin(Method::GET, "faults", None).await;
        let hits = faults.as_array().unwrap().iter();
        let hits = hits.map(|fault| fault["hits"].as_u64().unwrap()).sum();
        self.admin(Method::DELETE, "faults", None).await;
        let behaviours = json!({ "concurrency": { "probability": 0.0 } });
        self.admin(Method::PATCH, "behaviours", Some(behaviours))
            .await;
        hits
    }

    pub(crate) async fn accepts(&self, client: Uuid, secret: &str) -> bool {
        let path = format!("applications/{client}/accepts");
        let answer = self
            .admin(Method::POST, &path, Some(json!({ "secret": secret })))
            .await;
        answer["accepts"].as_bool().unwrap()
    }

    /// The names of the secrets that an application holds.
    pub(crate) async fn secrets(&self, client: Uuid) -> Vec<String> {
        let path = format!("applications/{client}/secrets");
        let answer = self.admin(Method::GET, &path, None).await;
        let secrets = answer.as_array().unwrap().iter();
        secrets
            .map(|secret| {
                secret["display_name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect()
    }

    async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/_emulator/{path}", self.login))
            .header("content-type", "application/json")
            .body(body);
        let answer = self.http.send(request.unwrap()).await.unwrap();
        assert!(
            answer.status().is_success(),
            "{path}: {}: {}",
            answer.status(),
            String::from_utf8_lossy(answer.body())
        );
        if answer.body().is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(answer.body()).unwrap()
    }
}

impl Application {
    fn number(n: u32) -> Self {
        Self {
            tenant: format!("tenant-{}.example", n / 50),
            client: Uuid::from_u128(0xc0ff_ee00_0000_4000_8000_0000_0000_0000 + u128::from(n)),
            secret: format!("own8Q~{n:05}-{}", Uuid::from_u128(u128::from(n) * 7919)),
            foreign: format!("for8Q~{n:05}-{}", Uuid::from_u128(u128::from(n) * 104_729)),
        }
    }
}

fn seed_of(applications: &[Application]) -> String {
    let mut seed = String::new();
    let mut tenant = "";
    for (n, application) in applications.iter().enumerate() {
        if application.tenant != tenant {
            tenant = &application.tenant;
            write!(seed, "[[tenants]]\ndomains = ['{tenant}']\n").unwrap();
        }
        let Application {
            client,
            secret,
            foreign,
            ..
        } = application;
        write!(
            seed,
            "[[tenants.applications]]\ndisplay_name = 'application {n}'\nclient_id = '{client}'\n\
             roles = ['Application.ReadWrite.OwnedBy']\nowns_itself = true\n\
             secrets = [{{ display_name = 'first', text = '{secret}' }}, \
             {{ display_name = 'foreign', text = '{foreign}' }}]\n"
        )
        .unwrap();
    }
    seed
}

/// Cargo puts programs beside the `deps` folder that this test is in.
pub(crate) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let path = profile.join(name);
    assert!(
        path.exists(),
        "{} is missing; build it with: cargo build -p {name}",
        path.display()
    );
    path
}
