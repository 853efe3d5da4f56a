//! Steering a rotation: now, in an emergency, not now, not at all.

use std::time::Duration;

use chrono::TimeDelta;
use keywheel_connection::{Cause, EventKind, IssuerErrorKind, RotationSettings, Seconds};
use keywheel_core::Clock;
use keywheel_rotation::{ConnectionErrorKind, Health, Waiting};
use keywheel_schedule::{Freeze, Jitter, Schedule};
use workspace_tests::{Rig, SETTINGS_ZONE, settings};

use super::me;
use crate::ways::until;

#[tokio::test(start_paused = true)]
async fn a_request_answers_the_rotation_that_it_becomes() {
    let rig = Rig::new(201);
    let id = rig.rotating(settings()).await;

    let asked = rig.connections().rotate_now(id, Cause::Manual, &me()).await;
    let asked = asked.unwrap();

    assert!(!asked.joined);
    rig.settle(id, TimeDelta::hours(3)).await;
    let last = rig.status(id).await.last.unwrap();
    assert_eq!((last.id, last.cause), (asked.rotation, Cause::Manual));
}

#[tokio::test(start_paused = true)]
async fn a_request_joins_what_is_asked_for_what_runs_and_what_is_in_grace() {
    let rig = Rig::new(202);
    let id = rig.rotating(settings()).await;
    let ask = async || {
        let asked = rig.connections().rotate_now(id, Cause::Manual, &me()).await;
        asked.unwrap()
    };
    let first = ask().await;
    assert_eq!(ask().await.rotation, first.rotation);

    until(&rig, id, |status| status.candidate_key_id.is_some()).await;
    let joined = ask().await;
    assert_eq!((joined.rotation, joined.joined), (first.rotation, true));

    until(&rig, id, |status| status.generation == 2).await;
    let joined = ask().await;
    assert_eq!((joined.rotation, joined.joined), (first.rotation, true));

    rig.settle(id, TimeDelta::hours(4)).await;
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn an_emergency_hurries_what_is_not_in_use_yet() {
    let rig = Rig::new(203);
    let id = rig.rotating(settings()).await;
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;

    let asked = rig
        .connections()
        .rotate_now(id, Cause::Emergency, &me())
        .await;
    assert!(asked.unwrap().joined);

    assert_eq!(rig.settle(id, TimeDelta::minutes(2)).await, None);
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn an_emergency_replaces_a_secret_that_came_into_use_a_moment_ago() {
    let rig = Rig::new(204);
    let id = rig.rotating(settings()).await;
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.generation == 2).await;

    let asked = rig
        .connections()
        .rotate_now(id, Cause::Emergency, &me())
        .await;
    let asked = asked.unwrap();
    assert!(!asked.joined);
    let again = rig
        .connections()
        .rotate_now(id, Cause::Emergency, &me())
        .await;
    let again = again.unwrap();
    assert_eq!((again.rotation, again.joined), (asked.rotation, true));

    assert_eq!(rig.settle(id, TimeDelta::minutes(3)).await, None);
    rig.assert_clean(id, 3).await;
    assert_eq!(rig.status(id).await.last.unwrap().id, asked.rotation);
}

#[tokio::test(start_paused = true)]
async fn a_pause_lets_nothing_begin_and_keeps_what_was_replaced() {
    let rig = Rig::new(205);
    let id = rig.rotating(settings()).await;
    let original = rig.status(id).await.key_id.unwrap();
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.generation == 2).await;
    let pause = rig.connections().pause(id, "an incident", &me()).await;
    pause.unwrap();

    rig.run(id, TimeDelta::days(80)).await;

    assert!(rig.directory.has(original));
    let status = rig.status(id).await;
    assert!(status.paused);
    assert_eq!(
        (status.generation, status.waiting),
        (2, Some(Waiting::Paused))
    );
    // The end of the secret is told all the same.
    let events = rig.events(id).await;
    let told = |kind: &EventKind| matches!(kind, EventKind::Expiring { .. });
    assert!(events.iter().any(|event| told(&event.kind)));

    rig.connections().resume(id, &me()).await.unwrap();
    rig.settle(id, TimeDelta::minutes(1)).await;
    assert!(!rig.directory.has(original));
}

#[tokio::test(start_paused = true)]
async fn resuming_tries_at_once_what_waits_for_a_person() {
    let rig = Rig::new(206);
    let id = rig.rotating(settings()).await;
    rig.directory.deny("mint", IssuerErrorKind::Forbidden);
    rig.request(id, Cause::Manual).await;
    rig.settle(id, TimeDelta::minutes(2)).await;
    assert_eq!(rig.status(id).await.health, Health::Halted);
    rig.directory.allow_all();
    rig.settle(id, TimeDelta::minutes(2)).await;
    assert_eq!(
        rig.status(id).await.generation,
        1,
        "it is probed every hour"
    );

    rig.connections().resume(id, &me()).await.unwrap();

    rig.settle(id, TimeDelta::minutes(2)).await;
    let status = rig.status(id).await;
    assert_eq!((status.generation, status.health), (2, Health::Active));
}

