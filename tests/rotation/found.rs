//! What the simulation found, each reduced to the steps that it takes.

use chrono::TimeDelta;
use keywheel_connection::{Actor, ConnectionStore};
use keywheel_core::Clock;
use keywheel_rotation::Farewell;
use workspace_tests::{Fate, Rig, settings};

/// The save of a new secret was made, its answer was lost, and so was the read that would have told. To
/// remove the secret then is to remove a candidate that may be promoted before every replica of the
/// directory knows that it is gone.
#[tokio::test(start_paused = true)]
async fn a_secret_that_may_be_stored_is_not_removed() {
    let rig = Rig::new(21);
    let id = rig.create(settings()).await;
    let mut work = rig.rotator().lease(id).await.unwrap();
    // The intent, the mint, and the save that is lost; saved again, it conflicts with itself.
    rig.effects.plan(2, Fate::AnswerLost);
    rig.effects.fail_loads(1);

    rig.rotator().advance(&mut work).await.unwrap_err();

    let candidate = rig.status(id).await.candidate_key_id.unwrap();
    assert!(rig.directory.has(candidate));
    assert_eq!(rig.settle(id, TimeDelta::minutes(10)).await, None);
    rig.assert_clean(id, 1).await;
    assert_eq!(rig.directory.mint_calls().len(), 1);
}

/// The last secret removes itself, and the record still named it: it was owed anew, removed anew, found to
/// be gone anew, and so on without end.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_deleted_goes_with_its_last_secret() {
    let rig = Rig::new(22);
    let id = rig.create(settings()).await;
    rig.settle(id, TimeDelta::minutes(10)).await;
    rig.watch.end();
    let before = rig.effects.count();

    let actor = Actor::named("test");
    let connections = rig.connections();
    connections
        .delete(id, Farewell::Revoke, &actor)
        .await
        .unwrap();
    let deadline = rig.clock.now() + TimeDelta::hours(1);
    drop(rig.rotator().drive(id, deadline, |_| false).await);

    assert_eq!(rig.store.load(id).await.unwrap(), None);
    assert_eq!(rig.directory.live().len(), 1);
    assert!(rig.directory.has(rig.foreign.key_id));
    let removals = rig.effects.names().split_off(before);
    let removals = removals.iter().filter(|name| **name == "remove").count();
    assert_eq!(removals, 1);
}
