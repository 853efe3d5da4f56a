use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use keywheel_connection::{
    Connection, ConnectionId, ConnectionName, Consumer, Cursor, Entry, Holder, Lease, Namespace,
    StoreError, Tombstone, Version,
};
use tokio::sync::Notify;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::change::{Change, Columns, Entries};
use crate::error::Fault;
use crate::link::Param;
use crate::pool::Pool;
use crate::row::{Stored, Taken, TimedTaken, count, instant, numbered, span, tombstone, uncount};
use crate::schema::Schema;

/// The statements: one for each thing to be done, each a transaction of its own.
#[derive(Debug)]
pub(crate) struct Database {
    pool: Pool,
    schema: Schema,
    /// The latest time that the server's clock has shown.
    latest: AtomicI64,
    /// There may be leases of the future.
    pub(crate) stepped: Notify,
    pub(crate) due: Notify,
}

impl Database {
    /// Uses tables that are up to date.
    pub(crate) fn new(pool: Pool, schema: Schema) -> Self {
        Self {
            pool,
            schema,
            latest: AtomicI64::new(UNKNOWN),
            stepped: Notify::new(),
            due: Notify::new(),
        }
    }

    pub(crate) async fn read(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Fault> {
        self.pool.read(&self.schema.sql(sql), params).await
    }

    pub(crate) async fn write(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Fault> {
        self.write_and_read(sql, params, Ok).await
    }

    /// As `write`, and reads each row as it comes.
    async fn write_and_read<T: Send>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        read: impl Fn(Row) -> Result<T, Fault> + Send + Sync,
    ) -> Result<Vec<T>, Fault> {
        self.pool.write(&self.schema.sql(sql), params, read).await
    }

    pub(crate) async fn create(
        &self,
        connection: &Connection,
        wake_at: Option<i64>,
        entries: &[Entry],
    ) -> Result<Version, Fault> {
        let (namespace, name) = (connection.namespace.as_str(), connection.name.as_str());
        let (id, record) = (connection.id.as_uuid(), connection.encode());
        let entries = Entries::of(entries);
        let [seqs, bodies, digests] = entries.params();
        let params: [Param<'_>; 8] = [
            (id, Type::UUID),
            (&namespace, Type::TEXT),
            (&name, Type::TEXT),
            (&record, Type::TEXT),
            (&wake_at, Type::INT8),
            seqs,
            bodies,
            digests,
        ];
        let rows = self.write(include_str!("sql/create.sql"), &params).await;
        if rows.as_ref().is_err_and(Fault::is_entry_taken) {
            // It was deleted meanwhile, and its journal stays.
            return Err(StoreError::conflict().into());
        }
        let rows = rows?;
        let (stored, hints): (i64, i64) = (rows[0].try_get(0)?, rows[0].try_get(1)?);
        if hints > 0 {
            self.due.notify_one();
        }
        if stored > 0 {
            return Ok(Version(1));
        }
        let used = "SELECT FROM keywheel.connection WHERE id = $1
                    UNION ALL SELECT FROM keywheel.tombstone WHERE id = $1";
        match self.read(used, &[(id, Type::UUID)]).await?.len() {
            0 => Err(StoreError::name_taken().into()),
            _ => Err(StoreError::conflict().into()),
        }
    }

    /// Makes many changes, of as many connections. Returns the new version of each, or `None` where there
    /// is another version or lease.
    pub(crate) async fn save(&self, changes: &[&Change]) -> Result<Vec<Option<Version>>, Fault> {
        let columns = Columns::of(changes);
        let sql = "CALL keywheel.save_all(
                   $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, NULL, NULL)";
        let rows = self.write(sql, &columns.params()).await?;
        let saved: Option<Vec<i64>> = rows[0].try_get(0)?;
        let hints: Option<bool> = rows[0].try_get(1)?;
        if hints == Some(true) {
            self.due.notify_one();
        }
        let mut versions = vec![None; changes.len()];
        for number in saved.unwrap_or_default() {
            let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
            if let (Some(version), Some(change)) = (versions.get_mut(index), changes.get(index)) {
                *version = Some(Version(change.expected.0 + 1));
            }
        }
        Ok(versions)
    }

