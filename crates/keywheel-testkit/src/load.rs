use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::conformance::sample;
use keywheel_connection::{
    Connection, ConnectionId, ConnectionStore, ConnectionStoreExt, Consumer, Cursor, Fence, Holder,
    Lease, Save, StoreError, StoreErrorKind, Version, Versioned,
};
use keywheel_core::{Clock, Entropy, SystemClock, SystemEntropy};
use tokio::task::JoinSet;

/// A write that a store acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "not published")]
pub enum Ack {
    /// The consumer is done with everything up to there.
    Acknowledged(Cursor),
    /// The connection was claimed with this fence.
    Claimed(ConnectionId, Fence),
    /// The connection is gone, with this version.
    Deleted(ConnectionId, Version),
    /// The connection is held for so many hours from now.
    Renewed(ConnectionId, u32),
    /// The connection has this version, or a later one.
    Saved(ConnectionId, Version),
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acknowledged(cursor) => write!(f, "acknowledged {}", cursor.0),
            Self::Claimed(id, fence) => write!(f, "claimed {} {id}", fence.0),
            Self::Deleted(id, version) => write!(f, "deleted {} {id}", version.0),
            Self::Renewed(id, hours) => write!(f, "renewed {hours} {id}"),
            Self::Saved(id, version) => write!(f, "saved {} {id}", version.0),
        }
    }
}

impl FromStr for Ack {
    type Err = &'static str;

    fn from_str(line: &str) -> Result<Self, &'static str> {
        let parse = || {
            let mut words = line.split(' ');
            let (what, number) = (words.next()?, words.next()?.parse().ok()?);
            let mut id = || words.next().and_then(|id| id.parse().ok());
            match what {
                "acknowledged" => Some(Self::Acknowledged(Cursor(number))),
                "claimed" => Some(Self::Claimed(id()?, Fence(number))),
                "deleted" => Some(Self::Deleted(id()?, Version(number))),
                "renewed" => Some(Self::Renewed(id()?, number.try_into().ok()?)),
                "saved" => Some(Self::Saved(id()?, Version(number))),
                _ => None,
            }
        };
        parse().ok_or("expected what was done, a number, and an id")
    }
}

/// Writes to a store in every way and all the time, and calls `report` with each write that was acknowledged.
/// Goes on after what is transient; never returns.
///
/// What was written by halves can be told in the store: each save adds two entries to the journal, whose
/// number is `2 * version - 1` then, and lets the connection called `saver-…` wake so many seconds after 1970
/// as its version says.
///
/// # Panics
///
/// Panics when the store reports what can't be.
pub async fn load(store: Arc<dyn ConnectionStore>, report: impl Fn(Ack) + Clone + Send + 'static) {
    let mut tasks = JoinSet::new();
    for n in 0..SAVERS {
        tasks.spawn(keep_saving(store.clone(), n, report.clone()));
    }
    for _ in 0..CHURNERS {
        tasks.spawn(keep_creating_and_deleting(store.clone(), report.clone()));
    }
    tasks.spawn(keep_claiming(store.clone(), report.clone()));
    tasks.spawn(keep_renewing(store.clone(), report.clone()));
    tasks.spawn(keep_acknowledging(store, report));
    while let Some(ended) = tasks.join_next().await {
        ended.expect("the load goes on");
    }
}

async fn keep_saving(store: Arc<dyn ConnectionStore>, n: u64, report: impl Fn(Ack)) {
    let (first, entries) = sample::connection(n, &format!("saver-{n}"));
    loop {
        let mut stored = match transient(store.load(first.id).await) {
            Some(Some(stored)) => stored,
            Some(None) => {
                if let Some(version) = attempt(store.create(&first, wake_at(1), &entries).await) {
                    report(Ack::Saved(first.id, version));
                }
                pause().await;
                continue;
            }
            None => {
                pause().await;
                continue;
            }
        };
        while let Some(version) = save(&*store, &mut stored).await {
            report(Ack::Saved(first.id, version));
        }
        pause().await;
    }
}

async fn save(store: &dyn ConnectionStore, stored: &mut Versioned) -> Option<Version> {
    let connection = Arc::make_mut(&mut stored.connection);
    let entries = [(); 2].map(|()| sample::change(connection, "load"));
    let save =
        Save::new(connection, stored.version, &entries).wake_at(wake_at(stored.version.0 + 1));
    stored.version = attempt(store.save(save).await)?;
    Some(stored.version)
}

