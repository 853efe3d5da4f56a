use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use http::Method;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::client::{Client, GRAPH_SCOPE};

/// The emulator as a process, with what it wrote.
struct Running {
    child: Child,
    ready: String,
    environment: BTreeMap<String, String>,
    client: Client,
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keywheel-emulator"));
    command
        .args(["--port", "0", "--dir"])
        .arg(folder.join("files"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn start(folder: &Path, arguments: &[&str]) -> Running {
    let mut child = command(folder).args(arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.next_line().await.unwrap().unwrap();
    let files = folder.join("files");
    let shell = Command::new("sh")
        .arg("-c")
        .arg(". \"$0\" && env")
        .arg(files.join("env.sh"))
        .output()
        .await;
    let environment = String::from_utf8(shell.unwrap().stdout).unwrap();
    let environment = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let ca = std::fs::read_to_string(files.join("ca.pem")).unwrap();
    Running {
        child,
        ready,
        environment,
        client: Client::trusting(&ca),
    }
}

impl Running {
    async fn token(&self) -> String {
        let of = |name: &str| self.environment[name].as_str();
        let url = format!(
            "{}/{}/oauth2/v2.0/token",
            of("AZURE_AUTHORITY_HOST"),
            of("AZURE_TENANT_ID")
        );
        let pairs = [
            ("grant_type", "client_credentials"),
            ("client_id", of("AZURE_CLIENT_ID")),
            ("client_secret", of("AZURE_CLIENT_SECRET")),
            ("scope", GRAPH_SCOPE),
        ];
        let answer = self.client.post_form(&url, &pairs).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Stops the process as Ctrl-C does.
    async fn stop(mut self) {
        let id = self.child.id().unwrap().to_string();
        let sent = Command::new("kill")
            .args(["-INT", &id])
            .status()
            .await
            .unwrap();
        assert!(sent.success());
        let status = self.child.wait().await.unwrap();
        assert!(status.success(), "{status}");
    }
}

#[tokio::test]
async fn it_writes_what_clients_need_and_stops_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), &[]).await;

    let of = |name: &str| running.environment[name].clone();
    assert!(
        running
            .ready
            .starts_with("keywheel-emulator ready: login https://localhost:"),
        "{}",
        running.ready
    );
    assert!(
        running.ready.contains(&of("AZURE_AUTHORITY_HOST")),
        "{}",
        running.ready
    );
    assert!(Path::new(&of("KEYWHEEL_CA_CERTIFICATE")).is_file());
    let token = running.token().await;
    let url = format!(
        "{}/v1.0/applications(appId='{}')",
        of("KEYWHEEL_GRAPH_ENDPOINT"),
        of("AZURE_CLIENT_ID")
    );
    let read = running
        .client
        .get(&url, &[("authorization", &format!("Bearer {token}"))])
        .await;
    assert_eq!(
        read.json()["passwordCredentials"][0]["keyId"],
        of("KEYWHEEL_CLIENT_SECRET_KEY_ID")
    );
    let client = std::fs::read_to_string(folder.path().join("files/client.pem")).unwrap();
    assert!(client.contains("BEGIN CERTIFICATE") && client.contains("BEGIN PRIVATE KEY"));
    #[cfg(unix)]
    for name in ["client.pem", "env.sh", "keys.pem"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(folder.path().join("files").join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_second_start_is_trusted_like_the_first_and_goes_on_from_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let arguments = ["--state", state.to_str().unwrap()];
    let first = start(folder.path(), &arguments).await;
    let ca = std::fs::read(folder.path().join("files/ca.pem")).unwrap();
    let secret = first.environment["AZURE_CLIENT_SECRET"].clone();
    let url = format!(
        "{}/_emulator/clock",
        first.environment["AZURE_AUTHORITY_HOST"]
    );
    let moved = first
        .client
        .send(
            Method::PATCH,
            &url,
            &[],
            r#"{"now":"2031-01-01T00:00:00Z","running":false}"#,
        )
        .await;
    assert_eq!(moved.unwrap().status, 200);
    first.stop().await;

    let second = start(folder.path(), &arguments).await;

    assert_eq!(
        std::fs::read(folder.path().join("files/ca.pem")).unwrap(),
        ca
    );
    assert_eq!(second.environment["AZURE_CLIENT_SECRET"], secret);
    let url = format!(
        "{}/_emulator/clock",
        second.environment["AZURE_AUTHORITY_HOST"]
    );
    let clock = second.client.get(&url, &[]).await.json();
    assert_eq!(clock["now"], "2031-01-01T00:00:00Z");
    second.stop().await;
}

#[tokio::test]
async fn a_seed_says_what_the_directory_holds() {
    let folder = tempfile::tempdir().unwrap();
    let seed = folder.path().join("seed.toml");
    let text = r#"
        [behaviours]
        secret_propagation = { min = 4, max = 18 }

        [[tenants]]
        domains = ["fabrikam.example"]
        policy = { secret_lifetime = "P90D" }
        users = [{ name = "eve@fabrikam.example", password = "pw", roles = ["Global Administrator"] }]

        [[tenants.applications]]
        display_name = "billing"
        roles = ["Application.ReadWrite.OwnedBy"]
        owns_itself = true
        owners = ["eve@fabrikam.example"]
        properties = { notes = "made for a test" }
        secrets = [{ display_name = "first", text = "the secret's text" }]
    "#;
    std::fs::write(&seed, text).unwrap();
    let running = start(
        folder.path(),
        &[
            "--seed",
            seed.to_str().unwrap(),
            "--graph-port",
            "0",
            "--log",
        ],
    )
    .await;

    running.token().await;
    let behaviours = format!(
        "{}/_emulator/behaviours",
        running.environment["AZURE_AUTHORITY_HOST"]
    );
    let behaviours = running.client.get(&behaviours, &[]).await.json();

    assert_ne!(
        running.environment["AZURE_AUTHORITY_HOST"],
        running.environment["KEYWHEEL_GRAPH_ENDPOINT"]
    );
    assert_eq!(behaviours["secret_propagation"]["max"], 18.0);
    running.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let seed = folder.path().join("seed.toml");
    std::fs::write(&seed, "[[tenants]]\ndomains = ['x.example']\napplications = [{ display_name = 'a', roles = ['No.Such'] }]").unwrap();
    let missing = folder.path().join("missing.toml");

    for (path, expected) in [(&seed, "No.Such"), (&missing, "missing.toml")] {
        let output = command(folder.path())
            .arg("--seed")
            .arg(path)
            .output()
            .await
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.starts_with("keywheel-emulator: ") && text.contains(expected),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    let help = command(folder.path()).arg("--help").output().await.unwrap();
    assert!(
        String::from_utf8(help.stdout).unwrap().contains("--state"),
        "help names the options"
    );
}
