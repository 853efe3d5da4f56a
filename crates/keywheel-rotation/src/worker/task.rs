use chrono::{DateTime, Utc};
use keywheel_connection::{LeaseChange, Save};
use keywheel_core::Report;
use tokio::sync::watch;

use crate::{Advance, RotateErrorKind, Rotator, Work};

/// How a turn of one connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is nothing to do for a while, and the lease was given back.
    Done,
    /// The worker is to stop: handed over between two steps.
    Parked,
    /// Somebody else took over.
    LeaseLost,
    /// The store failed. The lease ends by itself.
    StoreFailed,
}

/// Drives one connection until there is nothing to do for a while, or `stop` says so.
pub(super) async fn drive(
    rotator: Rotator,
    mut work: Work,
    mut stop: watch::Receiver<bool>,
) -> Turn {
    loop {
        if *stop.borrow() {
            rotator.release(&mut work).await;
            return Turn::Parked;
        }
        let advance = match Box::pin(rotator.advance(&mut work)).await {
            Ok(advance) => advance,
            Err(error) => {
                let connection = work.connection().id;
                if error.kind() == RotateErrorKind::LeaseLost {
                    tracing::info!(%connection, "worker.lease_lost");
                    return Turn::LeaseLost;
                }
                tracing::warn!(%connection, error = %Report(&error), "worker.step_not_saved");
                return Turn::StoreFailed;
            }
        };
        if !work.is_held() {
            return Turn::Done;
        }
        match advance {
            Advance::Stepped => {}
            Advance::Waiting {
                until: Some(at), ..
            } => {
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => {}
                    () = rotator.sleep_until(at) => {}
                }
            }
            Advance::Waiting { until: None, .. } => {
                rotator.release(&mut work).await;
                return Turn::Done;
            }
        }
    }
}

/// Puts a claimed connection back, to be claimed again at `at`.
pub(super) async fn put_back(rotator: Rotator, mut work: Work, at: DateTime<Utc>) -> Turn {
    let (connection, lease) = (work.connection(), work.lease());
    let save = Save::new(connection, work.version(), &[])
        .wake_at(Some(at))
        .under(lease, LeaseChange::Release);
    if rotator.parts().store.save(save).await.is_err() {
        // Somebody changed it, or the store is away: whoever claims it next decides anew.
        rotator.release(&mut work).await;
    }
    Turn::Done
}
