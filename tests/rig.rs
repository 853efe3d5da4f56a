use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Actor, Cause, Connection, ConnectionId, ConnectionStore, Entry, Event, KeyRing, Marker,
    MemoryStore, RotationSettings, Save, Seconds, StoreError, Version, Versioned,
};
use keywheel_core::{ClientId, ClientSecret, Clock, KeyId, Secret};
use keywheel_rotation::{
    Connections, NewConnection, NewManaged, Policy, Rotator, RotatorParts, Sinks, Status, Waiting,
    Worker, WorkerOptions,
};
use keywheel_schedule::Schedule;
use keywheel_testkit::{SeededEntropy, TokioClock};
use uuid::Uuid;

use crate::{Directory, Effects, Foreign, Shelf, Watch, WatchedStore};

/// The application of the connection.
pub fn ours() -> ClientId {
    Uuid::from_u128(3).into()
}

/// Another application.
pub fn other() -> ClientId {
    Uuid::from_u128(4).into()
}

/// The name of the secret that the connection is created with.
pub const FIRST: &str = "first secret";
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
    /// Opens and seals the secrets.
    pub ring: Arc<KeyRing>,
    /// What holds for every rotation.
    pub policy: Policy,
    entropy: Arc<SeededEntropy>,
}

/// Returns a text as a client secret.
///
/// # Panics
///
/// Panics when it is none.
#[must_use]
pub fn secret(text: &str) -> ClientSecret {
    ClientSecret::new(Secret::new(text)).expect("a secret")
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
        keywheel_testkit::watch_logs();
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
            original: directory.add_secret(FIRST),
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

    /// Adds a sink that must have a new secret before it is used, and one that gets it afterwards.
    #[must_use]
    pub fn with_sinks(mut self) -> (Self, Shelf, Shelf) {
        let before = Shelf::new("before", self.effects.clone());
        let after = Shelf::new("after", self.effects.clone());
        self.sinks.before.push(Arc::new(before.clone()));
        self.sinks.after.push(Arc::new(after.clone()));
        (self, before, after)
    }

    /// Returns what a process works with.
    #[must_use]
    pub fn parts(&self) -> RotatorParts {
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

    /// Returns the rotator of a process whose clock is off.
    #[must_use]
    pub fn rotator_off_by(&self, skew: TimeDelta) -> Rotator {
        self.rotator_by(&self.clock.skewed(skew))
    }

    /// Returns the rotator of a process with a clock of its own.
    #[must_use]
    pub fn rotator_by(&self, clock: &TokioClock) -> Rotator {
        let parts = RotatorParts {
            clock: Arc::new(clock.clone()),
            ..self.parts()
        };
        Rotator::new(parts, self.policy.clone())
    }

    /// Returns the verbs of a process whose clock is off.
    #[must_use]
    pub fn connections_off_by(&self, skew: TimeDelta) -> Connections {
        let parts = RotatorParts {
            clock: Arc::new(self.clock.skewed(skew)),
            ..self.parts()
        };
        Connections::new(parts, self.policy.clone())
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
        let new = self.new_connection().rotating(settings);
        let created = self.connections().create(new, &Actor::named("test")).await;
        let id = created.expect("the connection is created").connection.id;
        self.watch.begin(id, [self.foreign.key_id]);
        id
    }

    /// Creates the connection and drives its first rotation to the end.
    ///
    /// # Panics
    ///
    /// Panics when that fails.
    pub async fn rotating(&self, settings: RotationSettings) -> ConnectionId {
        let id = self.create(settings).await;
        assert_eq!(self.settle(id, TimeDelta::hours(4)).await, None);
        id
    }

    /// Returns the connection to be created, with the original secret.
    ///
    /// # Panics
    ///
    /// Never: what it is made of is valid.
    #[must_use]
    pub fn new_connection(&self) -> NewConnection {
        NewConnection::client_secret(
            "test".parse().expect("a name"),
            "contoso.example".parse().expect("a tenant"),
            ours(),
            secret(&self.original.text),
        )
        .with_key_id(Some(self.original.key_id))
    }

    /// Takes the secrets of another application on, managed through the connection `via`.
    ///
    /// # Panics
    ///
    /// Panics when that is refused.
    pub async fn create_managed(
        &self,
        via: ConnectionId,
        settings: RotationSettings,
    ) -> ConnectionId {
        let name = "managed".parse().expect("a name");
        let new = NewManaged::new(name, via, other(), settings);
        let created = self
            .connections()
            .create_managed(new, &Actor::named("test"))
            .await;
        let id = created.expect("the secrets are taken on").connection.id;
        self.watch.begin(id, [self.foreign.key_id]);
        id
    }

    /// Lets time pass while one process works on the connection.
    ///
    /// # Panics
    ///
    /// Panics when the store fails for good.
    pub async fn run(&self, id: ConnectionId, span: TimeDelta) {
        let deadline = self.clock.now() + span;
        let rotator = self.rotator();
        let driven = Box::pin(rotator.drive(id, deadline, |_| false)).await;
        driven.expect("the store is well in the end");
        self.pass(deadline - self.clock.now()).await;
    }

    /// Lets time pass while nobody works.
    pub async fn pass(&self, span: TimeDelta) {
        tokio::time::sleep(span.to_std().unwrap_or_default()).await;
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

    /// Works as a worker does, until nothing is unfinished or `span` has passed.
    pub async fn work(&self, id: ConnectionId, span: TimeDelta) {
        let deadline = self.clock.now() + span;
        let over = async {
            while self.clock.now() < deadline && !self.is_over(id).await {
                self.pass(TimeDelta::minutes(5)).await;
            }
        };
        let mut options = WorkerOptions::default();
        // There are days to get through.
        options.poll = Duration::from_mins(5);
        let worker = Worker::new(self.rotator()).options(options);
        Box::pin(worker.run(over)).await;
    }

    /// Whether nothing is unfinished, or the connection deleted.
    async fn is_over(&self, id: ConnectionId) -> bool {
        let stored = self.store.load(id).await.expect("memory does not fail");
        stored.is_none_or(|stored| self.is_settled(&stored.connection))
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
        Arc::unwrap_or_clone(stored.expect("the connection exists").connection)
    }

    /// Reads the connection with its version, to be written back later.
    ///
    /// # Panics
    ///
    /// Panics when there is none.
    pub async fn store_version(&self, id: ConnectionId) -> Versioned {
        let stored = self.store.load(id).await.expect("memory does not fail");
        stored.expect("the connection exists")
    }

    /// Writes a connection as it was read.
    ///
    /// # Errors
    ///
    /// Returns the store's refusal.
    pub async fn save_as_it_was(&self, stored: Versioned) -> Result<Version, StoreError> {
        let save = Save::new(&stored.connection, stored.version, &[]);
        self.store.save(save).await
    }

    /// Asserts that the foreign secret and one of ours are there, whatever goes on.
    ///
    /// # Panics
    ///
    /// Panics when they are not.
    pub async fn assert_clean_but_running(&self, id: ConnectionId) {
        self.watch.check();
        let status = self.status(id).await;
        assert_eq!(status.live_key_ids.len(), 1, "{status:#?}");
        assert!(self.directory.has(self.foreign.key_id));
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
        let current = status.key_id.expect("a key id");
        let ours = |(key_id, name): &(KeyId, String)| {
            let marker = name.parse::<Marker>();
            *key_id == current
                || name == FIRST && *key_id != self.foreign.key_id
                || marker.is_ok_and(|marker| marker.connection() == id)
        };
        let live = self.directory.live();
        let left: Vec<_> = live.iter().filter(|secret| ours(secret)).collect();
        assert!(
            matches!(left.as_slice(), [(key_id, _)] if *key_id == current),
            "{left:#?} {status:#?}"
        );
        assert!(self.directory.has(self.foreign.key_id));
    }

    /// Asserts that a connection is deleted, and nothing of it left on the application.
    ///
    /// # Panics
    ///
    /// Panics when it is not, and says `what`.
    pub async fn assert_deleted(&self, id: ConnectionId, what: &str) {
        let stored = self.store.load(id).await.expect("memory does not fail");
        assert!(stored.is_none(), "{what}: {:#?}", self.status(id).await);
        self.watch.check();
        let live = self.directory.live();
        assert_eq!(live.len(), 1, "{what}: only the foreign secret: {live:?}");
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
