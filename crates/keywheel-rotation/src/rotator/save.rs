use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use keywheel_connection::{
    Actor, Connection, EventKind, LeaseChange, Save, StoreError, StoreErrorKind, Version, Versioned,
};
use tokio::time::sleep;

use super::{RotateError, Rotator, Work};
use crate::apply::{News, Outcome, apply};
use crate::decide::is_moot;
use crate::{Step, decide};

impl Rotator {
    /// Applies an outcome and every record-only step that follows from it, and saves all of it at once.
    pub(super) async fn commit(
        &self,
        work: &mut Work,
        outcome: Option<&Outcome>,
    ) -> Result<(), RotateError> {
        self.save(work, outcome, Fold::RecordOnly).await.map(drop)
    }

    /// Saves, against a newer version if somebody changed the connection meanwhile.
    ///
    /// What has happened is applied to the newer version. What is only about to happen is not, because it
    /// was decided on the older one: returns `false` then.
    pub(super) async fn save(
        &self,
        work: &mut Work,
        outcome: Option<&Outcome>,
        fold: Fold,
    ) -> Result<bool, RotateError> {
        loop {
            let change = self.change(&work.connection, outcome, fold);
            let error = match self.write(work, &change).await {
                Ok(version) => {
                    self.committed(work, change, version);
                    return Ok(true);
                }
                Err(error) => error,
            };
            let newest = match error.kind() {
                StoreErrorKind::Conflict | StoreErrorKind::LeaseLost => self.newest(work).await?,
                _ => return Err(error.into()),
            };
            let made = self.was_made(&change, &newest.connection).await?;
            let unchanged = newest.connection.journal == change.connection.journal;
            if made {
                self.committed(work, change, newest.version);
            } else if error.kind() == StoreErrorKind::LeaseLost {
                return Err(error.into());
            }
            if made && unchanged {
                return Ok(true);
            }
            work.connection = newest.connection;
            work.version = newest.version;
            if fold == Fold::Nothing {
                return Ok(false);
            }
            if made {
                return Ok(true);
            }
        }
    }

    /// A save that was reported lost may have been made after all, and somebody may have changed the
    /// connection since: the journal tells.
    async fn was_made(&self, change: &Change, newest: &Connection) -> Result<bool, StoreError> {
        let ours = change.connection.journal;
        if change.news.entries.is_empty() || newest.journal.seq <= ours.seq {
            return Ok(newest.journal == ours);
        }
        let store = &self.parts().store;
        let at = store.journal(newest.id, ours.seq - 1, 1).await?;
        Ok(at.first().is_some_and(|entry| entry.digest == ours.digest))
    }

    /// Writes a change; again while the store does not answer.
    async fn write(&self, work: &Work, change: &Change) -> Result<Version, StoreError> {
        let mut failures = 0;
        loop {
            let save = Save::new(&change.connection, work.version, &change.news.entries)
                .wake_at(change.wake_at)
                .under(&work.lease, change.lease);
            let saved = self.parts().store.save(save).await;
            match &saved {
                Err(error) if is_to_be_repeated(error, failures) => {}
                _ => return saved,
            }
            a_moment(&mut failures).await;
        }
    }

