use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::Clock;

use crate::{
    Claimed, Connection, ConnectionId, ConnectionName, ConnectionStore, Consumer, Cursor,
    DeadLetter, DeadLetters, Entry, Fence, Holder, Lease, LeaseChange, Namespace, Page, Save,
    StoreError, Tombstone, Version, Versioned, Wake,
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
    names: BTreeMap<(Namespace, ConnectionName), ConnectionId>,
    tombstones: HashMap<ConnectionId, Tombstone>,
    journal: Vec<Entry>,
    acknowledged: HashMap<Consumer, Cursor>,
    leads: HashMap<Consumer, Held>,
    dead_letters: BTreeMap<(Consumer, Cursor), DeadLetter>,
}

struct Row {
    connection: Arc<Connection>,
    version: Version,
    wake_at: Option<DateTime<Utc>>,
    fence: Fence,
    held: Option<Held>,
}

#[derive(Clone, Copy)]
struct Held {
    by: Holder,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
}

impl Held {
    fn new(by: Holder, now: DateTime<Utc>, span: Duration) -> Self {
        Self {
            by,
            since: now,
            until: TimeDelta::from_std(span)
                .ok()
                .and_then(|span| now.checked_add_signed(span))
                .unwrap_or(DateTime::<Utc>::MAX_UTC),
        }
    }

    /// One given in the future is from before the clock was set back.
    fn lasts(&self, now: DateTime<Utc>) -> bool {
        self.since <= now && now < self.until
    }
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

    fn check(&mut self, save: &Save<'_>) -> Result<(), StoreError> {
        let row = self.row(save.connection.id)?;
        if let Some((lease, _)) = save.lease {
            row.check(lease)?;
        }
        if row.version != save.expected {
            return Err(StoreError::conflict());
        }
        if !row.is_renamed_by(save) {
            return Ok(());
        }
        match self.names.get(&name_of(save.connection)) {
            Some(id) if *id != save.connection.id => Err(StoreError::name_taken()),
            _ => Ok(()),
        }
    }

    fn write(&mut self, save: &Save<'_>, now: DateTime<Utc>) -> Result<Version, StoreError> {
        let row = self.row(save.connection.id)?;
        row.version.0 += 1;
        let version = row.version;
        let before = row.is_renamed_by(save).then(|| name_of(&row.connection));
        if let Some((lease, change)) = save.lease {
            row.change(lease, change, now);
        }
        match save.wake {
            Wake::At(at) => row.wake_at = Some(at),
            Wake::Keep => {}
            Wake::Never => row.wake_at = None,
        }
        // Many saves change the lease alone.
        if *row.connection != *save.connection {
            row.connection = Arc::new(save.connection.clone());
        }
        if let Some(before) = before {
            self.names.remove(&before);
            self.names
                .insert(name_of(save.connection), save.connection.id);
        }
        if save.deletes {
            self.bury(save.connection, version);
        }
        self.journal.extend_from_slice(save.entries);
        Ok(version)
    }

    fn bury(&mut self, connection: &Connection, version: Version) {
        self.rows.remove(&connection.id);
        self.names.remove(&name_of(connection));
        let tombstone = Tombstone {
            connection: connection.id,
            namespace: connection.namespace.clone(),
            name: connection.name.clone(),
            version,
            journal: connection.journal,
        };
        self.tombstones.insert(connection.id, tombstone);
    }
}

impl Row {
    fn versioned(&self) -> Versioned {
        Versioned {
            connection: self.connection.clone(),
            version: self.version,
        }
    }

    /// Returns until when the connection is leased.
    fn held_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let held = self.held.filter(|held| held.lasts(now));
        held.map(|held| held.until)
    }

    /// Returns since when the connection can be claimed, if it can.
    fn due_since(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let wake_at = self.wake_at.filter(|at| *at <= now)?;
        match self.held {
            _ if self.held_until(now).is_some() => None,
            Some(held) if held.until <= now => Some(wake_at.max(held.until)),
            _ => Some(wake_at),
        }
    }

    fn is_renamed_by(&self, save: &Save<'_>) -> bool {
        let (before, after) = (&self.connection, save.connection);
        before.name != after.name || before.namespace != after.namespace
    }

    fn check(&self, lease: &Lease) -> Result<(), StoreError> {
        let held = self.held.is_some_and(|held| held.by == lease.holder);
        if held && self.fence == lease.fence {
            Ok(())
        } else {
            Err(StoreError::lease_lost())
        }
    }

    fn claim(&mut self, holder: Holder, now: DateTime<Utc>, span: Duration) -> Claimed {
        self.fence.0 += 1;
        self.held = Some(Held::new(holder, now, span));
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
        self.held = match change {
            LeaseChange::Extend(span) => Some(Held::new(lease.holder, now, span)),
            LeaseChange::Release => None,
        };
    }
}

