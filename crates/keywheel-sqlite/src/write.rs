mod claims;

use std::time::Duration;

use keywheel_connection::{
    Connection, ConnectionId, Consumer, Cursor, Entry, Fence, Holder, Lease, LeaseChange, Save,
    StoreError, Tombstone, Version, Wake,
};
use rusqlite::{OptionalExtension, Row, params};

pub(crate) use self::claims::{Claims, TakeDue, TakeOne, Taken};
use crate::row::{Stored, count, micros, uncount};

/// One write. All of it is made, or none.
pub(crate) trait Write: Send + 'static {
    type Output: Send;

    /// Makes the write. What is refused has written nothing.
    fn apply(&self, to: &mut Writing<'_>) -> Result<Self::Output, Fault>;
}

/// Why a write was not made.
pub(crate) enum Fault {
    /// The contract forbids it.
    Refused(StoreError),
    /// SQLite could not do it: nothing of the transaction stays.
    Failed(rusqlite::Error),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

impl Fault {
    pub(crate) fn into_error(self) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Failed(error) => crate::error::failed(error),
        }
    }
}

/// A transaction that writes.
pub(crate) struct Writing<'a> {
    connection: &'a rusqlite::Connection,
    now: i64,
    became_due: bool,
}

impl<'a> Writing<'a> {
    pub(crate) fn new(connection: &'a rusqlite::Connection, now: i64) -> Self {
        Self {
            connection,
            now,
            became_due: false,
        }
    }

    pub(crate) fn has_become_due(&self) -> bool {
        self.became_due
    }

    /// Ends the leases that were given later than `latest`: the clock was set back since.
    pub(crate) fn end_leases_after(&self, latest: i64) -> rusqlite::Result<()> {
        self.run(END_LEASES, [latest]).map(drop)
    }

    pub(crate) fn run(&self, sql: &str, values: impl rusqlite::Params) -> rusqlite::Result<usize> {
        self.connection.prepare_cached(sql)?.execute(values)
    }

    fn place(&self, id: ConnectionId) -> Result<Place, Fault> {
        let sql = "SELECT row, version, name, fence, wake_at, holder, leased_at, lease_until
                   FROM connection JOIN due USING (row) WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let place = statement.query_row([bytes(id)], Place::read).optional()?;
        Ok(place.ok_or_else(StoreError::not_found)?)
    }

    fn stored(&self, row: i64) -> rusqlite::Result<Stored> {
        self.connection
            .prepare_cached("SELECT id, version, record FROM connection WHERE row = ?1")?
            .query_row([row], Stored::read)
    }

    fn write_due<'p>(
        &mut self,
        places: impl IntoIterator<Item = &'p Place>,
    ) -> rusqlite::Result<()> {
        let sql = "UPDATE due SET fence = ?2, wake_at = ?3, claimable_at = ?4, holder = ?5,
                       leased_at = ?6, lease_until = ?7 WHERE row = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        for place in places {
            let claimable_at = place.claimable_at();
            self.became_due |= claimable_at.is_some_and(|at| at <= self.now);
            let (holder, leased_at, lease_until) = match &place.held {
                Some(held) => (Some(held.by), Some(held.since), Some(held.until)),
                None => (None, None, None),
            };
            statement.execute(params![
                place.row,
                place.fence,
                place.wake_at,
                claimable_at,
                holder,
                leased_at,
                lease_until
            ])?;
        }
        Ok(())
    }

    fn append(&self, entries: &[Entry]) -> rusqlite::Result<()> {
        for entry in entries {
            self.run(
                "INSERT INTO journal (connection, seq, body, digest) VALUES (?1, ?2, ?3, ?4)",
                params![
                    bytes(entry.connection),
                    count(entry.seq),
                    entry.body,
                    entry.digest.as_bytes()
                ],
            )?;
        }
        Ok(())
    }
}

/// A connection without its record.
struct Place {
    row: i64,
    version: i64,
    name: String,
    fence: i64,
    wake_at: Option<i64>,
    held: Option<Held>,
}

struct Held {
    by: [u8; 16],
    since: i64,
    until: i64,
}

