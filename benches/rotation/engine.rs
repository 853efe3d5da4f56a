//! keywheel: a worker over a store, and the issuer over HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use keywheel_connection::{
    Access, Cause, Connection, ConnectionId, ConnectionStore, Credential, CredentialIssuer, Entry,
    EventSink, Held, Inspection, IssuerError, KeyRing, Marker, Minted, Proof, Removal, Rotation,
    RotationRequest, RotationSettings, Save, Sealer, Seconds, Secrets,
};
use keywheel_core::{
    Clock, Cloud, Entropy, KeyId, ReqwestSend, Secret, SystemClock, SystemEntropy,
};
use keywheel_entra::EntraIssuer;
use keywheel_graph::TrafficLimits;
use keywheel_rotation::{Policy, Rotator, RotatorParts, Sinks, Worker, WorkerOptions};
use keywheel_schedule::Schedule;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::azure::{App, Place, TENANT};

pub(crate) const SEALING_KEY: [u8; 32] = [9; 32];

#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) store: Arc<dyn ConnectionStore>,
    parts: RotatorParts,
    rotator: Rotator,
    ids: Arc<Vec<ConnectionId>>,
    confirmed: Arc<Confirmed>,
}

impl Engine {
    /// Stores a connection for each application.
    pub(crate) async fn new(store: Arc<dyn ConnectionStore>, place: &Place, apps: &[App]) -> Self {
        let confirmed = Arc::new(Confirmed::default());
        let parts = parts(store.clone(), place, confirmed.clone());
        let mut ids = Vec::new();
        for app in apps {
            let connection = connection(place, app).await;
            store.create(&connection, None, &[]).await.unwrap();
            ids.push(connection.id);
        }
        Self {
            store,
            rotator: Rotator::new(parts.clone(), Policy::default()),
            parts,
            ids: Arc::new(ids),
            confirmed,
        }
    }

    /// Asks for a rotation of the first `count` connections.
    pub(crate) async fn request(&self, count: usize) {
        let ids = futures_util::stream::iter(self.ids[..count].iter());
        ids.for_each_concurrent(64, |id| async move {
            let stored = self.store.load(*id).await.unwrap().unwrap();
            let mut connection = Arc::unwrap_or_clone(stored.connection);
            let now = self.parts.clock.now();
            let id = self.parts.entropy.uuid().into();
            let rotation = connection.rotation.as_mut().unwrap();
            rotation.request = Some(RotationRequest::new(id, Cause::Manual, now));
            let save = Save::new(&connection, stored.version, &[]);
            self.store.save(save.wake_at(Some(now))).await.unwrap();
        })
        .await;
    }

    /// Rotates what was asked for.
    pub(crate) async fn run(&self, count: usize, in_flight: usize) {
        let done = self.confirmed.after(count);
        let mut options = WorkerOptions::default();
        options.in_flight = in_flight;
        // All of them are of one tenant.
        options.per_tenant = in_flight;
        let worker = Worker::new(self.rotator.clone()).options(options);
        let ended = worker.run(async {
            let done = timeout(Duration::from_secs(120), done).await;
            done.expect("all are rotated by now").unwrap();
        });
        assert_eq!(ended.await.abandoned, 0);
    }

    /// Rotates one connection, and returns what its four saves wrote.
    pub(crate) async fn sample(&self) -> Sample {
        let id = self.ids[0];
        self.request(1).await;
        let before = self.load(id).await.journal.seq;
        let witness = Arc::new(Witness {
            store: self.store.clone(),
            issuer: self.parts.issuer.clone(),
            seen: Mutex::default(),
        });
        let mut parts = self.parts.clone();
        parts.issuer = witness.clone();
        let rotator = Rotator::new(parts, Policy::default());
        let soon = self.parts.clock.now() + chrono::TimeDelta::seconds(30);
        let over = |connection: &Connection| {
            let rotation = connection.rotation.as_ref().unwrap();
            rotation.in_progress().is_none()
        };
        rotator.drive(id, soon, over).await.unwrap();
        let mut records = std::mem::take(&mut *witness.seen.lock().unwrap());
        records.push(self.load(id).await.encode());
        let entries = self.store.journal(id, before, 100).await.unwrap();
        let bodies = entries.into_iter().map(|entry| entry.body).collect();
        Sample {
            id: id.to_string(),
            records: records.try_into().unwrap(),
            bodies,
        }
    }

    async fn load(&self, id: ConnectionId) -> Arc<Connection> {
        self.store.load(id).await.unwrap().unwrap().connection
    }
}

