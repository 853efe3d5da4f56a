//! Points 39 to 54: Entra and Graph in trouble, policies, and administrators.

use chrono::TimeDelta;
use keywheel_connection::{Cause, ConnectionId, EventKind, IssuerErrorKind, Mode, TroubleKind};
use keywheel_core::Clock;
use keywheel_rotation::{Health, Status};
use workspace_tests::{Fate, Rig, secret, settings};

use super::{asked, count};
use crate::verbs::me;
use crate::ways::until;

#[tokio::test(start_paused = true)]
async fn p39_a_throttled_call_is_made_again_no_sooner_than_the_service_said() {
    let (rig, id) = asked(1101).await;
    rig.directory.fail_next("mint", IssuerErrorKind::Throttled);
    let begun = rig.clock.now();

    rig.settle(id, TimeDelta::hours(3)).await;

    rig.assert_clean(id, 2).await;
    let events = rig.events(id).await;
    let minted = events
        .iter()
        .rfind(|event| matches!(event.kind, EventKind::Minted { .. }));
    // The directory asks for 90 seconds.
    assert!(minted.unwrap().at - begun >= TimeDelta::seconds(90));
}

/// While calls of these names fail, nothing is removed and nothing replaced; afterwards all is made up.
async fn outage(calls: &[&'static str], kind: IssuerErrorKind, days: i64) -> (Rig, ConnectionId) {
    let (rig, id) = asked(1102).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;
    let current = rig.status(id).await.key_id.unwrap();
    for call in calls {
        rig.directory.deny(call, kind);
    }
    rig.settle(id, TimeDelta::days(days)).await;
    let status = rig.status(id).await;
    assert_eq!((status.generation, status.key_id), (1, Some(current)));
    assert!(rig.directory.has(current));
    rig.directory.allow_all();
    (rig, id)
}

#[tokio::test(start_paused = true)]
async fn p39_a_throttled_mint_waits_for_its_time_whatever_else_fails_meanwhile() {
    let rig = Rig::new(950);
    let id = rig.rotating(settings()).await;
    // A marker that is watched for a day, because nobody knows whether its call was made.
    rig.effects.plan_named("mint", Fate::StopBefore);
    rig.request(id, Cause::Manual).await;
    let _ = rig.effects.run(rig.settle(id, TimeDelta::hours(1))).await;
    rig.directory.deny("mint", IssuerErrorKind::Throttled);
    let throttled = |status: &Status| status.trouble.as_ref().is_some_and(|t| t.step == "mint");
    until(&rig, id, throttled).await;
    rig.directory.deny("inspect", IssuerErrorKind::Unavailable);

    rig.settle(id, TimeDelta::hours(1)).await;

    let events = rig.events(id).await;
    let intents = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Intent { .. }));
    let at: Vec<_> = intents.skip(2).map(|event| event.at).collect();
    let waits: Vec<_> = at.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(waits.len() > 3, "{waits:?}");
    assert!(
        waits.iter().all(|wait| *wait >= TimeDelta::seconds(90)),
        "{waits:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn p40_while_the_token_endpoint_is_away_nothing_changes() {
    let (rig, id) = outage(&["prove"], IssuerErrorKind::Unavailable, 2).await;
    assert_eq!(rig.status(id).await.health, Health::Active);
    rig.settle(id, TimeDelta::hours(5)).await;
    rig.assert_clean(id, 2).await;
    assert_eq!(rig.directory.mint_calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p41_while_only_graph_is_away_a_candidate_with_tokens_is_not_promoted() {
    let graph = ["inspect", "mint", "remove"];
    let (rig, id) = outage(&graph, IssuerErrorKind::Unavailable, 2).await;
    rig.settle(id, TimeDelta::hours(5)).await;
    rig.assert_clean(id, 2).await;
    assert_eq!(rig.directory.mint_calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p42_a_concurrent_write_is_retried_spaced() {
    let (rig, id) = asked(1103).await;
    for _ in 0..4 {
        rig.directory.fail_next("mint", IssuerErrorKind::Busy);
    }
    let begun = rig.clock.now();

    rig.settle(id, TimeDelta::minutes(5)).await;

    assert_eq!(rig.status(id).await.generation, 2);
    let minted = rig.load(id).await.secrets().unwrap().current.since;
    assert!(
        minted - begun > TimeDelta::seconds(15),
        "{}",
        minted - begun
    );
}

#[tokio::test(start_paused = true)]
async fn p43_a_full_application_halts_and_no_foreign_secret_makes_room() {
    let (rig, id) = asked(1104).await;
    rig.directory.set_limit(Some(2));

    rig.settle(id, TimeDelta::hours(5)).await;

    let status = rig.status(id).await;
    assert_eq!((status.generation, status.health), (1, Health::Halted));
    assert_eq!(status.trouble.unwrap().kind, TroubleKind::LimitReached);
    rig.directory.set_limit(None);
    rig.settle(id, TimeDelta::hours(5)).await;
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn p44_on_an_application_for_two_secrets_the_old_one_goes_before_the_next_comes() {
    let rig = Rig::new(1105);
    rig.directory.remove_secret(rig.foreign.key_id);
    rig.directory.set_limit(Some(2));
    let new = rig.new_connection().rotating(settings());
    let created = rig.connections().create(new, &me()).await.unwrap();
    let id = created.connection.id;
    rig.watch.begin(id, []);
    let rotation = created.connection.rotation.as_ref().unwrap();
    assert_eq!(rotation.settings.mode, Mode::OnePlusOne);
    for generation in 1..=3 {
        assert_eq!(rig.settle(id, TimeDelta::hours(5)).await, None);
        let status = rig.status(id).await;
        assert_eq!(
            (status.generation, rig.directory.live().len()),
            (generation, 1)
        );
        rig.request(id, Cause::Manual).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p45_a_policy_that_caps_the_lifetime_is_met_with_a_shorter_one() {
    let (rig, id) = asked(1106).await;
    for _ in 0..2 {
        rig.directory
            .fail_next("mint", IssuerErrorKind::LifetimeTooLong);
    }

    rig.settle(id, TimeDelta::hours(3)).await;

    rig.assert_clean(id, 2).await;
    let status = rig.status(id).await;
    let life = status.end.unwrap() - rig.clock.now();
    assert!(life < TimeDelta::days(25), "{life}");
    assert!(status.next_due.unwrap() < status.end.unwrap());
}

/// Trouble that needs a person: named, without harm, and over once it is corrected.
async fn halted(kind: IssuerErrorKind, trouble: TroubleKind) {
    let (rig, id) = asked(1107).await;
    let current = rig.status(id).await.key_id.unwrap();
    for call in ["mint", "inspect", "remove"] {
        rig.directory.deny(call, kind);
    }
    rig.settle(id, TimeDelta::days(2)).await;
    let status = rig.status(id).await;
    assert_eq!(
        (status.health, status.key_id),
        (Health::Halted, Some(current))
    );
    let told = status.trouble.unwrap();
    assert_eq!(told.kind, trouble);
    assert!(told.kind.needs_a_person());
    assert!(
        (40..60).contains(&told.attempts),
        "probed hourly: {}",
        told.attempts
    );
    rig.assert_clean_but_running(id).await;
    rig.directory.allow_all();
    rig.connections().resume(id, &me()).await.unwrap();
    rig.settle(id, TimeDelta::hours(3)).await;
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn p46_a_policy_that_forbids_secrets_halts_and_the_current_one_works_on() {
    halted(
        IssuerErrorKind::MethodForbidden,
        TroubleKind::MethodForbidden,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn p47_a_permission_that_is_taken_away_halts_minting_only() {
    halted(IssuerErrorKind::Forbidden, TroubleKind::PermissionMissing).await;
}

#[tokio::test(start_paused = true)]
async fn p48_a_block_by_policy_is_no_bad_secret_and_is_not_rotated_away() {
    halted(
        IssuerErrorKind::ApplicationUnusable,
        TroubleKind::ApplicationUnusable,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn p49_a_deleted_application_stops_everything_and_its_return_goes_on() {
    let (rig, id) = asked(1108).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;
    let candidate = rig.status(id).await.candidate_key_id.unwrap();
    for call in ["prove", "mint", "inspect", "remove"] {
        rig.directory
            .deny(call, IssuerErrorKind::ApplicationUnusable);
    }
    rig.settle(id, TimeDelta::days(20)).await;
    let status = rig.status(id).await;
    assert_eq!((status.health, status.generation), (Health::Halted, 1));
    assert_eq!(status.candidate_key_id, Some(candidate));

    rig.directory.allow_all();
    rig.settle(id, TimeDelta::hours(5)).await;

    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn p50_an_application_that_was_made_anew_is_not_taken_for_the_old_one() {
    let (rig, id) = asked(1109).await;
    rig.directory.recreate();

    rig.settle(id, TimeDelta::hours(3)).await;

    let status = rig.status(id).await;
    assert_eq!((status.health, status.generation), (Health::Halted, 1));
    let message = status.trouble.unwrap().message;
    assert!(message.contains("deleted and made again"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn p51_a_disabled_service_principal_begins_no_rotation() {
    let (rig, id) = asked(1110).await;
    rig.directory
        .deny("mint", IssuerErrorKind::ApplicationUnusable);
    rig.settle(id, TimeDelta::days(3)).await;
    assert_eq!(rig.directory.mint_calls().len(), 1);
    assert_eq!(rig.status(id).await.health, Health::Halted);
}

#[tokio::test(start_paused = true)]
async fn p52_a_disabled_tenant_is_probed_once_an_hour() {
    let (rig, id) = asked(1111).await;
    rig.directory
        .deny("mint", IssuerErrorKind::ApplicationUnusable);
    let before = rig.effects.names().len();
    rig.settle(id, TimeDelta::days(1)).await;
    let names = rig.effects.names().split_off(before);
    let mints = names.iter().filter(|name| **name == "mint").count();
    assert!((20..=26).contains(&mints), "{mints}");
}

#[tokio::test(start_paused = true)]
async fn p53_a_secret_that_has_ended_is_a_lock_out_and_a_supplied_one_goes_on_with_the_schedule() {
    let rig = Rig::new(1112);
    let id = rig.rotating(settings()).await;
    rig.watch.end();
    rig.directory
        .end_secret(rig.status(id).await.key_id.unwrap());
    rig.run(id, TimeDelta::days(31)).await;
    assert_eq!(rig.status(id).await.health, Health::LockedOut);
    let given = rig.directory.add_secret("by hand");
    let text = secret(&given.text);
    let supply = rig
        .connections()
        .supply_secret(id, &text, None, &me())
        .await;
    supply.unwrap();

    rig.settle(id, TimeDelta::hours(3)).await;

    let status = rig.status(id).await;
    assert_eq!(
        (status.health, status.key_id),
        (Health::Active, Some(given.key_id))
    );
    let next = status.next_due.unwrap();
    assert_eq!(
        next.to_rfc3339(),
        "2026-04-30T00:30:00+00:00",
        "as it always was"
    );
}

#[tokio::test(start_paused = true)]
async fn p54_the_end_that_the_service_answers_is_the_one_that_counts() {
    let (rig, id) = asked(1113).await;
    rig.directory.set_longest_life(Some(TimeDelta::days(21)));

    rig.settle(id, TimeDelta::hours(3)).await;

    let status = rig.status(id).await;
    let left = status.end.unwrap() - rig.clock.now();
    assert!(left <= TimeDelta::days(21), "{left}");
    // Seven days before its end, and that is sooner than the schedule.
    assert_eq!(
        status.next_due,
        status.end.map(|end| end - TimeDelta::days(7))
    );
    let events = rig.events(id).await;
    assert_eq!(
        count(&events, |kind| matches!(kind, EventKind::Minted { .. })),
        2
    );
}
