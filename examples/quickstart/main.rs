//! A connection that rotates its own client secret, from the first to the fourth secret, on this machine.
//!
//! ```console
//! $ cargo run --example quickstart
//! ```
//!
//! It starts an emulator of Entra and Microsoft Graph, creates a connection with a rotation every 30 days
//! at 02:30 in Berlin, and moves the clock instead of waiting. The parts are those of production: TLS,
//! SQLite, the engine. To run it against a tenant of yours, see the example `rotate`.

mod story;

use std::error::Error;
use std::process::ExitCode;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel::Keywheel;
use keywheel::connection::{
    Access, Actor, Connection, ConnectionId, KeyRing, RotationSettings, Seconds,
};
use keywheel::core::{
    ClientSecret, Clock, Cloud, CredentialError, Report, ReqwestSend, Scope, Secret,
    TokenCredential, TokenRequest,
};
use keywheel::credentials::{TokenEndpoint, prove_secret};
use keywheel::rotation::{Advance, NewConnection};
use keywheel::schedule::Schedule;
use keywheel::sqlite::SqliteStore;
use keywheel_emulator::{Emulator, Span};
use story::{Story, Timing};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {}", Report(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut timing = Timing::start();
    let demo = Demo::start().await?;
    timing.lap("emulator, certificates, database");

    let id = demo.create().await?;
    timing.lap("validation and preflight");

    demo.heading("The first rotation, at once");
    demo.rotate(id).await?;
    timing.lap("first rotation");

    demo.heading("Three intervals later, the clock change of 29 March among them");
    for _ in 0..3 {
        demo.sleep_until_due(id).await?;
        demo.rotate(id).await?;
    }
    timing.lap("three more rotations");

    demo.heading("What works now");
    demo.original_is_refused().await?;
    demo.current_works(id).await?;
    demo.show_application();
    timing.lap("proof of the result");

    timing.print();
    Ok(())
}

/// The emulator, and keywheel pointed at it.
struct Demo {
    emulator: Emulator,
    keywheel: Keywheel,
    http: ReqwestSend,
    cloud: Cloud,
    /// Removed when the demonstration ends.
    _folder: tempfile::TempDir,
}

/// Our clock is the emulator's, so that moving one moves both.
#[derive(Clone, Debug)]
struct Wall(keywheel_emulator::Clock);

impl Clock for Wall {
    fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }
}

impl Demo {
    async fn start() -> Result<Self> {
        let clock = keywheel_emulator::Clock::standing_at("2026-02-27T12:00:00Z".parse()?);
        let emulator = Emulator::builder().clock(clock).start().await?;
        // New secrets take a few seconds until the token endpoint knows them, as in Azure.
        emulator.behave(|service| {
            service.secret_propagation =
                Span::between(TimeDelta::seconds(4), TimeDelta::seconds(18));
        });
        // The application's first secret was made a while ago.
        emulator.clock().advance(TimeDelta::minutes(1));
        let cloud =
            Cloud::from_endpoints(&emulator.authority().parse()?, &emulator.graph().parse()?)?;
        let http = ReqwestSend::builder()
            .root_certificates(emulator.ca_pem().to_owned())
            .without_system_roots()
            .build()?;

        let folder = tempfile::tempdir()?;
        let wall = Wall(emulator.clock().clone());
        let file = folder.path().join("keywheel.db");
        let store = SqliteStore::builder(file)
            .clock(wall.clone())
            .open()
            .await?;
        let mut key = [0; 32];
        keywheel::core::Entropy::fill(&keywheel::core::SystemEntropy::new(), &mut key);
        let keywheel = Keywheel::builder(store, KeyRing::new(&key)?)
            .http(http.clone())
            .clock(wall)
            .events(Story(schedule()?))
            .build()?;

        let app = emulator.default_app();
        println!(
            "A tenant of its own on this machine: {}",
            emulator.authority()
        );
        println!(
            "An application with one client secret, key id {}, that owns itself.",
            app.secret_key_id()
        );
        Ok(Self {
            emulator,
            keywheel,
            http,
            cloud,
            _folder: folder,
        })
    }

