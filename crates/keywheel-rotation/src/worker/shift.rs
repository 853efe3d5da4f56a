use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use keywheel_connection::{Cause, Claimed, Connection, Holder, StoreError};
use keywheel_core::{Report, TenantId};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::task::{Turn, drive, put_back};
use super::tenants::{Entry, Tenants};
use super::{WorkerEnded, WorkerMonitor, WorkerOptions};
use crate::{Rotator, Work};

/// What a worker does from its start to its end.
pub(super) struct Shift {
    rotator: Rotator,
    options: WorkerOptions,
    monitor: WorkerMonitor,
    holder: Holder,
    tenants: Tenants,
    turns: JoinSet<Turn>,
    /// Whose turn each task is. Those that only put a connection back are nobody's.
    inside: HashMap<Id, (TenantId, Instant)>,
    stop: watch::Sender<bool>,
    claiming: Option<Claiming>,
    /// When to claim next, unless there is a hint before.
    claim_at: Instant,
    /// When the last claim was answered.
    claimed_at: Instant,
    /// How many claims in a row failed.
    failures: u32,
    ended: WorkerEnded,
}

struct Claiming {
    wanted: usize,
    claimed: BoxFuture<'static, Result<Vec<Claimed>, StoreError>>,
}

/// Hints that come in a swarm lead to one claim.
const GATHER: Duration = Duration::from_millis(5);

/// Where connections are done with one by one, their places are filled together: claims for a few are this
/// far apart.
const APART: Duration = Duration::from_millis(20);

/// As long as it takes: thirty years, which can be added to any instant.
const FOREVER: Duration = Duration::from_hours(30 * 365 * 24);

impl Shift {
    pub(super) fn new(rotator: Rotator, options: WorkerOptions, monitor: WorkerMonitor) -> Self {
        let holder = Holder::from(rotator.parts().entropy.uuid());
        Self {
            tenants: Tenants::new(options.per_tenant),
            rotator,
            options,
            monitor,
            holder,
            turns: JoinSet::new(),
            inside: HashMap::new(),
            stop: watch::Sender::new(false),
            claiming: None,
            claim_at: Instant::now(),
            claimed_at: Instant::now(),
            failures: 0,
            ended: WorkerEnded::default(),
        }
    }

    pub(super) async fn work(mut self, shutdown: impl Future<Output = ()> + Send) -> WorkerEnded {
        tracing::info!(worker = %self.holder, "worker.started");
        self.monitor.running(true);
        #[cfg(feature = "metrics")]
        let _surveyor = self.surveyor();
        self.until(shutdown).await;
        self.hand_over().await;
        self.monitor.running(false);
        let WorkerEnded { parked, abandoned } = self.ended;
        tracing::info!(worker = %self.holder, parked, abandoned, "worker.ended");
        self.ended
    }

