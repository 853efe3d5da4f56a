use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use keywheel_connection::{
    Connection, ConnectionId, ConnectionStore, EventKind, Held, KeyRing, Marker, MemoryStore,
    Origin, Phase, Sealer, verify_journal,
};
use keywheel_core::{KeyId, Secret};

use crate::{Directory, FIRST};

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
    budget: Mutex<usize>,
    broken: Mutex<Option<u64>>,
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
            budget: Mutex::new(2),
            broken: Mutex::default(),
        }))
    }

    /// Watches this connection; the secrets in `foreign` are not its own.
    pub fn begin(&self, id: ConnectionId, foreign: impl IntoIterator<Item = KeyId>) {
        let before = lock(&self.0.connection).replace(id);
        if before != Some(id) {
            *lock(&self.0.generation) = 0;
        }
        lock(&self.0.foreign).extend(foreign);
    }

    /// Stops watching: what comes now is not keywheel's doing.
    pub fn end(&self) {
        *lock(&self.0.connection) = None;
    }

    /// Bears one secret more for a while: a call that was held up may reach the directory long after
    /// everybody stopped waiting for it, and nothing there can refuse it.
    pub fn expect_a_late_mint(&self) {
        *lock(&self.0.budget) = 3;
    }

    /// Somebody else took this generation's secret away. The one before must be kept until there is
    /// another one.
    pub fn expect_broken(&self, generation: u64) {
        *lock(&self.0.broken) = Some(generation);
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
        let Some(stored) = loaded.and_then(Result::ok).flatten() else {
            self.deleted(id);
            return;
        };
        let connection = stored.connection;
        self.never_zero(&connection);
        self.nothing_lost(&connection);
        self.foreign_untouched();
        self.one_at_a_time();
        self.bounded(&connection);
        self.monotone(&connection);
        self.truthful(&connection);
    }

    /// A connection that was deleted left nothing but what it listed.
    fn deleted(&self, id: ConnectionId) {
        let journal = self.0.store.journal(id, 0, u32::MAX).now_or_never();
        let journal = journal.and_then(Result::ok).expect("the journal");
        let last = journal.last().expect("an entry").event();
        let EventKind::ConnectionDeleted { left, unresolved } =
            last.expect("a readable event").kind
        else {
            panic!("the store lost the connection");
        };
        for (key_id, name) in self.0.directory.live() {
            let marker = name.parse::<Marker>();
            let ours = marker
                .as_ref()
                .is_ok_and(|marker| marker.connection() == id);
            let named = left.contains(&key_id) || marker.is_ok_and(|m| unresolved.contains(&m));
            assert!(!ours || named, "G2: {name} was left unsaid");
        }
        self.foreign_untouched();
    }

    /// G1: the current secret is stored, can be opened, and the directory holds it. A connection that is
    /// being deleted removes it as its last.
    fn never_zero(&self, connection: &Connection) {
        let current = &connection.secrets().expect("client secrets").current;
        let rotation = connection.rotation.as_ref();
        let last = rotation
            .is_some_and(|r| r.farewell.is_some() && r.debts.len() <= 1 && r.candidate().is_none());
        if last || current.origin == Origin::NoneYet {
            return;
        }
        let secrets = connection.secrets().expect("client secrets");
        let broken = *lock(&self.0.broken) == Some(current.generation);
        let proven = secrets.previous.as_ref().filter(|_| broken);
        let secret = self.open(connection, proven.unwrap_or(current));
        assert!(
            self.0.directory.holds(secret.expose()),
            "G1: the stored current secret is not valid any more: {connection:#?}"
        );
    }

    fn open(&self, connection: &Connection, held: &Held) -> Secret {
        let context = connection.seal_context(held.generation);
        self.0
            .ring
            .open(&held.sealed, &context)
            .now_or_never()
            .expect("a key ring does not wait")
            .expect("G1: the current secret can be opened")
    }

    /// G2: every secret with our marker is known by key id, or its marker is looked for.
    fn nothing_lost(&self, connection: &Connection) {
        let (keys, markers) = (known_keys(connection), known_markers(connection));
        for (key_id, name) in self.0.directory.live() {
            if let Ok(marker) = name.parse::<Marker>()
                && marker.connection() == connection.id
            {
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

    /// G5: two secrets at most are ours: minted by us, or the one that the connection began with.
    fn bounded(&self, connection: &Connection) {
        let live = self.0.directory.live();
        let ours = live.iter().filter(|(_, name)| {
            let marker = name.parse::<Marker>();
            marker.is_ok_and(|m| m.connection() == connection.id) || name == FIRST
        });
        let budget = *lock(&self.0.budget);
        assert!(ours.count() <= budget, "G5: too many of ours: {live:?}");
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
        let (mut revoked, mut replaced) = (HashSet::new(), None);
        for entry in &journal {
            match entry.event().expect("a readable event").kind {
                EventKind::Promoted {
                    previous_key_id, ..
                } => replaced = previous_key_id,
                EventKind::Revoked { key_id, .. } => {
                    let there = self.0.directory.has(key_id);
                    assert!(!there, "G7: {key_id} was called revoked and is not");
                    revoked.insert(key_id);
                }
                EventKind::Confirmed { .. } => {
                    let open = replaced.is_some_and(|key_id| !revoked.contains(&key_id));
                    assert!(!open, "G7: confirmed while {replaced:?} was not revoked");
                }
                _ => {}
            }
        }
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
