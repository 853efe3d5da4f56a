use std::error::Error;
use std::fmt;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::{Connection, ConnectionId, ConnectionName, Entry, Namespace};

/// Keeps connections.
///
/// # Contract
///
/// * **Durable.** `Ok` means that the write survives the end of the process and of the machine. What
///   `Err` leaves behind: nothing, except that after [`StoreErrorKind::Unavailable`] the write may have
///   been made; load and compare versions.
/// * **Atomic.** A save writes the record, when to wake, the lease and the journal entries, or none.
/// * **Compare and swap.** Every save names the version that it was made from, and fails with
///   [`StoreErrorKind::Conflict`] when there is another one. Versions grow.
/// * **Fenced.** A lease carries a fence, and each new lease of a connection has a higher one. A save
///   under a lease that is no longer the newest fails with [`StoreErrorKind::LeaseLost`], even when the
///   version fits. Saves without a lease are for changes on behalf of people.
/// * **One holder.** Two leases of one connection are never valid at once, by the store's own clock.
/// * **Linearizable.** Reads see every write that was acknowledged before.
/// * Calls may be repeated and dropped at any point; a dropped call equals `Unavailable`.
#[async_trait]
pub trait ConnectionStore: Debug + Send + Sync {
    /// Stores a new connection with its first journal entries.
    ///
    /// # Errors
    ///
    /// [`NameTaken`](StoreErrorKind::NameTaken) when the namespace has a connection of that name.
    async fn create(
        &self,
        connection: &Connection,
        wake_at: Option<DateTime<Utc>>,
        entries: &[Entry],
    ) -> Result<Version, StoreError>;

    /// Reads a connection.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](StoreErrorKind::Corrupt) when the record can't be read.
    async fn load(&self, id: ConnectionId) -> Result<Option<Versioned>, StoreError>;

    /// Finds a connection by its name.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](StoreErrorKind::Corrupt) when the record can't be read.
    async fn find(
        &self,
        namespace: &Namespace,
        name: &ConnectionName,
    ) -> Result<Option<Versioned>, StoreError>;

    /// Writes a changed connection.
    ///
    /// # Errors
    ///
    /// [`Conflict`](StoreErrorKind::Conflict), [`LeaseLost`](StoreErrorKind::LeaseLost), or
    /// [`NotFound`](StoreErrorKind::NotFound) when the connection was deleted.
    async fn save(&self, save: Save<'_>) -> Result<Version, StoreError>;

    /// Takes the lease of one connection, for `span` from now.
    ///
    /// # Errors
    ///
    /// [`Held`](StoreErrorKind::Held) while somebody else has it.
    async fn lease(
        &self,
        id: ConnectionId,
        holder: Holder,
        span: Duration,
    ) -> Result<Claimed, StoreError>;

    /// Takes the leases of up to `limit` connections whose time to wake has come, those that waited
    /// longest first. Leased ones are passed over.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing was claimed.
    async fn claim_due(
        &self,
        holder: Holder,
        limit: u32,
        span: Duration,
    ) -> Result<Vec<Claimed>, StoreError>;

    /// Extends a lease to `span` from now.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](StoreErrorKind::LeaseLost) when somebody else took it.
    async fn renew(&self, lease: &Lease, span: Duration) -> Result<(), StoreError>;

    /// Gives a lease back. One that was lost is no error.
    ///
    /// # Errors
    ///
    /// Returns an error when the store does not answer; the lease then ends by itself.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Reads up to `limit` journal entries of all connections after `cursor`, in the order they were
    /// committed.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    async fn entries(&self, cursor: Cursor, limit: u32)
    -> Result<Vec<(Cursor, Entry)>, StoreError>;

    /// Reads one connection's whole journal.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    async fn journal(&self, id: ConnectionId) -> Result<Vec<Entry>, StoreError>;
}

/// A connection and the version that a save must name.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a pair with names")]
pub struct Versioned {
    /// The connection.
    pub connection: Connection,
    /// Its version.
    pub version: Version,
}

/// A changed connection, to be written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Save<'a> {
    /// The connection.
    pub connection: &'a Connection,
    /// The version that the change was made from.
    pub expected: Version,
    /// When the connection is to be claimed next; `None` for never.
    pub wake_at: Option<DateTime<Utc>>,
    /// What happened.
    pub entries: &'a [Entry],
    /// Under which lease, and what becomes of it. `None` for changes on behalf of people.
    pub lease: Option<(&'a Lease, LeaseChange)>,
}

impl<'a> Save<'a> {
    /// Returns a save without a lease that leaves nothing to wake for.
    #[must_use]
    pub fn new(connection: &'a Connection, expected: Version, entries: &'a [Entry]) -> Self {
        Self {
            connection,
            expected,
            wake_at: None,
            entries,
            lease: None,
        }
    }

    /// Sets when the connection is to be claimed next.
    #[must_use]
    pub fn wake_at(mut self, wake_at: Option<DateTime<Utc>>) -> Self {
        self.wake_at = wake_at;
        self
    }