#[tokio::test(start_paused = true)]
async fn a_freeze_moves_a_run_behind_its_dates() {
    let rig = Rig::new(207);
    let id = rig.rotating(Rig::quick()).await;
    let freeze = Freeze::new("2026-03-30".parse().unwrap(), "2026-04-10".parse().unwrap());

    let frozen = rig.connections().freeze(id, freeze.unwrap(), &me()).await;

    frozen.unwrap();
    let next = rig.status(id).await.next_due.unwrap();
    assert_eq!(next.to_rfc3339(), "2026-04-10T22:00:00+00:00");
    rig.run(id, TimeDelta::days(39)).await;
    assert_eq!(rig.status(id).await.generation, 1);
    rig.run(id, TimeDelta::days(2)).await;
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn the_same_freeze_counts_once_and_the_next_one_drops_what_went_by() {
    let rig = Rig::new(212);
    let id = rig.rotating(Rig::quick()).await;
    let connections = rig.connections();
    let freeze = |first: &str, last: &str| {
        let freeze = Freeze::new(first.parse().unwrap(), last.parse().unwrap()).unwrap();
        let connections = connections.clone();
        async move { connections.freeze(id, freeze, &me()).await.unwrap() }
    };
    freeze("2026-03-30", "2026-04-10").await;
    let once = (rig.load(id).await, rig.events(id).await.len());

    freeze("2026-03-30", "2026-04-10").await;

    assert_eq!((rig.load(id).await, rig.events(id).await.len()), once);
    rig.pass(TimeDelta::days(43)).await;
    freeze("2026-12-19", "2027-01-03").await;
    let record = rig.load(id).await.encode();
    assert!(record.contains("2027-01-03") && !record.contains("2026-04-10"));
}

#[tokio::test(start_paused = true)]
async fn aborting_removes_the_new_secret_and_keeps_the_current_one() {
    let rig = Rig::new(208);
    let id = rig.rotating(settings()).await;
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;
    let candidate = rig.status(id).await.candidate_key_id.unwrap();

    rig.connections().abort(id, &me()).await.unwrap();

    rig.settle(id, TimeDelta::minutes(2)).await;
    assert!(!rig.directory.has(candidate));
    rig.assert_clean(id, 1).await;
    let events = rig.events(id).await;
    let aborted = |kind: &EventKind| matches!(kind, EventKind::Aborted { .. });
    assert!(events.iter().any(|event| aborted(&event.kind)));
}

#[tokio::test(start_paused = true)]
async fn aborting_is_refused_once_the_secret_is_in_use_and_when_nothing_runs() {
    let rig = Rig::new(209);
    let id = rig.rotating(settings()).await;
    let error = rig.connections().abort(id, &me()).await.unwrap_err();
    assert_eq!(error.kind(), ConnectionErrorKind::State);
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.generation == 2).await;

    let error = rig.connections().abort(id, &me()).await.unwrap_err();

    assert_eq!(error.kind(), ConnectionErrorKind::State);
    assert!(
        error.to_string().contains("roll the rotation back"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_has_not_begun_is_withdrawn() {
    let rig = Rig::new(210);
    let id = rig.rotating(settings()).await;
    rig.request(id, Cause::Manual).await;

    rig.connections().abort(id, &me()).await.unwrap();

    rig.settle(id, TimeDelta::hours(1)).await;
    rig.assert_clean(id, 1).await;
}

#[tokio::test(start_paused = true)]
async fn another_schedule_takes_effect_at_once_and_makes_up_for_nothing() {
    let rig = Rig::new(211);
    let id = rig.rotating(Rig::quick()).await;
    rig.run(id, TimeDelta::days(20)).await;
    let weekly = weekly("13:30", "2026-03-01");

    let change = rig.connections().change_settings(id, weekly, &me()).await;

    change.unwrap();
    // It is 12:00 UTC on 21 March, and the next of the new dates is the 22nd.
    let status = rig.status(id).await;
    assert_eq!(
        status.next_due.unwrap().to_rfc3339(),
        "2026-03-22T12:30:00+00:00"
    );
    assert_eq!(status.wake_at, status.next_due);
    rig.run(id, TimeDelta::hours(24)).await;
    assert_eq!(rig.status(id).await.generation, 1);
    rig.run(id, TimeDelta::hours(2)).await;
    rig.assert_clean(id, 2).await;
}

/// Every seven days at `at` in Berlin, `day` among them.
fn weekly(at: &str, day: &str) -> RotationSettings {
    let schedule = Schedule::builder()
        .every_days(7)
        .at(at.parse().unwrap())
        .zone(SETTINGS_ZONE)
        .anchor(day.parse().unwrap())
        .build();
    let mut settings = Rig::quick();
    settings.plan = schedule.unwrap().into();
    settings
}

/// At noon, UTC, on 21 March.
#[tokio::test(start_paused = true)]
async fn w18_another_schedule_runs_on_the_very_day_on_which_it_is_given() {
    let rig = Rig::new(218);
    let id = rig.rotating(Rig::quick()).await;
    rig.run(id, TimeDelta::days(20)).await;

    let change = rig
        .connections()
        .change_settings(id, weekly("13:30", "2026-03-21"), &me())
        .await;

    change.unwrap();
    let next = rig.status(id).await.next_due.unwrap();
    assert_eq!(next.to_rfc3339(), "2026-03-21T12:30:00+00:00");
    rig.run(id, TimeDelta::minutes(40)).await;
    rig.assert_clean(id, 2).await;
}

/// What is due at 19:00 is moved at 13:00 to 21:00, and runs then: not before, once, and not a week later.
#[tokio::test(start_paused = true)]
async fn w18_a_run_that_is_moved_to_later_on_its_day_is_not_lost() {
    let rig = Rig::new(219);
    let id = rig.rotating(weekly("19:00", "2026-03-21")).await;
    let before = rig.status(id).await.generation;
    rig.run(id, TimeDelta::days(6) - TimeDelta::hours(1)).await;
    assert_eq!(rig.status(id).await.generation, before);

    let change = rig
        .connections()
        .change_settings(id, weekly("21:00", "2026-03-21"), &me())
        .await;

    change.unwrap();
    let next = rig.status(id).await.next_due.unwrap();
    assert_eq!(next.to_rfc3339(), "2026-03-07T20:00:00+00:00");
    rig.run(id, next - rig.clock.now() - TimeDelta::minutes(1))
        .await;
    assert_eq!(rig.status(id).await.generation, before);
    rig.run(id, TimeDelta::hours(2)).await;
    rig.assert_clean(id, before + 1).await;
}

#[tokio::test(start_paused = true)]
async fn enabling_again_by_another_plan_makes_up_for_nothing() {
    let rig = Rig::new(220);
    let id = rig.rotating(Rig::quick()).await;
    rig.connections().disable(id, &me()).await.unwrap();
    rig.run(id, TimeDelta::days(20)).await;

    let enable = rig
        .connections()
        .enable(id, weekly("11:00", "2026-03-21"), None, &me())
        .await;

    enable.unwrap();
    let next = rig.status(id).await.next_due.unwrap();
    assert_eq!(next.to_rfc3339(), "2026-03-28T10:00:00+00:00");
    rig.run(id, TimeDelta::days(6)).await;
    rig.assert_clean(id, 1).await;
}

#[tokio::test(start_paused = true)]
async fn settings_that_change_nothing_leave_no_trace() {
    let rig = Rig::new(212);
    let id = rig.rotating(settings()).await;
    let before = rig.events(id).await.len();

    let change = rig
        .connections()
        .change_settings(id, settings(), &me())
        .await;
    change.unwrap();
    let enable = rig.connections().enable(id, settings(), None, &me()).await;
    enable.unwrap();

    assert_eq!(rig.events(id).await.len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_in_progress_goes_on_under_new_settings() {
    let rig = Rig::new(213);
    let id = rig.rotating(settings()).await;
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;
    let mut other = settings();
    (other.proofs, other.grace) = (5, Seconds(60));

    let change = rig.connections().change_settings(id, other, &me()).await;

    change.unwrap();
    let before = rig.clock.now();
    assert_eq!(rig.settle(id, TimeDelta::minutes(5)).await, None);
    assert!(rig.clock.now() - before < TimeDelta::minutes(2));
    rig.assert_clean(id, 2).await;
}

/// Whoever changes the time of day does not bring ten thousand connections to one second.
#[tokio::test(start_paused = true)]
async fn other_settings_keep_the_delay_that_spreads_a_connection() {
    let rig = Rig::new(214);
    let span = Duration::from_hours(2);
    let new = rig.new_connection().rotating(settings()).spread_over(span);
    let created = rig.connections().create(new, &me()).await.unwrap();
    let id = created.connection.id;
    rig.settle(id, TimeDelta::hours(4)).await;
    let delay = Jitter::new(&id.to_string(), span).delay();
    let delay = TimeDelta::from_std(delay).unwrap();
    assert!(delay > TimeDelta::zero());
    let plan = |settings: RotationSettings| settings.plan;
    let due = |at| plan(settings()).schedule().next_after(at).unwrap().at();
    let scheduled = due(rig.clock.now());
    let next = async || rig.status(id).await.next_due.unwrap();
    assert_eq!(next().await, scheduled + delay);

    let mut other = settings();
    other.grace = Seconds(60);
    let change = rig.connections().change_settings(id, other, &me()).await;
    change.unwrap();
    assert_eq!(next().await, scheduled + delay);
    rig.connections().disable(id, &me()).await.unwrap();
    let enable = rig.connections().enable(id, settings(), None, &me()).await;
    enable.unwrap();
    assert_eq!(next().await, scheduled + delay);

    // A plan with a jitter of its own has that one; without a span, none.
    let mut exact = settings();
    let none = Jitter::new(&id.to_string(), Duration::ZERO);
    exact.plan = exact.plan.to_builder().jitter(none).build().unwrap();
    let change = rig.connections().change_settings(id, exact, &me()).await;
    change.unwrap();
    assert_eq!(next().await, scheduled);
}
