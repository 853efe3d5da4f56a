//! Deleting connections, and looking at them.

use chrono::TimeDelta;
use keywheel_connection::{
    Cause, ConnectionId, ConnectionStore, EventKind, IssuerErrorKind, verify_journal,
};
use keywheel_core::{Clock, KeyId};
use keywheel_rotation::{ConnectionErrorKind, Ending, Farewell, Health, Waiting};
use workspace_tests::{Fate, Lag, Rig, settings};

use super::me;
use crate::ways::until;

#[tokio::test(start_paused = true)]
async fn deleting_revokes_what_we_minted_and_leaves_the_journal() {
    let rig = Rig::new(401);
    let id = rig.rotating(settings()).await;

    let left = rig.connections().delete(id, Farewell::Revoke, &me()).await;

    assert_eq!(left.unwrap(), []);
    assert!(rig.status(id).await.leaving);
    rig.settle(id, TimeDelta::hours(1)).await;
    rig.assert_deleted(id, "calm").await;
    let tombstone = rig.store.tombstone(id).await.unwrap().unwrap();
    let journal = rig.store.journal(id, 0, 1000).await.unwrap();
    verify_journal(&journal, &tombstone.journal).unwrap();
    let history = rig.connections().history(id).await.unwrap();
    assert_eq!(history.rotations.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn deleting_can_leave_the_secrets_and_lists_them() {
    let rig = Rig::new(402);
    let id = rig.rotating(settings()).await;
    let first = rig.status(id).await.key_id.unwrap();
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.generation == 2).await;
    let second = rig.status(id).await.key_id.unwrap();

    let left = rig.connections().delete(id, Farewell::Leave, &me()).await;

    let mut wanted = vec![first, second];
    wanted.sort_unstable();
    assert_eq!(left.unwrap(), wanted);
    assert!(rig.directory.has(first) && rig.directory.has(second));
    let last = rig.events(id).await.pop().unwrap();
    let unresolved = Vec::new();
    let left = wanted;
    assert_eq!(last.kind, EventKind::ConnectionDeleted { left, unresolved });
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_looked_for_is_a_lock_out_that_is_probed_seldom_and_named_at_the_end() {
    let rig = Rig::new(406);
    let id = rig.rotating(settings()).await;
    rig.request(id, Cause::Manual).await;
    rig.effects.plan_named("mint", Fate::AnswerLost);
    let mut work = rig.rotator().lease(id).await.unwrap();
    rig.rotator().advance(&mut work).await.unwrap();
    drop(work);
    rig.watch.end();
    rig.directory
        .remove_secret(rig.status(id).await.key_id.unwrap());
    let leave = rig.connections().delete(id, Farewell::Revoke, &me()).await;
    leave.unwrap();
    let calls = rig.effects.count();

    rig.settle(id, TimeDelta::hours(6)).await;

    assert!(rig.effects.count() - calls < 60);
    assert_eq!(rig.status(id).await.health, Health::LockedOut);
    let left = rig.connections().delete(id, Farewell::Leave, &me()).await;
    left.unwrap();
    let last = rig.events(id).await.pop().unwrap();
    let EventKind::ConnectionDeleted { unresolved, .. } = last.kind else {
        panic!("{last:?}");
    };
    assert_eq!(unresolved, rig.directory.mint_calls()[1..]);
}

/// The current secret and the one before, while that is in its grace, of a connection that is deleted.
async fn leaving_in_grace(rig: &Rig) -> (ConnectionId, KeyId, KeyId) {
    let id = rig.rotating(settings()).await;
    let before = rig.status(id).await.key_id.unwrap();
    rig.request(id, Cause::Manual).await;
    until(rig, id, |status| status.generation == 2).await;
    let current = rig.status(id).await.key_id.unwrap();
    rig.watch.end();
    rig.directory.remove_secret(current);
    let leave = rig.connections().delete(id, Farewell::Revoke, &me()).await;
    leave.unwrap();
    (id, before, current)
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_current_secret_is_gone_leaves_through_the_one_before() {
    let rig = Rig::new(407);
    let (id, before, _) = leaving_in_grace(&rig).await;

    rig.settle(id, TimeDelta::hours(1)).await;

    assert!(!rig.directory.has(before));
    assert!(rig.store.load(id).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_leaves_with_no_secret_that_works_is_locked_out_and_says_so() {
    let rig = Rig::new(408);
    let (id, before, _) = leaving_in_grace(&rig).await;
    rig.directory.remove_secret(before);

    rig.settle(id, TimeDelta::hours(1)).await;

    let status = rig.status(id).await;
    assert_eq!(status.health, Health::LockedOut, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn deleting_never_removes_a_secret_that_was_given() {
    let rig = Rig::new(403);
    let created = rig.connections().create(rig.new_connection(), &me()).await;
    let id = created.unwrap().connection.id;

    let left = rig.connections().delete(id, Farewell::Revoke, &me()).await;

    assert_eq!(left.unwrap(), []);
    assert!(rig.store.load(id).await.unwrap().is_none());
    assert!(rig.directory.has(rig.original.key_id));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_revoked_keeps_the_connection_and_says_so() {
    let rig = Rig::new(404);
    let id = rig.rotating(settings()).await;
    rig.directory.deny("remove", IssuerErrorKind::Forbidden);
    rig.connections()
        .delete(id, Farewell::Revoke, &me())
        .await
        .unwrap();

    rig.run(id, TimeDelta::days(2)).await;

    let status = rig.status(id).await;
    assert_eq!((status.health, status.leaving), (Health::Halted, true));
    assert_eq!(status.debts.len(), 1);
    // One verb leads out, and says what it leaves.
    let left = rig.connections().delete(id, Farewell::Leave, &me()).await;
    assert_eq!(left.unwrap(), [status.key_id.unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_takes_its_leave_takes_nothing_new_on() {
    let rig = Rig::new(405);
    let id = rig.rotating(settings()).await;
    let connections = rig.connections();
    connections
        .delete(id, Farewell::Revoke, &me())
        .await
        .unwrap();

    let error = connections.rotate_now(id, Cause::Manual, &me()).await;

    assert_eq!(error.unwrap_err().kind(), ConnectionErrorKind::State);
}

#[tokio::test(start_paused = true)]
async fn the_plan_is_what_then_happens() {
    let (rig, _, _) = Rig::new(406).with_sinks();
    let id = rig.rotating(settings()).await;
    rig.run(id, TimeDelta::minutes(1)).await;
    let before = (rig.effects.count(), rig.load(id).await);
    let current = rig.status(id).await.key_id.unwrap();

    let plan = rig.connections().plan(id).await.unwrap();

    assert_eq!(
        (rig.effects.count(), rig.load(id).await),
        before,
        "nothing is done"
    );
    let begun = rig.clock.now();
    let mut planned = Vec::new();
    for line in plan.to_string().lines() {
        planned.push(line[25..].to_owned());
    }
    assert_eq!(
        planned,
        [
            "addPassword: secret 2".to_owned(),
            "token with the new secret".to_owned(),
            "token with the new secret".to_owned(),
            "token with the new secret".to_owned(),
            "read the application".to_owned(),
            "give the new secret to sink \"before\"".to_owned(),
            "give the new secret to sink \"after\"".to_owned(),
            "token with the new secret".to_owned(),
            format!("removePassword {current}"),
        ]
    );
    let spans: Vec<_> = plan
        .calls
        .iter()
        .map(|c| (c.at - begun).num_seconds())
        .collect();
    assert_eq!(spans, [0, 0, 5, 10, 10, 10, 10, 3610, 3610]);

    rig.request(id, Cause::Manual).await;
    rig.settle(id, TimeDelta::hours(3)).await;
    let names = rig.effects.names().split_off(before.0);
    let calls: Vec<_> = names.into_iter().filter(|name| *name != "save").collect();
    let wanted = [
        "mint", "prove", "prove", "prove", "inspect", "publish", "publish", "prove", "remove",
    ];
    assert_eq!(calls, wanted);
}

/// What runs already goes on in the plan: the current secret has a key id, and is not called the new one.
#[tokio::test(start_paused = true)]
async fn the_plan_within_a_grace_names_the_secrets_and_what_holds_it_up() {
    let (rig, _, _) = Rig::new(408).with_sinks();
    let id = rig.rotating(settings()).await;
    let old = rig.status(id).await.key_id.unwrap();
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.generation == 2).await;
    let current = rig.status(id).await.key_id.unwrap();

    let plan = rig.connections().plan(id).await.unwrap();

    let lines: Vec<_> = plan
        .to_string()
        .lines()
        .map(|l| l[25..].to_owned())
        .collect();
    let wanted = [
        format!("give {current} to sink \"after\""),
        format!("token with {current}"),
        format!("removePassword {old}"),
    ];
    assert_eq!(lines, wanted);
    assert_eq!(plan.held, None);

    let pause = rig.connections().pause(id, "a release", &me()).await;
    pause.unwrap();
    let plan = rig.connections().plan(id).await.unwrap();
    assert_eq!(plan.held, Some(Waiting::Paused), "{plan}");
    assert!(
        plan.to_string()
            .ends_with("held up by a pause: resume it\n")
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_takes_its_leave_is_not_paused() {
    let rig = Rig::new(409);
    let id = rig.rotating(settings()).await;
    let connections = rig.connections();
    let farewell = connections.delete(id, Farewell::Revoke, &me()).await;
    farewell.unwrap();

    let error = connections.pause(id, "a release", &me()).await.unwrap_err();

    assert_eq!(error.kind(), ConnectionErrorKind::State);
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_deleted(id, "not paused").await;
}

#[tokio::test(start_paused = true)]
async fn the_history_tells_attempts_steps_and_times() {
    let rig = Rig::new(407);
    rig.directory.set_lag(Lag {
        accepted: TimeDelta::seconds(3),
        listed: TimeDelta::zero(),
    });
    let id = rig.create(settings()).await;
    rig.directory.fail_next("mint", IssuerErrorKind::Busy);
    rig.settle(id, TimeDelta::hours(1)).await;

    let history = rig.connections().history(id).await.unwrap();

    let [rotation] = history.rotations.as_slice() else {
        panic!("{history:#?}");
    };
    assert_eq!((rotation.attempts, rotation.cause), (2, Cause::Initial));
    assert_eq!(rotation.ended.unwrap().1, Ending::Confirmed);
    let steps: Vec<_> = rotation
        .steps
        .iter()
        .map(|step| step.what.as_str())
        .collect();
    assert_eq!(
        steps,
        [
            "rotation.requested",
            "rotation.intent",
            "rotation.failed",
            "rotation.intent",
            "rotation.minted",
            "rotation.recovered",
            "rotation.refused",
            "rotation.refused",
            "rotation.proved",
            "rotation.proved",
            "rotation.proved",
            "rotation.promoted",
            "secret.revoked",
            "rotation.confirmed",
        ]
    );
    let failed = &rotation.steps[2];
    assert!(failed.message.as_ref().unwrap().contains("Busy"));
    let whole: TimeDelta = rotation.steps.iter().map(|step| step.after).sum();
    assert_eq!(whole, rotation.ended.unwrap().0 - rotation.began);
    let json = serde_json::to_value(&history).unwrap();
    assert_eq!(json["rotations"][0]["steps"][2]["what"], "rotation.failed");
}