    /// Deletes the connection, with its last journal entry.
    pub(super) async fn save_deleting(
        &self,
        work: &mut Work,
        last: EventKind,
    ) -> Result<(), RotateError> {
        let mut connection = Connection::clone(&work.connection);
        let entries = [connection.record(&Actor::engine(), self.now(), last.clone())];
        let mut failures = 0;
        loop {
            let save = Save::new(&connection, work.version, &entries)
                .under(&work.lease, LeaseChange::Release)
                .deleting();
            match self.parts().store.save(save).await {
                Ok(_) => break,
                Err(error) if is_to_be_repeated(&error, failures) => a_moment(&mut failures).await,
                // The save that got no answer was made.
                Err(error) if error.kind() == StoreErrorKind::NotFound && failures > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        work.released = true;
        self.gauges().committed(&connection, &[last], self.now());
        if let Some(events) = &self.parts().events {
            events.committed(&entries);
        }
        Ok(())
    }

    pub(super) async fn newest(&self, work: &Work) -> Result<Versioned, RotateError> {
        let stored = self.parts().store.load(work.connection.id).await?;
        Ok(stored.ok_or_else(StoreError::not_found)?)
    }

    fn committed(&self, work: &mut Work, change: Change, version: Version) {
        // Where only the lease or the time to wake was saved, nothing that is shown has changed.
        if !Arc::ptr_eq(&work.connection, &change.connection) {
            let (connection, events) = (&change.connection, &change.news.events);
            self.gauges().committed(connection, events, self.now());
        }
        work.connection = change.connection;
        work.version = version;
        work.released |= change.lease == LeaseChange::Release;
        for entry in &change.news.entries {
            tracing::debug!(
                connection = %entry.connection,
                seq = entry.seq,
                "rotation.step.done"
            );
        }
        if let Some(events) = &self.parts().events {
            events.committed(&change.news.entries);
        }
    }

    /// A record that nothing changes is not copied: only its lease or its time to wake is saved.
    fn change(&self, before: &Arc<Connection>, outcome: Option<&Outcome>, fold: Fold) -> Change {
        let now = self.now();
        let policy = &*self.policy_of(before);
        let mut connection = Arc::clone(before);
        let mut news = News::default();
        if let Some(outcome) = outcome {
            news = apply(Arc::make_mut(&mut connection), outcome, now, policy);
        }
        if fold == Fold::Nothing {
            return Change {
                connection,
                news,
                wake_at: Some(now),
                lease: LeaseChange::Extend(policy.lease),
            };
        }
        loop {
            let step = decide(&connection, now, policy);
            let moot = || is_moot(&connection, now).then_some(Outcome::Moot);
            let Some(outcome) = record_only(&step).or_else(moot) else {
                let wake_at = step.wake_at(now);
                let lease = self.lease_until(now, wake_at);
                return Change {
                    connection,
                    news,
                    wake_at,
                    lease,
                };
            };
            news.add(apply(Arc::make_mut(&mut connection), &outcome, now, policy));
        }
    }

    /// Keeps the lease over waits that are short beside it.
    fn lease_until(&self, now: DateTime<Utc>, wake_at: Option<DateTime<Utc>>) -> LeaseChange {
        let span = self.policy().lease;
        let soon = wake_at.is_some_and(|at| (at - now).to_std().unwrap_or_default() <= span / 2);
        if soon {
            LeaseChange::Extend(span)
        } else {
            LeaseChange::Release
        }
    }

    /// Gives the lease back when there is nothing to do for a while, and notes when there is.
    pub(super) async fn hand_back(
        &self,
        work: &mut Work,
        until: Option<DateTime<Utc>>,
    ) -> Result<(), RotateError> {
        let now = self.now();
        if work.released || matches!(self.lease_until(now, until), LeaseChange::Extend(_)) {
            return Ok(());
        }
        self.commit(work, None).await
    }
}

/// Whether to ask a store again that did not answer.
pub(super) fn is_to_be_repeated(error: &StoreError, failures: u32) -> bool {
    error.kind() == StoreErrorKind::Unavailable && failures < 5
}

/// Waits before a store is asked again, for longer each time.
pub(super) async fn a_moment(failures: &mut u32) {
    sleep(Duration::from_millis(100 << *failures)).await;
    *failures += 1;
}

/// Which steps are saved together with an outcome.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    /// None: an intent must be stored as it is.
    Nothing,
    /// Those that change nothing but the record.
    RecordOnly,
}

struct Change {
    connection: Arc<Connection>,
    news: News,
    wake_at: Option<DateTime<Utc>>,
    lease: LeaseChange,
}

pub(crate) fn record_only(step: &Step) -> Option<Outcome> {
    match step {
        Step::Abandon => Some(Outcome::Abandoned),
        Step::Abort => Some(Outcome::Aborted),
        Step::Adopt => Some(Outcome::Adopted),
        Step::TakeLeave => Some(Outcome::TookLeave),
        Step::Quarantine => Some(Outcome::Quarantined),
        Step::Promote => Some(Outcome::Promoted),
        Step::Finish => Some(Outcome::Finished),
        Step::SetBack => Some(Outcome::SetBack),
        Step::Remind { days } => Some(Outcome::Reminded { days: *days }),
        Step::Deliver { .. }
        | Step::Delete
        | Step::Inspect
        | Step::Mint { .. }
        | Step::Prove
        | Step::Publish { .. }
        | Step::Retire { .. }
        | Step::Wait { .. } => None,
    }
}
