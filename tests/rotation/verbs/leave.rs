//! Deleting connections, and looking at them.

use chrono::TimeDelta;
use keywheel_connection::{Cause, ConnectionStore, EventKind, IssuerErrorKind, verify_journal};
use keywheel_core::Clock;
use keywheel_rotation::{ConnectionErrorKind, Ending, Farewell, Health};
use workspace_tests::{Lag, Rig, settings};

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
    assert_eq!(last.kind, EventKind::ConnectionDeleted { left: wanted });
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
