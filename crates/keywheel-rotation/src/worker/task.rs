use chrono::{DateTime, Utc};
use keywheel_connection::{Connection, ConnectionId, LeaseChange, Save};
use keywheel_core::Report;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{
    Advance, RotateError, RotateErrorKind, Rotator, Step, Work, decide, metrics, next_due,
    step_name,
};

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
        let advance = match measured(&rotator, &mut work).await {
            Ok(advance) => advance,
            Err(error) => {
                return failed(work.connection().id, &error);
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

fn failed(connection: ConnectionId, error: &RotateError) -> Turn {
    match error.kind() {
        RotateErrorKind::Gone => Turn::Done,
        RotateErrorKind::LeaseLost => {
            tracing::info!(%connection, "worker.lease_lost");
            Turn::LeaseLost
        }
        RotateErrorKind::Store => {
            tracing::warn!(%connection, error = %Report(error), "worker.step_not_saved");
            Turn::StoreFailed
        }
    }
}

/// Makes the next step, and measures it.
async fn measured(rotator: &Rotator, work: &mut Work) -> Result<Advance, RotateError> {
    let now = rotator.now();
    let policy = rotator.policy_of(work.connection());
    let step = decide(work.connection(), now, &policy);
    if let (Step::Mint { .. }, Some(due)) = (&step, begins(work.connection(), now)) {
        metrics::lag(now - due);
    }
    let begun = Instant::now();
    let advanced = Box::pin(rotator.advance(work)).await;
    if let Some(step) = step_name::of(&step) {
        let outcome = match &advanced {
            Ok(_) => "saved",
            Err(error) if error.kind() == RotateErrorKind::LeaseLost => "lease-lost",
            Err(_) => "store-failed",
        };
        metrics::step(step, outcome, begun.elapsed());
    }
    advanced
}

/// When the rotation that begins now was asked for or due.
fn begins(connection: &Connection, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let rotation = connection.rotation.as_ref()?;
    if rotation.run.is_some() {
        return None;
    }
    let due = || Some(next_due(rotation, &connection.secrets()?.current, now)?.0);
    rotation.request.map(|request| request.at).or_else(due)
}

/// Puts a claimed connection back, to be claimed again at `at`.
pub(super) async fn put_back(rotator: Rotator, mut work: Work, at: DateTime<Utc>) -> Turn {
    metrics::put_back();
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
