use async_trait::async_trait;
use keywheel_connection::{Consumer, Cursor, DeadLetter, DeadLetters, StoreError};
use rusqlite::{Connection, params};

use crate::SqliteStore;
use crate::row::{count, id, instant, micros, uncount};
use crate::write::{Fault, Write, Writing};

#[async_trait]
impl DeadLetters for SqliteStore {
    async fn keep_dead_letter(
        &self,
        consumer: &Consumer,
        letter: &DeadLetter,
    ) -> Result<(), StoreError> {
        let (consumer, letter) = (consumer.clone(), letter.clone());
        self.writer().write(Keep { consumer, letter }).await
    }

    async fn dead_letters(
        &self,
        consumer: &Consumer,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let consumer = consumer.clone();
        let read = move |connection: &_| read(connection, &consumer, after, limit);
        self.readers().read(read).await
    }

    async fn drop_dead_letter(
        &self,
        consumer: &Consumer,
        cursor: Cursor,
    ) -> Result<bool, StoreError> {
        let consumer = consumer.clone();
        self.writer().write(Drop { consumer, cursor }).await
    }
}

struct Keep {
    consumer: Consumer,
    letter: DeadLetter,
}

impl Write for Keep {
    type Output = ();

    fn apply(&self, to: &mut Writing<'_>) -> Result<(), Fault> {
        let letter = &self.letter;
        to.run(
            "INSERT OR REPLACE INTO dead_letter
                 (consumer, position, connection, seq, given_up_at, attempts, error)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                self.consumer.as_str(),
                count(letter.cursor.0),
                letter.connection.as_uuid().as_bytes(),
                count(letter.seq),
                micros(letter.given_up_at),
                letter.attempts,
                letter.error
            ],
        )?;
        Ok(())
    }
}

struct Drop {
    consumer: Consumer,
    cursor: Cursor,
}

impl Write for Drop {
    type Output = bool;

    fn apply(&self, to: &mut Writing<'_>) -> Result<bool, Fault> {
        let dropped = to.run(
            "DELETE FROM dead_letter WHERE consumer = ?1 AND position = ?2",
            params![self.consumer.as_str(), count(self.cursor.0)],
        )?;
        Ok(dropped > 0)
    }
}

fn read(
    connection: &Connection,
    consumer: &Consumer,
    after: Cursor,
    limit: u32,
) -> rusqlite::Result<Vec<DeadLetter>> {
    let sql = "SELECT position, connection, seq, given_up_at, attempts, error FROM dead_letter
               WHERE consumer = ?1 AND position > ?2 ORDER BY position LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let values = params![consumer.as_str(), count(after.0), limit];
    let rows = statement.query_map(values, |row| {
        Ok(DeadLetter {
            cursor: Cursor(uncount(row.get(0)?)),
            connection: id(row.get(1)?),
            seq: uncount(row.get(2)?),
            given_up_at: instant(row.get(3)?),
            attempts: row.get(4)?,
            error: row.get(5)?,
        })
    })?;
    rows.collect()
}
