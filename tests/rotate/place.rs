use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;

use keywheel::connection::{Connection, ConnectionStore, KeyRing, Namespace, Sealer};
use keywheel::core::Secret;
use keywheel::sqlite::SqliteStore;
use keywheel_emulator::{AddedSecret, Emulator};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// An emulator, a folder for the database, and the example pointed at both.
pub(crate) struct Place {
    pub(crate) emulator: Arc<Emulator>,
    pub(crate) folder: TempDir,
    /// Somebody else's secret on the same application.
    pub(crate) foreign: AddedSecret,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let emulator = Emulator::start().await.unwrap();
        let client = emulator.default_app().client_id().to_owned();
        let foreign = emulator.add_secret(&client, "somebody else's").unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), emulator.ca_pem()).unwrap();
        Self {
            emulator: Arc::new(emulator),
            folder,
            foreign,
        }
    }

    pub(crate) fn client(&self) -> &str {
        self.emulator.default_app().client_id()
    }

    /// The example with the environment of this place.
    pub(crate) fn rotate(&self, flags: &[&str]) -> Command {
        let app = self.emulator.default_app();
        let mut command = Command::new(example("rotate"));
        command
            .args(flags)
            .env_clear()
            .env("AZURE_TENANT_ID", app.tenant_id())
            .env("AZURE_CLIENT_ID", app.client_id())
            .env("AZURE_CLIENT_SECRET", app.secret().expose())
            .env("AZURE_AUTHORITY_HOST", self.emulator.authority())
            .env("KEYWHEEL_GRAPH_ENDPOINT", self.emulator.graph())
            .env("KEYWHEEL_CA_CERTIFICATE", self.folder.path().join("ca.pem"))
            .env("KEYWHEEL_DATABASE", self.database())
            .kill_on_drop(true)
            .stdin(Stdio::null());
        command
    }

    pub(crate) async fn run(&self, flags: &[&str]) -> Output {
        self.rotate(flags).output().await.unwrap()
    }

    pub(crate) fn spawn(&self, flags: &[&str]) -> Child {
        let mut command = self.rotate(flags);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("keywheel.db")
    }

    /// The names of the files in the folder.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The stored connection and its current secret, if there is one yet.
    pub(crate) async fn stored(&self) -> Option<(Arc<Connection>, Secret)> {
        if !self.database().exists() {
            return None;
        }
        let store = SqliteStore::builder(self.database()).open().await.unwrap();
        let name = "default".parse().unwrap();
        let found = store.find(&Namespace::default(), &name).await.unwrap();
        let connection = found?.connection;
        store.close().await;
        let key = std::fs::read_to_string(self.folder.path().join("keywheel.db.key")).unwrap();
        let ring = KeyRing::from_base64(&key).unwrap();
        let held = &connection.secrets().unwrap().current;
        let context = connection.seal_context(held.generation);
        let secret = ring.open(&held.sealed, &context).await.unwrap();
        Some((connection, secret))
    }

    /// The key ids that the application has, without the foreign one.
    pub(crate) fn ours(&self) -> Vec<String> {
        let live = self.emulator.live_secrets(self.client());
        live.into_iter()
            .map(|secret| secret.key_id)
            .filter(|key_id| *key_id != self.foreign.key_id)
            .collect()
    }
}

/// The JSON lines of standard output.
pub(crate) fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Cargo puts examples beside the `deps` folder that this test is in.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let path = profile.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is missing; build it with: cargo build --examples",
        path.display()
    );
    path
}
