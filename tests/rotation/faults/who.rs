//! Points 27 to 32 and 55 to 60, 67, 68: several processes, people, stores and versions.

use std::sync::Arc;

use chrono::TimeDelta;
use keywheel_connection::{
    Cause, Connection, ConnectionId, ConnectionStore, EventKind, IssuerErrorKind, MemoryStore,
    StoreErrorKind, TroubleKind,
};
use keywheel_core::Clock;
use keywheel_rotation::{
    ConnectionErrorKind, Farewell, Health, RotateErrorKind, Rotator, RotatorParts,
};
use keywheel_schedule::{Freeze, Schedule};
use workspace_tests::{Fate, Rig, SETTINGS_ZONE, secret, settings};

use super::{asked, count, stop};
use crate::verbs::me;
use crate::ways::{both_drive, until};

#[tokio::test(start_paused = true)]
async fn p27_of_two_processes_that_begin_at_once_one_works() {
    let (rig, id) = asked(901).await;
    let due = rig.status(id).await.next_due;
    let (one, two) = (rig.rotator(), rig.rotator());
    let work = one.lease(id).await.unwrap();

    let error = two.lease(id).await.unwrap_err();

    assert!(matches!(error.kind(), StoreErrorKind::Held { .. }));
    assert!(error.is_transient(), "to be busy is no failure");
    drop(work);
    let deadline = rig.clock.now() + TimeDelta::hours(3);
    both_drive([&one, &two], id, deadline).await;
    rig.assert_clean(id, 2).await;
    assert_eq!(rig.directory.mint_calls().len(), 2);
    let failed = |kind: &EventKind| matches!(kind, EventKind::Failed { .. });
    assert_eq!(count(&rig.events(id).await, failed), 0);
    let status = rig.status(id).await;
    assert_eq!((status.trouble, status.next_due), (None, due));
}

#[tokio::test(start_paused = true)]
async fn p28_what_a_suspended_process_minted_late_is_removed() {
    let (rig, id) = asked(902).await;
    rig.effects.plan_named("mint", Fate::Stall);
    let rotator = rig.rotator();
    let mut work = rotator.lease(id).await.unwrap();
    let mut late = Box::pin(rotator.advance(&mut work));
    assert!(rig.effects.until_stalled(&mut late).await);
    until(&rig, id, |status| status.generation == 2).await;
    rig.watch.expect_a_late_mint();

    rig.effects.let_go();
    let error = late.await.unwrap_err();

    assert_eq!(error.store_error().kind(), StoreErrorKind::LeaseLost);
    assert_eq!(rig.directory.mint_calls().len(), 3);
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
}

