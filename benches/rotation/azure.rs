//! The emulator in a process of its own: this program once more.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdin, Command, Stdio};

use keywheel_emulator::{ApplicationSeed, Emulator, SecretSeed, Seed, TenantSeed};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

pub(crate) const TENANT: &str = "bench.example";
/// What the child is started with.
const WORD: &str = "as-emulator";
const ROUTES: [&str; 4] = ["token", "addPassword", "get", "removePassword"];

pub(crate) struct Azure {
    child: Child,
    /// The child ends when this does.
    _stdin: ChildStdin,
    pub(crate) place: Place,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) origin: String,
    pub(crate) ca: String,
}

/// An application that owns itself and holds one secret.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) client: Uuid,
    pub(crate) secret: String,
    pub(crate) key_id: Uuid,
}

impl App {
    fn number(n: u128) -> Self {
        Self {
            client: Uuid::from_u128(0xc0ff_ee00_0000_4000_8000_0000_0000_0000 + n),
            secret: format!("own8Q~{n:034}"),
            key_id: Uuid::from_u128(0xabcd_ef00_0000_4000_8000_0000_0000_0000 + n),
        }
    }
}

/// Returns the emulator's applications of these numbers.
pub(crate) fn apps(numbers: std::ops::Range<usize>) -> Vec<App> {
    numbers.map(|n| App::number(n as u128)).collect()
}

impl Azure {
    /// Starts it with so many applications.
    pub(crate) fn start(count: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([WORD, &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        Self {
            _stdin: child.stdin.take().unwrap(),
            child,
            place: serde_json::from_str(&line).unwrap(),
        }
    }

    /// Returns how many requests of each kind came since the last one that was asked, newest number included.
    pub(crate) async fn requests_after(&self, number: u64) -> (u64, [usize; 4]) {
        let ca = reqwest::Certificate::from_pem(self.place.ca.as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([ca]);
        let url = format!("{}/_emulator/requests?after={number}", self.place.origin);
        let answer = client.build().unwrap().get(url).send().await.unwrap();
        let records: Vec<Value> = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        let of = |route: &str| records.iter().filter(|it| it["route"] == route).count();
        // Not that of the one noted last: those that came together are noted in any order.
        let last = records.iter().filter_map(|it| it["number"].as_u64()).max();
        (last.unwrap_or(number), ROUTES.map(of))
    }
}

impl Drop for Azure {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// In the child: runs the emulator until its parent has gone. Returns `false` in the parent.
pub(crate) fn was_the_emulator() -> bool {
    let mut words = std::env::args().skip_while(|word| word != WORD).skip(1);
    let Some(count) = words.next() else {
        return false;
    };
    let seeds = apps(0..count.parse().unwrap()).into_iter().map(|app| {
        let mut seed = ApplicationSeed::new(app.client.to_string())
            .client_id(app.client.to_string())
            .role("Application.ReadWrite.OwnedBy")
            .owns_itself();
        let secret = SecretSeed::new(app.secret);
        seed.secrets = vec![secret.key_id(app.key_id.to_string())];
        seed
    });
    let tenant = seeds.fold(TenantSeed::new(TENANT), TenantSeed::application);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let emulator = Emulator::builder().seed(Seed::of([tenant])).start().await;
        let emulator = emulator.unwrap();
        let place = Place {
            origin: emulator.authority().to_owned(),
            ca: emulator.ca_pem().to_owned(),
        };
        println!("{}", serde_json::to_string(&place).unwrap());
        let wait = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]).unwrap());
        wait.await.unwrap();
    });
    true
}
