use chrono::{DateTime, Utc};
use keywheel_connection::{
    Connection, ConnectionId, DecodeError, Digest, Entry, StoreError, StoreErrorKind, Version,
    Versioned,
};
use rusqlite::Row;
use uuid::Uuid;

/// Returns microseconds since 1970, rounded up: nothing is claimed before its time.
pub(crate) fn micros(at: DateTime<Utc>) -> i64 {
    let rounded = i64::from(!at.timestamp_subsec_nanos().is_multiple_of(1_000));
    at.timestamp_micros().saturating_add(rounded)
}

pub(crate) fn instant(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Returns what SQLite keeps of a number that only counts up.
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
    pub(crate) version: Version,
    pub(crate) record: String,
}

impl Stored {
    /// Reads the columns `id, version, record`.
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: id(row.get(0)?),
            version: Version(uncount(row.get(1)?)),
            record: row.get(2)?,
        })
    }

    pub(crate) fn decode(self) -> Result<Versioned, StoreError> {
        decode(self.id, self.version, &self.record)
    }

    pub(crate) fn decode_or_log(self) -> Option<Versioned> {
        decode_or_log(self.id, self.version, &self.record)
    }
}

fn decode(id: ConnectionId, version: Version, record: &str) -> Result<Versioned, StoreError> {
    let connection = Connection::decode(record).map_err(|error| unreadable(id, error))?;
    Ok(Versioned {
        connection: connection.into(),
        version,
    })
}

/// Returns `None` for a record that can't be read, and logs its id.
pub(crate) fn decode_or_log(id: ConnectionId, version: Version, record: &str) -> Option<Versioned> {
    let decoded = decode(id, version, record);
    decoded
        .inspect_err(|error| tracing::error!(connection = %id, %error, "store.record.passed_over"))
        .ok()
}

fn unreadable(id: ConnectionId, error: DecodeError) -> StoreError {
    let message = format!("connection {id}: {error}");
    StoreError::new(StoreErrorKind::Corrupt, message).with_source(error)
}

pub(crate) fn id(bytes: [u8; 16]) -> ConnectionId {
    Uuid::from_bytes(bytes).into()
}

/// Reads the columns `connection, seq, body, digest`.
pub(crate) fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let digest: [u8; 32] = row.get(3)?;
    Ok(Entry::stored(
        id(row.get(0)?),
        uncount(row.get(1)?),
        row.get(2)?,
        Digest::from(digest),
    ))
}