impl Place {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let held = match (row.get(5)?, row.get(6)?, row.get(7)?) {
            (Some(by), Some(since), Some(until)) => Some(Held { by, since, until }),
            _ => None,
        };
        Ok(Self {
            row: row.get(0)?,
            version: row.get(1)?,
            name: row.get(2)?,
            fence: row.get(3)?,
            wake_at: row.get(4)?,
            held,
        })
    }

    /// Reads the columns `row, fence, wake_at` after three others, of a connection that nobody holds.
    fn due(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            row: row.get(3)?,
            version: 0,
            name: String::new(),
            fence: row.get(4)?,
            wake_at: row.get(5)?,
            held: None,
        })
    }

    fn claimable_at(&self) -> Option<i64> {
        let until = self.held.as_ref().map(|held| held.until);
        self.wake_at
            .map(|at| until.map_or(at, |until| until.max(at)))
    }

    fn check(&self, lease: &Lease) -> Result<(), StoreError> {
        let holder = self.held.as_ref().map(|held| held.by);
        if holder == Some(*lease.holder.as_uuid().as_bytes()) && self.fence == count(lease.fence.0)
        {
            Ok(())
        } else {
            Err(StoreError::lease_lost())
        }
    }

    /// Returns what becomes of it when `holder` takes a new lease.
    fn taken(mut self, holder: Holder, now: i64, span: Duration) -> Self {
        self.fence += 1;
        self.hold(holder, now, span);
        self
    }

    /// Returns the lease that [`taken`](Self::taken) gave.
    fn lease(&self, connection: ConnectionId, holder: Holder, span: Duration) -> Lease {
        Lease {
            connection,
            holder,
            fence: Fence(uncount(self.fence)),
            span,
        }
    }

    fn hold(&mut self, holder: Holder, now: i64, span: Duration) {
        self.held = Some(Held {
            by: *holder.as_uuid().as_bytes(),
            since: now,
            until: later(now, span),
        });
    }
}

pub(crate) struct Create {
    id: ConnectionId,
    namespace: String,
    name: String,
    record: String,
    wake_at: Option<i64>,
    entries: Vec<Entry>,
}

impl Create {
    pub(crate) fn new(
        connection: &Connection,
        wake_at: Option<chrono::DateTime<chrono::Utc>>,
        entries: &[Entry],
    ) -> Self {
        Self {
            id: connection.id,
            namespace: connection.namespace.to_string(),
            name: connection.name.to_string(),
            record: connection.encode(),
            wake_at: wake_at.map(micros),
            entries: entries.to_vec(),
        }
    }
}

impl Write for Create {
    type Output = Version;

    fn apply(&self, to: &mut Writing<'_>) -> Result<Version, Fault> {
        let used = "SELECT EXISTS (SELECT 1 FROM connection WHERE id = ?1)
                    OR EXISTS (SELECT 1 FROM tombstone WHERE id = ?1)";
        let mut used = to.connection.prepare_cached(used)?;
        if used.query_row([bytes(self.id)], |row| row.get(0))? {
            return Err(StoreError::conflict().into());
        }
        let stored = to.run(
            "INSERT OR IGNORE INTO connection (id, namespace, name, version, record)
             VALUES (?1, ?2, ?3, 1, ?4)",
            params![bytes(self.id), self.namespace, self.name, self.record],
        )?;
        if stored == 0 {
            return Err(StoreError::name_taken().into());
        }
        to.run(
            "INSERT INTO due (row, fence, wake_at, claimable_at)
             VALUES (last_insert_rowid(), 0, ?1, ?1)",
            [self.wake_at],
        )?;
        to.became_due |= self.wake_at.is_some_and(|at| at <= to.now);
        to.append(&self.entries)?;
        Ok(Version(1))
    }
}

/// A [`Save`] that owns what it writes.
pub(crate) struct Change {
    id: ConnectionId,
    name: String,
    record: String,
    expected: Version,
    wake: Wake,
    entries: Vec<Entry>,
    lease: Option<(Lease, LeaseChange)>,
    buried: Option<Tombstone>,
}

impl Change {
    pub(crate) fn new(save: &Save<'_>) -> Self {
        let connection = save.connection;
        let buried = save.deletes.then(|| Tombstone {
            connection: connection.id,
            namespace: connection.namespace.clone(),
            name: connection.name.clone(),
            version: next(save.expected),
            journal: connection.journal,
        });
        Self {
            id: connection.id,
            name: connection.name.to_string(),
            record: connection.encode(),
            expected: save.expected,
            wake: save.wake,
            entries: save.entries.to_vec(),
            lease: save.lease.map(|(lease, change)| (lease.clone(), change)),
            buried,
        }
    }

    fn write_record(&self, to: &Writing<'_>, place: &Place) -> Result<(), Fault> {
        let version = count(next(self.expected).0);
        if self.name == place.name {
            to.run(
                "UPDATE connection SET version = ?2, record = ?3 WHERE row = ?1",
                params![place.row, version, self.record],
            )?;
            return Ok(());
        }
        let renamed = to.run(
            "UPDATE OR IGNORE connection SET version = ?2, record = ?3, name = ?4 WHERE row = ?1",
            params![place.row, version, self.record, self.name],
        )?;
        match renamed {
            0 => Err(StoreError::name_taken().into()),
            _ => Ok(()),
        }
    }

