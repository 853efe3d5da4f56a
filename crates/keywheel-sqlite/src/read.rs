use keywheel_connection::{
    ConnectionId, ConnectionName, Consumer, Cursor, Digest, Entry, JournalHead, Namespace, Page,
    Tombstone, Version,
};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, named_params, params};

use crate::row::{Stored, count, entry, id, uncount};

pub(crate) fn by_id(connection: &Connection, id: ConnectionId) -> rusqlite::Result<Option<Stored>> {
    connection
        .prepare_cached("SELECT id, version, record FROM connection WHERE id = ?1")?
        .query_row([id.as_uuid().as_bytes()], Stored::read)
        .optional()
}

pub(crate) fn by_name(
    connection: &Connection,
    namespace: &Namespace,
    name: &ConnectionName,
) -> rusqlite::Result<Option<Stored>> {
    connection
        .prepare_cached(
            "SELECT id, version, record FROM connection WHERE namespace = ?1 AND name = ?2",
        )?
        .query_row([namespace.as_str(), name.as_str()], Stored::read)
        .optional()
}

/// Which connections to read, and after which place.
#[derive(Debug)]
pub(crate) struct Range {
    pub(crate) namespace: Option<String>,
    pub(crate) after: (String, String),
    pub(crate) limit: u32,
}

impl Range {
    pub(crate) fn of(page: Page<'_>) -> Self {
        let after = page
            .after
            .map(|(namespace, name)| (namespace.to_string(), name.to_string()));
        Self {
            namespace: page.namespace.map(ToString::to_string),
            // Names are never empty.
            after: after.unwrap_or_default(),
            limit: page.limit,
        }
    }
}

/// Reads connections in the order of namespaces and names, with the place of each.
pub(crate) fn page(
    connection: &Connection,
    range: &Range,
) -> rusqlite::Result<Vec<(Stored, (String, String))>> {
    // The planner takes a bound of the index from each form only when it stands alone.
    let sql = match range.namespace {
        Some(_) => {
            "SELECT id, version, record, namespace, name FROM connection
             WHERE namespace = :only AND (namespace, name) > (:namespace, :name)
             ORDER BY namespace, name LIMIT :limit"
        }
        None => {
            "SELECT id, version, record, namespace, name FROM connection
             WHERE (namespace, name) > (:namespace, :name) AND :only IS NULL
             ORDER BY namespace, name LIMIT :limit"
        }
    };
    let mut statement = connection.prepare_cached(sql)?;
    let (namespace, name) = &range.after;
    let rows = statement.query_map(
        named_params! {
            ":only": range.namespace,
            ":namespace": namespace,
            ":name": name,
            ":limit": range.limit,
        },
        |row| Ok((Stored::read(row)?, (row.get(3)?, row.get(4)?))),
    )?;
    rows.collect()
}

pub(crate) fn ids(
    connection: &Connection,
    after: Option<ConnectionId>,
    limit: u32,
) -> rusqlite::Result<Vec<ConnectionId>> {
    let sql = "SELECT id FROM connection WHERE id > coalesce(?1, x'') ORDER BY id LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let after = after.map(|id| *id.as_uuid().as_bytes());
    let rows = statement.query_map(params![after, limit], |row| row.get(0).map(id))?;
    rows.collect()
}

pub(crate) fn tombstone(
    connection: &Connection,
    id: ConnectionId,
) -> rusqlite::Result<Option<Tombstone>> {
    let sql = "SELECT namespace, name, version, seq, digest FROM tombstone WHERE id = ?1";
    let read = |row: &rusqlite::Row<'_>| {
        let digest: [u8; 32] = row.get(4)?;
        let mut journal = JournalHead::default();
        journal.seq = uncount(row.get(3)?);
        journal.digest = Digest::from(digest);
        Ok(Tombstone {
            connection: id,
            namespace: name(row, 0)?,
            name: name(row, 1)?,
            version: Version(uncount(row.get(2)?)),
            journal,
        })
    };
    connection
        .prepare_cached(sql)?
        .query_row([id.as_uuid().as_bytes()], read)
        .optional()
}

pub(crate) fn journal(
    connection: &Connection,
    id: ConnectionId,
    after: u64,
    limit: u32,
) -> rusqlite::Result<Vec<Entry>> {
    // Nothing that stands elsewhere in the outbox, or is not in it, passes for an entry in its place.
    let sql = "SELECT connection, seq, body, digest, position FROM journal
               WHERE connection = ?1 AND seq > ?2 AND position > coalesce(
                   (SELECT position FROM journal WHERE connection = ?1 AND seq = ?2), 0)
               ORDER BY seq LIMIT ?3";
    // Nor is what was slipped in before the first entry passed over.
    let after = if after == 0 { i64::MIN } else { count(after) };
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![id.as_uuid().as_bytes(), after, limit], numbered)?;
    let mut entries = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    entries.sort_by_key(|(at, _)| *at);
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

pub(crate) fn entries(
    connection: &Connection,
    cursor: Cursor,
    limit: u32,
) -> rusqlite::Result<Vec<(Cursor, Entry)>> {
    let sql = "SELECT connection, seq, body, digest, position FROM journal
               WHERE position > ?1 ORDER BY position LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![count(cursor.0), limit], numbered)?;
    rows.collect()
}

fn numbered(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Cursor, Entry)> {
    Ok((Cursor(uncount(row.get(4)?)), entry(row)?))
}

pub(crate) fn acknowledged(
    connection: &Connection,
    consumer: &Consumer,
) -> rusqlite::Result<Cursor> {
    let position = connection
        .prepare_cached("SELECT position FROM consumer WHERE name = ?1")?
        .query_row([consumer.as_str()], |row| row.get(0))
        .optional()?;
    Ok(Cursor(uncount(position.unwrap_or_default())))
}

fn name<T: std::str::FromStr>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}
