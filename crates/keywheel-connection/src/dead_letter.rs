use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{ConnectionId, Consumer, Cursor, StoreError};

/// Keeps the events that were given up for a consumer, until somebody sends them again or drops them.
///
/// # Contract
///
/// * **Durable.** `Ok` means that the write survives the end of the process and of the machine.
/// * **Linearizable.** Reads see every write that was acknowledged before.
/// * A letter is found by its consumer and its cursor; what is kept under the same ones again takes the
///   place of the one before.
/// * **Apart.** A consumer's letters are never among another one's.
/// * Times are kept to the microsecond, and texts as they are, but for the character NUL, which is in none.
/// * Calls may be repeated and dropped at any point.
///
/// Stores implement it beside [`ConnectionStore`](crate::ConnectionStore), and the suite of feature
/// `conformance` holds them to it.
#[async_trait]
pub trait DeadLetters: Debug + Send + Sync {
    /// Keeps a letter.
    ///
    /// # Errors
    ///
    /// Returns an error when it may not have been kept.
    async fn keep_dead_letter(
        &self,
        consumer: &Consumer,
        letter: &DeadLetter,
    ) -> Result<(), StoreError>;

    /// Reads up to `limit` letters of a consumer, those after `after`, in the order of the outbox.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    async fn dead_letters(
        &self,
        consumer: &Consumer,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError>;

    /// Drops the letter at `cursor`. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// Returns an error when it may not have been dropped.
    async fn drop_dead_letter(
        &self,
        consumer: &Consumer,
        cursor: Cursor,
    ) -> Result<bool, StoreError>;
}

/// An event that was given up. The journal has the event itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::exhaustive_structs, reason = "what every store keeps")]
pub struct DeadLetter {
    /// Its place in the outbox.
    pub cursor: Cursor,
    /// The connection.
    pub connection: ConnectionId,
    /// Which of its events.
    pub seq: u64,
    /// When it was given up.
    pub given_up_at: DateTime<Utc>,
    /// How many times it was tried.
    pub attempts: u32,
    /// What the last attempt said.
    pub error: String,
}

#[async_trait]
impl<T: DeadLetters + ?Sized> DeadLetters for Arc<T> {
    async fn keep_dead_letter(
        &self,
        consumer: &Consumer,
        letter: &DeadLetter,
    ) -> Result<(), StoreError> {
        (**self).keep_dead_letter(consumer, letter).await
    }

    async fn dead_letters(
        &self,
        consumer: &Consumer,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        (**self).dead_letters(consumer, after, limit).await
    }

    async fn drop_dead_letter(
        &self,
        consumer: &Consumer,
        cursor: Cursor,
    ) -> Result<bool, StoreError> {
        (**self).drop_dead_letter(consumer, cursor).await
    }
}