    fn change_due(&self, to: &mut Writing<'_>, mut place: Place) -> rusqlite::Result<()> {
        if self.lease.is_none() && self.wake == Wake::Keep {
            return Ok(());
        }
        match self.wake {
            Wake::At(at) => place.wake_at = Some(micros(at)),
            Wake::Keep => {}
            Wake::Never => place.wake_at = None,
        }
        match &self.lease {
            Some((lease, LeaseChange::Extend(span))) => place.hold(lease.holder, to.now, *span),
            Some((_, LeaseChange::Release)) => place.held = None,
            None => {}
        }
        to.write_due([&place])
    }
}

impl Write for Change {
    type Output = Version;

    fn apply(&self, to: &mut Writing<'_>) -> Result<Version, Fault> {
        let place = to.place(self.id)?;
        if let Some((lease, _)) = &self.lease {
            place.check(lease)?;
        }
        if place.version != count(self.expected.0) {
            return Err(StoreError::conflict().into());
        }
        match &self.buried {
            Some(tombstone) => bury(to, place.row, tombstone)?,
            None => {
                self.write_record(to, &place)?;
                self.change_due(to, place)?;
            }
        }
        to.append(&self.entries)?;
        Ok(next(self.expected))
    }
}

fn bury(to: &Writing<'_>, row: i64, tombstone: &Tombstone) -> rusqlite::Result<()> {
    to.run("DELETE FROM connection WHERE row = ?1", [row])?;
    to.run("DELETE FROM due WHERE row = ?1", [row])?;
    to.run(
        "INSERT INTO tombstone (id, namespace, name, version, seq, digest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            bytes(tombstone.connection),
            tombstone.namespace.as_str(),
            tombstone.name.as_str(),
            count(tombstone.version.0),
            count(tombstone.journal.seq),
            tombstone.journal.digest.as_bytes()
        ],
    )?;
    Ok(())
}

pub(crate) struct Renew {
    pub(crate) lease: Lease,
    pub(crate) span: Duration,
}

impl Write for Renew {
    type Output = ();

    fn apply(&self, to: &mut Writing<'_>) -> Result<(), Fault> {
        let mut place = to.place(self.lease.connection)?;
        place.check(&self.lease)?;
        place.hold(self.lease.holder, to.now, self.span);
        Ok(to.write_due([&place])?)
    }
}

pub(crate) struct Release {
    pub(crate) lease: Lease,
}

impl Write for Release {
    type Output = ();

    fn apply(&self, to: &mut Writing<'_>) -> Result<(), Fault> {
        let mut place = match to.place(self.lease.connection) {
            Ok(place) if place.check(&self.lease).is_ok() => place,
            Ok(_) | Err(Fault::Refused(_)) => return Ok(()),
            Err(failed) => return Err(failed),
        };
        place.held = None;
        Ok(to.write_due([&place])?)
    }
}

pub(crate) struct Acknowledge {
    pub(crate) consumer: Consumer,
    pub(crate) cursor: Cursor,
}

impl Write for Acknowledge {
    type Output = ();

    fn apply(&self, to: &mut Writing<'_>) -> Result<(), Fault> {
        to.run(
            "INSERT INTO consumer (name, position) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET position = max(position, excluded.position)",
            params![self.consumer.as_str(), count(self.cursor.0)],
        )?;
        Ok(())
    }
}

pub(crate) struct Lead {
    pub(crate) consumer: Consumer,
    pub(crate) holder: Holder,
    pub(crate) span: Duration,
}

impl Write for Lead {
    type Output = bool;

    fn apply(&self, to: &mut Writing<'_>) -> Result<bool, Fault> {
        let until = later(to.now, self.span);
        let taken = to.run(
            "INSERT INTO consumer AS noted (name, position, leader, led_at, led_until)
             VALUES (?1, 0, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE
             SET leader = excluded.leader, led_at = excluded.led_at, led_until = excluded.led_until
             WHERE noted.leader IS NULL OR noted.leader = excluded.leader
                OR excluded.led_at NOT BETWEEN noted.led_at AND noted.led_until - 1",
            params![
                self.consumer.as_str(),
                self.holder.as_uuid().as_bytes(),
                to.now,
                until
            ],
        )?;
        Ok(taken > 0)
    }
}

fn later(now: i64, span: Duration) -> i64 {
    now.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX))
}

fn next(version: Version) -> Version {
    Version(version.0 + 1)
}

fn bytes(id: ConnectionId) -> [u8; 16] {
    *id.as_uuid().as_bytes()
}

const END_LEASES: &str =
    "UPDATE due SET leased_at = NULL, lease_until = NULL, claimable_at = wake_at
                          WHERE leased_at > ?1";
