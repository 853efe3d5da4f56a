use async_trait::async_trait;
use keywheel_connection::{Consumer, Cursor, DeadLetter, DeadLetters, StoreError};
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::PostgresStore;
use crate::error::Fault;
use crate::link::Param;
use crate::row::{count, instant, micros, uncount};

#[async_trait]
impl DeadLetters for PostgresStore {
    async fn keep_dead_letter(
        &self,
        consumer: &Consumer,
        letter: &DeadLetter,
    ) -> Result<(), StoreError> {
        let params: [Param<'_>; 7] = [
            (&consumer.as_str(), Type::TEXT),
            (&count(letter.cursor.0), Type::INT8),
            (letter.connection.as_uuid(), Type::UUID),
            (&count(letter.seq), Type::INT8),
            (&micros(letter.given_up_at), Type::INT8),
            (&i64::from(letter.attempts), Type::INT8),
            (&letter.error, Type::TEXT),
        ];
        self.database().write(KEEP, &params).await?;
        Ok(())
    }

    async fn dead_letters(
        &self,
        consumer: &Consumer,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let params: [Param<'_>; 3] = [
            (&consumer.as_str(), Type::TEXT),
            (&count(after.0), Type::INT8),
            (&i64::from(limit), Type::INT8),
        ];
        let rows = self.database().read(READ, &params).await?;
        let letters: Result<_, Fault> = rows.iter().map(letter).collect();
        Ok(letters?)
    }

    async fn drop_dead_letter(
        &self,
        consumer: &Consumer,
        cursor: Cursor,
    ) -> Result<bool, StoreError> {
        let params: [Param<'_>; 2] = [
            (&consumer.as_str(), Type::TEXT),
            (&count(cursor.0), Type::INT8),
        ];
        Ok(!self.database().write(DROP, &params).await?.is_empty())
    }
}

const KEEP: &str = "WITH clock AS MATERIALIZED (SELECT keywheel.durably())
    INSERT INTO keywheel.dead_letter
        (consumer, position, connection, seq, given_up_at, attempts, error)
    SELECT $1, $2, $3, $4, $5, $6, $7 FROM clock
    ON CONFLICT (consumer, position) DO UPDATE
    SET given_up_at = excluded.given_up_at, attempts = excluded.attempts, error = excluded.error";

const READ: &str = "SELECT position, connection, seq, given_up_at, attempts, error
    FROM keywheel.dead_letter
    WHERE consumer = $1 AND position > $2 ORDER BY position LIMIT $3";

const DROP: &str = "WITH clock AS MATERIALIZED (SELECT keywheel.durably())
    DELETE FROM keywheel.dead_letter USING clock
    WHERE consumer = $1 AND position = $2 RETURNING position";

/// Reads the columns of [`READ`].
fn letter(row: &Row) -> Result<DeadLetter, Fault> {
    let attempts: i64 = row.try_get(4)?;
    Ok(DeadLetter {
        cursor: Cursor(uncount(row.try_get(0)?)),
        connection: row.try_get::<_, Uuid>(1)?.into(),
        seq: uncount(row.try_get(2)?),
        given_up_at: instant(row.try_get(3)?),
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        error: row.try_get(5)?,
    })
}
