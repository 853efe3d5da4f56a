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

/// The save of a proof was made and its answer was lost; before it was tried again somebody paused the
/// rotation. The proof was counted once more on the newer record.
#[tokio::test(start_paused = true)]
async fn a_proof_counts_once_however_often_it_is_saved() {
    let rig = Rig::new(23);
    let id = rig.create(settings()).await;
    let rotator = rig.rotator();
    let mut work = rotator.lease(id).await.unwrap();
    rotator.advance(&mut work).await.unwrap();
    let before = rig.load(id).await.journal.seq;
    rig.effects.plan_named("save", Fate::AnswerLost);

    let (connections, actor) = (rig.connections(), Actor::named("test"));
    let pausing = async {
        rig.pass(TimeDelta::milliseconds(50)).await;
        connections.pause(id, "a look", &actor).await
    };
    let (advanced, paused) = tokio::join!(rotator.advance(&mut work), pausing);

    advanced.unwrap();
    paused.unwrap();
    let connection = rig.load(id).await;
    let candidate = connection.rotation.unwrap().candidate().unwrap().clone();
    assert_eq!(candidate.proofs, 1);
    assert_eq!(connection.journal.seq, before + 2);
}

/// A process stood still between a read and what it made of it, while a mint that was late arrived.
#[tokio::test(start_paused = true)]
async fn a_read_tells_of_the_time_when_it_was_asked_for() {
    let rig = Rig::new(24);
    let id = rig.create(settings()).await;
    rig.effects.plan_named("mint", Fate::StopBefore);
    let rotator = rig.rotator();
    let mut work = rotator.lease(id).await.unwrap();
    rig.effects
        .run(rotator.advance(&mut work))
        .await
        .unwrap_err();
    rig.run(id, TimeDelta::seconds(55)).await;
    // Until the next read is due.
    rig.pass(TimeDelta::seconds(2)).await;
    let mut work = rotator.lease(id).await.unwrap();
    let marker = work.connection().rotation.as_ref().unwrap().dead_markers[0];
    assert!(!marker.settled && marker.absent_reads > 3, "{marker:?}");

    rig.effects.plan_named("inspect", Fate::Stall);
    let mut late = Box::pin(rotator.advance(&mut work));
    assert!(rig.effects.until_stalled(&mut late).await);
    rig.pass(TimeDelta::seconds(20)).await;
    rig.effects.let_go();
    late.await.unwrap();

    let rotation = rig.load(id).await.rotation.unwrap();
    assert!(!rotation.dead_markers[0].settled);
}
