use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use keywheel_connection::{
    Claimed, Connection, ConnectionId, ConnectionName, ConnectionStore, Consumer, Cursor,
    DeadLetters, Entry, Holder, Lease, Namespace, Page, Save, StoreError, Tombstone, Version,
    Versioned,
};
use tokio::sync::{Notify, oneshot};

use crate::error::closed;
use crate::read::{self, Range};
use crate::reader::Readers;
use crate::row::Stored;
use crate::write::{
    Acknowledge, Change, Claims, Create, Lead, Release, Renew, TakeDue, TakeOne, Taken,
};
use crate::writer::{Opening, Writer};
use crate::{SqliteStoreBuilder, file};

/// A [`ConnectionStore`] in one SQLite file. Clones share it.
///
/// Its threads end, and the file is closed, when the last clone is dropped or with [`close`](Self::close).
#[derive(Clone)]
pub struct SqliteStore(Arc<Inner>);

struct Inner {
    opening: Arc<Opening>,
    writer: Writer,
    readers: Readers,
    due: Arc<Notify>,
}

impl SqliteStore {
    /// Returns what opens the store in the file at `path`.
    pub fn builder(path: impl Into<PathBuf>) -> SqliteStoreBuilder {
        SqliteStoreBuilder::new(path.into())
    }

    pub(crate) async fn open(opening: Opening) -> Result<Self, StoreError> {
        let (opening, due) = (Arc::new(opening), Arc::new(Notify::new()));
        let writer = Writer::start(opening.clone(), due.clone()).await?;
        let readers = Readers::start(&opening);
        Ok(Self(Arc::new(Inner {
            opening,
            writer,
            readers,
            due,
        })))
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.0.writer
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.0.readers
    }

    /// Copies the store, as it is at one moment, to a new file of mode 0600 that can be opened like this
    /// one. Others go on reading and writing meanwhile.
    ///
    /// The copy holds no more secrets than the store: sealed ones. Restored, it is a store of the past:
    /// the rotation engine notices when the directory is ahead of it.
    ///
    /// # Errors
    ///
    /// [`NotOurs`](keywheel_connection::StoreErrorKind::NotOurs) when there is something at `to` already,
    /// and other errors as of any read.
    pub async fn back_up(&self, to: impl AsRef<Path>) -> Result<(), StoreError> {
        let (opening, to) = (self.0.opening.clone(), to.as_ref().to_owned());
        let (reply, answer) = oneshot::channel();
        thread::spawn(move || drop(reply.send(file::back_up(&opening, &to))));
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Finishes what was begun and closes the file, for all clones: a single file is left. Later calls
    /// fail as [`Unavailable`](keywheel_connection::StoreErrorKind::Unavailable).
    pub async fn close(&self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.0.opening.path)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ConnectionStore for SqliteStore {
    async fn create(
        &self,
        connection: &Connection,
        wake_at: Option<DateTime<Utc>>,
        entries: &[Entry],
    ) -> Result<Version, StoreError> {
        let create = Create::new(connection, wake_at, entries);
        self.0.writer.write(create).await
    }

    async fn load(&self, id: ConnectionId) -> Result<Option<Versioned>, StoreError> {
        let read = self
            .0
            .readers
            .read(move |connection| read::by_id(connection, id));
        read.await?.map(Stored::decode).transpose()
    }

    async fn find(
        &self,
        namespace: &Namespace,
        name: &ConnectionName,
    ) -> Result<Option<Versioned>, StoreError> {
        let (namespace, name) = (namespace.clone(), name.clone());
        let read = move |connection: &_| read::by_name(connection, &namespace, &name);
        let read = self.0.readers.read(read).await?;
        read.map(Stored::decode).transpose()
    }

    async fn list(&self, page: Page<'_>) -> Result<Vec<Versioned>, StoreError> {
        let mut range = Range::of(page);
        let read = move |connection: &_| {
            loop {
                let rows = read::page(connection, &range)?;
                let Some((_, last)) = rows.last() else {
                    return Ok(Vec::new());
                };
                range.after = last.clone();
                let stored = rows.into_iter().map(|(stored, _)| stored);
                let page: Vec<_> = stored.filter_map(Stored::decode_or_log).collect();
                // An empty page would say that there is no more.
                if !page.is_empty() {
                    return Ok(page);
                }
            }
        };
        self.0.readers.read(read).await
    }

    async fn ids(
        &self,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ConnectionId>, StoreError> {
        let read = move |connection: &_| read::ids(connection, after, limit);
        self.0.readers.read(read).await
    }

    async fn save(&self, save: Save<'_>) -> Result<Version, StoreError> {
        self.0.writer.write(Change::new(&save)).await
    }

    async fn tombstone(&self, id: ConnectionId) -> Result<Option<Tombstone>, StoreError> {
        let read = move |connection: &_| read::tombstone(connection, id);
        self.0.readers.read(read).await
    }

    async fn lease(
        &self,
        id: ConnectionId,
        holder: Holder,
        span: Duration,
    ) -> Result<Claimed, StoreError> {
        let taken = self.0.writer.write(TakeOne { id, holder, span }).await?;
        let Taken { lease, stored } = taken;
        match stored.decode() {
            Ok(stored) => Ok(Claimed { lease, stored }),
            Err(error) => {
                self.release(&lease).await?;
                Err(error)
            }
        }
    }

    async fn claim_due(
        &self,
        holder: Holder,
        limit: u32,
        span: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        let (ahead, early) = oneshot::channel();
        let due = TakeDue::new(holder, limit, span, ahead);
        let written = self.0.writer.write(due);
        // To decode records takes about as long as to write and commit their leases: it is done meanwhile.
        let decoded = early.await.ok().map(Claims::decode);
        match written.await? {
            Some(anew) => Ok(anew.decode()),
            None => decoded.ok_or_else(closed),
        }
    }

    async fn renew(&self, lease: &Lease, span: Duration) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.0.writer.write(Renew { lease, span }).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.0.writer.write(Release { lease }).await
    }

    async fn journal(
        &self,
        id: ConnectionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let read = move |connection: &_| read::journal(connection, id, after, limit);
        self.0.readers.read(read).await
    }

    async fn entries(
        &self,
        cursor: Cursor,
        limit: u32,
    ) -> Result<Vec<(Cursor, Entry)>, StoreError> {
        let read = move |connection: &_| read::entries(connection, cursor, limit);
        self.0.readers.read(read).await
    }

    async fn acknowledge(&self, consumer: &Consumer, cursor: Cursor) -> Result<(), StoreError> {
        let consumer = consumer.clone();
        self.0.writer.write(Acknowledge { consumer, cursor }).await
    }

    async fn acknowledged(&self, consumer: &Consumer) -> Result<Cursor, StoreError> {
        let consumer = consumer.clone();
        let read = move |connection: &_| read::acknowledged(connection, &consumer);
        self.0.readers.read(read).await
    }

    async fn lead(
        &self,
        consumer: &Consumer,
        holder: Holder,
        span: Duration,
    ) -> Result<bool, StoreError> {
        let lead = Lead {
            consumer: consumer.clone(),
            holder,
            span,
        };
        self.0.writer.write(lead).await
    }

    /// Hears of what the clones of this store save, not of other processes.
    async fn due_hint(&self) {
        self.0.due.notified().await;
    }

    fn as_dead_letters(&self) -> Option<&dyn DeadLetters> {
        Some(self)
    }
}
