use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use keywheel_connection::{
    Claimed, Connection, ConnectionId, ConnectionName, ConnectionStore, Consumer, Cursor,
    DeadLetters, Entry, Holder, Lease, MemoryStore, Namespace, Page, Save, StoreError,
    StoreErrorKind, Tombstone, Version, Versioned,
};
use tokio::sync::Notify;

/// A memory store that can go away, that gives hints, and whose journals can be meddled with.
#[derive(Clone, Debug)]
pub(crate) struct Shaky(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: MemoryStore,
    away: AtomicBool,
    claims: AtomicUsize,
    due: Notify,
    meddling: Mutex<Option<Meddling>>,
}

/// What somebody with access to the database did to a journal.
pub(crate) type Meddling = fn(&mut Vec<Entry>);

impl Shaky {
    pub(crate) fn new(store: MemoryStore) -> Self {
        Self(Arc::new(Inner {
            store,
            away: AtomicBool::default(),
            claims: AtomicUsize::default(),
            due: Notify::new(),
            meddling: Mutex::default(),
        }))
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.0.away.store(away, Ordering::Relaxed);
    }

    /// Lets every journal be read as if it were stored so.
    pub(crate) fn meddle(&self, meddling: Meddling) {
        *self.meddling() = Some(meddling);
    }

    fn meddling(&self) -> MutexGuard<'_, Option<Meddling>> {
        self.0
            .meddling
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hint(&self) {
        self.0.due.notify_one();
    }

    /// How many claims there were.
    pub(crate) fn claims(&self) -> usize {
        self.0.claims.load(Ordering::Relaxed)
    }

    fn get(&self) -> Result<&MemoryStore, StoreError> {
        if self.0.away.load(Ordering::Relaxed) {
            let message = "the database does not answer; look whether it runs";
            return Err(StoreError::new(StoreErrorKind::Unavailable, message));
        }
        Ok(&self.0.store)
    }
}

#[async_trait]
impl ConnectionStore for Shaky {
    async fn create(
        &self,
        connection: &Connection,
        wake_at: Option<DateTime<Utc>>,
        entries: &[Entry],
    ) -> Result<Version, StoreError> {
        self.get()?.create(connection, wake_at, entries).await
    }

    async fn load(&self, id: ConnectionId) -> Result<Option<Versioned>, StoreError> {
        self.get()?.load(id).await
    }

    async fn find(
        &self,
        namespace: &Namespace,
        name: &ConnectionName,
    ) -> Result<Option<Versioned>, StoreError> {
        self.get()?.find(namespace, name).await
    }

    async fn list(&self, page: Page<'_>) -> Result<Vec<Versioned>, StoreError> {
        self.get()?.list(page).await
    }

    async fn ids(
        &self,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ConnectionId>, StoreError> {
        self.get()?.ids(after, limit).await
    }

    async fn save(&self, save: Save<'_>) -> Result<Version, StoreError> {
        self.get()?.save(save).await
    }

    async fn tombstone(&self, id: ConnectionId) -> Result<Option<Tombstone>, StoreError> {
        self.get()?.tombstone(id).await
    }

    async fn lease(
        &self,
        id: ConnectionId,
        holder: Holder,
        span: Duration,
    ) -> Result<Claimed, StoreError> {
        self.get()?.lease(id, holder, span).await
    }

    async fn claim_due(
        &self,
        holder: Holder,
        limit: u32,
        span: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        self.0.claims.fetch_add(1, Ordering::Relaxed);
        self.get()?.claim_due(holder, limit, span).await
    }

    async fn renew(&self, lease: &Lease, span: Duration) -> Result<(), StoreError> {
        self.get()?.renew(lease, span).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.get()?.release(lease).await
    }

    async fn journal(
        &self,
        id: ConnectionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let Some(meddling) = *self.meddling() else {
            return self.get()?.journal(id, after, limit).await;
        };
        let mut entries = self.get()?.journal(id, 0, u32::MAX).await?;
        meddling(&mut entries);
        entries.retain(|entry| after == 0 || entry.seq > after);
        entries.truncate(limit as usize);
        Ok(entries)
    }

    async fn entries(
        &self,
        cursor: Cursor,
        limit: u32,
    ) -> Result<Vec<(Cursor, Entry)>, StoreError> {
        self.get()?.entries(cursor, limit).await
    }

    async fn acknowledge(&self, consumer: &Consumer, cursor: Cursor) -> Result<(), StoreError> {
        self.get()?.acknowledge(consumer, cursor).await
    }

    async fn acknowledged(&self, consumer: &Consumer) -> Result<Cursor, StoreError> {
        self.get()?.acknowledged(consumer).await
    }

    async fn lead(
        &self,
        consumer: &Consumer,
        holder: Holder,
        span: Duration,
    ) -> Result<bool, StoreError> {
        self.get()?.lead(consumer, holder, span).await
    }

    async fn due_hint(&self) {
        self.0.due.notified().await;
    }

    fn as_dead_letters(&self) -> Option<&dyn DeadLetters> {
        Some(&self.0.store)
    }
}