/// What the saves of one rotation wrote.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) id: String,
    /// After the intent, the mint, the promotion and the removal.
    pub(crate) records: [String; 4],
    /// The journal entries: intent; minted; proven, promoted; revoked, confirmed.
    pub(crate) bodies: Vec<String>,
}

fn parts(
    store: Arc<dyn ConnectionStore>,
    place: &Place,
    events: Arc<dyn EventSink>,
) -> RotatorParts {
    let http = ReqwestSend::builder()
        .root_certificates(place.ca.clone())
        .without_system_roots()
        .build();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
    let mut limits = TrafficLimits::default();
    // The emulator has no replicas that writes could collide in, and a bench does not measure a timer.
    limits.write_spacing = Duration::ZERO;
    let issuer = EntraIssuer::new(Arc::new(http.unwrap()), clock.clone(), entropy.clone());
    RotatorParts {
        store,
        issuer: Arc::new(issuer.with_limits(limits)),
        sealer: Arc::new(KeyRing::new(&SEALING_KEY).unwrap()),
        clock,
        entropy,
        events: Some(events),
        sinks: Sinks::default(),
    }
}

/// A connection whose replaced secrets are revoked at once, and whose new ones are proven once.
pub(crate) async fn connection(place: &Place, app: &App) -> Connection {
    let origin = place.origin.parse().unwrap();
    let now = SystemClock::new().now();
    let id = ConnectionId::from(app.client);
    let schedule = Schedule::builder()
        .every_days(30)
        .at("02:30:00".parse().unwrap())
        .zone("Europe/Berlin")
        .anchor("2026-03-09".parse().unwrap())
        .build();
    let mut settings = RotationSettings::new(schedule.unwrap());
    settings.proofs = 1;
    settings.proof_span = Seconds(0);
    settings.grace = Seconds(0);
    let sealed = keywheel_connection::Sealed::new("", Vec::new());
    let held = Held::given(sealed, Some(KeyId::from(app.key_id)), now);
    let mut connection = Connection::new(
        id,
        format!("app-{}", app.client).parse().unwrap(),
        (TENANT.parse().unwrap(), app.client.into()),
        Credential::ClientSecret(Secrets::new(held)),
        now,
    );
    connection.cloud = Cloud::from_endpoints(&origin, &origin).unwrap();
    connection.rotation = Some(Rotation::new(settings, now));
    let ring = KeyRing::new(&SEALING_KEY).unwrap();
    let secret = Secret::new(app.secret.clone());
    let sealed = ring.seal(&secret, &connection.seal_context(0)).await;
    let secrets = connection.credential.secrets_mut().unwrap();
    secrets.current.sealed = sealed.unwrap();
    connection
}

/// Counts the rotations that ended.
#[derive(Debug, Default)]
struct Confirmed {
    left: AtomicUsize,
    done: Mutex<Option<oneshot::Sender<()>>>,
}

impl Confirmed {
    /// Returns what ends after so many more.
    fn after(&self, count: usize) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        self.left.store(count, Ordering::SeqCst);
        *self.done.lock().unwrap() = Some(done);
        receiver
    }
}

impl EventSink for Confirmed {
    fn committed(&self, entries: &[Entry]) {
        let confirmed = "{\"event\":\"rotation.confirmed\"";
        let ended = entries.iter().any(|it| it.body.starts_with(confirmed));
        if ended
            && self.left.fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(done) = self.done.lock().unwrap().take()
        {
            let _ = done.send(());
        }
    }
}

/// Looks at the record when a call is made: what was saved before it.
#[derive(Debug)]
struct Witness {
    store: Arc<dyn ConnectionStore>,
    issuer: Arc<dyn CredentialIssuer>,
    seen: Mutex<Vec<String>>,
}

impl Witness {
    async fn look(&self, access: &Access<'_>) {
        let stored = self.store.load(access.connection.id).await;
        let record = stored.unwrap().unwrap().connection.encode();
        self.seen.lock().unwrap().push(record);
    }
}

#[async_trait]
impl CredentialIssuer for Witness {
    async fn prove(&self, access: &Access<'_>) -> Result<Proof, IssuerError> {
        self.look(access).await;
        self.issuer.prove(access).await
    }

    async fn inspect(&self, access: &Access<'_>) -> Result<Inspection, IssuerError> {
        self.issuer.inspect(access).await
    }

    async fn mint(
        &self,
        access: &Access<'_>,
        marker: &Marker,
        end: DateTime<Utc>,
    ) -> Result<Minted, IssuerError> {
        self.look(access).await;
        self.issuer.mint(access, marker, end).await
    }

    async fn remove(&self, access: &Access<'_>, key_id: &KeyId) -> Result<Removal, IssuerError> {
        self.look(access).await;
        self.issuer.remove(access, key_id).await
    }
}