    async fn create(&self) -> Result<ConnectionId> {
        let app = self.emulator.default_app();
        let schedule = schedule()?;
        println!(
            "Rotation: {}",
            schedule.describe(self.emulator.clock().now())
        );
        let mut settings = RotationSettings::new(schedule);
        settings.grace = Seconds(3600);
        let secret = Secret::new(app.secret().expose());
        let new = NewConnection::client_secret(
            "quickstart".parse()?,
            app.tenant_id().parse()?,
            app.client_id().parse()?,
            ClientSecret::new(secret.clone())?,
        )
        .in_cloud(self.cloud.clone())
        .rotating(settings);

        self.heading("A connection by client secret");
        let actor = Actor::named("quickstart");
        let created = self.keywheel.connections().create(new, &actor).await?;
        let access = Access::new(&created.connection, 0, secret);
        let preflight = self.keywheel.issuer().preflight(&access).await?;
        for finding in &preflight.findings {
            println!("  preflight   {finding}");
        }
        Ok(created.connection.id)
    }

    /// Carries a rotation out. Where a service would wait, the clock is moved.
    async fn rotate(&self, id: ConnectionId) -> Result<()> {
        let mut work = self.keywheel.rotator().lease(id).await?;
        loop {
            let advance = self.keywheel.rotator().advance(&mut work).await?;
            if !in_progress(work.connection()) {
                return Ok(());
            }
            if let Advance::Waiting { until, .. } = advance {
                self.emulator
                    .clock()
                    .set(until.ok_or("something to wait for")?);
            }
            if !work.is_held() {
                work = self.keywheel.rotator().lease(id).await?;
            }
        }
    }

    async fn sleep_until_due(&self, id: ConnectionId) -> Result<()> {
        let status = self.keywheel.connections().status(id).await?;
        let due = status.next_due.ok_or("a next run is due")?;
        self.emulator.clock().set(due);
        println!("\n  … {} …", due.format("%A, %-d %B %Y, %H:%M UTC"));
        Ok(())
    }

    async fn original_is_refused(&self) -> Result<()> {
        let app = self.emulator.default_app();
        let original = ClientSecret::new(Secret::new(app.secret().expose()))?;
        match self.token_with(&original).await {
            Ok(()) => Err("the original secret still works".into()),
            Err(error) => {
                println!("  original    {error}");
                let expected = error.aadsts_codes().contains(&7_000_215);
                expected.then_some(()).ok_or_else(|| error.into())
            }
        }
    }

    async fn token_with(&self, secret: &ClientSecret) -> Result<(), CredentialError> {
        let app = self.emulator.default_app();
        let tenant = app.tenant_id().parse().map_err(invalid)?;
        let client = app.client_id().parse().map_err(invalid)?;
        let endpoint = TokenEndpoint::new(self.http.clone(), &self.cloud, &tenant)
            .with_clock(Wall(self.emulator.clock().clone()));
        let request = TokenRequest::new(self.scope());
        prove_secret(&endpoint, client, secret, &request)
            .await
            .map(drop)
    }

    async fn current_works(&self, id: ConnectionId) -> Result<()> {
        let credential = self.keywheel.credential(id).await?;
        let token = credential
            .get_token(&TokenRequest::new(self.scope()))
            .await?;
        println!(
            "  current     gives a Graph token, valid until {}",
            token.expires_on.format("%F %H:%M UTC")
        );
        Ok(())
    }

    fn show_application(&self) {
        let app = self.emulator.default_app();
        for secret in self.emulator.live_secrets(app.client_id()) {
            println!(
                "  application holds key id {}: {}",
                secret.key_id,
                secret.display_name.unwrap_or_default()
            );
        }
    }

    fn scope(&self) -> Scope {
        self.cloud.graph_scope()
    }

    #[expect(clippy::unused_self, reason = "reads as part of the demonstration")]
    fn heading(&self, text: &str) {
        println!("\n{text}");
    }
}

fn schedule() -> Result<Schedule> {
    Ok(Schedule::builder()
        .every_days(30)
        .at("02:30:00".parse()?)
        .zone("Europe/Berlin")
        .anchor("2026-02-27".parse()?)
        .build()?)
}

fn in_progress(connection: &Connection) -> bool {
    connection
        .rotation
        .as_ref()
        .is_some_and(|rotation| rotation.in_progress().is_some())
}

fn invalid(error: keywheel::core::InvalidId) -> CredentialError {
    CredentialError::new(
        keywheel::core::CredentialErrorKind::InvalidConfiguration,
        error.to_string(),
    )
}