    async fn until(&mut self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = pin!(shutdown);
        let store = self.rotator.parts().store.clone();
        loop {
            self.monitor.in_flight(self.turns.len());
            let idle = self.claiming.is_none() && self.room() > 0;
            let claim_at = self.next_claim();
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(turn) = self.turns.join_next_with_id() => self.turned(turn),
                claimed = claimed(&mut self.claiming) => self.claimed(claimed),
                () = sleep_until(claim_at), if idle => self.claim(),
                () = store.due_hint(), if idle && self.failures == 0 => {
                    self.claim_at = self.claim_at.min(Instant::now() + GATHER);
                }
            }
        }
    }

    /// Ends when the set is dropped.
    #[cfg(feature = "metrics")]
    fn surveyor(&self) -> JoinSet<()> {
        let mut surveyor = JoinSet::new();
        surveyor.spawn(crate::metrics::survey(self.rotator.clone()));
        surveyor
    }

    fn room(&self) -> usize {
        self.options
            .in_flight
            .max(1)
            .saturating_sub(self.turns.len())
    }

    fn next_claim(&self) -> Instant {
        let many = self.options.in_flight.div_ceil(16);
        if self.room() >= many.min(self.options.batch as usize) {
            self.claim_at
        } else {
            self.claim_at.max(self.claimed_at + APART)
        }
    }

    fn claim(&mut self) {
        let wanted = self.room().min(self.options.batch.max(1) as usize);
        let limit = u32::try_from(wanted).unwrap_or(u32::MAX);
        let (store, holder) = (self.rotator.parts().store.clone(), self.holder);
        let lease = self.rotator.policy().lease;
        let claimed = async move { store.claim_due(holder, limit, lease).await };
        self.claiming = Some(Claiming {
            wanted,
            claimed: claimed.boxed(),
        });
    }

    fn claimed(&mut self, (wanted, claimed): (usize, Result<Vec<Claimed>, StoreError>)) {
        let now = Instant::now();
        self.claimed_at = now;
        match claimed {
            Ok(claimed) => {
                self.failures = 0;
                self.monitor.answered();
                // A full batch says that there is more.
                let more = claimed.len() >= wanted;
                self.claim_at = now + if more { Duration::ZERO } else { self.pause() };
                for claimed in claimed {
                    self.begin(claimed.into());
                }
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures == 1 {
                    tracing::warn!(error = %Report(&error), "worker.store_away");
                }
                self.monitor.away(Report(&error).to_string());
                self.claim_at = now + self.patience();
            }
        }
    }

    /// The poll interval, give or take a tenth.
    fn pause(&self) -> Duration {
        let unit = self.rotator.parts().entropy.unit();
        self.options.poll.min(FOREVER).mul_f64(0.9 + unit / 5.0)
    }

    /// How long a store that failed is left alone: one second, doubling up to thirty, jittered.
    fn patience(&self) -> Duration {
        let unit = self.rotator.parts().entropy.unit();
        let seconds = 1_u32 << (self.failures - 1).min(5);
        Duration::from_secs(seconds.min(30).into()).mul_f64(0.5 + unit / 2.0)
    }

    fn begin(&mut self, work: Work) {
        let (rotator, now) = (self.rotator.clone(), self.rotator.now());
        let tenant = work.connection().tenant.clone();
        match self
            .tenants
            .enter(&tenant, is_urgent(work.connection()), now)
        {
            Entry::Admitted => {
                let turn = drive(rotator, work, self.stop.subscribe());
                let task = self.turns.spawn(turn).id();
                self.inside.insert(task, (tenant, Instant::now()));
            }
            Entry::Later(at) => {
                self.turns.spawn(put_back(rotator, work, at));
            }
        }
    }

    fn turned(&mut self, turn: Result<(Id, Turn), JoinError>) {
        let (task, turn) = match turn {
            Ok((task, turn)) => (task, Some(turn)),
            // What it panicked with may be anything, and is not logged: the panic hook has shown it.
            Err(error) if error.is_panic() => {
                tracing::error!("worker.panicked");
                self.monitor.panicked();
                (error.id(), None)
            }
            Err(error) => (error.id(), None),
        };
        match turn {
            Some(Turn::LeaseLost) => self.monitor.lease_lost(),
            Some(Turn::Parked) => self.ended.parked += 1,
            Some(Turn::Done | Turn::StoreFailed) | None => {}
        }
        if let Some((tenant, since)) = self.inside.remove(&task) {
            let stay = TimeDelta::from_std(since.elapsed()).unwrap_or_default();
            self.tenants.left(&tenant, stay, self.rotator.now());
        }
    }

    /// Lets every step in progress end and gives the leases back, within the deadline.
    async fn hand_over(&mut self) {
        let deadline = Instant::now() + self.options.shutdown.min(FOREVER);
        self.stop.send_replace(true);
        if let Some(claiming) = self.claiming.take()
            && let Ok(Ok(claimed)) = timeout_at(deadline, claiming.claimed).await
        {
            for claimed in claimed {
                // Their turn ends before their first step.
                self.begin(claimed.into());
            }
        }
        while let Ok(Some(turn)) = timeout_at(deadline, self.turns.join_next_with_id()).await {
            self.turned(turn);
        }
        self.ended.abandoned = self.turns.len();
        self.turns.shutdown().await;
        self.monitor.in_flight(0);
    }
}

/// Waits for the claim that is being made; for ever when there is none.
async fn claimed(claiming: &mut Option<Claiming>) -> (usize, Result<Vec<Claimed>, StoreError>) {
    let Some(claim) = claiming else {
        return std::future::pending().await;
    };
    let claimed = (&mut claim.claimed).await;
    let wanted = claim.wanted;
    *claiming = None;
    (wanted, claimed)
}

/// A leak does not wait in a queue.
fn is_urgent(connection: &Connection) -> bool {
    let rotation = connection.rotation.as_ref();
    let request = rotation.and_then(|rotation| rotation.request);
    let run = rotation.and_then(|rotation| rotation.run);
    let causes = [
        request.map(|request| request.cause),
        run.map(|run| run.cause),
    ];
    causes.contains(&Some(Cause::Emergency))
}
