//! Who may work on a connection: every claim, lease, renewal and release stopped before and after it, with its
//! answer lost, refused and made twice. The invariants are checked after each.

use std::time::Duration;

use chrono::TimeDelta;
use keywheel_connection::ConnectionId;
use tokio::time::timeout;
use workspace_tests::{Fate, Rig, settings};

use crate::matrix::{begin, finish, lags, stopped};
use crate::ways::{WAYS, Way};

/// Driven by id, with leases that are taken one at a time.
#[tokio::test(start_paused = true)]
async fn wherever_a_lease_fails_the_rotation_is_finished() {
    let lag = lags()[1];
    for way in WAYS {
        let (rig, id) = begin(way, lag).await;
        let before = rig.effects.holds().len();
        stopped(&rig, id).await;
        let holds = rig.effects.holds().split_off(before);
        assert!(holds.contains(&"lease"), "{}: {holds:?}", way.name);
        for (n, name) in holds.iter().enumerate() {
            for fate in Fate::ALL {
                let (rig, id) = begin(way, lag).await;
                rig.effects.plan_hold(n, fate);
                stopped(&rig, id).await;
                finish(way, &rig, id, &format!("{name} {n} {fate:?}")).await;
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
                finish(way, &rig, id, &format!("{name} {n} {fate:?}, workers")).await;
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

async fn begin_slowly(way: &Way) -> (Rig, ConnectionId) {
    let (rig, id) = begin(way, lags()[0]).await;
    rig.directory.set_call(Duration::from_secs(12));
    (rig, id)
}

async fn work(rig: &Rig, id: ConnectionId) {
    Box::pin(rig.work(id, TimeDelta::hours(30))).await;
}
