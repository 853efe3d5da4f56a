mod health;
mod shift;
mod task;
mod tenants;

use std::fmt;
use std::time::Duration;

pub use self::health::{WorkerHealth, WorkerMonitor};
use self::shift::Shift;
use crate::Rotator;

/// Claims due connections from the store and drives many of them at once.
///
/// Any number of workers share the work, in one process or in many, without being told of each other:
/// the store's leases divide it. A worker that dies leaves its leases to end by themselves, and the
/// others go on where it was.
///
/// * **Nothing stampedes.** At most [`in_flight`](WorkerOptions::in_flight) connections are driven at
///   once, and of one Entra tenant at most [`per_tenant`](WorkerOptions::per_tenant). What a tenant has
///   no room for is put back with a later time to wake, one after the other at the pace at which that
///   tenant's connections are done with; so ten thousand due connections of one customer don't stand in
///   front of another's. Emergency rotations pass by the queue of their tenant, and need one of the places of
///   [`in_flight`](WorkerOptions::in_flight) as all do.
/// * **The store may be away.** A worker goes on asking, less and less often up to every 30 seconds, and
///   never ends by itself.
/// * **A step that panics** ends only its own connection's turn; the lease runs out, and the next turn
///   accounts for it as for a crash.
///
/// ```no_run
/// # async fn run(rotator: keywheel_rotation::Rotator, terminated: impl Future<Output = ()> + Send) {
/// use keywheel_rotation::Worker;
///
/// let worker = Worker::new(rotator);
/// let monitor = worker.monitor(); // for a health check
/// let ended = worker.run(terminated).await;
/// assert_eq!(ended.abandoned, 0);
/// # }
/// ```
pub struct Worker {
    rotator: Rotator,
    options: WorkerOptions,
    monitor: WorkerMonitor,
}

/// How a [`Worker`] works. The defaults suit one connection and a hundred thousand.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// How many connections are driven at once, by this worker. Default: 256. Most of them wait for the next proof most of
    /// the time. Each takes up to some 80 KiB, with the TLS connection that proves a secret on its own.
    pub in_flight: usize,
    /// How many of one Entra tenant, by this worker: three replicas drive three times as many. Default: 16, well
    /// within what Graph allows one application.
    pub per_tenant: usize,
    /// How many are claimed in one call. Default: 64.
    pub batch: u32,
    /// How often the store is asked when it gives no hint. Default: 5 seconds, give or take a tenth so
    /// that replicas spread.
    pub poll: Duration,
    /// How long a shutdown waits for steps in progress; [`Duration::MAX`] for as long as it takes. Default: 20
    /// seconds, below the 30 after which container platforms kill.
    pub shutdown: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            in_flight: 256,
            per_tenant: 16,
            batch: 64,
            poll: Duration::from_secs(5),
            shutdown: Duration::from_secs(20),
        }
    }
}

/// How a [`Worker`] ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerEnded {
    /// Connections that were handed over between two steps. Another worker may take them at once.
    pub parked: usize,
    /// Steps that the deadline cut off. Their leases end by themselves, and the next worker accounts for
    /// them as for a crash.
    pub abandoned: usize,
}

impl Worker {
    /// Returns a worker with the default options.
    #[must_use]
    pub fn new(rotator: Rotator) -> Self {
        let monitor = WorkerMonitor::new(rotator.parts().clock.clone());
        Self {
            rotator,
            options: WorkerOptions::default(),
            monitor,
        }
    }

    /// Sets how it works.
    #[must_use]
    pub fn options(mut self, options: WorkerOptions) -> Self {
        self.options = options;
        self
    }

    /// Returns what tells how the worker is, while it runs and after.
    #[must_use]
    pub fn monitor(&self) -> WorkerMonitor {
        self.monitor.clone()
    }

    /// Works until `shutdown` is done, then hands over what is in flight.
    ///
    /// On shutdown nothing new is claimed, and every connection finishes the step that it is in and gives
    /// its lease back. That takes up to [`WorkerOptions::shutdown`]; what takes longer is abandoned.
    ///
    /// Dropping the future is a crash: safe, but others wait for the leases to end.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> WorkerEnded {
        let shift = Shift::new(self.rotator, self.options, self.monitor);
        Box::pin(shift.work(shutdown)).await
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
