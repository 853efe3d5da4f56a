use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep_until};

use crate::{ApplicationKey, ServicePrincipalKey};

/// An object that is written to, by the key that it is addressed by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Lane {
    Application(ApplicationKey),
    ServicePrincipal(ServicePrincipalKey),
}

/// The objects that are being written to, or were a moment ago.
#[derive(Debug, Default)]
pub(super) struct Lanes(Mutex<HashMap<Lane, Arc<tokio::sync::Mutex<Option<Instant>>>>>);

/// How many are kept before those that nobody waits for are forgotten.
const LIMIT: usize = 1024;

impl Lanes {
    pub(super) async fn turn(&self, lane: &Lane, spacing: Duration) -> Turn {
        let last = self.find(lane, spacing).lock_owned().await;
        // A timer takes a millisecond even for what is past.
        let free = last.map(|ended| ended + spacing);
        if let Some(free) = free.filter(|free| *free > Instant::now()) {
            sleep_until(free).await;
        }
        Turn(last)
    }

    fn find(&self, lane: &Lane, spacing: Duration) -> Arc<tokio::sync::Mutex<Option<Instant>>> {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = lanes.get(lane) {
            return Arc::clone(found);
        }
        if lanes.len() >= LIMIT {
            let now = Instant::now();
            lanes.retain(|_, lane| {
                let ended = lane
                    .try_lock()
                    .map(|last| last.map(|ended| ended + spacing));
                Arc::strong_count(lane) > 1 || ended.is_ok_and(|free| free > Some(now))
            });
        }
        Arc::clone(lanes.entry(lane.clone()).or_default())
    }
}

#[cfg(test)]
impl Lanes {
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The right to write to an object. It ends with this value, whether the write came to an end or not.
#[derive(Debug)]
pub(crate) struct Turn(OwnedMutexGuard<Option<Instant>>);

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0 = Some(Instant::now());
    }
}