/// The suspended process never wakes up, but its call was on the way.
#[tokio::test(start_paused = true)]
async fn p28_a_late_mint_whose_process_died_is_found_by_its_marker() {
    let (rig, id) = asked(903).await;
    rig.effects.plan_named("mint", Fate::Stall);
    let rotator = rig.rotator();
    let mut work = rotator.lease(id).await.unwrap();
    let mut late = Box::pin(rotator.advance(&mut work));
    assert!(rig.effects.until_stalled(&mut late).await);
    until(&rig, id, |status| status.generation == 2).await;
    rig.watch.expect_a_late_mint();
    rig.effects.plan_named("remove", Fate::StopBefore);

    rig.effects.let_go();
    let _ = rig.effects.run(late).await;

    assert_eq!(rig.directory.mint_calls().len(), 3);
    assert_eq!(rig.directory.live().len(), 4);
    rig.run(id, TimeDelta::days(1)).await;
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_held_up_before_it_asks_does_not_ask() {
    let (rig, id) = asked(904).await;
    let rotator = rig.rotator();
    let mut work = rotator.lease(id).await.unwrap();
    rig.effects.plan_named("save", Fate::Stall);
    let mut late = Box::pin(rotator.advance(&mut work));
    assert!(rig.effects.until_stalled(&mut late).await);
    rig.pass(TimeDelta::seconds(20)).await;
    rig.effects.let_go();

    late.await.unwrap();

    assert_eq!(rig.directory.mint_calls().len(), 1);
    let trouble = rig.status(id).await.trouble.unwrap();
    assert!(trouble.message.contains("held up"), "{trouble:?}");
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
}

/// Another store rotates the same connection: a copy of this one that was put to work.
async fn second_store(rig: &Rig, id: ConnectionId) -> (MemoryStore, Rotator) {
    let store = MemoryStore::new(Arc::new(rig.clock.clone()));
    let copy = rig.load(id).await;
    let wake_at = Some(rig.clock.now());
    store.create(&copy, wake_at, &[]).await.unwrap();
    let parts = RotatorParts {
        store: Arc::new(store.clone()),
        ..rig.parts()
    };
    (store, Rotator::new(parts, rig.policy.clone()))
}

#[tokio::test(start_paused = true)]
async fn p29_two_stores_that_rotate_one_connection_are_told_and_neither_harms_the_other() {
    let rig = Rig::new(905);
    let id = rig.rotating(settings()).await;
    rig.watch.end();
    let (store, other) = second_store(&rig, id).await;
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.generation == 2).await;
    let current = rig.status(id).await.key_id.unwrap();

    let deadline = rig.clock.now() + TimeDelta::days(31);
    Box::pin(other.drive(id, deadline, |_| false))
        .await
        .unwrap();

    let theirs = store.load(id).await.unwrap().unwrap().connection;
    let trouble = theirs.rotation.as_ref().unwrap().trouble.clone().unwrap();
    assert!(rig.directory.has(current));
    assert_eq!(theirs.secrets().unwrap().current.generation, 1);
    assert_eq!(trouble.kind, TroubleKind::StoreBehind);
    assert!(
        trouble.message.contains(&current.to_string()),
        "{trouble:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn p30_a_request_during_a_rotation_joins_it() {
    let rig = Rig::new(906);
    let id = rig.rotating(Rig::quick()).await;
    rig.pass(TimeDelta::days(31)).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;

    let asked = rig.connections().rotate_now(id, Cause::Manual, &me()).await;

    assert!(asked.unwrap().joined);
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
    assert_eq!(rig.status(id).await.last.unwrap().cause, Cause::Schedule);
}

#[tokio::test(start_paused = true)]
async fn p31_a_pause_and_another_schedule_during_a_rotation_stop_it_at_a_safe_point() {
    let (rig, id) = asked(907).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;
    let before = rig.status(id).await.key_id.unwrap();
    rig.connections()
        .pause(id, "a change", &me())
        .await
        .unwrap();
    let change = rig
        .connections()
        .change_settings(id, Rig::quick(), &me())
        .await;
    change.unwrap();

    rig.run(id, TimeDelta::days(2)).await;

    assert_eq!(rig.status(id).await.generation, 2);
    assert!(rig.directory.has(before));
    rig.connections().resume(id, &me()).await.unwrap();
    rig.settle(id, TimeDelta::hours(1)).await;
    rig.assert_clean(id, 2).await;
}

/// The intent is decided on the record that it is stored with.
#[tokio::test(start_paused = true)]
async fn p31_a_pause_a_moment_before_the_intent_is_heeded() {
    let (rig, id) = asked(908).await;
    let rotator = rig.rotator();
    let mut work = rotator.lease(id).await.unwrap();
    rig.connections()
        .pause(id, "just now", &me())
        .await
        .unwrap();

    rotator.advance(&mut work).await.unwrap();
    rotator.advance(&mut work).await.unwrap();

    assert_eq!(rig.directory.mint_calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p32_a_connection_that_is_deleted_stays_until_its_secrets_are_gone() {
    let (rig, id) = asked(909).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;
    let delete = rig.connections().delete(id, Farewell::Revoke, &me()).await;
    delete.unwrap();
    assert_eq!(rig.status(id).await.live_key_ids.len(), 2);

    rig.settle(id, TimeDelta::hours(3)).await;

    rig.assert_deleted(id, "two secrets").await;
}

#[tokio::test(start_paused = true)]
async fn p32_what_is_minted_when_the_connection_is_deleted_already_is_removed() {
    let (rig, id) = asked(922).await;
    rig.effects.plan_named("mint", Fate::Stall);
    let rotator = rig.rotator();
    let mut work = rotator.lease(id).await.unwrap();
    let mut late = Box::pin(rotator.advance(&mut work));
    assert!(rig.effects.until_stalled(&mut late).await);
    let delete = rig.connections().delete(id, Farewell::Leave, &me()).await;
    let left = delete.unwrap();

    rig.effects.let_go();
    let error = late.await.unwrap_err();

    assert_eq!(error.kind(), RotateErrorKind::Gone);
    assert_eq!(rig.directory.mint_calls().len(), 2);
    let live = rig.directory.live().into_iter().map(|(key_id, _)| key_id);
    assert_eq!(
        live.collect::<Vec<_>>(),
        [vec![rig.foreign.key_id], left].concat()
    );
}

/// The answer of the save was lost, and before it was repeated the connection was deleted: what was saved was
/// left, and named.
#[tokio::test(start_paused = true)]
async fn p32_what_was_saved_unheard_and_left_by_a_deletion_is_not_removed() {
    let (rig, id) = asked(923).await;
    // The intent, the mint, and what came of it.
    rig.effects.plan(2, Fate::AnswerLost);
    let rotator = rig.rotator();
    let mut work = rotator.lease(id).await.unwrap();
    let delete = async {
        rig.pass(TimeDelta::milliseconds(50)).await;
        rig.connections().delete(id, Farewell::Leave, &me()).await
    };

    let (saved, left) = tokio::join!(rotator.advance(&mut work), delete);

    assert_eq!(saved.unwrap_err().kind(), RotateErrorKind::Gone);
    let left = left.unwrap();
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|key_id| rig.directory.has(*key_id)));
}

/// Puts an older record in the place of the newest, as a database does that lost its last commits.
async fn forget(rig: &Rig, older: &Connection) {
    let newest = rig.store.load(older.id).await.unwrap().unwrap();
    let mut back = older.clone();
    back.journal = newest.connection.journal;
    let save = keywheel_connection::Save::new(&back, newest.version, &[]);
    let save = save.wake_at(Some(rig.clock.now()));
    rig.store.save(save).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p55_a_candidate_that_the_database_lost_is_found_by_its_intent() {
    let (rig, id) = asked(910).await;
    stop(&rig, id, "mint", Fate::StopBefore).await;
    let intent = rig.load(id).await;
    // The same intent, and this time the call was made and its answer stored, and lost.
    rig.settle(id, TimeDelta::seconds(45)).await;
    rig.effects.plan_named("prove", Fate::StopBefore);
    let _ = rig.effects.run(rig.settle(id, TimeDelta::hours(1))).await;
    let minted = rig.status(id).await.candidate_key_id.unwrap();
    let mut lost = rig.load(id).await;
    let marker = rig.directory.mint_calls()[1];
    lost.rotation.as_mut().unwrap().phase = keywheel_connection::Phase::Intent {
        marker,
        since: rig.clock.now(),
    };
    forget(&rig, &lost).await;

    rig.settle(id, TimeDelta::hours(3)).await;

    assert!(!rig.directory.has(minted));
    rig.assert_clean(id, 2).await;
    assert_eq!(intent.id, id);
}

#[tokio::test(start_paused = true)]
async fn p55_a_promotion_that_the_database_lost_is_made_again() {
    let (rig, id) = asked(911).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;
    let proving = rig.load(id).await;
    until(&rig, id, |status| status.generation == 2).await;
    rig.watch.end();
    forget(&rig, &proving).await;

    rig.settle(id, TimeDelta::hours(3)).await;

    rig.assert_clean(id, 2).await;
    assert_eq!(rig.directory.mint_calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p56_a_step_from_an_older_read_is_not_saved() {
    let (rig, id) = asked(912).await;
    let stale = rig.store_version(id).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;

    let error = rig.save_as_it_was(stale).await.unwrap_err();

    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn p57_a_store_from_an_old_backup_removes_and_replaces_nothing_newer() {
    let rig = Rig::new(913);
    let id = rig.rotating(settings()).await;
    let backup = rig.load(id).await;
    rig.connections()
        .pause(id, "grace for ever", &me())
        .await
        .unwrap();
    rig.connections().resume(id, &me()).await.unwrap();
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.generation == 2).await;
    let newer = rig.status(id).await.key_id.unwrap();
    rig.watch.end();
    forget(&rig, &backup).await;
    rig.request(id, Cause::Manual).await;

    rig.settle(id, TimeDelta::hours(5)).await;

    let status = rig.status(id).await;
    assert_eq!((status.health, status.generation), (Health::StoreBehind, 1));
    assert!(rig.directory.has(newer));
    // One verb, and the secret that is in use elsewhere, lead out.
    rig.connections().abort(id, &me()).await.unwrap();
    rig.settle(id, TimeDelta::minutes(1)).await;
    let text = secret(&rig.directory.text(newer));
    let supply = rig
        .connections()
        .supply_secret(id, &text, None, &me())
        .await;
    supply.unwrap();
    rig.settle(id, TimeDelta::hours(5)).await;
    let status = rig.status(id).await;
    assert_eq!(
        (status.health, status.key_id),
        (Health::Active, Some(newer))
    );
}

/// What has ended is used by nobody, so nobody needs to be asked.
#[tokio::test(start_paused = true)]
async fn p57_what_the_store_forgot_and_has_ended_holds_nothing_up() {
    let rig = Rig::new(917);
    let id = rig.rotating(settings()).await;
    let backup = rig.load(id).await;
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.generation == 2).await;
    let newer = rig.status(id).await.key_id.unwrap();
    rig.watch.end();
    forget(&rig, &backup).await;
    rig.directory.end_secret(newer);
    rig.request(id, Cause::Manual).await;

    rig.settle(id, TimeDelta::hours(5)).await;

    let status = rig.status(id).await;
    assert_eq!((status.health, status.generation), (Health::Active, 2));
    assert!(rig.directory.has(newer), "it is not ours to remove");
}

#[tokio::test(start_paused = true)]
async fn p57_a_secret_that_a_person_supplies_is_used_whatever_the_store_forgot() {
    let rig = Rig::new(916);
    let id = rig.rotating(settings()).await;
    let backup = rig.load(id).await;
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.generation == 2).await;
    rig.watch.end();
    forget(&rig, &backup).await;
    let given = rig.directory.add_secret("by hand");
    let text = secret(&given.text);
    let supplied = rig
        .connections()
        .supply_secret(id, &text, None, &me())
        .await;
    supplied.unwrap();

    rig.settle(id, TimeDelta::hours(5)).await;

    let status = rig.status(id).await;
    assert_eq!(
        (status.health, status.key_id),
        (Health::Active, Some(given.key_id))
    );
}

/// A replica that has lost the sealing key works on a rotation for hours.
async fn rotate_without_the_key(rig: &Rig, id: ConnectionId) {
    rig.request(id, Cause::Manual).await;
    work_without_the_key(rig, id, TimeDelta::hours(3)).await;
}

async fn work_without_the_key(rig: &Rig, id: ConnectionId, span: TimeDelta) {
    let ring = keywheel_connection::KeyRing::new(&[9; 32]).unwrap();
    let parts = RotatorParts {
        sealer: Arc::new(ring),
        ..rig.parts()
    };
    let without = Rotator::new(parts, rig.policy.clone());
    let deadline = rig.clock.now() + span;
    Box::pin(without.drive(id, deadline, |_| false))
        .await
        .unwrap();
}

/// Nobody published from the old state, so nobody needs its secret again.
#[tokio::test(start_paused = true)]
async fn p57_giving_up_on_an_old_backup_hands_no_sink_an_older_secret() {
    let (rig, before, _) = Rig::new(919).with_sinks();
    let id = rig.rotating(settings()).await;
    let backup = rig.load(id).await;
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.generation == 2).await;
    let newer = rig.directory.text(rig.status(id).await.key_id.unwrap());
    rig.watch.end();
    forget(&rig, &backup).await;
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.health == Health::StoreBehind).await;

    rig.connections().abort(id, &me()).await.unwrap();

    rig.settle(id, TimeDelta::hours(5)).await;
    assert_eq!(before.holds(), Some(newer));
}

