use std::time::Duration;

use chrono::{DateTime, Utc};
use keywheel_connection::{Connection, ConnectionId, StoreError, StoreErrorKind};
use tokio::time::sleep;

use super::save::{a_moment, is_to_be_repeated};
use super::{Advance, RotateError, Rotator, Work};
use crate::{Step, Waiting, decide};

impl Rotator {
    /// Advances a connection until `done` says so, there is nothing more to do before `deadline`, or
    /// an error comes up that trying again for some seconds did not end. Waits by the clock of `tokio::time`.
    ///
    /// Returns what it was waiting for when it stopped, or `None` when `done` said so. For a connection
    /// that was deleted there is nothing to wait for: [`Waiting::Idle`].
    ///
    /// # Errors
    ///
    /// Returns an error when the store failed five times more in some three seconds, which
    /// [is transient](RotateError::is_transient): drive it again later. Besides when it refuses, when another
    /// process took the connection over, and when somebody deleted it in the middle of a step.
    pub async fn drive(
        &self,
        id: ConnectionId,
        deadline: DateTime<Utc>,
        done: impl Fn(&Connection) -> bool + Send + Sync,
    ) -> Result<Option<Waiting>, RotateError> {
        loop {
            let until = match self.lease_at_last(id).await {
                Ok(mut work) => match self.advance_until(&mut work, deadline, &done).await? {
                    None => return Ok(None),
                    Some((None, why)) => return Ok(Some(why)),
                    Some((Some(until), why)) if until > deadline => return Ok(Some(why)),
                    Some((Some(until), _)) => until,
                },
                Err(error) => match error.kind() {
                    StoreErrorKind::Held { until } if until <= deadline => until,
                    StoreErrorKind::Held { .. } => return Ok(Some(Waiting::Lease)),
                    StoreErrorKind::NotFound => return Ok(Some(Waiting::Idle)),
                    _ => return Err(error.into()),
                },
            };
            self.sleep_until(until).await;
        }
    }

    /// Takes the lease; again while the store does not answer. One that was given unheard ends by itself.
    async fn lease_at_last(&self, id: ConnectionId) -> Result<Work, StoreError> {
        let mut failures = 0;
        loop {
            let leased = self.lease(id).await;
            match &leased {
                Err(error) if is_to_be_repeated(error, failures) => {}
                _ => return leased,
            }
            a_moment(&mut failures).await;
        }
    }

    /// Advances leased work, and keeps the lease over short waits.
    async fn advance_until(
        &self,
        work: &mut Work,
        deadline: DateTime<Utc>,
        done: &(impl Fn(&Connection) -> bool + Send + Sync),
    ) -> Result<Option<(Option<DateTime<Utc>>, Waiting)>, RotateError> {
        loop {
            let advance = self.advance(work).await?;
            if done(&work.connection) {
                self.release(work).await;
                return Ok(None);
            }
            match advance {
                Advance::Stepped if !work.released => {}
                Advance::Stepped => return Ok(Some(self.waiting(&work.connection))),
                Advance::Waiting {
                    until: Some(at), ..
                } if !work.released && at <= deadline => self.sleep_until(at).await,
                Advance::Waiting { until, why } => {
                    self.release(work).await;
                    return Ok(Some((until, why)));
                }
            }
        }
    }

    fn waiting(&self, connection: &Connection) -> (Option<DateTime<Utc>>, Waiting) {
        let now = self.now();
        match decide(connection, now, &self.policy_of(connection)) {
            Step::Wait { until, why } => (until, why),
            step => (step.wake_at(now), Waiting::Due),
        }
    }

    pub(crate) async fn release(&self, work: &mut Work) {
        if !work.released {
            // A lease that can't be given back ends by itself.
            drop(self.parts().store.release(&work.lease).await);
            work.released = true;
        }
    }

    /// Sleeps until the wall clock shows `at`. It may step, so it is looked at every minute.
    pub(crate) async fn sleep_until(&self, at: DateTime<Utc>) {
        while let Ok(wait) = (at - self.now()).to_std()
            && !wait.is_zero()
        {
            sleep(wait.clamp(Duration::from_millis(1), Duration::from_secs(60))).await;
        }
    }
}