fn name_of(connection: &Connection) -> (Namespace, ConnectionName) {
    (connection.namespace.clone(), connection.name.clone())
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
        let id = connection.id;
        if tables.rows.contains_key(&id) || tables.tombstones.contains_key(&id) {
            return Err(StoreError::conflict());
        }
        if tables.names.contains_key(&name_of(connection)) {
            return Err(StoreError::name_taken());
        }
        let row = Row {
            connection: Arc::new(connection.clone()),
            version: Version(1),
            wake_at,
            fence: Fence::default(),
            held: None,
        };
        tables.rows.insert(id, row);
        tables.names.insert(name_of(connection), id);
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
        let id = tables.names.get(&(namespace.clone(), name.clone()));
        Ok(id.and_then(|id| tables.rows.get(id)).map(Row::versioned))
    }

    async fn list(&self, page: Page<'_>) -> Result<Vec<Versioned>, StoreError> {
        let tables = self.tables();
        let rows = tables.names.iter().filter(|((namespace, name), _)| {
            page.namespace.is_none_or(|only| only == namespace)
                && page.after.is_none_or(|after| after < (namespace, name))
        });
        let rows = rows.take(page.limit as usize);
        Ok(rows.map(|(_, id)| tables.rows[id].versioned()).collect())
    }

    async fn ids(
        &self,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ConnectionId>, StoreError> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let tables = self.tables();
        let rows = tables.rows.range((after, Bound::Unbounded));
        Ok(rows.map(|(id, _)| *id).take(limit as usize).collect())
    }

    async fn save(&self, save: Save<'_>) -> Result<Version, StoreError> {
        let now = self.clock.now();
        let mut tables = self.tables();
        tables.check(&save)?;
        tables.write(&save, now)
    }

    async fn tombstone(&self, id: ConnectionId) -> Result<Option<Tombstone>, StoreError> {
        Ok(self.tables().tombstones.get(&id).cloned())
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
        match row.held_until(now) {
            Some(until) => Err(StoreError::held(until)),
            None => Ok(row.claim(holder, now, span)),
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
        let rows = tables.rows.values_mut();
        let mut due: Vec<_> = rows
            .filter_map(|row| Some((row.due_since(now)?, row)))
            .collect();
        due.sort_by_key(|(since, _)| *since);
        let claims = due.into_iter().take(limit as usize);
        Ok(claims
            .map(|(_, row)| row.claim(holder, now, span))
            .collect())
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
            row.held = None;
        }
        Ok(())
    }

    async fn journal(
        &self,
        id: ConnectionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let tables = self.tables();
        let entries = tables.journal.iter();
        Ok(entries
            .filter(|entry| entry.connection == id && (after == 0 || entry.seq > after))
            .take(limit as usize)
            .cloned()
            .collect())
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

    async fn acknowledge(&self, consumer: &Consumer, cursor: Cursor) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let noted = tables.acknowledged.entry(consumer.clone()).or_default();
        *noted = cursor.max(*noted);
        Ok(())
    }

    async fn acknowledged(&self, consumer: &Consumer) -> Result<Cursor, StoreError> {
        let tables = self.tables();
        Ok(tables
            .acknowledged
            .get(consumer)
            .copied()
            .unwrap_or_default())
    }

    async fn lead(
        &self,
        consumer: &Consumer,
        holder: Holder,
        span: Duration,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut tables = self.tables();
        let lead = tables.leads.get(consumer);
        if lead.is_some_and(|lead| lead.by != holder && lead.lasts(now)) {
            return Ok(false);
        }
        tables
            .leads
            .insert(consumer.clone(), Held::new(holder, now, span));
        Ok(true)
    }

    fn as_dead_letters(&self) -> Option<&dyn DeadLetters> {
        Some(self)
    }
}

#[async_trait]
impl DeadLetters for MemoryStore {
    async fn keep_dead_letter(
        &self,
        consumer: &Consumer,
        letter: &DeadLetter,
    ) -> Result<(), StoreError> {
        let key = (consumer.clone(), letter.cursor);
        self.tables().dead_letters.insert(key, letter.clone());
        Ok(())
    }

    async fn dead_letters(
        &self,
        consumer: &Consumer,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let tables = self.tables();
        let after = Bound::Excluded((consumer.clone(), after));
        let letters = tables.dead_letters.range((after, Bound::Unbounded));
        Ok(letters
            .take_while(|((of, _), _)| of == consumer)
            .take(limit as usize)
            .map(|(_, letter)| letter.clone())
            .collect())
    }

    async fn drop_dead_letter(
        &self,
        consumer: &Consumer,
        cursor: Cursor,
    ) -> Result<bool, StoreError> {
        let key = (consumer.clone(), cursor);
        Ok(self.tables().dead_letters.remove(&key).is_some())
    }
}
