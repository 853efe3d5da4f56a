use async_trait::async_trait;

use super::{ConnectionStore, Cursor, StoreError, StoreErrorKind};
use crate::{ConnectionId, Consumer, Entry, JournalHead, verify_journal};

/// What follows from a [`ConnectionStore`]. It is there for every one; don't implement it.
#[async_trait]
pub trait ConnectionStoreExt: ConnectionStore {
    /// Reads a connection's whole journal.
    ///
    /// # Errors
    ///
    /// Returns an error when some of it could not be read.
    async fn whole_journal(&self, id: ConnectionId) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry: &Entry| entry.seq);
            let page = self.journal(id, after, PAGE).await?;
            // One that does not go on was meddled with, and would be read for ever.
            let goes_on = page.last().is_some_and(|entry| entry.seq > after);
            let more = goes_on && page.len() == PAGE as usize;
            entries.extend(page);
            if !more {
                return Ok(entries);
            }
        }
    }

    /// Checks that a connection's journal is as it was written: no entry changed, added, missing or moved, by
    /// its number or by its place in the outbox. Works for deleted connections too.
    ///
    /// Whoever can write the whole database can write another journal in place of this one. Compare with
    /// what left the machine through the outbox, or with a backup.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](StoreErrorKind::Corrupt), with [`BrokenJournal`](crate::BrokenJournal) as the source,
    /// when it is not; [`NotFound`](StoreErrorKind::NotFound) when there never was such a connection.
    async fn verify(&self, id: ConnectionId) -> Result<JournalHead, StoreError> {
        loop {
            let head = self.journal_head(id).await?;
            let entries = self.whole_journal(id).await?;
            let Err(broken) = verify_journal(&entries, &head) else {
                return Ok(head);
            };
            // Somebody may have added entries since the head was read.
            if self.journal_head(id).await? == head {
                return Err(StoreError::new(StoreErrorKind::Corrupt, broken.to_string())
                    .with_source(broken));
            }
        }
    }

    /// Reads where a connection's journal ends by its record, or by its tombstone.
    ///
    /// # Errors
    ///
    /// [`NotFound`](StoreErrorKind::NotFound) when there never was such a connection.
    async fn journal_head(&self, id: ConnectionId) -> Result<JournalHead, StoreError> {
        if let Some(stored) = self.load(id).await? {
            return Ok(stored.connection.journal);
        }
        let tombstone = self.tombstone(id).await?;
        tombstone
            .map(|tombstone| tombstone.journal)
            .ok_or_else(StoreError::not_found)
    }

    /// Reads up to `limit` journal entries that `consumer` has not acknowledged.
    ///
    /// Work on them, then [`acknowledge`](ConnectionStore::acknowledge) the cursor of the last one. What
    /// was read and not acknowledged is read again: at least once, in order.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    async fn unacknowledged(
        &self,
        consumer: &Consumer,
        limit: u32,
    ) -> Result<Vec<(Cursor, Entry)>, StoreError> {
        let cursor = self.acknowledged(consumer).await?;
        self.entries(cursor, limit).await
    }
}

impl<T: ConnectionStore + ?Sized> ConnectionStoreExt for T {}

/// How many entries are read at a time: some 200 kB.
const PAGE: u32 = 500;
