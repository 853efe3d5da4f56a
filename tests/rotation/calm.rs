use chrono::TimeDelta;
use keywheel_connection::{Actor, Cause, EventKind, IssuerErrorKind, StoreErrorKind, TroubleKind};
use keywheel_core::Clock;
use keywheel_rotation::{Health, Waiting};
use workspace_tests::{Lag, Rig, settings};

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