async fn keep_creating_and_deleting(store: Arc<dyn ConnectionStore>, report: impl Fn(Ack)) {
    loop {
        let number = random() >> 1;
        let (connection, entries) = sample::connection(number, &format!("churn-{number}"));
        if let Some(version) = attempt(store.create(&connection, None, &entries).await) {
            report(Ack::Saved(connection.id, version));
            let mut gone: Connection = connection;
            let entries = [(); 2].map(|()| sample::change(&mut gone, "deleted"));
            let deleted = store
                .save(Save::new(&gone, version, &entries).deleting())
                .await;
            match attempt(deleted) {
                Some(version) => report(Ack::Deleted(gone.id, version)),
                None => pause().await,
            }
        } else {
            pause().await;
        }
    }
}

async fn keep_claiming(store: Arc<dyn ConnectionStore>, report: impl Fn(Ack)) {
    loop {
        let holder = Holder::from(SystemEntropy::new().uuid());
        let claims = transient(store.claim_due(holder, 4, Duration::from_millis(20)).await);
        for claimed in claims.into_iter().flatten() {
            let lease = &claimed.lease;
            report(Ack::Claimed(lease.connection, lease.fence));
            let _ = transient(store.release(lease).await);
        }
        pause().await;
    }
}

/// Takes the lease of one connection once, and each time for an hour more.
async fn keep_renewing(store: Arc<dyn ConnectionStore>, report: impl Fn(Ack)) {
    let (held, entries) = sample::connection(HELD, "held");
    let lease = Lease {
        connection: held.id,
        holder: sample::holder(HELD),
        fence: Fence(1),
        span: HOUR,
    };
    loop {
        let hours = match store.lease(held.id, lease.holder, HOUR).await {
            Ok(claimed) => {
                assert_eq!(claimed.lease, lease, "it was held already");
                0
            }
            Err(error) => match error.kind() {
                StoreErrorKind::Held { until } => hours_until(until),
                StoreErrorKind::NotFound => {
                    attempt(store.create(&held, None, &entries).await);
                    continue;
                }
                _ => {
                    transient::<()>(Err(error));
                    pause().await;
                    continue;
                }
            },
        };
        // What is left of the last one is less than a whole hour.
        let hours = hours + 2;
        if transient(store.renew(&lease, HOUR * hours).await).is_some() {
            report(Ack::Renewed(held.id, hours));
        }
        pause().await;
    }
}

/// Returns how many whole hours are left.
fn hours_until(until: DateTime<Utc>) -> u32 {
    let left = until - SystemClock::new().now();
    left.num_hours().try_into().expect("not so many")
}

async fn keep_acknowledging(store: Arc<dyn ConnectionStore>, report: impl Fn(Ack)) {
    let consumer = consumer();
    loop {
        let read = transient(store.unacknowledged(&consumer, 16).await);
        if let Some((cursor, _)) = read.into_iter().flatten().last()
            && transient(store.acknowledge(&consumer, cursor).await).is_some()
        {
            report(Ack::Acknowledged(cursor));
        }
        pause().await;
    }
}

fn consumer() -> Consumer {
    "load".parse().expect("a name")
}

/// Returns `None` for a write that was not made, or nobody knows.
fn attempt<T>(result: Result<T, StoreError>) -> Option<T> {
    match result {
        // A write whose answer was lost may have been made.
        Err(error) if error.kind() == StoreErrorKind::Conflict => None,
        result => transient(result),
    }
}

