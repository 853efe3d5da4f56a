mod error;
mod ext;

use std::fmt;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::error::{StoreError, StoreErrorKind};
pub use self::ext::ConnectionStoreExt;
use crate::{
    Connection, ConnectionId, ConnectionName, Consumer, DeadLetters, Entry, JournalHead, Namespace,
};

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
///   Where that clock was set back, a lease that was given in its future counts as over.
/// * **Linearizable.** Reads see every write that was acknowledged before. A [`Versioned`] is the
///   connection of exactly that version.
/// * **In order.** The cursor order of [`entries`](Self::entries) keeps each connection's own order, and
///   an entry that is committed later never stands before one that was read.
/// * **Apart.** What belongs to one [`Namespace`] is never found by a name or a page of another.
/// * **Opaque.** A store keeps [`Connection::encode`]'s text and the entries' bodies as they are, to the
///   byte. A record that can't be read spoils no call but those that ask for it alone:
///   [`claim_due`](Self::claim_due) and [`list`](Self::list) pass it over and log its id.
/// * Calls may be repeated and dropped at any point; a dropped call equals `Unavailable`.
///
/// # What it grows by
///
/// Connections and leases stay as many as there are. The journal, which is the outbox too, only grows: with each
/// step that is told and each change by a person, for as long as the store lives, and beyond the deletion of a
/// connection. Nothing prunes it. A pruned journal would no longer [verify](ConnectionStoreExt::verify) from its
/// first entry on, and a receiver that was away for long would miss what was cut. Plan the disk for it, or archive
/// the whole store.
///
/// These are the methods that an implementer writes. [`ConnectionStoreExt`] adds what follows from them,
/// and the suite of feature `conformance` holds an implementation to all of this.
#[async_trait]
pub trait ConnectionStore: Debug + Send + Sync {
    /// Stores a new connection with its first journal entries.
    ///
    /// # Errors
    ///
    /// [`NameTaken`](StoreErrorKind::NameTaken) when the namespace has a connection of that name, and
    /// [`Conflict`](StoreErrorKind::Conflict) when there is or was one of that id.
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

    /// Reads a page of connections, in the order of namespaces and names. The page is the last one when
    /// it is empty.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    async fn list(&self, page: Page<'_>) -> Result<Vec<Versioned>, StoreError>;

    /// Reads the ids of up to `limit` connections, those after `after`, in the order of ids. It reads no
    /// record: unlike [`list`](Self::list) it passes nothing over, and nothing that is renamed moves to
    /// where was read already. There are no more when it is empty.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    async fn ids(
        &self,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ConnectionId>, StoreError>;

