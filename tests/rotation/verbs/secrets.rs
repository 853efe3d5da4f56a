//! Giving secrets, taking them back, and giving another credential.

use std::sync::Arc;

use chrono::TimeDelta;
use keywheel_connection::{Cause, Connection, EventKind, KeyRing, Run};
use keywheel_core::{ClientId, Clock, Cloud, KeyId};
use keywheel_rotation::{
    Call, ConnectionErrorKind, Connections, Ending, Health, PlannedCall, Requested, Rotator,
    RotatorParts,
};
use uuid::Uuid;
use workspace_tests::{Foreign, Rig, other, ours, secret, settings};

use super::me;
use crate::ways::until;

async fn supply(rig: &Rig, id: keywheel_connection::ConnectionId, given: &Foreign) {
    let text = secret(&given.text);
    let supplied = rig
        .connections()
        .supply_secret(id, &text, None, &me())
        .await;
    supplied.unwrap();
}

/// In grace, with the key ids of the secret before and of the current one.
async fn in_grace(rig: &Rig) -> (keywheel_connection::ConnectionId, KeyId, KeyId) {
    let id = rig.rotating(settings()).await;
    let before = rig.status(id).await.key_id.unwrap();
    rig.request(id, Cause::Manual).await;
    until(rig, id, |status| status.generation == 2).await;
    (id, before, rig.status(id).await.key_id.unwrap())
}

#[tokio::test(start_paused = true)]
async fn rolling_back_takes_the_secret_before_back_and_revokes_the_new_one() {
    let rig = Rig::new(301);
    let (id, before, bad) = in_grace(&rig).await;

    rig.connections().roll_back(id, &me()).await.unwrap();

    rig.settle(id, TimeDelta::hours(3)).await;
    let status = rig.status(id).await;
    assert_eq!(status.key_id, Some(before));
    assert!(!rig.directory.has(bad));
    rig.assert_clean(id, 3).await;
    let history = rig.connections().history(id).await.unwrap();
    let endings: Vec<_> = history
        .rotations
        .iter()
        .map(|r| r.ended.unwrap().1)
        .collect();
    assert_eq!(
        endings,
        [Ending::Confirmed, Ending::Overtaken, Ending::Confirmed]
    );
    // And the next rotation is as any other.
    rig.request(id, Cause::Manual).await;
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 4).await;
}

