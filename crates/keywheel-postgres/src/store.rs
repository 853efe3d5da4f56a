use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use keywheel_connection::{
    Claimed, Connection, ConnectionId, ConnectionName, ConnectionStore, Consumer, Cursor,
    DeadLetters, Entry, Holder, Lease, Namespace, Page, Save, StoreError, Tombstone, Version,
    Versioned,
};
use keywheel_core::Secret;

use crate::PostgresStoreBuilder;
use crate::change::Change;
use crate::database::Database;
use crate::link::Connector;
use crate::listener::listen;
use crate::look::look;
use crate::pool::Pool;
use crate::row::{Stored, Taken, logged, micros};
use crate::schema::Schema;
use crate::task::Task;
use crate::writer::Writer;

/// A [`ConnectionStore`] in PostgreSQL. Clones share its connections, and any number of processes its
/// tables.
#[derive(Clone)]
pub struct PostgresStore(Arc<Inner>);

struct Inner {
    database: Arc<Database>,
    writer: Writer,
    _listener: Option<Task>,
    _look: Task,
}

impl PostgresStore {
    /// Returns what opens the store at `url`: `postgres://user:password@host:port/database`.
    ///
    /// Connections are encrypted and the server's certificate is checked, unless all hosts are of this
    /// machine or the URL says `sslmode=disable`. Of several hosts, the one that accepts writes is used.
    pub fn builder(url: impl Into<Secret>) -> PostgresStoreBuilder {
        PostgresStoreBuilder::new(url.into())
    }

    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }

    pub(crate) fn start(pool: Pool, schema: Schema, listener_at: Option<Connector>) -> Self {
        let channel = schema.channel();
        let database = Arc::new(Database::new(pool, schema));
        let listener = |connector| Task::start(listen(database.clone(), connector, channel));
        Self(Arc::new(Inner {
            writer: Writer::start(&database),
            _listener: listener_at.map(listener),
            _look: Task::start(look(database.clone())),
            database,
        }))
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl ConnectionStore for PostgresStore {
    async fn create(
        &self,
        connection: &Connection,
        wake_at: Option<DateTime<Utc>>,
        entries: &[Entry],
    ) -> Result<Version, StoreError> {
        let created = self
            .0
            .database
            .create(connection, wake_at.map(micros), entries);
        Ok(created.await?)
    }

    async fn load(&self, id: ConnectionId) -> Result<Option<Versioned>, StoreError> {
        let stored = self.0.database.by_id(id).await?;
        stored.map(Stored::decode).transpose()
    }

    async fn find(
        &self,
        namespace: &Namespace,
        name: &ConnectionName,
    ) -> Result<Option<Versioned>, StoreError> {
        let stored = self.0.database.by_name(namespace, name).await?;
        stored.map(Stored::decode).transpose()
    }

    async fn list(&self, page: Page<'_>) -> Result<Vec<Versioned>, StoreError> {
        let database = &self.0.database;
        let after = page.after;
        let after = after.map(|(namespace, name)| (namespace.to_string(), name.to_string()));
        // Names are never empty.
        let mut after = after.unwrap_or_default();
        loop {
            let place = (after.0.as_str(), after.1.as_str());
            let rows = database.page(page.namespace, place, page.limit).await?;
            let Some((_, last)) = rows.last() else {
                return Ok(Vec::new());
            };
            after = last.clone();
            let stored = rows.into_iter().map(|(stored, _)| stored);
            let page: Vec<_> = stored
                .filter_map(|stored| logged(stored.id, stored.decode()))
                .collect();
            // An empty page would say that there is no more.
            if !page.is_empty() {
                return Ok(page);
            }
        }
    }

    async fn ids(
        &self,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ConnectionId>, StoreError> {
        Ok(self.0.database.ids(after, limit).await?)
    }

    async fn save(&self, save: Save<'_>) -> Result<Version, StoreError> {
        let change = Change::new(&save);
        if save.deletes {
            let deleted = self.0.database.delete(save.connection, &change);
            return Ok(deleted.await?);
        }
        self.0.writer.save(change).await
    }

    async fn tombstone(&self, id: ConnectionId) -> Result<Option<Tombstone>, StoreError> {
        Ok(self.0.database.tombstone(id).await?)
    }

    async fn lease(
        &self,
        id: ConnectionId,
        holder: Holder,
        span: Duration,
    ) -> Result<Claimed, StoreError> {
        let Taken { lease, stored } = self.0.database.take_one(id, holder, span).await?;
        match stored {
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
        let taken = self.0.database.take_due(holder, limit, span).await?;
        // What can't be read stays leased, so that it is not in the way of others.
        let claims = taken.into_iter().filter_map(|Taken { lease, stored }| {
            let stored = logged(lease.connection, stored)?;
            Some(Claimed { lease, stored })
        });
        Ok(claims.collect())
    }

    async fn renew(&self, lease: &Lease, span: Duration) -> Result<(), StoreError> {
        Ok(self.0.database.renew(lease, span).await?)
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        Ok(self.0.database.release(lease).await?)
    }

    async fn journal(
        &self,
        id: ConnectionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        Ok(self.0.database.journal(id, after, limit).await?)
    }

    async fn entries(
        &self,
        cursor: Cursor,
        limit: u32,
    ) -> Result<Vec<(Cursor, Entry)>, StoreError> {
        Ok(self.0.database.entries(cursor, limit).await?)
    }

    async fn acknowledge(&self, consumer: &Consumer, cursor: Cursor) -> Result<(), StoreError> {
        Ok(self.0.database.acknowledge(consumer, cursor).await?)
    }

    async fn acknowledged(&self, consumer: &Consumer) -> Result<Cursor, StoreError> {
        Ok(self.0.database.acknowledged(consumer).await?)
    }

    async fn lead(
        &self,
        consumer: &Consumer,
        holder: Holder,
        span: Duration,
    ) -> Result<bool, StoreError> {
        Ok(self.0.database.lead(consumer, holder, span).await?)
    }

    async fn due_hint(&self) {
        self.0.database.due.notified().await;
    }

    fn as_dead_letters(&self) -> Option<&dyn DeadLetters> {
        Some(self)
    }
}
