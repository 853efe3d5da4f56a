use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use keywheel_connection::{
    Connection, ConnectionId, ConnectionStore, DebtReason, EventKind, KeyRing, Marker, MemoryStore,
    Phase, Sealer, verify_journal,
};
use keywheel_core::{KeyId, Secret};

use crate::Directory;

/// Looks at the store and the directory at once, and panics when an invariant is broken.
///
/// G1 never zero, G2 nothing lost, G3 foreign hands-off, G4 one at a time, G5 bounded count, G6 monotone,
/// G7 truthful. It is asked after every effect, not only at the end.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: MemoryStore,
    directory: Directory,
    ring: Arc<KeyRing>,
    connection: Mutex<Option<ConnectionId>>,
    foreign: Mutex<HashSet<KeyId>>,
    generation: Mutex<u64>,
}

impl Watch {
    /// Returns a watch over a store and a directory.
    #[must_use]
    pub fn new(store: MemoryStore, directory: Directory, ring: Arc<KeyRing>) -> Self {
        Self(Arc::new(Inner {
            store,
            directory,
            ring,
            connection: Mutex::default(),
            foreign: Mutex::default(),
            generation: Mutex::default(),
        }))
    }

    /// Watches this connection; the secrets in `foreign` are not its own.
    pub fn begin(&self, id: ConnectionId, foreign: impl IntoIterator<Item = KeyId>) {
        *lock(&self.0.connection) = Some(id);
        lock(&self.0.foreign).extend(foreign);
    }

    /// Stops watching: what comes now is not keywheel's doing.
    pub fn end(&self) {
        *lock(&self.0.connection) = None;
    }

    /// Checks every invariant.
    ///
    /// # Panics
    ///
    /// Panics when one is broken, and says which.
    pub fn check(&self) {
        let Some(id) = *lock(&self.0.connection) else {
            return;
        };
        let loaded = self.0.store.load(id).now_or_never();
        let stored = loaded.and_then(Result::ok).flatten();
        let connection = stored.expect("the store holds the connection").connection;
        self.never_zero(&connection);
        self.nothing_lost(&connection);
        self.foreign_untouched();
        self.one_at_a_time();
        self.bounded(&connection);
        self.monotone(&connection);
        self.truthful(&connection);
    }

    /// G1: the current secret is stored, can be opened, and the directory holds it.
    fn never_zero(&self, connection: &Connection) {
        let secret = self.open(connection);
        assert!(
            self.0.directory.holds(secret.expose()),
            "G1: the stored current secret is not valid any more: {connection:#?}"
        );
    }

    fn open(&self, connection: &Connection) -> Secret {
        let current = &connection.secrets().expect("client secrets").current;
        let context = connection.seal_context(current.generation);
        self.0
            .ring
            .open(&current.sealed, &context)
            .now_or_never()
            .expect("a key ring does not wait")
            .expect("G1: the current secret can be opened")
    }

    /// G2: every secret with our marker is known by key id, or its marker is looked for.
    fn nothing_lost(&self, connection: &Connection) {
        let (keys, markers) = (known_keys(connection), known_markers(connection));
        for (key_id, name) in self.0.directory.live() {
            if let Ok(marker) = name.parse::<Marker>() {
                assert!(
                    keys.contains(&key_id) || markers.contains(&marker),
                    "G2: {name} is on the application and in no ledger: {connection:#?}"
                );
            }
        }
    }

    /// G3: nobody else's secret is touched.
    fn foreign_untouched(&self) {
        for key_id in lock(&self.0.foreign).iter() {
            assert!(
                self.0.directory.has(*key_id),
                "G3: the foreign secret {key_id} is gone"
            );
        }
    }

    /// G4: no call is made twice under one marker.
    fn one_at_a_time(&self) {
        let calls = self.0.directory.mint_calls();
        let distinct: HashSet<_> = calls.iter().collect();
        assert_eq!(calls.len(), distinct.len(), "G4: a mint was sent twice");
    }

    /// G5: two secrets at most are ours.
    fn bounded(&self, connection: &Connection) {
        let keys = known_keys(connection);
        let live = self.0.directory.live();
        let ours = live
            .iter()
            .filter(|(key_id, name)| keys.contains(key_id) || name.parse::<Marker>().is_ok());
        assert!(ours.count() <= 2, "G5: more than two of ours: {live:?}");
    }

    /// G6: generations only grow.
    fn monotone(&self, connection: &Connection) {
        let now = connection.secrets().expect("secrets").current.generation;
        let mut seen = lock(&self.0.generation);
        assert!(now >= *seen, "G6: from generation {seen} back to {now}");
        *seen = now;
    }

    /// G7: what the journal calls revoked is gone, and the journal is whole.
    fn truthful(&self, connection: &Connection) {
        let journal = self
            .0
            .store
            .journal(connection.id, 0, u32::MAX)
            .now_or_never();
        let journal = journal.and_then(Result::ok).expect("the journal");
        verify_journal(&journal, &connection.journal).expect("G7: the journal is whole");
        for entry in &journal {
            let event = entry.event().expect("a readable event");
            if let EventKind::Revoked { key_id, .. } = event.kind {
                assert!(
                    !self.0.directory.has(key_id),
                    "G7: {key_id} was called revoked and is not"
                );
            }
        }
        let rotation = connection.rotation.as_ref();
        let superseded =
            rotation.is_some_and(|r| r.debts.iter().any(|d| d.reason == DebtReason::Superseded));
        let confirmed = rotation.is_some_and(|r| r.run.is_none() && r.last.is_some());
        assert!(!(confirmed && superseded), "G7: confirmed with a debt");
    }
}

/// The key ids that the record knows.
fn known_keys(connection: &Connection) -> HashSet<KeyId> {
    let secrets = connection.secrets().expect("client secrets");
    let held = [Some(&secrets.current), secrets.previous.as_ref()];
    let mut keys: HashSet<_> = held
        .into_iter()
        .flatten()
        .filter_map(|h| h.key_id)
        .collect();
    if let Some(rotation) = &connection.rotation {
        keys.extend(rotation.candidate().map(|candidate| candidate.key_id));
        keys.extend(rotation.debts.iter().map(|debt| debt.key_id));
    }
    keys
}

/// The markers that the record will look for.
fn known_markers(connection: &Connection) -> HashSet<Marker> {
    let Some(rotation) = &connection.rotation else {
        return HashSet::new();
    };
    let mut markers: HashSet<_> = rotation.dead_markers.iter().map(|d| d.marker).collect();
    if let Phase::Intent { marker, .. } = rotation.phase {
        markers.insert(marker);
    }
    markers
}

fn lock<T: Debug>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