#[tokio::test(start_paused = true)]
async fn rolling_back_is_refused_when_the_secret_before_is_gone_or_about_to_go() {
    let rig = Rig::new(302);
    let (id, _, _) = in_grace(&rig).await;
    rig.pass(TimeDelta::minutes(60) - TimeDelta::seconds(20))
        .await;
    for _ in 0..2 {
        let error = rig.connections().roll_back(id, &me()).await.unwrap_err();
        assert_eq!(error.kind(), ConnectionErrorKind::State);
        assert!(
            error.to_string().contains("no secret to go back to"),
            "{error}"
        );
        rig.settle(id, TimeDelta::hours(3)).await;
    }
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_leaves_time_to_roll_back() {
    let rig = Rig::new(303);
    let (id, before, _) = in_grace(&rig).await;
    rig.connections()
        .pause(id, "looking into it", &me())
        .await
        .unwrap();
    rig.run(id, TimeDelta::days(3)).await;

    rig.connections().roll_back(id, &me()).await.unwrap();

    rig.run(id, TimeDelta::hours(3)).await;
    let status = rig.status(id).await;
    assert_eq!((status.key_id, status.paused), (Some(before), true));
    rig.connections().resume(id, &me()).await.unwrap();
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_to_go_back_to_that_is_not_accepted_leaves_the_current_one() {
    let rig = Rig::new(304);
    let (id, before, current) = in_grace(&rig).await;
    rig.directory.remove_secret(before);

    rig.connections().roll_back(id, &me()).await.unwrap();

    rig.settle(id, TimeDelta::hours(3)).await;
    assert_eq!(rig.status(id).await.key_id, Some(current));
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_supplied_is_proven_and_used() {
    let rig = Rig::new(305);
    let id = rig.rotating(settings()).await;
    let given = rig.directory.add_secret("by hand");

    supply(&rig, id, &given).await;

    rig.settle(id, TimeDelta::hours(3)).await;
    assert_eq!(rig.status(id).await.key_id, Some(given.key_id));
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_supplied_ends_a_lock_out_and_the_schedule_goes_on() {
    let rig = Rig::new(306);
    let id = rig.rotating(settings()).await;
    rig.watch.end();
    rig.directory
        .remove_secret(rig.status(id).await.key_id.unwrap());
    rig.run(id, TimeDelta::days(31)).await;
    assert_eq!(rig.status(id).await.health, Health::LockedOut);
    let given = rig.directory.add_secret("by hand");

    supply(&rig, id, &given).await;

    rig.settle(id, TimeDelta::hours(3)).await;
    let status = rig.status(id).await;
    assert_eq!(
        (status.key_id, status.health),
        (Some(given.key_id), Health::Active)
    );
    rig.watch.begin(id, [rig.foreign.key_id]);
    rig.assert_clean(id, 2).await;
    rig.run(id, TimeDelta::days(31)).await;
    rig.assert_clean(id, 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_another_application_or_that_is_cut_off_is_refused() {
    let rig = Rig::new(307);
    let id = rig.rotating(settings()).await;
    let elsewhere = rig.directory.add_secret_to(other(), "elsewhere");
    let cut = &rig.foreign.text[..12];
    for wrong in [elsewhere.text.as_str(), cut] {
        let text = secret(wrong);
        let supplied = rig
            .connections()
            .supply_secret(id, &text, None, &me())
            .await;
        let error = supplied.unwrap_err();
        assert_eq!(error.kind(), ConnectionErrorKind::Denied);
        assert!(!error.to_string().contains(wrong));
    }
    rig.assert_clean(id, 1).await;
}

#[tokio::test(start_paused = true)]
async fn supplying_fits_an_application_that_is_full() {
    let rig = Rig::new(308);
    rig.directory.remove_secret(rig.foreign.key_id);
    rig.directory.set_limit(Some(2));
    let created = rig
        .connections()
        .create(rig.new_connection().rotating(settings()), &me())
        .await;
    let id = created.unwrap().connection.id;
    rig.settle(id, TimeDelta::hours(1)).await;
    let given = rig.directory.add_secret("the second of two");

    supply(&rig, id, &given).await;

    rig.settle(id, TimeDelta::hours(3)).await;
    assert_eq!(rig.status(id).await.key_id, Some(given.key_id));
    assert_eq!(rig.directory.live().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_one_new_secret_is_on_its_way() {
    let rig = Rig::new(309);
    let id = rig.rotating(settings()).await;
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;
    let given = rig.directory.add_secret("by hand");
    let text = secret(&given.text);

    let supplied = rig
        .connections()
        .supply_secret(id, &text, None, &me())
        .await;

    let error = supplied.unwrap_err();
    assert_eq!(error.kind(), ConnectionErrorKind::State);
    assert!(error.to_string().contains("abort"), "{error}");
    rig.connections().abort(id, &me()).await.unwrap();
    rig.settle(id, TimeDelta::minutes(1)).await;
    supply(&rig, id, &given).await;
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
}

async fn emergency(rig: &Rig, id: keywheel_connection::ConnectionId) -> Requested {
    let asked = rig
        .connections()
        .rotate_now(id, Cause::Emergency, &me())
        .await;
    asked.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_supplied_is_seen_before_it_is_taken_up() {
    let rig = Rig::new(315);
    let id = rig.rotating(settings()).await;
    let given = rig.directory.add_secret("by hand");

    supply(&rig, id, &given).await;

    let status = rig.status(id).await;
    assert_eq!(status.candidate_key_id, Some(given.key_id));
    assert!(status.live_key_ids.contains(&given.key_id));
    assert!(status.requested.is_some() && !status.is_settled());
    let plan = rig.connections().plan(id).await.unwrap();
    let minted = |call: &PlannedCall| matches!(call.call, Call::AddPassword { .. });
    assert!(!plan.calls.iter().any(minted), "{plan}");
    assert_eq!(plan.calls[0].key_id, Some(given.key_id), "{plan}");
}

/// Before it is taken up, and after.
#[tokio::test(start_paused = true)]
async fn an_emergency_leaves_no_grace_to_what_a_supplied_secret_replaces() {
    for taken_up in [false, true] {
        let rig = Rig::new(316);
        let id = rig.rotating(settings()).await;
        let leaked = rig.status(id).await.key_id.unwrap();
        let given = rig.directory.add_secret("by hand");
        supply(&rig, id, &given).await;
        if taken_up {
            until(&rig, id, |status| status.run.is_some()).await;
        }

        let asked = emergency(&rig, id).await;

        assert!(asked.joined);
        rig.settle(id, TimeDelta::minutes(2)).await;
        assert!(!rig.directory.has(leaked), "taken up: {taken_up}");
        rig.assert_clean(id, 2).await;
        let last = rig.status(id).await.last.unwrap();
        assert_eq!((last.id, last.cause), (asked.rotation, Cause::Supplied));
    }
}

/// The secret that is taken back was in use, and may be the one that leaked.
#[tokio::test(start_paused = true)]
async fn an_emergency_replaces_a_secret_that_is_just_being_taken_back() {
    for taken_up in [false, true] {
        let rig = Rig::new(317);
        let (id, before, bad) = in_grace(&rig).await;
        let back = rig.connections().roll_back(id, &me()).await.unwrap();
        if taken_up {
            let run = |run: Run| run.id == back.rotation;
            until(&rig, id, |status| status.run.is_some_and(run)).await;
        }

        let asked = emergency(&rig, id).await;

        assert!(!asked.joined);
        rig.settle(id, TimeDelta::minutes(5)).await;
        assert!(!rig.directory.has(bad) && !rig.directory.has(before));
        rig.assert_clean(id, 4).await;
        assert_eq!(rig.status(id).await.last.unwrap().id, asked.rotation);
    }
}

async fn change(
    rig: &Rig,
    id: keywheel_connection::ConnectionId,
    client: ClientId,
    given: &Foreign,
) -> Result<Vec<KeyId>, keywheel_rotation::ConnectionError> {
    let place = (Cloud::default(), "contoso.example".parse().unwrap(), client);
    let text = secret(&given.text);
    let connections = rig.connections();
    connections
        .change_credential(id, place, &text, None, &me())
        .await
}

/// A wrong one would have somebody else's secret revoked.
#[tokio::test(start_paused = true)]
async fn a_key_id_that_is_not_the_given_secrets_is_refused_when_supplied_and_when_changed() {
    let rig = Rig::new(315);
    let id = rig.rotating(settings()).await;
    let given = rig.directory.add_secret("by hand");
    let (text, me, connections) = (secret(&given.text), me(), rig.connections());
    let before = rig.load(id).await;
    for wrong in [rig.foreign.key_id, Uuid::from_u128(99).into()] {
        let place = (before.cloud.clone(), before.tenant.clone(), ours());
        let supplied = connections.supply_secret(id, &text, Some(wrong), &me).await;
        let changed = connections
            .change_credential(id, place, &text, Some(wrong), &me)
            .await;

        for error in [supplied.unwrap_err(), changed.unwrap_err()] {
            assert_eq!(error.kind(), ConnectionErrorKind::Invalid);
            assert!(error.to_string().starts_with("key id: "), "{error}");
        }
    }
    assert_eq!(rig.load(id).await, before);
}

#[tokio::test(start_paused = true)]
async fn another_application_is_a_new_enrolment_and_what_is_left_is_listed() {
    let rig = Rig::new(310);
    let id = rig.rotating(settings()).await;
    let before = rig.status(id).await.key_id.unwrap();
    let given = rig.directory.add_secret_to(other(), "of the other one");

    rig.watch.end();

    let left = change(&rig, id, other(), &given).await.unwrap();

    assert_eq!(left, [before]);
    assert_eq!(rig.settle(id, TimeDelta::hours(1)).await, None);
    let connection = rig.load(id).await;
    assert_eq!(connection.client, other());
    assert!(
        !rig.directory.has(given.key_id),
        "the first rotation revokes it"
    );
    assert!(
        rig.directory.has(before),
        "nothing is done on the application before"
    );
    let status = rig.status(id).await;
    assert_eq!((status.generation, status.health), (3, Health::Active));
    let events = rig.events(id).await;
    let told =
        |kind: &EventKind| matches!(kind, EventKind::Reenrolled { left, .. } if *left == [before]);
    assert!(events.iter().any(|event| told(&event.kind)));
}

#[tokio::test(start_paused = true)]
async fn another_secret_of_the_same_application_keeps_what_must_be_revoked() {
    let rig = Rig::new(311);
    let (id, older, current) = in_grace(&rig).await;
    let given = rig.directory.add_secret("another");

    assert_eq!(change(&rig, id, ours(), &given).await.unwrap(), []);

    assert_eq!(rig.settle(id, TimeDelta::hours(3)).await, None);
    for gone in [older, current, given.key_id] {
        assert!(!rig.directory.has(gone));
    }
    rig.assert_clean(id, 4).await;
}

/// As when a secret is supplied: whoever must have it before it is used has it before the one before goes.
#[tokio::test(start_paused = true)]
async fn without_a_grace_too_sinks_have_the_new_credential_before_the_old_one_goes() {
    let (rig, before, after) = Rig::new(314).with_sinks();
    let id = rig.rotating(Rig::quick()).await;
    let old = rig.status(id).await.key_id.unwrap();
    assert_eq!(before.holds(), Some(rig.directory.text(old)));
    let given = rig.directory.add_secret("another");
    before.set_broken(true);

    assert_eq!(change(&rig, id, ours(), &given).await.unwrap(), []);

    rig.run(id, TimeDelta::hours(3)).await;
    let held = before.holds().unwrap();
    assert!(
        rig.directory.holds(&held),
        "what the sink holds was revoked"
    );
    assert_eq!(after.holds(), Some(given.text.clone()));
    assert!(rig.status(id).await.drift.contains(&"before".to_owned()));
    let told = before.given().len();

    before.set_broken(false);
    rig.run(id, TimeDelta::hours(3)).await;

    assert_eq!(before.given()[told], (2, given.text));
    assert!(!rig.directory.has(old));
    rig.assert_clean(id, 3).await;
    let current = rig.directory.text(rig.status(id).await.key_id.unwrap());
    assert_eq!(
        [before.holds(), after.holds()],
        [Some(current.clone()), Some(current)]
    );
}

/// The secrets before it are still accepted, but nobody holds them any more.
#[tokio::test(start_paused = true)]
async fn a_secret_of_the_same_application_that_is_refused_is_a_lock_out() {
    let rig = Rig::new(313);
    let (id, _, _) = in_grace(&rig).await;
    let given = rig.directory.add_secret("another");
    change(&rig, id, ours(), &given).await.unwrap();
    rig.watch.end();
    rig.directory.remove_secret(given.key_id);

    rig.run(id, TimeDelta::hours(3)).await;

    assert_eq!(rig.status(id).await.health, Health::LockedOut);
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_application_is_gone_can_be_given_another_one() {
    let rig = Rig::new(312);
    let (id, older, current) = in_grace(&rig).await;
    rig.watch.end();
    for gone in [older, current] {
        rig.directory.remove_secret(gone);
    }
    rig.run(id, TimeDelta::days(2)).await;
    let given = rig.directory.add_secret_to(other(), "of the other one");

    let left = change(&rig, id, other(), &given).await.unwrap();

    assert_eq!(left.len(), 2);
    assert_eq!(rig.settle(id, TimeDelta::hours(1)).await, None);
    let status = rig.status(id).await;
    assert_eq!((status.health, status.debts), (Health::Active, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn the_secret_in_use_is_read_without_the_key_of_the_one_before() {
    let rig = Rig::new(315);
    let id = rig.rotating(settings()).await;
    rig.watch.end();
    rig.request(id, Cause::Manual).await;
    // 32 times 7, in base64: the key that the first secret is sealed with.
    let former = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let newer = || KeyRing::new(&[8; 32]).unwrap();
    let sealed_by = |ring: KeyRing| RotatorParts {
        sealer: Arc::new(ring),
        ..rig.parts()
    };
    let both = newer().with_former(former).unwrap();
    let rotator = Rotator::new(sealed_by(both), rig.policy.clone());
    let deadline = rig.clock.now() + TimeDelta::hours(1);
    let promoted = |connection: &Connection| connection.secrets().unwrap().current.generation == 2;
    let driven = Box::pin(rotator.drive(id, deadline, promoted)).await;
    assert_eq!(driven.unwrap(), None);
    let connections = Connections::new(sealed_by(newer()), rig.policy.clone());

    let read = connections.secrets(id).await.unwrap();

    assert_eq!(read.generation, 2);
    assert!(rig.directory.holds(read.current.expose()));
    assert!(read.previous.is_none());
}