    /// Writes under `lease`.
    #[must_use]
    pub fn under(mut self, lease: &'a Lease, change: LeaseChange) -> Self {
        self.lease = Some((lease, change));
        self
    }
}

/// What becomes of the lease when a save succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a store must handle each")]
pub enum LeaseChange {
    /// It lasts for this long from now.
    Extend(Duration),
    /// It is given back.
    Release,
}

/// The version of a stored connection. It grows with each save.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
#[expect(clippy::exhaustive_structs, reason = "a number with a name")]
pub struct Version(pub u64);

/// The order of a connection's leases: each is higher than the one before.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
#[expect(clippy::exhaustive_structs, reason = "a number with a name")]
pub struct Fence(pub u64);

/// A place in the order in which entries were committed. [`Cursor::START`] is before the first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
#[expect(clippy::exhaustive_structs, reason = "a number with a name")]
pub struct Cursor(pub u64);

impl Cursor {
    /// Before the first entry.
    pub const START: Self = Self(0);
}

/// Who holds a lease: a new one for each worker, so that a restarted worker is somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Holder(Uuid);

impl Holder {
    /// Returns the holder as a UUID.
    #[must_use]
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl From<Uuid> for Holder {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The right to change a connection's rotation, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what every store gives out")]
pub struct Lease {
    /// Of which connection.
    pub connection: ConnectionId,
    /// Whose it is.
    pub holder: Holder,
    /// Its place in the order of leases.
    pub fence: Fence,
    /// How long it lasts, from when it was given.
    pub span: Duration,
}

/// A connection and the lease of it.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a pair with names")]
pub struct Claimed {
    /// The lease.
    pub lease: Lease,
    /// The connection.
    pub stored: Versioned,
}

/// A store could not do what was asked.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What to do about a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Somebody saved another version. Load it and decide again.
    Conflict,
    /// What is stored can't be read. Restore it, or upgrade.
    Corrupt,
    /// Somebody else has the lease. Wait until the given instant, or for a release.
    Held {
        /// When the lease ends, unless it is renewed.
        until: DateTime<Utc>,
    },
    /// The lease was taken by somebody else. Stop.
    LeaseLost,
    /// The namespace has a connection of that name. Choose another one.
    NameTaken,
    /// There is no such connection.
    NotFound,
    /// The place given is not a store of ours, or one of a newer version. Correct it.
    NotOurs,
    /// The store does not answer, is full or read-only. Try again.
    Unavailable,
}

impl StoreError {
    /// Returns an error that says `message`: one line that ends in what to do next.
    #[must_use]
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Keeps what caused the error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Tells whether the same call may succeed later with nothing changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind {
            StoreErrorKind::Held { .. } | StoreErrorKind::Unavailable => true,
            StoreErrorKind::Conflict
            | StoreErrorKind::Corrupt
            | StoreErrorKind::LeaseLost
            | StoreErrorKind::NameTaken
            | StoreErrorKind::NotFound
            | StoreErrorKind::NotOurs => false,
        }
    }
}

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident => $kind:ident, $message:literal;)*) => {
        impl StoreError {
            $($(#[$doc])* #[must_use] pub fn $name() -> Self {
                Self::new(StoreErrorKind::$kind, $message)
            })*
        }
    };
}

plain! {
    /// Somebody saved another version.
    conflict => Conflict, "the connection was changed meanwhile; load it again";
    /// Somebody took the lease.
    lease_lost => LeaseLost, "the lease of the connection was taken over; stop working on it";
    /// The name is in use.
    name_taken => NameTaken, "connection name: already in use in this namespace; choose another one";
    /// No such connection.
    not_found => NotFound, "there is no such connection; it may have been deleted";
}

impl StoreError {
    /// Somebody else has the lease until then.
    #[must_use]
    pub fn held(until: DateTime<Utc>) -> Self {
        Self::new(
            StoreErrorKind::Held { until },
            format!(
                "another process is working on the connection; its lease ends at {}",
                until.format("%FT%TZ")
            ),
        )
    }
}

#[async_trait]
impl<T: ConnectionStore + ?Sized> ConnectionStore for Arc<T> {
    async fn create(
        &self,
        connection: &Connection,
        wake_at: Option<DateTime<Utc>>,
        entries: &[Entry],
    ) -> Result<Version, StoreError> {
        (**self).create(connection, wake_at, entries).await
    }

    async fn load(&self, id: ConnectionId) -> Result<Option<Versioned>, StoreError> {
        (**self).load(id).await
    }

    async fn find(
        &self,
        namespace: &Namespace,
        name: &ConnectionName,
    ) -> Result<Option<Versioned>, StoreError> {
        (**self).find(namespace, name).await
    }

    async fn save(&self, save: Save<'_>) -> Result<Version, StoreError> {
        (**self).save(save).await
    }

    async fn lease(
        &self,
        id: ConnectionId,
        holder: Holder,
        span: Duration,
    ) -> Result<Claimed, StoreError> {
        (**self).lease(id, holder, span).await
    }

    async fn claim_due(
        &self,
        holder: Holder,
        limit: u32,
        span: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        (**self).claim_due(holder, limit, span).await
    }

    async fn renew(&self, lease: &Lease, span: Duration) -> Result<(), StoreError> {
        (**self).renew(lease, span).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        (**self).release(lease).await
    }

    async fn entries(
        &self,
        cursor: Cursor,
        limit: u32,
    ) -> Result<Vec<(Cursor, Entry)>, StoreError> {
        (**self).entries(cursor, limit).await
    }

    async fn journal(&self, id: ConnectionId) -> Result<Vec<Entry>, StoreError> {
        (**self).journal(id).await
    }
}
