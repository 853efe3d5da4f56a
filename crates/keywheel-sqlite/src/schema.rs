use std::path::Path;

use keywheel_connection::StoreError;
use rusqlite::{Connection, TransactionBehavior};

use crate::error::failed;
use crate::file::newer;

/// `kwhl`: what marks a file as ours.
pub(crate) const APPLICATION_ID: i32 = 0x6b77_686c;

/// The schema that this version writes: how many migrations there are.
pub(crate) const VERSION: i32 = 3;

/// Brings the schema up to date. Others that open the file at the same time wait.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    match version(connection).map_err(failed)? {
        VERSION => return Ok(()),
        found if found > VERSION => return Err(newer(path, found)),
        _ => {}
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    let found = version(&transaction).map_err(failed)?;
    if found > VERSION {
        return Err(newer(path, found));
    }
    for migration in &MIGRATIONS[usize::try_from(found).unwrap_or_default()..] {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    let marks =
        format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};");
    transaction.execute_batch(&marks).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    // The marks are read from the file itself by whoever opens it next.
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(failed)
}

fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// From nothing to today. Only ever add to the end: files of every earlier version are about.
const MIGRATIONS: [&str; VERSION as usize] = [
    include_str!("schema/v1.sql"),
    include_str!("schema/v2.sql"),
    include_str!("schema/v3.sql"),
];