#[tokio::test(start_paused = true)]
async fn p58_the_lock_out_ends_when_the_rotation_that_met_it_is_given_up() {
    let rig = Rig::new(917);
    let id = rig.rotating(settings()).await;
    rotate_without_the_key(&rig, id).await;
    assert_eq!(rig.status(id).await.health, Health::LockedOut);

    rig.connections().abort(id, &me()).await.unwrap();

    rig.settle(id, TimeDelta::hours(1)).await;
    assert_eq!(rig.status(id).await.health, Health::Active);
}

#[tokio::test(start_paused = true)]
async fn p58_a_person_who_resumes_a_lock_out_is_not_told_that_it_is_over() {
    let rig = Rig::new(920);
    let id = rig.rotating(settings()).await;
    work_without_the_key(&rig, id, TimeDelta::days(31)).await;

    rig.connections().resume(id, &me()).await.unwrap();

    assert_eq!(rig.status(id).await.health, Health::LockedOut);
    let recovered = |kind: &EventKind| matches!(kind, EventKind::Recovered { .. });
    assert_eq!(count(&rig.events(id).await, recovered), 0);
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
    assert_eq!(count(&rig.events(id).await, recovered), 1);
}

/// Nobody tries again what is not due any more, so nothing but the verb can end the trouble.
#[tokio::test(start_paused = true)]
async fn p58_the_lock_out_ends_when_what_met_it_is_not_due_any_more() {
    for verb in ["change_settings", "disable", "freeze"] {
        let rig = Rig::new(918);
        let id = rig.rotating(settings()).await;
        work_without_the_key(&rig, id, TimeDelta::days(31)).await;
        assert_eq!(rig.status(id).await.health, Health::LockedOut);

        let connections = rig.connections();
        match verb {
            "change_settings" => {
                let mut rarer = settings();
                let schedule = Schedule::builder()
                    .every_days(60)
                    .at("02:30:00".parse().unwrap())
                    .zone(SETTINGS_ZONE)
                    .anchor("2026-03-01".parse().unwrap())
                    .build();
                rarer.plan = schedule.unwrap().into();
                connections.change_settings(id, rarer, &me()).await
            }
            "disable" => connections.disable(id, &me()).await.map(drop),
            _ => {
                let today = rig.clock.now().date_naive();
                let freeze = Freeze::new(today, today + TimeDelta::days(20)).unwrap();
                connections.freeze(id, freeze, &me()).await
            }
        }
        .unwrap();

        rig.run(id, TimeDelta::days(1)).await;
        let status = rig.status(id).await;
        assert_eq!(status.health, Health::Active, "{verb}: {status:#?}");
        assert_eq!(rig.directory.mint_calls().len(), 1, "{verb}");
    }
}

