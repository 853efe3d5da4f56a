use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use keywheel_core::Clock;

use crate::{
    Claimed, Connection, ConnectionId, ConnectionName, ConnectionStore, Cursor, Entry, Fence,
    Holder, Lease, LeaseChange, Namespace, Save, StoreError, Version, Versioned,
};

/// A [`ConnectionStore`] that forgets everything when it is dropped: for tests and demonstrations.
///
/// It keeps the whole contract but durability. Clones share one store.
#[derive(Clone)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    tables: Arc<Mutex<Tables>>,
}

#[derive(Default)]
struct Tables {
    rows: BTreeMap<ConnectionId, Row>,
    journal: Vec<Entry>,
}

struct Row {
    connection: Connection,
    version: Version,
    wake_at: Option<DateTime<Utc>>,
    fence: Fence,
    leased: Option<(Holder, DateTime<Utc>)>,
}

impl MemoryStore {
    /// Returns an empty store whose leases run by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            tables: Arc::default(),
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // No method panics half-way through a change.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl Tables {
    fn row(&mut self, id: ConnectionId) -> Result<&mut Row, StoreError> {
        self.rows.get_mut(&id).ok_or_else(StoreError::not_found)
    }
}

impl Row {
    fn versioned(&self) -> Versioned {
        Versioned {
            connection: self.connection.clone(),
            version: self.version,
        }
    }

    fn is_free(&self, now: DateTime<Utc>) -> bool {
        self.leased.is_none_or(|(_, until)| until <= now)
    }

    fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.wake_at.is_some_and(|at| at <= now) && self.is_free(now)
    }

    fn check(&self, lease: &Lease) -> Result<(), StoreError> {
        let held = self
            .leased
            .is_some_and(|(holder, _)| holder == lease.holder);
        if held && self.fence == lease.fence {
            Ok(())
        } else {
            Err(StoreError::lease_lost())
        }
    }

    fn claim(&mut self, holder: Holder, now: DateTime<Utc>, span: Duration) -> Claimed {
        self.fence.0 += 1;
        self.leased = Some((holder, now + span));
        Claimed {
            lease: Lease {
                connection: self.connection.id,
                holder,
                fence: self.fence,
                span,
            },
            stored: self.versioned(),
        }
    }

    fn change(&mut self, lease: &Lease, change: LeaseChange, now: DateTime<Utc>) {
        self.leased = match change {
            LeaseChange::Extend(span) => Some((lease.holder, now + span)),
            LeaseChange::Release => None,
        };
    }
}

#[async_trait]
impl ConnectionStore for MemoryStore {
    async fn create(
        &self,
        connection: &Connection,
        wake_at: Option<DateTime<Utc>>,
        entries: &[Entry],
    ) -> Result<Version, StoreError> {
        let mut tables = self.tables();
        let same_name = |row: &Row| {
            row.connection.namespace == connection.namespace
                && row.connection.name == connection.name
        };
        if tables.rows.values().any(same_name) {
            return Err(StoreError::name_taken());
        }
        let row = Row {
            connection: connection.clone(),
            version: Version(1),
            wake_at,
            fence: Fence::default(),
            leased: None,
        };
        tables.rows.insert(connection.id, row);
        tables.journal.extend_from_slice(entries);
        Ok(Version(1))
    }

    async fn load(&self, id: ConnectionId) -> Result<Option<Versioned>, StoreError> {
        Ok(self.tables().rows.get(&id).map(Row::versioned))
    }

    async fn find(
        &self,
        namespace: &Namespace,
        name: &ConnectionName,
    ) -> Result<Option<Versioned>, StoreError> {
        let tables = self.tables();
        let mut rows = tables.rows.values();
        let found =
            rows.find(|row| row.connection.namespace == *namespace && row.connection.name == *name);
        Ok(found.map(Row::versioned))
    }

    async fn save(&self, save: Save<'_>) -> Result<Version, StoreError> {
        let now = self.clock.now();
        let mut tables = self.tables();
        let row = tables.row(save.connection.id)?;
        if let Some((lease, _)) = save.lease {
            row.check(lease)?;
        }
        if row.version != save.expected {
            return Err(StoreError::conflict());
        }
        if let Some((lease, change)) = save.lease {
            row.change(lease, change, now);
        }
        row.connection = save.connection.clone();
        row.version.0 += 1;
        row.wake_at = save.wake_at;
        let version = row.version;
        tables.journal.extend_from_slice(save.entries);
        Ok(version)
    }

    async fn lease(
        &self,
        id: ConnectionId,
        holder: Holder,
        span: Duration,
    ) -> Result<Claimed, StoreError> {
        let now = self.clock.now();
        let mut tables = self.tables();
        let row = tables.row(id)?;
        match row.leased {
            Some((_, until)) if !row.is_free(now) => Err(StoreError::held(until)),
            _ => Ok(row.claim(holder, now, span)),
        }
    }

    async fn claim_due(
        &self,
        holder: Holder,
        limit: u32,
        span: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        let now = self.clock.now();
        let mut tables = self.tables();
        let mut due: Vec<_> = tables
            .rows
            .values_mut()
            .filter(|row| row.is_due(now))
            .collect();
        due.sort_by_key(|row| row.wake_at);
        let claims = due.into_iter().take(limit as usize);
        Ok(claims.map(|row| row.claim(holder, now, span)).collect())
    }

    async fn renew(&self, lease: &Lease, span: Duration) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut tables = self.tables();
        let row = tables.row(lease.connection)?;
        row.check(lease)?;
        row.change(lease, LeaseChange::Extend(span), now);
        Ok(())
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let mut tables = self.tables();
        if let Ok(row) = tables.row(lease.connection)
            && row.check(lease).is_ok()
        {
            row.leased = None;
        }
        Ok(())
    }

    async fn entries(
        &self,
        cursor: Cursor,
        limit: u32,
    ) -> Result<Vec<(Cursor, Entry)>, StoreError> {
        let tables = self.tables();
        let numbered = (1..).map(Cursor).zip(tables.journal.iter().cloned());
        Ok(numbered
            .skip_while(|(at, _)| *at <= cursor)
            .take(limit as usize)
            .collect())
    }

    async fn journal(&self, id: ConnectionId) -> Result<Vec<Entry>, StoreError> {
        let tables = self.tables();
        let entries = tables.journal.iter();
        Ok(entries
            .filter(|entry| entry.connection == id)
            .cloned()
            .collect())
    }
}
