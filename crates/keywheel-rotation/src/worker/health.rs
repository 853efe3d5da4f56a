use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::Clock;
use serde::Serialize;

/// Tells how a [`Worker`](crate::Worker) is. Clones tell of the same one.
#[derive(Clone)]
pub struct WorkerMonitor {
    clock: Arc<dyn Clock>,
    health: Arc<Mutex<WorkerHealth>>,
}

/// How a [`Worker`](crate::Worker) is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorkerHealth {
    /// Whether it runs: begun and not ended.
    pub running: bool,
    /// How many connections it holds.
    pub in_flight: usize,
    /// When the store last answered it.
    pub answered_at: Option<DateTime<Utc>>,
    /// Since when the store does not answer.
    pub store_away_since: Option<DateTime<Utc>>,
    /// What the store said, for a person.
    pub store_error: Option<String>,
    /// How many turns ended because somebody else had taken the lease.
    pub leases_lost: u64,
    /// How many turns ended in a panic.
    pub panics: u64,
}

impl WorkerHealth {
    /// Tells whether the worker runs and its store answers: what a readiness probe asks, or an alert.
    ///
    /// A liveness probe asks only whether it is [`running`](Self::running). A worker waits an outage of its store
    /// out by itself, and to restart every replica meanwhile helps nobody.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.running && self.store_away_since.is_none()
    }
}

impl WorkerMonitor {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            health: Arc::default(),
        }
    }

    /// Returns how the worker is now.
    #[must_use]
    pub fn health(&self) -> WorkerHealth {
        self.lock().clone()
    }

    /// Returns for how long the store has not answered; zero while it does.
    #[must_use]
    pub fn store_away(&self) -> TimeDelta {
        let since = self.lock().store_away_since;
        since.map_or_else(TimeDelta::zero, |since| self.clock.now() - since)
    }

    pub(super) fn running(&self, running: bool) {
        self.lock().running = running;
    }

    pub(super) fn in_flight(&self, count: usize) {
        crate::metrics::in_flight(count);
        self.lock().in_flight = count;
    }

    pub(super) fn answered(&self) {
        let now = self.clock.now();
        crate::metrics::store_answered(now);
        let mut health = self.lock();
        health.answered_at = Some(now);
        health.store_away_since = None;
        health.store_error = None;
    }

    pub(super) fn away(&self, error: String) {
        crate::metrics::store_failed();
        let mut health = self.lock();
        health
            .store_away_since
            .get_or_insert_with(|| self.clock.now());
        health.store_error = Some(error);
    }

    pub(super) fn lease_lost(&self) {
        crate::metrics::lease_lost();
        self.lock().leases_lost += 1;
    }

    pub(super) fn panicked(&self) {
        crate::metrics::panicked();
        self.lock().panics += 1;
    }

    fn lock(&self) -> MutexGuard<'_, WorkerHealth> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for WorkerMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.health().fmt(f)
    }
}