    /// Writes a changed connection, or deletes it.
    ///
    /// A changed name renames the connection. Its id and namespace never change.
    ///
    /// # Errors
    ///
    /// [`NotFound`](StoreErrorKind::NotFound) when the connection was deleted,
    /// [`LeaseLost`](StoreErrorKind::LeaseLost), [`Conflict`](StoreErrorKind::Conflict), or
    /// [`NameTaken`](StoreErrorKind::NameTaken), looked for in this order.
    async fn save(&self, save: Save<'_>) -> Result<Version, StoreError>;

    /// Reads what is left of a deleted connection. `None` when it was not deleted.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    async fn tombstone(&self, id: ConnectionId) -> Result<Option<Tombstone>, StoreError>;

    /// Takes the lease of one connection, for `span` from now.
    ///
    /// # Errors
    ///
    /// [`Held`](StoreErrorKind::Held) while somebody else has it,
    /// [`NotFound`](StoreErrorKind::NotFound) when the connection was deleted.
    async fn lease(
        &self,
        id: ConnectionId,
        holder: Holder,
        span: Duration,
    ) -> Result<Claimed, StoreError>;

    /// Takes the leases of up to `limit` connections whose time to wake has come, those that could be
    /// taken longest first. Leased ones are passed over.
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
    /// [`LeaseLost`](StoreErrorKind::LeaseLost) when somebody else took it or it was given back,
    /// [`NotFound`](StoreErrorKind::NotFound) when the connection was deleted.
    async fn renew(&self, lease: &Lease, span: Duration) -> Result<(), StoreError>;

    /// Gives a lease back. One that was lost is no error.
    ///
    /// # Errors
    ///
    /// Returns an error when the store does not answer; the lease then ends by itself.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Reads up to `limit` entries of one connection's journal, those after entry number `after`; after 0
    /// from the first one, whatever its number. The journal outlives its connection.
    ///
    /// An entry that [`entries`](Self::entries) gives in another place than its number tells is in another
    /// place here too, or missing, so that [`verify`](ConnectionStoreExt::verify) finds it.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    async fn journal(
        &self,
        id: ConnectionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError>;

    /// Reads up to `limit` journal entries of all connections after `cursor`: the outbox.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    async fn entries(&self, cursor: Cursor, limit: u32)
    -> Result<Vec<(Cursor, Entry)>, StoreError>;

    /// Notes that `consumer` is done with everything up to `cursor`. It never goes back: an earlier
    /// cursor than the one noted is no error and changes nothing.
    ///
    /// # Errors
    ///
    /// Returns an error when it was not noted.
    async fn acknowledge(&self, consumer: &Consumer, cursor: Cursor) -> Result<(), StoreError>;

    /// Reads how far `consumer` got: [`Cursor::START`] when it was never noted.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    async fn acknowledged(&self, consumer: &Consumer) -> Result<Cursor, StoreError>;

    /// Takes the lead of `consumer` among all replicas, or keeps it, for `span` from now; a span of zero
    /// gives it back. Returns whether `holder` has it: `false` while somebody else's has not ended.
    ///
    /// Whoever leads delivers, so that receivers don't get every event from every replica. Acknowledging
    /// needs no lead: what arrived has arrived.
    ///
    /// # Errors
    ///
    /// Returns an error when the lead may not have been taken, kept or given back.
    async fn lead(
        &self,
        consumer: &Consumer,
        holder: Holder,
        span: Duration,
    ) -> Result<bool, StoreError>;

    /// Waits for a hint that [`claim_due`](Self::claim_due) has something new.
    ///
    /// A hint is no promise: one may be missed, and one may be about what somebody else claims. Poll at
    /// your interval and take hints as a reason to poll at once. By default there never is one.
    async fn due_hint(&self) {
        std::future::pending().await
    }

    /// Returns where the store keeps events that were given up, if it does: a store that implements
    /// [`DeadLetters`] returns itself. By default it does not.
    fn as_dead_letters(&self) -> Option<&dyn DeadLetters> {
        None
    }
}

/// A connection and the version that a save must name.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a pair with names")]
pub struct Versioned {
    /// The connection. Shared, because a store may have it at hand and most who load it only read;
    /// [`Arc::make_mut`] and [`Arc::unwrap_or_clone`] make it one's own.
    pub connection: Arc<Connection>,
    /// Its version.
    pub version: Version,
}

/// What is left of a deleted connection. Its journal is read as before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what every store keeps")]
pub struct Tombstone {
    /// Which connection it was.
    pub connection: ConnectionId,
    /// The namespace it was in.
    pub namespace: Namespace,
    /// The name it had last. It is free again.
    pub name: ConnectionName,
    /// The version that the deletion made.
    pub version: Version,
    /// Where its journal ends.
    pub journal: JournalHead,
}

/// Which connections to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<'a> {
    /// Those of this namespace only.
    pub namespace: Option<&'a Namespace>,
    /// Those after this one.
    pub after: Option<(&'a Namespace, &'a ConnectionName)>,
    /// How many.
    pub limit: u32,
}

impl<'a> Page<'a> {
    /// Returns the first `limit` connections of one namespace.
    #[must_use]
    pub fn of(namespace: &'a Namespace, limit: u32) -> Self {
        Self {
            namespace: Some(namespace),
            ..Self::of_all(limit)
        }
    }

