use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Actor, Cause, ConnectionId, EventKind, IssuerErrorKind, StoreErrorKind, TroubleKind,
};
use keywheel_core::Clock;
use keywheel_rotation::{Health, Status, Waiting};
use workspace_tests::{Fate, Lag, Rig, settings};

use crate::ways::until;

#[tokio::test(start_paused = true)]
async fn the_first_rotation_replaces_the_original_and_leaves_the_foreign_secret() {
    let rig = Rig::new(1);
    let id = rig.create(settings()).await;

    assert_eq!(rig.settle(id, TimeDelta::minutes(10)).await, None);

    rig.assert_clean(id, 1).await;
    assert!(!rig.directory.holds(&rig.original.text));
    assert_eq!(rig.status(id).await.health, Health::Active);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_takes_four_saves_and_no_needless_call() {
    let rig = Rig::new(2);
    let mut settings = Rig::quick();
    settings.proofs = 1;
    let id = rig.create(settings).await;
    let before = rig.effects.count();

    rig.settle(id, TimeDelta::minutes(10)).await;

    let effects = rig.effects.names().split_off(before);
    assert_eq!(
        effects,
        [
            "save", "mint", "save", "prove", "inspect", "save", "remove", "save"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_later_rotation_keeps_the_old_secret_for_its_grace() {
    let rig = Rig::new(3);
    let id = rig.create(settings()).await;
    rig.settle(id, TimeDelta::minutes(10)).await;
    let before = rig.status(id).await.key_id.unwrap();

    rig.request(id, Cause::Manual).await;
    let waiting = rig.settle(id, TimeDelta::minutes(30)).await;

    assert_eq!(waiting, Some(Waiting::Grace));
    assert!(rig.directory.has(before));
    assert_eq!(rig.settle(id, TimeDelta::minutes(90)).await, None);
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn an_emergency_leaves_no_grace() {
    let rig = Rig::new(4);
    let id = rig.create(settings()).await;
    rig.settle(id, TimeDelta::minutes(10)).await;

    rig.request(id, Cause::Emergency).await;

    assert_eq!(rig.settle(id, TimeDelta::minutes(1)).await, None);
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_request_joins_the_first() {
    let rig = Rig::new(5);
    let id = rig.create(settings()).await;

    let joined = rig
        .connections()
        .rotate_now(id, Cause::Manual, &Actor::named("test"))
        .await
        .unwrap();

    assert!(joined.joined);
    rig.settle(id, TimeDelta::minutes(10)).await;
    rig.assert_clean(id, 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_schedule_rotates_at_its_local_time_across_daylight_saving() {
    let rig = Rig::new(6);
    let id = rig.create(Rig::quick()).await;
    rig.settle(id, TimeDelta::minutes(10)).await;

    let deadline = TimeDelta::days(65);
    rig.rotator()
        .drive(id, rig.clock.now() + deadline, |_| false)
        .await
        .unwrap();

    rig.assert_clean(id, 3).await;
    let events = rig.events(id).await;
    let promoted: Vec<_> = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Intent { .. }))
        .map(|event| event.at.format("%FT%R").to_string())
        .collect();
    // 02:30 in Berlin is 00:30 UTC since 29 March.
    assert_eq!(promoted[1..], ["2026-03-31T00:30", "2026-04-30T00:30"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_directory_is_waited_for() {
    for (accepted, listed) in [(0, 18), (18, 0), (18, 18), (60, 20), (300, 20)] {
        let rig = Rig::new(7);
        rig.directory.set_lag(Lag {
            accepted: TimeDelta::seconds(accepted),
            listed: TimeDelta::seconds(listed),
        });
        let id = rig.create(settings()).await;

        assert_eq!(rig.settle(id, TimeDelta::minutes(20)).await, None);

        rig.assert_clean(id, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_never_accepted_is_removed_and_another_one_minted() {
    let rig = Rig::new(8);
    rig.directory.set_lag(Lag {
        accepted: TimeDelta::days(1),
        listed: TimeDelta::zero(),
    });
    let id = rig.create(settings()).await;

    rig.settle(id, TimeDelta::minutes(14)).await;
    rig.directory.set_lag(Lag::default());
    rig.settle(id, TimeDelta::minutes(30)).await;

    rig.assert_clean(id, 1).await;
    let events = rig.events(id).await;
    let quarantined = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Quarantined { .. }));
    assert_eq!(quarantined.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn secrets_that_are_never_accepted_are_minted_anew_ever_more_seldom() {
    let rig = Rig::new(13);
    let id = rig.rotating(settings()).await;
    rig.directory.set_lag(Lag {
        accepted: TimeDelta::days(30),
        listed: TimeDelta::zero(),
    });
    rig.request(id, Cause::Manual).await;

    rig.settle(id, TimeDelta::days(1)).await;

    let waits = waits_after_quarantine(&rig, id).await;
    let minutes: Vec<_> = waits.iter().map(TimeDelta::num_minutes).collect();
    assert_eq!(minutes[0], 0, "{minutes:?}");
    assert!((7..=15).contains(&minutes[1]), "{minutes:?}");
    assert!((15..=30).contains(&minutes[2]), "{minutes:?}");
    let later = &minutes[3..];
    assert!(
        later.iter().all(|m| (30..=60).contains(m)) && later.len() > 10,
        "{minutes:?}"
    );
    let status = rig.status(id).await;
    assert_eq!((status.health, status.generation), (Health::Active, 1));
    assert_eq!(status.trouble.unwrap().kind, TroubleKind::Transient);
}

#[tokio::test(start_paused = true)]
async fn steps_that_fail_in_turn_are_tried_ever_more_seldom() {
    let rig = Rig::new(15);
    let id = rig.rotating(settings()).await;
    // A marker that is watched for a day, because nobody knows whether its call was made.
    rig.effects.plan_named("mint", Fate::StopBefore);
    rig.request(id, Cause::Manual).await;
    let _ = rig.effects.run(rig.settle(id, TimeDelta::hours(1))).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;
    rig.directory.deny("inspect", IssuerErrorKind::Unavailable);
    let before = rig.effects.count();

    rig.settle(id, TimeDelta::hours(6)).await;

    let calls = rig.effects.names().split_off(before);
    let reads = calls.iter().filter(|call| **call == "inspect").count();
    assert!((10..60).contains(&reads), "{reads} reads in six hours");
}

#[tokio::test(start_paused = true)]
async fn who_resumes_need_not_wait_for_the_next_mint() {
    let rig = Rig::new(14);
    let id = rig.rotating(settings()).await;
    rig.directory.set_lag(Lag {
        accepted: TimeDelta::days(30),
        listed: TimeDelta::zero(),
    });
    rig.request(id, Cause::Manual).await;
    let waits = |status: &Status| {
        let trouble = status.trouble.as_ref();
        trouble.is_some_and(|t| t.step == "mint" && t.attempts == 2)
    };
    until(&rig, id, waits).await;
    rig.directory.set_lag(Lag::default());

    rig.settle(id, TimeDelta::minutes(5)).await;
    assert_eq!(rig.status(id).await.generation, 1);
    let actor = Actor::named("test");
    rig.connections().resume(id, &actor).await.unwrap();
    rig.settle(id, TimeDelta::minutes(5)).await;

    assert_eq!(rig.status(id).await.generation, 2);
    rig.settle(id, TimeDelta::hours(2)).await;
    rig.assert_clean(id, 2).await;
}

/// How long it took after each secret that was given up until the next one was minted.
async fn waits_after_quarantine(rig: &Rig, id: ConnectionId) -> Vec<TimeDelta> {
    let mut given_up = None;
    let mut waits = Vec::new();
    for event in rig.events(id).await {
        match event.kind {
            EventKind::Quarantined { .. } => given_up = Some(event.at),
            EventKind::Intent { .. } => waits.extend(given_up.take().map(|at| event.at - at)),
            _ => {}
        }
    }
    waits
}

#[tokio::test(start_paused = true)]
async fn every_refusal_of_a_mint_is_named_and_tried_again() {
    for (kind, trouble) in [
        (IssuerErrorKind::Busy, TroubleKind::Transient),
        (IssuerErrorKind::Throttled, TroubleKind::Transient),
        (IssuerErrorKind::Unavailable, TroubleKind::Transient),
        (IssuerErrorKind::LifetimeTooLong, TroubleKind::Transient),
        (IssuerErrorKind::Forbidden, TroubleKind::PermissionMissing),
        (IssuerErrorKind::LimitReached, TroubleKind::LimitReached),
        (
            IssuerErrorKind::MethodForbidden,
            TroubleKind::MethodForbidden,
        ),
        (
            IssuerErrorKind::ApplicationUnusable,
            TroubleKind::ApplicationUnusable,
        ),
        (IssuerErrorKind::Invalid, TroubleKind::Refused),
    ] {
        let rig = Rig::new(9);
        let id = rig.create(settings()).await;
        rig.directory.fail_next("mint", kind);

        let mut work = rig.rotator().lease(id).await.unwrap();
        rig.rotator().advance(&mut work).await.unwrap();

        let status = rig.status(id).await;
        assert_eq!(status.trouble.map(|t| t.kind), Some(trouble), "{kind:?}");
        assert_eq!(rig.settle(id, TimeDelta::hours(3)).await, None, "{kind:?}");
        rig.assert_clean(id, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_caps_the_lifetime_is_met_by_asking_for_less() {
    let rig = Rig::new(10);
    let id = rig.create(settings()).await;
    for _ in 0..2 {
        rig.directory
            .fail_next("mint", IssuerErrorKind::LifetimeTooLong);
    }

    assert_eq!(rig.settle(id, TimeDelta::minutes(10)).await, None);

    let status = rig.status(id).await;
    let life = status.end.unwrap() - rig.clock.now();
    assert!(life < TimeDelta::days(25), "{life}");
    assert!(life > TimeDelta::days(24), "{life}");
    rig.assert_clean(id, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_current_secret_that_is_removed_by_hand_is_told() {
    let rig = Rig::new(11);
    let id = rig.create(settings()).await;
    rig.settle(id, TimeDelta::minutes(10)).await;
    let current = rig.status(id).await.key_id.unwrap();
    // From here on G1 is broken by somebody else.
    rig.watch.end();
    rig.directory.remove_secret(current);

    rig.request(id, Cause::Manual).await;
    rig.settle(id, TimeDelta::minutes(10)).await;

    let status = rig.status(id).await;
    assert_eq!(status.health, Health::LockedOut);
    assert!(rig.directory.has(rig.foreign.key_id));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_overtaken_writes_nothing_more() {
    let rig = Rig::new(12);
    let id = rig.create(settings()).await;
    let mut overtaken = rig.rotator().lease(id).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    rig.settle(id, TimeDelta::minutes(10)).await;
    let before = rig.directory.mint_calls().len();

    let error = rig.rotator().advance(&mut overtaken).await.unwrap_err();

    assert_eq!(error.store_error().kind(), StoreErrorKind::LeaseLost);
    assert_eq!(rig.directory.mint_calls().len(), before);
    rig.assert_clean(id, 1).await;
}

/// A run that was due while nobody worked is made up for on another day, UTC's and Berlin's, and people
/// rotate in between: the dates stay where the schedule has them.
#[tokio::test(start_paused = true)]
async fn late_and_manual_runs_do_not_move_the_schedule() {
    let rig = Rig::new(17);
    let id = rig.rotating(settings()).await;
    let next = async || rig.status(id).await.next_due.unwrap().to_rfc3339();
    assert_eq!(next().await, "2026-03-31T00:30:00+00:00");

    // Due on the 31st, and done on 1 April.
    rig.pass("2026-04-01T22:10:00Z".parse::<DateTime<Utc>>().unwrap() - rig.clock.now())
        .await;
    rig.settle(id, TimeDelta::hours(4)).await;
    rig.assert_clean(id, 2).await;
    assert_eq!(next().await, "2026-04-30T00:30:00+00:00");

    for generation in 3..6 {
        rig.run(id, TimeDelta::days(6)).await;
        rig.request(id, Cause::Manual).await;
        rig.settle(id, TimeDelta::hours(4)).await;
        rig.assert_clean(id, generation).await;
        assert_eq!(next().await, "2026-04-30T00:30:00+00:00");
    }
    rig.run(id, TimeDelta::days(20)).await;
    rig.assert_clean(id, 6).await;
    assert_eq!(next().await, "2026-05-30T00:30:00+00:00");
}
