use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use keywheel_connection::{
    Claimed, Connection, ConnectionId, ConnectionName, ConnectionStore, Consumer, Cursor, Entry,
    Holder, Lease, MemoryStore, Namespace, Page, Save, StoreError, StoreErrorKind, Tombstone,
    Version, Versioned,
};

use crate::{Effects, Fate, Watch};

/// A memory store whose writes have fates, claims and leases included, and that checks the invariants after each.
#[derive(Clone)]
pub struct WatchedStore {
    inner: MemoryStore,
    effects: Effects,
    watch: Watch,
}

impl WatchedStore {
    /// Returns `inner`, watched.
    #[must_use]
    pub fn new(inner: MemoryStore, effects: Effects, watch: Watch) -> Self {
        Self {
            inner,
            effects,
            watch,
        }
    }

    /// Carries out a claim, a lease, a renewal or a release with its fate.
    async fn hold<T, F>(
        &self,
        name: &'static str,
        call: impl Fn() -> F + Send + Sync,
    ) -> Result<T, StoreError>
    where
        T: Send,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let fate = self.effects.begin_hold(name).await;
        if fate == Some(Fate::Refused) {
            return Err(unavailable());
        }
        if fate == Some(Fate::Twice) {
            drop(call().await);
        }
        let answer = call().await;
        if fate.is_some() {
            // A lease changes nothing that the others did not leave so.
            self.watch.check();
        }
        self.effects.end(fate).await;
        if fate == Some(Fate::AnswerLost) {
            return Err(unavailable());
        }
        answer
    }
}

impl fmt::Debug for WatchedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

fn unavailable() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the store is away")
}

#[async_trait]
impl ConnectionStore for WatchedStore {
    async fn create(
        &self,
        connection: &Connection,
        wake_at: Option<DateTime<Utc>>,
        entries: &[Entry],
    ) -> Result<Version, StoreError> {
        let fate = self.effects.begin("create").await;
        if fate == Some(Fate::Refused) {
            return Err(unavailable());
        }
        let created = self.inner.create(connection, wake_at, entries).await;
        self.watch.check();
        self.effects.end(fate).await;
        if fate == Some(Fate::AnswerLost) {
            return Err(unavailable());
        }
        created
    }

    async fn load(&self, id: ConnectionId) -> Result<Option<Versioned>, StoreError> {
        if self.effects.load_fails() {
            return Err(unavailable());
        }
        self.inner.load(id).await
    }

    async fn find(
        &self,
        namespace: &Namespace,
        name: &ConnectionName,
    ) -> Result<Option<Versioned>, StoreError> {
        self.inner.find(namespace, name).await
    }

    async fn save(&self, save: Save<'_>) -> Result<Version, StoreError> {
        let fate = self.effects.begin("save").await;
        if fate == Some(Fate::Refused) {
            return Err(unavailable());
        }
        let saved = self.inner.save(save).await;
        self.watch.check();
        self.effects.end(fate).await;
        if fate == Some(Fate::AnswerLost) {
            return Err(unavailable());
        }
        saved
    }

    async fn lease(
        &self,
        id: ConnectionId,
        holder: Holder,
        span: Duration,
    ) -> Result<Claimed, StoreError> {
        self.hold("lease", || self.inner.lease(id, holder, span))
            .await
    }

    async fn claim_due(
        &self,
        holder: Holder,
        limit: u32,
        span: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        let claim = || self.inner.claim_due(holder, limit, span);
        let claimed = self.hold("claim", claim).await?;
        if claimed.is_empty() {
            self.effects.claimed_nothing();
        }
        Ok(claimed)
    }

    async fn renew(&self, lease: &Lease, span: Duration) -> Result<(), StoreError> {
        self.hold("renew", || self.inner.renew(lease, span)).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.hold("release", || self.inner.release(lease)).await
    }

    async fn entries(
        &self,
        cursor: Cursor,
        limit: u32,
    ) -> Result<Vec<(Cursor, Entry)>, StoreError> {
        self.inner.entries(cursor, limit).await
    }

    async fn journal(
        &self,
        id: ConnectionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        self.inner.journal(id, after, limit).await
    }

    async fn list(&self, page: Page<'_>) -> Result<Vec<Versioned>, StoreError> {
        self.inner.list(page).await
    }

    async fn ids(
        &self,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ConnectionId>, StoreError> {
        self.inner.ids(after, limit).await
    }

    async fn tombstone(&self, id: ConnectionId) -> Result<Option<Tombstone>, StoreError> {
        self.inner.tombstone(id).await
    }

    async fn acknowledge(&self, consumer: &Consumer, cursor: Cursor) -> Result<(), StoreError> {
        self.inner.acknowledge(consumer, cursor).await
    }

    async fn acknowledged(&self, consumer: &Consumer) -> Result<Cursor, StoreError> {
        self.inner.acknowledged(consumer).await
    }

    async fn lead(
        &self,
        consumer: &Consumer,
        holder: Holder,
        span: Duration,
    ) -> Result<bool, StoreError> {
        self.inner.lead(consumer, holder, span).await
    }
}
