//! Who may work on a connection: every claim, lease, renewal and release stopped before and after it, with its
//! answer lost, refused and made twice. The invariants are checked after each.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{Cause, ConnectionId, EventKind};
use keywheel_core::Clock;
use tokio::time::timeout;
use workspace_tests::{Fate, Rig, settings};

use crate::matrix::{begin, finish, lags, stopped};
use crate::ways::{WAYS, Way, both_drive};

/// Driven by id, with leases that are taken one at a time.
#[tokio::test(start_paused = true)]
async fn wherever_a_lease_fails_the_rotation_is_finished() {
    let lag = lags()[1];
    for way in WAYS {
        let (rig, id) = begin(way, lag).await;
        let before = rig.effects.holds().len();
        stopped(&rig, id).await;
        let calm = outcome(way, &rig, id).await;
        let holds = rig.effects.holds().split_off(before);
        assert!(holds.contains(&"lease"), "{}: {holds:?}", way.name);
        for (n, name) in holds.iter().enumerate() {
            for fate in Fate::ALL {
                let (rig, id) = begin(way, lag).await;
                rig.effects.plan_hold(n, fate);
                stopped(&rig, id).await;
                let what = format!("{name} {n} {fate:?}");
                finish(way, &rig, id, &what).await;
                let outcome = outcome(way, &rig, id).await;
                outcome.assert_no_worse_than(&calm, &format!("{}: {what}", way.name));
            }
        }
    }
}

/// Driven by workers, with claims and with calls so slow that leases are renewed during each.
#[tokio::test(start_paused = true)]
async fn wherever_a_claim_or_a_renewal_fails_the_workers_finish_it() {
    let mut met = Vec::new();
    for way in WAYS {
        let (rig, id) = begin_slowly(way).await;
        let before = rig.effects.holds().len();
        work(&rig, id).await;
        let calm = outcome(way, &rig, id).await;
        let holds = rig.effects.holds().split_off(before);
        for (n, name) in holds.iter().enumerate() {
            if *name == "idle claim" {
                continue;
            }
            for fate in Fate::ALL {
                let (rig, id) = begin_slowly(way).await;
                rig.effects.plan_hold(n, fate);
                let _ = rig.effects.run(work(&rig, id)).await;
                // Where the first one stopped, its leases end by themselves.
                work(&rig, id).await;
                let what = format!("{name} {n} {fate:?}, workers");
                finish(way, &rig, id, &what).await;
                let outcome = outcome(way, &rig, id).await;
                outcome.assert_no_worse_than(&calm, &format!("{}: {what}", way.name));
            }
            met.push(*name);
        }
    }
    for name in ["claim", "renew"] {
        assert!(met.contains(&name), "{met:?}");
    }
}

/// A call of a rotation takes no longer than the directory takes for it.
#[tokio::test(start_paused = true)]
async fn a_renewal_without_an_answer_holds_up_no_call() {
    let rig = Rig::new(640);
    let id = rig.create(settings()).await;
    rig.directory.set_call(Duration::from_secs(12));
    let rotator = rig.rotator();
    let mut work = rotator.lease(id).await.unwrap();
    rig.effects.plan_hold(0, Fate::Stall);

    let mint = timeout(Duration::from_secs(13), rotator.advance(&mut work));

    mint.await.expect("it waits for the store").unwrap();
    assert_eq!(rig.effects.holds().last(), Some(&"renew"));
    assert!(rig.status(id).await.candidate_key_id.is_some());
}

/// Each call takes longer than a lease lasts, so that it is renewed more than once during each.
#[tokio::test(start_paused = true)]
async fn of_two_processes_one_works_though_each_call_outlasts_a_lease() {
    let rig = Rig::new(43);
    let id = rig.rotating(settings()).await;
    rig.directory.set_call(Duration::from_secs(75));
    rig.request(id, Cause::Manual).await;
    let (one, two) = (rig.rotator(), rig.rotator());
    let deadline = rig.clock.now() + TimeDelta::hours(5);

    both_drive([&one, &two], id, deadline).await;

    rig.assert_clean(id, 2).await;
    assert_eq!(rig.directory.mint_calls().len(), 2, "one for each rotation");
    let events = rig.events(id).await;
    let trouble = events.iter().find(|event| {
        let found = matches!(event.kind, EventKind::OrphanFound { .. });
        found || matches!(event.kind, EventKind::Failed { .. })
    });
    assert!(trouble.is_none(), "{trouble:#?}");
}

/// What a lease that fails must not change: how many failures the journal tells of, whether there is trouble
/// in the end, and when the next rotation is due.
#[derive(Debug)]
struct Outcome {
    failures: usize,
    trouble: bool,
    next_due: Option<DateTime<Utc>>,
}

impl Outcome {
    /// A process that stopped may have tried less often what fails by itself.
    fn assert_no_worse_than(&self, calm: &Self, what: &str) {
        assert!(self.failures <= calm.failures, "{what}: {self:?}, {calm:?}");
        let end = |outcome: &Self| (outcome.trouble, outcome.next_due);
        assert_eq!(end(self), end(calm), "{what}");
    }
}

async fn outcome(way: &Way, rig: &Rig, id: ConnectionId) -> Outcome {
    let events = rig.events(id).await;
    let failed = |kind: &EventKind| matches!(kind, EventKind::Failed { .. });
    let failures = events.iter().filter(|event| failed(&event.kind)).count();
    let status = match way.generation {
        Some(_) => Some(rig.status(id).await),
        None => None,
    };
    Outcome {
        failures,
        trouble: status.as_ref().is_some_and(|it| it.trouble.is_some()),
        next_due: status.and_then(|it| it.next_due),
    }
}

async fn begin_slowly(way: &Way) -> (Rig, ConnectionId) {
    let (rig, id) = begin(way, lags()[0]).await;
    rig.directory.set_call(Duration::from_secs(12));
    (rig, id)
}

async fn work(rig: &Rig, id: ConnectionId) {
    Box::pin(rig.work(id, TimeDelta::hours(30))).await;
}