    /// Returns the first `limit` connections of all namespaces.
    #[must_use]
    pub fn of_all(limit: u32) -> Self {
        Self {
            namespace: None,
            after: None,
            limit,
        }
    }

    /// Returns those that come after `connection`.
    #[must_use]
    pub fn after(mut self, connection: &'a Connection) -> Self {
        self.after = Some((&connection.namespace, &connection.name));
        self
    }
}

/// A changed connection, to be written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Save<'a> {
    /// The connection.
    pub connection: &'a Connection,
    /// The version that the change was made from.
    pub expected: Version,
    /// When the connection is to be claimed next.
    pub wake: Wake,
    /// What happened.
    pub entries: &'a [Entry],
    /// Under which lease, and what becomes of it. `None` for changes on behalf of people.
    pub lease: Option<(&'a Lease, LeaseChange)>,
    /// Whether the connection is gone after this.
    pub deletes: bool,
}

impl<'a> Save<'a> {
    /// Returns a save without a lease that leaves the time to wake as it is.
    #[must_use]
    pub fn new(connection: &'a Connection, expected: Version, entries: &'a [Entry]) -> Self {
        Self {
            connection,
            expected,
            wake: Wake::Keep,
            entries,
            lease: None,
            deletes: false,
        }
    }

    /// Sets when the connection is to be claimed next; `None` for never.
    #[must_use]
    pub fn wake_at(mut self, wake_at: Option<DateTime<Utc>>) -> Self {
        self.wake = wake_at.map_or(Wake::Never, Wake::At);
        self
    }

    /// Writes under `lease`.
    #[must_use]
    pub fn under(mut self, lease: &'a Lease, change: LeaseChange) -> Self {
        self.lease = Some((lease, change));
        self
    }

    /// Deletes the connection: its sealed secrets leave the store, its lease ends, its name is free. A
    /// [`Tombstone`] and the journal stay.
    ///
    /// Secrets that must still be revoked are part of what is deleted: settle them before.
    #[must_use]
    pub fn deleting(mut self) -> Self {
        self.deletes = true;
        self
    }
}

/// When a connection is to be claimed next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a store must handle each")]
pub enum Wake {
    /// Then.
    At(DateTime<Utc>),
    /// When it was to be claimed before.
    Keep,
    /// Not until a later save says so.
    Never,
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

    async fn list(&self, page: Page<'_>) -> Result<Vec<Versioned>, StoreError> {
        (**self).list(page).await
    }

    async fn ids(
        &self,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ConnectionId>, StoreError> {
        (**self).ids(after, limit).await
    }

    async fn save(&self, save: Save<'_>) -> Result<Version, StoreError> {
        (**self).save(save).await
    }

    async fn tombstone(&self, id: ConnectionId) -> Result<Option<Tombstone>, StoreError> {
        (**self).tombstone(id).await
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

    async fn journal(
        &self,
        id: ConnectionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        (**self).journal(id, after, limit).await
    }

    async fn entries(
        &self,
        cursor: Cursor,
        limit: u32,
    ) -> Result<Vec<(Cursor, Entry)>, StoreError> {
        (**self).entries(cursor, limit).await
    }

    async fn acknowledge(&self, consumer: &Consumer, cursor: Cursor) -> Result<(), StoreError> {
        (**self).acknowledge(consumer, cursor).await
    }

    async fn acknowledged(&self, consumer: &Consumer) -> Result<Cursor, StoreError> {
        (**self).acknowledged(consumer).await
    }

    async fn lead(
        &self,
        consumer: &Consumer,
        holder: Holder,
        span: Duration,
    ) -> Result<bool, StoreError> {
        (**self).lead(consumer, holder, span).await
    }

    async fn due_hint(&self) {
        (**self).due_hint().await;
    }

    fn as_dead_letters(&self) -> Option<&dyn DeadLetters> {
        (**self).as_dead_letters()
    }
}
