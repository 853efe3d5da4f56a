use chrono::{DateTime, Utc};
use keywheel_connection::{
    Connection, ConnectionId, Cursor, DecodeError, Digest, Entry, Fence, Holder, JournalHead,
    Lease, StoreError, StoreErrorKind, Tombstone, Version, Versioned,
};
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::error::Fault;

/// Returns microseconds since 1970, rounded up: nothing is claimed before its time.
pub(crate) fn micros(at: DateTime<Utc>) -> i64 {
    let rounded = i64::from(!at.timestamp_subsec_nanos().is_multiple_of(1_000));
    at.timestamp_micros().saturating_add(rounded)
}

pub(crate) fn instant(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Returns a span in microseconds, a hundred years at most.
pub(crate) fn span(span: Duration) -> i64 {
    i64::try_from(span.as_micros())
        .unwrap_or(i64::MAX)
        .min(MOST)
}

/// Returns what PostgreSQL keeps of a number that only counts up.
pub(crate) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn uncount(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// A connection as it is stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) id: ConnectionId,
    version: Version,
    record: String,
}

impl Stored {
    /// Reads the columns `id, version, record`, the first of them at `column`.
    pub(crate) fn read(row: &Row, column: usize) -> Result<Self, Fault> {
        Ok(Self {
            id: row.try_get::<_, Uuid>(column)?.into(),
            version: Version(uncount(row.try_get(column + 1)?)),
            record: row.try_get(column + 2)?,
        })
    }

    pub(crate) fn decode(self) -> Result<Versioned, StoreError> {
        let connection = Connection::decode(&self.record);
        let connection = connection.map_err(|error| unreadable(self.id, error))?;
        Ok(Versioned {
            connection: connection.into(),
            version: self.version,
        })
    }
}

/// Returns `None` for a record that can't be read, and logs its id.
pub(crate) fn logged(id: ConnectionId, read: Result<Versioned, StoreError>) -> Option<Versioned> {
    read.inspect_err(|error| tracing::error!(connection = %id, %error, "store.record.passed_over"))
        .ok()
}

fn unreadable(id: ConnectionId, error: DecodeError) -> StoreError {
    let message = format!("connection {id}: {error}");
    StoreError::new(StoreErrorKind::Corrupt, message).with_source(error)
}

/// A connection that was claimed.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) lease: Lease,
    pub(crate) stored: Result<Versioned, StoreError>,
}

impl Taken {
    /// Reads the columns `now, fence, id, version, record`.
    pub(crate) fn read(row: &Row, holder: Holder, span: Duration) -> Result<Self, Fault> {
        let stored = Stored::read(row, 2)?;
        let lease = Lease {
            connection: stored.id,
            holder,
            fence: Fence(uncount(row.try_get(1)?)),
            span,
        };
        let stored = stored.decode();
        Ok(Self { lease, stored })
    }
}

/// The server's time, and what was claimed at it.
#[derive(Debug)]
pub(crate) struct TimedTaken {
    pub(crate) clock: i64,
    pub(crate) taken: Option<Taken>,
}

impl TimedTaken {
    /// Reads the columns of [`Taken`], of which there is only the time when nothing was due.
    pub(crate) fn read(row: &Row, holder: Holder, span: Duration) -> Result<Self, Fault> {
        let fence: Option<i64> = row.try_get(1)?;
        Ok(Self {
            clock: row.try_get(0)?,
            taken: fence.map(|_| Taken::read(row, holder, span)).transpose()?,
        })
    }
}

/// Reads the columns `connection, seq, body, digest, position`.
pub(crate) fn numbered(row: &Row) -> Result<(Cursor, Entry), Fault> {
    let entry = Entry::stored(
        row.try_get::<_, Uuid>(0)?.into(),
        uncount(row.try_get(1)?),
        row.try_get(2)?,
        digest(row.try_get(3)?)?,
    );
    Ok((Cursor(uncount(row.try_get(4)?)), entry))
}

/// Reads the columns `namespace, name, version, seq, digest`.
pub(crate) fn tombstone(row: &Row, connection: ConnectionId) -> Result<Tombstone, Fault> {
    let mut journal = JournalHead::default();
    journal.seq = uncount(row.try_get(3)?);
    journal.digest = digest(row.try_get(4)?)?;
    let damaged = |_| damaged();
    Ok(Tombstone {
        connection,
        namespace: row.try_get::<_, &str>(0)?.parse().map_err(damaged)?,
        name: row.try_get::<_, &str>(1)?.parse().map_err(damaged)?,
        version: Version(uncount(row.try_get(2)?)),
        journal,
    })
}

fn digest(bytes: &[u8]) -> Result<Digest, StoreError> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| damaged())?;
    Ok(Digest::from(bytes))
}

fn damaged() -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        "database: a row is damaged; restore it from a backup",
    )
}

const MOST: i64 = 100 * 366 * 86_400 * 1_000_000;