    pub(crate) async fn delete(
        &self,
        connection: &Connection,
        change: &Change,
    ) -> Result<Version, Fault> {
        let lease = change.lease();
        let (namespace, name) = (connection.namespace.as_str(), connection.name.as_str());
        let entries = Entries::of(change.entries());
        let [seqs, bodies, digests] = entries.params();
        let params: [Param<'_>; 11] = [
            (change.id.as_uuid(), Type::UUID),
            (&count(change.expected.0), Type::INT8),
            (&lease.map(|lease| count(lease.fence.0)), Type::INT8),
            (&lease.map(|lease| *lease.holder.as_uuid()), Type::UUID),
            (&namespace, Type::TEXT),
            (&name, Type::TEXT),
            (&count(connection.journal.seq), Type::INT8),
            (
                &connection.journal.digest.as_bytes().as_slice(),
                Type::BYTEA,
            ),
            seqs,
            bodies,
            digests,
        ];
        let rows = self.write(include_str!("sql/delete.sql"), &params).await?;
        match rows.first() {
            Some(row) => Ok(Version(uncount(row.try_get(0)?))),
            None => Err(self.refusal(change).await?.into()),
        }
    }

    /// Returns why a change was not made.
    pub(crate) async fn refusal(&self, change: &Change) -> Result<StoreError, Fault> {
        let id: Param<'_> = (change.id.as_uuid(), Type::UUID);
        let sql = "SELECT fence, holder FROM keywheel.due WHERE id = $1";
        let rows = self.read(sql, &[id]).await?;
        let Some(row) = rows.first() else {
            return Ok(StoreError::not_found());
        };
        let (fence, holder): (i64, Option<Uuid>) = (row.try_get(0)?, row.try_get(1)?);
        let lost = change.lease().is_some_and(|lease| {
            count(lease.fence.0) != fence || Some(*lease.holder.as_uuid()) != holder
        });
        if lost {
            Ok(StoreError::lease_lost())
        } else {
            Ok(StoreError::conflict())
        }
    }

    pub(crate) async fn take_due(
        &self,
        holder: Holder,
        limit: u32,
        lasting: Duration,
    ) -> Result<Vec<Taken>, Fault> {
        let params: [Param<'_>; 3] = [
            (holder.as_uuid(), Type::UUID),
            (&i64::from(limit), Type::INT8),
            (&span(lasting), Type::INT8),
        ];
        let read = |row| TimedTaken::read(&row, holder, lasting);
        let mut rows = self.write_and_read(TAKE_DUE, &params, read).await?;
        if rows.first().is_some_and(|row| self.is_set_back(row.clock)) {
            let taken = rows.iter().filter(|row| row.taken.is_some()).count();
            let missing = limit.saturating_sub(u32::try_from(taken).unwrap_or(limit));
            // What was taken is not to be lost.
            match self.take_freed(holder, missing, lasting).await {
                Ok(freed) => rows.extend(freed),
                Err(fault) => tracing::debug!(error = ?fault, "store.claim.took_less"),
            }
        }
        Ok(rows.into_iter().filter_map(|row| row.taken).collect())
    }

    /// Notes what the server's clock shows. Tells whether it showed more before.
    ///
    /// What it showed before this process, nobody knows: leases of the future are looked for then too.
    fn is_set_back(&self, now: i64) -> bool {
        let latest = self.latest.swap(now, Ordering::Relaxed);
        let may_be = now < latest.saturating_sub(STEP);
        if may_be {
            self.stepped.notify_one();
        }
        may_be && latest != UNKNOWN
    }