pub(crate) fn transient<T>(result: Result<T, StoreError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.is_transient() => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// What a store has acknowledged so far. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Acks(Arc<Mutex<Known>>);

#[derive(Clone, Debug, Default)]
struct Known {
    writes: u64,
    acknowledged: Cursor,
    claimed: HashMap<ConnectionId, Fence>,
    renewed: HashMap<ConnectionId, u32>,
    saved: HashMap<ConnectionId, Version>,
    /// Those that have not been looked at yet.
    deleted: Vec<(ConnectionId, Version)>,
}

impl Acks {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a write that was acknowledged.
    ///
    /// # Panics
    ///
    /// Panics when a fence is no higher than one that was given before.
    pub fn add(&self, ack: Ack) {
        let mut known = self.known();
        known.writes += 1;
        match ack {
            Ack::Acknowledged(cursor) => known.acknowledged = cursor,
            Ack::Claimed(id, fence) => {
                let before = known.claimed.insert(id, fence);
                assert!(before < Some(fence), "{id}: {fence:?} after {before:?}");
            }
            Ack::Renewed(id, hours) => {
                known.renewed.insert(id, hours);
            }
            Ack::Saved(id, version) => {
                known.saved.insert(id, version);
            }
            Ack::Deleted(id, version) => {
                known.saved.remove(&id);
                known.deleted.push((id, version));
            }
        }
    }

    /// Returns what was acknowledged until now.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self(Arc::new(Mutex::new(self.known().clone())))
    }

    /// Returns how many writes were acknowledged.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.known().writes
    }

    /// Looks for every acknowledged write in the store, which may be written to meanwhile.
    ///
    /// # Panics
    ///
    /// Panics when one is missing.
    pub async fn check(&self, store: &dyn ConnectionStore) {
        let known = {
            let mut known = self.known();
            let deleted = std::mem::take(&mut known.deleted);
            Known {
                deleted,
                ..known.clone()
            }
        };
        for (id, version) in known.saved {
            match store.load(id).await.expect("the store answers") {
                Some(stored) => assert!(
                    stored.version >= version,
                    "{id} lost {version:?}: {stored:?}"
                ),
                None => {
                    let tombstone = store.tombstone(id).await.expect("the store answers");
                    let deleted = tombstone.expect("an acknowledged connection is lost");
                    assert!(deleted.version > version, "{deleted:?}");
                    self.known().saved.remove(&id);
                }
            }
        }
        for (id, version) in known.deleted {
            let tombstone = store.tombstone(id).await.expect("the store answers");
            let tombstone = tombstone.expect("an acknowledged deletion is lost");
            assert_eq!(tombstone.version, version, "{tombstone:?}");
            assert_eq!(store.load(id).await.expect("the store answers"), None);
        }
        for (id, fence) in known.claimed {
            let next = next_fence(store, id).await;
            assert!(
                next > fence,
                "{id} was given {fence:?}, and {next:?} after it"
            );
        }
        for (id, hours) in known.renewed {
            let lease = store.lease(id, sample::holder(1), Duration::ZERO).await;
            let error = lease.expect_err("an acknowledged lease is lost");
            let StoreErrorKind::Held { until } = error.kind() else {
                panic!("{error:?}");
            };
            let left = hours_until(until);
            // It was renewed less than an hour ago.
            assert!(left + 1 >= hours, "{left} of {hours} hours are left");
        }
        let acknowledged = store.acknowledged(&consumer()).await;
        let acknowledged = acknowledged.expect("the store answers");
        assert!(acknowledged >= known.acknowledged, "{acknowledged:?}");
    }

    /// Verifies the journals of all connections that are there.
    ///
    /// # Panics
    ///
    /// Panics when one is broken.
    pub async fn verify_journals(&self, store: &dyn ConnectionStore) {
        let saved: Vec<ConnectionId> = self.known().saved.keys().copied().collect();
        for id in saved {
            match store.verify(id).await {
                Ok(head) => assert!(head.seq > 0),
                Err(error) => panic!("{id}: {error:?}"),
            }
        }
    }
}

/// Takes and gives back a connection's lease, once nobody else holds it.
async fn next_fence(store: &dyn ConnectionStore, id: ConnectionId) -> Fence {
    loop {
        match store.lease(id, sample::holder(1), HOUR).await {
            Ok(claimed) => {
                let released = store.release(&claimed.lease).await;
                released.expect("the store answers");
                return claimed.lease.fence;
            }
            Err(error) if matches!(error.kind(), StoreErrorKind::Held { .. }) => pause().await,
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn wake_at(seconds: u64) -> Option<DateTime<Utc>> {
    let seconds = i64::try_from(seconds).expect("a small number");
    Some(DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds))
}

pub(crate) fn random() -> u64 {
    SystemEntropy::new().uuid().as_u64_pair().1
}

pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

const SAVERS: u64 = 16;
const CHURNERS: u64 = 2;

/// The number of the connection that is held all the time.
const HELD: u64 = 1_000;

const HOUR: Duration = Duration::from_secs(3_600);
