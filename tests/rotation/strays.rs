//! Secrets that bear the connection's display name, and that its record does not know.

use chrono::TimeDelta;
use keywheel_connection::{Cause, ConnectionId, EventKind, IssuerErrorKind, Marker};
use keywheel_core::KeyId;
use keywheel_rotation::{Farewell, Health};
use uuid::Uuid;
use workspace_tests::{Lag, Rig, settings};

use crate::verbs::me;

/// A secret that a newer state of the store minted as `generation`, before an old backup took its place.
fn forgotten(rig: &Rig, id: ConnectionId, generation: u64) -> KeyId {
    rig.watch.end();
    let marker = Marker::new(id, generation, Uuid::from_u128(77));
    rig.directory.add_secret(&marker.to_string()).key_id
}

async fn told(rig: &Rig, id: ConnectionId) -> Vec<KeyId> {
    let events = rig.events(id).await;
    let strays = events.into_iter().filter_map(|event| match event.kind {
        EventKind::StrayFound { key_id, .. } => Some(key_id),
        _ => None,
    });
    strays.collect()
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_the_store_forgot_is_told_once_and_left_alone() {
    let rig = Rig::new(981);
    let id = rig.rotating(settings()).await;
    let stray = forgotten(&rig, id, 1);
    rig.request(id, Cause::Manual).await;

    rig.run(id, TimeDelta::hours(3)).await;

    assert_eq!(told(&rig, id).await, [stray]);
    let status = rig.status(id).await;
    assert_eq!((status.health, status.generation), (Health::Active, 2));
    let strays: Vec<_> = status.strays.iter().map(|it| it.key_id).collect();
    assert_eq!(strays, [stray]);
    assert!(!status.live_key_ids.contains(&stray) && status.debts.is_empty());
    // It is not ours to remove. Nor is anybody told again.
    rig.run(id, TimeDelta::days(40)).await;
    assert!(rig.directory.has(stray));
    assert_eq!(told(&rig, id).await, [stray]);
    // Somebody removes it, and a day later the status has it no more.
    rig.directory.remove_secret(stray);
    rig.run(id, TimeDelta::hours(25)).await;
    assert_eq!(rig.status(id).await.strays, []);
    assert_eq!(told(&rig, id).await, [stray]);
}

/// A read that is behind may miss what is there.
#[tokio::test(start_paused = true)]
async fn a_stray_that_a_read_misses_is_not_told_again() {
    let rig = Rig::new(986);
    let id = rig.rotating(settings()).await;
    let stray = forgotten(&rig, id, 1);
    rig.request(id, Cause::Manual).await;
    rig.run(id, TimeDelta::hours(3)).await;
    let reads = async || rig.load(id).await.rotation.unwrap().strays[0].reads;
    let enough = reads().await;

    rig.directory.remove_secret(stray);
    while reads().await == enough {
        rig.run(id, TimeDelta::minutes(1)).await;
    }
    rig.directory.restore_secret(stray);
    rig.run(id, TimeDelta::hours(3)).await;

    assert_eq!(reads().await, enough);
    assert_eq!(rig.status(id).await.strays.len(), 1);
    assert_eq!(told(&rig, id).await, [stray]);
}

/// What was removed a moment ago is in many a read still.
#[tokio::test(start_paused = true)]
async fn a_read_that_lags_behind_makes_no_stray() {
    let rig = Rig::new(982);
    let id = rig.rotating(settings()).await;
    rig.directory.set_lag(Lag {
        accepted: TimeDelta::seconds(4),
        listed: TimeDelta::seconds(25),
    });

    for _ in 0..4 {
        rig.request(id, Cause::Emergency).await;
        rig.settle(id, TimeDelta::minutes(1)).await;
    }

    let inspected = rig.load(id).await.rotation.unwrap().strays;
    assert!(!inspected.is_empty(), "a read showed what was removed");
    rig.run(id, TimeDelta::hours(1)).await;
    assert_eq!(told(&rig, id).await, []);
    assert_eq!(rig.load(id).await.rotation.unwrap().strays, []);
}

#[tokio::test(start_paused = true)]
async fn what_is_somebody_elses_or_has_ended_is_no_stray() {
    let rig = Rig::new(983);
    let id = rig.rotating(settings()).await;
    let ended = forgotten(&rig, id, 1);
    rig.directory.end_secret(ended);
    let other = ConnectionId::from(Uuid::from_u128(5));
    let others = forgotten(&rig, other, 1);
    rig.request(id, Cause::Manual).await;

    rig.run(id, TimeDelta::hours(3)).await;

    assert_eq!(told(&rig, id).await, []);
    assert_eq!(rig.status(id).await.strays, []);
    assert!(rig.directory.has(others));
}

/// Nothing depends on the reads that are made for it.
#[tokio::test(start_paused = true)]
async fn a_stray_that_cannot_be_looked_for_is_no_trouble() {
    let rig = Rig::new(984);
    let id = rig.rotating(settings()).await;
    let stray = forgotten(&rig, id, 1);
    rig.request(id, Cause::Manual).await;
    rig.run(id, TimeDelta::minutes(1)).await;
    assert_eq!(rig.status(id).await.generation, 2);
    rig.directory.deny("inspect", IssuerErrorKind::Forbidden);

    rig.run(id, TimeDelta::hours(2)).await;

    let status = rig.status(id).await;
    assert_eq!((status.health, status.trouble), (Health::Active, None));
    assert_eq!(told(&rig, id).await, []);
    rig.directory.allow_all();
    rig.run(id, TimeDelta::minutes(20)).await;
    assert_eq!(told(&rig, id).await, [stray]);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_names_the_strays_that_it_leaves() {
    for farewell in [Farewell::Leave, Farewell::Revoke] {
        let rig = Rig::new(985);
        let id = rig.rotating(settings()).await;
        let stray = forgotten(&rig, id, 1);
        rig.request(id, Cause::Manual).await;
        rig.run(id, TimeDelta::hours(3)).await;

        let deleted = rig.connections().delete(id, farewell, &me()).await;
        deleted.unwrap();
        rig.run(id, TimeDelta::hours(1)).await;

        let last = rig.events(id).await.pop().unwrap();
        let EventKind::ConnectionDeleted { left, .. } = last.kind else {
            panic!("{last:?}");
        };
        assert!(left.contains(&stray), "{farewell:?}: {left:?}");
        assert!(rig.directory.has(stray));
    }
}
