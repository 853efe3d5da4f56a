use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use futures_util::StreamExt;
use keywheel::Keywheel;
use keywheel::connection::{
    Actor, Cause, ConnectionId, ConnectionStore, KeyRing, Page, RotationSettings, Seconds,
    Versioned,
};
use keywheel::core::{ClientSecret, Clock, Cloud, Secret, SystemClock};
use keywheel::postgres::PostgresStore;
use keywheel::rotation::{NewConnection, Policy, Status};
use keywheel::schedule::Schedule;
use keywheel_testkit::{PostgresOptions, PostgresServer};
use tokio::process::{Child, Command};

use crate::azure::{Application, Azure};

/// The emulator, a database server, and the connections in it.
pub(crate) struct Fleet {
    pub(crate) azure: Azure,
    pub(crate) server: PostgresServer,
    pub(crate) store: PostgresStore,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) keywheel: Keywheel,
    pub(crate) members: Vec<Member>,
}

/// A connection and its application.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: ConnectionId,
    pub(crate) application: Application,
}

/// What a watched worker keeps on its heap, the other way round.
pub(crate) const CANARY: &str = "a-canary-of-the-heap-4d1c9b7e";

const SEALING_KEY: [u8; 32] = [9; 32];

impl Fleet {
    pub(crate) async fn start(count: u32) -> Self {
        keywheel_testkit::watch_logs();
        let azure = Azure::start(count).await;
        // What a crash of the server forgets must not be what it acknowledged.
        let server = PostgresOptions::default().durable().start();
        let store = PostgresStore::builder(server.url("postgres")).open();
        let store = store.await.unwrap();
        let ring = Arc::new(KeyRing::new(&SEALING_KEY).unwrap());
        let keywheel = Keywheel::builder(store.clone(), ring.clone())
            .http(azure.http.clone())
            .build();
        let mut fleet = Self {
            azure,
            server,
            store,
            ring,
            keywheel: keywheel.unwrap(),
            members: Vec::new(),
        };
        fleet.enrol().await;
        fleet
    }

    /// Creates the connections: each has its first rotation due at once.
    async fn enrol(&mut self) {
        let cloud = Cloud::from_endpoints(
            &self.azure.login.parse().unwrap(),
            &self.azure.login.parse().unwrap(),
        );
        let cloud = cloud.unwrap();
        let members = futures_util::stream::iter(self.azure.applications.clone())
            .map(|application| {
                let connections = self.keywheel.connections();
                let new = new_connection(&application, &cloud);
                async move {
                    let created = connections.create(new, &Actor::named("test")).await;
                    let id = created.unwrap().connection.id;
                    Member { id, application }
                }
            })
            .buffer_unordered(16)
            .collect();
        self.members = members.await;
    }

    /// Starts a worker process.
    pub(crate) fn worker(&self) -> Child {
        self.command().spawn().unwrap()
    }

    /// Starts one that writes its log at TRACE and its metrics into files.
    pub(crate) fn watched_worker(&self, log: &Path, metrics: &Path) -> Child {
        let mut command = self.command();
        command
            .env("KEYWHEEL_TEST_LOG", log)
            .env("KEYWHEEL_TEST_CANARY", CANARY)
            .env("KEYWHEEL_TEST_METRICS", metrics);
        command.spawn().unwrap()
    }

    fn command(&self) -> Command {
        use base64::prelude::{BASE64_STANDARD, Engine};

        let mut command = Command::new(env!("CARGO_BIN_EXE_keywheel-test-worker"));
        command
            .env_clear()
            .env("KEYWHEEL_DATABASE", self.server.url("postgres"))
            .env("KEYWHEEL_SEALING_KEY", BASE64_STANDARD.encode(SEALING_KEY))
            .env("KEYWHEEL_CA_CERTIFICATE", self.azure.ca())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Asks for a rotation of every connection.
    pub(crate) async fn request(&self) {
        for member in &self.members {
            let connections = self.keywheel.connections();
            // The database may be down at the moment.
            patiently(async || {
                let actor = Actor::named("test");
                connections
                    .rotate_now(member.id, Cause::Manual, &actor)
                    .await
            })
            .await;
        }
    }

    /// How many connections are settled at `generation`; none while the database is down.
    pub(crate) async fn settled(&self, generation: u64) -> usize {
        let (now, policy) = (SystemClock::new().now(), Policy::default());
        let is_settled = |stored: &&Versioned| {
            let status = Status::of(&stored.connection, now, &policy);
            status.is_settled() && status.generation >= generation
        };
        let mut settled = 0;
        let mut last: Option<Versioned> = None;
        loop {
            let page = Page::of_all(500);
            let page = match &last {
                Some(last) => page.after(&last.connection),
                None => page,
            };
            let Ok(page) = self.store.list(page).await else {
                return 0;
            };
            settled += page.iter().filter(is_settled).count();
            match page.into_iter().last() {
                Some(stored) => last = Some(stored),
                None => return settled,
            }
        }
    }

    /// The generation and text of the current secret, read from the database.
    pub(crate) async fn current(&self, member: &Member) -> Option<(u64, Secret)> {
        use keywheel::connection::Sealer;

        let stored = self.store.load(member.id).await.ok()?;
        let connection = stored.unwrap().connection;
        let held = &connection.secrets().unwrap().current;
        let context = connection.seal_context(held.generation);
        let secret = self.ring.open(&held.sealed, &context).await.unwrap();
        Some((held.generation, secret))
    }
}

/// Tries again for as long as the store is away.
pub(crate) async fn patiently<T, E: std::fmt::Debug>(call: impl AsyncFn() -> Result<T, E>) -> T {
    let mut tries = 0;
    loop {
        match call().await {
            Ok(done) => return done,
            Err(error) => {
                tries += 1;
                assert!(tries < 300, "{error:?}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

fn new_connection(application: &Application, cloud: &Cloud) -> NewConnection {
    NewConnection::client_secret(
        format!("connection-{}", application.client)
            .parse()
            .unwrap(),
        application.tenant.parse().unwrap(),
        application.client.into(),
        ClientSecret::new(Secret::new(application.secret.clone())).unwrap(),
    )
    .in_cloud(cloud.clone())
    .rotating(settings())
}

/// Two proofs over a second, and a grace of one.
fn settings() -> RotationSettings {
    let schedule = Schedule::builder()
        .every_days(30)
        .at("02:30:00".parse().unwrap())
        .zone("Europe/Berlin")
        .anchor("2026-03-01".parse().unwrap())
        .build();
    let mut settings = RotationSettings::new(schedule.unwrap());
    settings.proofs = 2;
    settings.proof_span = Seconds(1);
    settings.grace = Seconds(1);
    settings
}