    /// Takes what can be taken at once where leases of the future end. The rest is found meanwhile.
    async fn take_freed(
        &self,
        holder: Holder,
        limit: u32,
        lasting: Duration,
    ) -> Result<Vec<TimedTaken>, Fault> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.write(include_str!("sql/end_next_leases.sql"), &[])
            .await?;
        let params: [Param<'_>; 3] = [
            (holder.as_uuid(), Type::UUID),
            (&i64::from(limit), Type::INT8),
            (&span(lasting), Type::INT8),
        ];
        let read = |row| TimedTaken::read(&row, holder, lasting);
        self.write_and_read(TAKE_DUE, &params, read).await
    }

    /// Ends all leases of the future. However long that takes, nothing else waits for it.
    pub(crate) async fn end_leases(&self) -> Result<(), Fault> {
        let sql = self.schema.sql(include_str!("sql/end_leases.sql"));
        self.pool.run_beside(&sql).await
    }

    pub(crate) async fn take_one(
        &self,
        id: ConnectionId,
        holder: Holder,
        lasting: Duration,
    ) -> Result<Taken, Fault> {
        let params: [Param<'_>; 3] = [
            (holder.as_uuid(), Type::UUID),
            (id.as_uuid(), Type::UUID),
            (&span(lasting), Type::INT8),
        ];
        let rows = self
            .write(include_str!("sql/take_one.sql"), &params)
            .await?;
        if let Some(row) = rows.first() {
            return Taken::read(row, holder, lasting);
        }
        let sql = "SELECT lease_until FROM keywheel.due WHERE id = $1";
        let rows = self.read(sql, &[(id.as_uuid(), Type::UUID)]).await?;
        let row = rows.first().ok_or_else(StoreError::not_found)?;
        // It may have ended just now.
        let until: Option<i64> = row.try_get(0)?;
        Err(StoreError::held(until.map(instant).unwrap_or_default()).into())
    }

    pub(crate) async fn renew(&self, lease: &Lease, lasting: Duration) -> Result<(), Fault> {
        let (id, fence) = (lease.connection.as_uuid(), count(lease.fence.0));
        let params: [Param<'_>; 4] = [
            (id, Type::UUID),
            (&fence, Type::INT8),
            (lease.holder.as_uuid(), Type::UUID),
            (&span(lasting), Type::INT8),
        ];
        if !self
            .write(include_str!("sql/renew.sql"), &params)
            .await?
            .is_empty()
        {
            return Ok(());
        }
        let sql = "SELECT FROM keywheel.due WHERE id = $1";
        match self.read(sql, &[(id, Type::UUID)]).await?.len() {
            0 => Err(StoreError::not_found().into()),
            _ => Err(StoreError::lease_lost().into()),
        }
    }

    pub(crate) async fn release(&self, lease: &Lease) -> Result<(), Fault> {
        let params: [Param<'_>; 3] = [
            (lease.connection.as_uuid(), Type::UUID),
            (&count(lease.fence.0), Type::INT8),
            (lease.holder.as_uuid(), Type::UUID),
        ];
        let hints = self.write(include_str!("sql/release.sql"), &params).await?;
        if !hints.is_empty() {
            self.due.notify_one();
        }
        Ok(())
    }

    pub(crate) async fn by_id(&self, id: ConnectionId) -> Result<Option<Stored>, Fault> {
        let sql = "SELECT id, version, record FROM keywheel.connection WHERE id = $1";
        let rows = self.read(sql, &[(id.as_uuid(), Type::UUID)]).await?;
        rows.first().map(|row| Stored::read(row, 0)).transpose()
    }

    pub(crate) async fn by_name(
        &self,
        namespace: &Namespace,
        name: &ConnectionName,
    ) -> Result<Option<Stored>, Fault> {
        let sql = "SELECT id, version, record FROM keywheel.connection
                   WHERE namespace = $1 AND name = $2";
        let params: [Param<'_>; 2] = [
            (&namespace.as_str(), Type::TEXT),
            (&name.as_str(), Type::TEXT),
        ];
        let rows = self.read(sql, &params).await?;
        rows.first().map(|row| Stored::read(row, 0)).transpose()
    }

    /// Reads connections in the order of namespaces and names, with the place of each. Those of one namespace
    /// only, and after a place.
    pub(crate) async fn page(
        &self,
        only: Option<&Namespace>,
        (namespace, name): (&str, &str),
        limit: u32,
    ) -> Result<Vec<(Stored, (String, String))>, Fault> {
        let only = only.map(Namespace::as_str);
        let sql = match only {
            Some(_) => {
                "SELECT id, version, record, namespace, name FROM keywheel.connection
                 WHERE namespace = $4 AND (namespace, name) > ($1, $2)
                 ORDER BY namespace, name LIMIT $3"
            }
            None => {
                "SELECT id, version, record, namespace, name FROM keywheel.connection
                 WHERE (namespace, name) > ($1, $2) AND $4 IS NULL
                 ORDER BY namespace, name LIMIT $3"
            }
        };
        let params: [Param<'_>; 4] = [
            (&namespace, Type::TEXT),
            (&name, Type::TEXT),
            (&i64::from(limit), Type::INT8),
            (&only, Type::TEXT),
        ];
        let rows = self.read(sql, &params).await?;
        let placed = rows
            .iter()
            .map(|row| Ok((Stored::read(row, 0)?, (row.try_get(3)?, row.try_get(4)?))));
        placed.collect()
    }

    pub(crate) async fn ids(
        &self,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ConnectionId>, Fault> {
        let sql = match after {
            Some(_) => "SELECT id FROM keywheel.connection WHERE id > $1 ORDER BY id LIMIT $2",
            None => "SELECT id FROM keywheel.connection WHERE $1 IS NULL ORDER BY id LIMIT $2",
        };
        let after = after.map(|id| *id.as_uuid());
        let params: [Param<'_>; 2] = [(&after, Type::UUID), (&i64::from(limit), Type::INT8)];
        let rows = self.read(sql, &params).await?;
        rows.iter()
            .map(|row| Ok(row.try_get::<_, Uuid>(0)?.into()))
            .collect()
    }

    pub(crate) async fn tombstone(&self, id: ConnectionId) -> Result<Option<Tombstone>, Fault> {
        let sql = "SELECT namespace, name, version, seq, digest FROM keywheel.tombstone
                   WHERE id = $1";
        let rows = self.read(sql, &[(id.as_uuid(), Type::UUID)]).await?;
        rows.first().map(|row| tombstone(row, id)).transpose()
    }

    pub(crate) async fn journal(
        &self,
        id: ConnectionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, Fault> {
        // Nothing that stands elsewhere in the outbox, or is not in it, passes for an entry in its place.
        let sql = "SELECT connection, seq, body, digest, position FROM keywheel.journal
                   WHERE connection = $1 AND seq > $2 AND position > coalesce((SELECT position
                       FROM keywheel.journal WHERE connection = $1 AND seq = $2), 0)
                   ORDER BY seq LIMIT $3";
        // Nor is what was slipped in before the first entry passed over.
        let after = if after == 0 { i64::MIN } else { count(after) };
        let params: [Param<'_>; 3] = [
            (id.as_uuid(), Type::UUID),
            (&after, Type::INT8),
            (&i64::from(limit), Type::INT8),
        ];
        let rows = self.read(sql, &params).await?;
        let mut entries = rows.iter().map(numbered).collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(|(at, _)| *at);
        Ok(entries.into_iter().map(|(_, entry)| entry).collect())
    }

    pub(crate) async fn entries(
        &self,
        cursor: Cursor,
        limit: u32,
    ) -> Result<Vec<(Cursor, Entry)>, Fault> {
        let sql = "SELECT connection, seq, body, digest, position FROM keywheel.journal
                   WHERE position > $1 ORDER BY position LIMIT $2";
        let params: [Param<'_>; 2] = [
            (&count(cursor.0), Type::INT8),
            (&i64::from(limit), Type::INT8),
        ];
        let rows = self.read(sql, &params).await?;
        rows.iter().map(numbered).collect()
    }

    pub(crate) async fn acknowledge(
        &self,
        consumer: &Consumer,
        cursor: Cursor,
    ) -> Result<(), Fault> {
        let sql = "WITH clock AS MATERIALIZED (SELECT keywheel.durably())
                   INSERT INTO keywheel.consumer AS noted (name, position)
                   SELECT $1, $2 FROM clock
                   ON CONFLICT (name) DO UPDATE SET position = excluded.position
                   WHERE noted.position < excluded.position";
        let params: [Param<'_>; 2] = [
            (&consumer.as_str(), Type::TEXT),
            (&count(cursor.0), Type::INT8),
        ];
        self.write(sql, &params).await.map(drop)
    }

    pub(crate) async fn lead(
        &self,
        consumer: &Consumer,
        holder: Holder,
        lasting: Duration,
    ) -> Result<bool, Fault> {
        let params: [Param<'_>; 3] = [
            (&consumer.as_str(), Type::TEXT),
            (holder.as_uuid(), Type::UUID),
            (&span(lasting), Type::INT8),
        ];
        let taken = self.write(include_str!("sql/lead.sql"), &params).await?;
        Ok(!taken.is_empty())
    }

    pub(crate) async fn acknowledged(&self, consumer: &Consumer) -> Result<Cursor, Fault> {
        let sql = "SELECT position FROM keywheel.consumer WHERE name = $1";
        let rows = self.read(sql, &[(&consumer.as_str(), Type::TEXT)]).await?;
        let position = rows.first().map(|row| row.try_get(0)).transpose()?;
        Ok(Cursor(uncount(position.unwrap_or_default())))
    }
}

/// How far the clock may be set back without a look at the leases: they last that much longer.
const STEP: i64 = 1_000_000;

/// What the clock showed before it was asked.
const UNKNOWN: i64 = i64::MAX;

const TAKE_DUE: &str =
    "SELECT clock, fence, id, version, record FROM keywheel.take_due($1, $2, $3)";
