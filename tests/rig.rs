use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Actor, Cause, Connection, ConnectionId, ConnectionStore, Entry, Event, KeyRing, MemoryStore,
    RotationSettings, Seconds,
};
use keywheel_core::{ClientSecret, Clock, Secret};
use keywheel_rotation::{
    Connections, NewConnection, Policy, Rotator, RotatorParts, Sinks, Status, Waiting,
};
use keywheel_schedule::Schedule;
use keywheel_testkit::{SeededEntropy, TokioClock};
use uuid::Uuid;

use crate::{Directory, Effects, Foreign, Watch, WatchedStore};

/// The zone of the settings below.
pub const SETTINGS_ZONE: &str = "Europe/Berlin";

/// A directory, a store and an engine, wired together and watched.
#[derive(Debug)]
pub struct Rig {
    /// The time, which runs with tokio's.
    pub clock: TokioClock,
    /// Every effect, counted.
    pub effects: Effects,
    /// The application and its secrets.
    pub directory: Directory,
    /// What is stored, without fates.
    pub store: MemoryStore,
    /// Checks the invariants.
    pub watch: Watch,
    /// The secret that the connection is created with.
    pub original: Foreign,
    /// A secret that is not ours.
    pub foreign: Foreign,
    /// Get the secrets too.
    pub sinks: Sinks,
    ring: Arc<KeyRing>,
    policy: Policy,
    entropy: Arc<SeededEntropy>,
}

/// Returns the settings of the tests: every 30 days at 02:30 in Berlin, three proofs over ten seconds.
///
/// # Panics
///
/// Never: the schedule is a valid one.
#[must_use]
pub fn settings() -> RotationSettings {
    let schedule = Schedule::builder()
        .every_days(30)
        .at("02:30:00".parse().expect("a time"))
        .zone(SETTINGS_ZONE)
        .anchor("2026-03-01".parse().expect("a date"))
        .build();
    RotationSettings::new(schedule.expect("a schedule"))
}

impl Rig {
    /// Returns a rig without a connection, on 1 March 2026 at noon.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let noon = "2026-03-01T12:00:00Z".parse::<DateTime<Utc>>();
        let clock = TokioClock::starting_at(noon.expect("an instant"));
        let effects = Effects::default();
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let directory = Directory::new(shared.clone(), effects.clone(), seed);
        let store = MemoryStore::new(shared);
        let ring = Arc::new(KeyRing::new(&[7; 32]).expect("32 bytes"));
        let watch = Watch::new(store.clone(), directory.clone(), ring.clone());
        directory.watch(watch.clone());
        Self {
            original: directory.add_secret("first secret"),
            foreign: directory.add_secret("somebody else's"),
            clock,
            effects,
            directory,
            store,
            watch,
            ring,
            sinks: Sinks::default(),
            policy: Policy::default(),
            entropy: Arc::new(SeededEntropy::new(!seed)),
        }
    }

    fn parts(&self) -> RotatorParts {
        let store = WatchedStore::new(self.store.clone(), self.effects.clone(), self.watch.clone());
        RotatorParts {
            store: Arc::new(store),
            issuer: Arc::new(self.directory.clone()),
            sealer: self.ring.clone(),
            clock: Arc::new(self.clock.clone()),
            entropy: self.entropy.clone(),
            events: None,
            sinks: self.sinks.clone(),
        }
    }

    /// Returns a process's rotator. Another one is another process.
    #[must_use]
    pub fn rotator(&self) -> Rotator {
        Rotator::new(self.parts(), self.policy.clone())
    }

    /// Returns the verbs.
    #[must_use]
    pub fn connections(&self) -> Connections {
        Connections::new(self.parts(), self.policy.clone())
    }

    /// Creates the connection, rotation included, and begins to watch it.
    ///
    /// # Panics
    ///
    /// Panics when it is refused.
    pub async fn create(&self, settings: RotationSettings) -> ConnectionId {
        let secret = ClientSecret::new(Secret::new(self.original.text.clone()));
        let new = NewConnection::client_secret(
            "test".parse().expect("a name"),
            "contoso.example".parse().expect("a tenant"),
            Uuid::from_u128(3).into(),
            secret.expect("a secret"),
        )
        .with_key_id(Some(self.original.key_id))
        .rotating(settings);
        let created = self.connections().create(new, &Actor::named("test")).await;
        let id = created.expect("the connection is created").connection.id;
        self.watch.begin(id, [self.foreign.key_id]);
        id
    }

    /// Drives until nothing is unfinished or `span` has passed.
    ///
    /// # Panics
    ///
    /// Panics when the store fails for good.
    pub async fn settle(&self, id: ConnectionId, span: TimeDelta) -> Option<Waiting> {
        let deadline = self.clock.now() + span;
        let settled = |connection: &Connection| self.is_settled(connection);
        let rotator = self.rotator();
        let driven = Box::pin(rotator.drive(id, deadline, settled)).await;
        driven.expect("the store is well in the end")
    }

    fn is_settled(&self, connection: &Connection) -> bool {
        Status::of(connection, self.clock.now(), &self.policy).is_settled()
    }

    /// Asks for a rotation.
    ///
    /// # Panics
    ///
    /// Panics when it is refused.
    pub async fn request(&self, id: ConnectionId, cause: Cause) {
        let requested = self
            .connections()
            .rotate_now(id, cause, &Actor::named("test"))
            .await;
        requested.expect("a rotation can be asked for");
    }

    /// Returns the connection as it is stored.
    ///
    /// # Panics
    ///
    /// Panics when there is none.
    pub async fn load(&self, id: ConnectionId) -> Connection {
        let stored = self.store.load(id).await.expect("memory does not fail");
        stored.expect("the connection exists").connection
    }

    /// Returns what happened to the connection.
    ///
    /// # Panics
    ///
    /// Panics when the journal can't be read.
    pub async fn events(&self, id: ConnectionId) -> Vec<Event> {
        let journal = self.store.journal(id, 0, u32::MAX).await;
        let events = journal.expect("memory does not fail");
        let read = |entry: &Entry| entry.event().expect("a readable event");
        events.iter().map(read).collect()
    }

    /// Returns the connection's status.
    pub async fn status(&self, id: ConnectionId) -> Status {
        Status::of(&self.load(id).await, self.clock.now(), &self.policy)
    }

    /// Asserts what must be true when everything is over: one secret of ours, the current one, and the
    /// foreign one.
    ///
    /// # Panics
    ///
    /// Panics when something is left or missing.
    pub async fn assert_clean(&self, id: ConnectionId, generation: u64) {
        self.watch.check();
        let status = self.status(id).await;
        assert!(status.is_settled(), "{status:#?}");
        assert_eq!(status.generation, generation, "{status:#?}");
        let mut live: Vec<_> = self
            .directory
            .live()
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        live.sort_unstable();
        let mut wanted = vec![status.key_id.expect("a key id"), self.foreign.key_id];
        wanted.sort_unstable();
        assert_eq!(live, wanted, "{status:#?}");
    }

    /// Returns settings without grace and with proofs that follow at once.
    #[must_use]
    pub fn quick() -> RotationSettings {
        let mut settings = settings();
        settings.grace = Seconds(0);
        settings.proof_span = Seconds(2);
        settings
    }
}