#[tokio::test(start_paused = true)]
async fn p58_without_the_sealing_key_it_is_a_lock_out_with_a_readable_ledger() {
    let rig = Rig::new(914);
    let id = rig.rotating(settings()).await;

    rotate_without_the_key(&rig, id).await;

    let status = rig.status(id).await;
    assert_eq!(status.health, Health::LockedOut);
    assert!(status.key_id.is_some() && status.end.is_some());
    assert!(status.trouble.unwrap().message.contains("key"));
    assert_eq!(rig.directory.mint_calls().len(), 1);
    rig.settle(id, TimeDelta::hours(5)).await;
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn p58_a_key_that_is_lost_while_a_new_secret_is_proven_is_a_lock_out_too() {
    let (rig, id) = asked(921).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;

    work_without_the_key(&rig, id, TimeDelta::hours(3)).await;

    let status = rig.status(id).await;
    assert_eq!(status.health, Health::LockedOut, "{status:#?}");
    assert!(status.trouble.unwrap().message.contains("key"));
    rig.settle(id, TimeDelta::hours(5)).await;
    assert_eq!(rig.status(id).await.health, Health::Active);
    rig.assert_clean(id, 2).await;
    assert_eq!(rig.directory.mint_calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p67_a_rotation_in_flight_is_finished_by_the_next_version() {
    let (rig, id) = asked(915).await;
    rig.directory.fail_next("mint", IssuerErrorKind::Busy);
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;
    let text = rig.load(id).await.encode();
    // What this version added is not in a record of the one before.
    let old = text
        .replace("\"refused_since\":null,", "")
        .replace("\"step\":\"mint\",", "");
    assert_ne!(old, text);
    forget(&rig, &Connection::decode(&old).unwrap()).await;

    rig.settle(id, TimeDelta::hours(3)).await;

    rig.assert_clean(id, 2).await;
    let newer = text.replace("\"format\":1", "\"format\":2");
    let error = Connection::decode(&newer).unwrap_err().to_string();
    assert!(error.contains("upgrade this program"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn p68_rolling_back_is_refused_once_the_revocation_has_begun() {
    let (rig, id) = asked(916).await;
    until(&rig, id, |status| status.generation == 2).await;
    rig.directory.deny("remove", IssuerErrorKind::Unavailable);
    rig.settle(id, TimeDelta::minutes(70)).await;

    let error = rig.connections().roll_back(id, &me()).await.unwrap_err();

    assert_eq!(error.kind(), ConnectionErrorKind::State);
    assert!(
        error.to_string().contains("its revocation has begun"),
        "{error}"
    );
    rig.directory.allow_all();
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
    let events = rig.events(id).await;
    assert_eq!(
        count(&events, |kind| matches!(kind, EventKind::Offered { .. })),
        0
    );
}
