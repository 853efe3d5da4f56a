//! Points 33 to 38: clocks, zones and downtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{Cause, Connection, ConnectionId, Event, EventKind, IssuerErrorKind};
use keywheel_core::{Clock, Cloud, KeyId};
use keywheel_rotation::{Rotator, Waiting};
use keywheel_schedule::Schedule;
use workspace_tests::{Fate, Rig, SETTINGS_ZONE, ours, secret, settings};

use super::asked;
use crate::verbs::me;
use crate::ways::until;

fn intents(events: &[Event]) -> Vec<DateTime<Utc>> {
    let begun = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Intent { .. }));
    begun.map(|event| event.at).collect()
}

#[tokio::test(start_paused = true)]
async fn p33_a_clock_that_jumps_ahead_causes_one_rotation_and_none_when_it_comes_back() {
    let rig = Rig::new(1001);
    let id = rig.rotating(Rig::quick()).await;
    let ahead = rig.rotator_off_by(TimeDelta::days(80));
    drive(&rig, &ahead, id, TimeDelta::hours(1)).await;
    assert_eq!(rig.status(id).await.generation, 2);

    rig.run(id, TimeDelta::hours(1)).await;

    rig.assert_clean(id, 2).await;
    // Nor is one lost: the next due date is kept.
    rig.run(id, TimeDelta::days(32)).await;
    rig.assert_clean(id, 3).await;
}

/// Up to the grace of the replaced secret, which this returns with when its grace ends.
async fn in_grace(rig: &Rig, by: &Rotator) -> (ConnectionId, KeyId, DateTime<Utc>) {
    let id = rig.rotating(settings()).await;
    let replaced = rig.status(id).await.key_id.unwrap();
    rig.request(id, Cause::Manual).await;
    promote(rig, by, id).await;
    (id, replaced, rig.clock.now() + settings().grace.delta())
}

async fn promote(rig: &Rig, by: &Rotator, id: ConnectionId) {
    let deadline = rig.clock.now() + TimeDelta::hours(1);
    let promoted = |connection: &Connection| connection.secrets().unwrap().current.generation == 2;
    let driven = Box::pin(by.drive(id, deadline, promoted)).await;
    assert_eq!(driven.unwrap(), None);
}

async fn drive(rig: &Rig, by: &Rotator, id: ConnectionId, span: TimeDelta) {
    let deadline = rig.clock.now() + span;
    Box::pin(by.drive(id, deadline, |_| false)).await.unwrap();
    rig.pass(deadline - rig.clock.now()).await;
}

/// Whoever works on it, the replaced secret is there until a minute before the end of its grace, and gone
/// a minute after it.
async fn assert_kept(
    rig: &Rig,
    by: &Rotator,
    (id, replaced, end): (ConnectionId, KeyId, DateTime<Utc>),
) {
    let minute = TimeDelta::minutes(1);
    drive(rig, by, id, end - minute - rig.clock.now()).await;
    assert!(rig.directory.has(replaced), "its grace was ended early");
    drive(rig, by, id, minute * 2).await;
    assert!(!rig.directory.has(replaced), "its grace was not ended");
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn p33_a_process_whose_clock_is_ahead_ends_no_grace_early() {
    for ahead in [
        TimeDelta::minutes(20),
        TimeDelta::hours(12),
        TimeDelta::days(80),
    ] {
        let rig = Rig::new(1009);
        let grace = in_grace(&rig, &rig.rotator()).await;

        assert_kept(&rig, &rig.rotator_off_by(ahead), grace).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p33_a_clock_that_jumps_in_a_grace_does_not_end_it() {
    for step in [TimeDelta::hours(12), -TimeDelta::hours(12)] {
        let rig = Rig::new(1010);
        let clock = rig.clock.skewed(TimeDelta::zero());
        let rotator = rig.rotator_by(&clock);
        let grace = in_grace(&rig, &rotator).await;

        clock.step(step);

        assert_kept(&rig, &rotator, grace).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p33_a_grace_that_a_process_with_a_wrong_clock_began_is_as_long() {
    for off in [TimeDelta::hours(12), -TimeDelta::hours(12)] {
        let rig = Rig::new(1011);
        let grace = in_grace(&rig, &rig.rotator_off_by(off)).await;

        assert_kept(&rig, &rig.rotator(), grace).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p33_who_publishes_what_another_process_proved_learns_the_time_first() {
    let (rig, _, _) = Rig::new(1012).with_sinks();
    let id = rig.rotating(settings()).await;
    let replaced = rig.status(id).await.key_id.unwrap();
    rig.request(id, Cause::Manual).await;
    let deadline = rig.clock.now() + TimeDelta::hours(1);
    let proven = |connection: &Connection| {
        let rotation = connection.rotation.as_ref().unwrap();
        rotation.candidate().is_some_and(|candidate| candidate.read)
    };
    let driven = Box::pin(rig.rotator().drive(id, deadline, proven)).await;
    assert_eq!(driven.unwrap(), None);

    promote(&rig, &rig.rotator_off_by(-TimeDelta::hours(12)), id).await;

    let end = rig.clock.now() + settings().grace.delta();
    assert_kept(&rig, &rig.rotator(), (id, replaced, end)).await;
}

/// Whoever takes the new credential may be another process than those that rotate.
#[tokio::test(start_paused = true)]
async fn p33_a_credential_that_a_process_with_a_wrong_clock_takes_leaves_the_one_before_its_grace()
{
    for off in [TimeDelta::hours(2), -TimeDelta::hours(2)] {
        let rig = Rig::new(1022);
        let id = rig.rotating(settings()).await;
        let replaced = rig.status(id).await.key_id.unwrap();
        let given = rig.directory.add_secret("another");
        let tenant = "contoso.example".parse().unwrap();
        let (place, text) = ((Cloud::default(), tenant, ours()), secret(&given.text));

        let connections = rig.connections_off_by(off);
        let left = connections
            .change_credential(id, place, &text, None, &me())
            .await;

        assert_eq!(left.unwrap(), []);
        let (minute, grace) = (TimeDelta::minutes(1), settings().grace.delta());
        rig.run(id, grace - minute).await;
        assert!(
            rig.directory.has(replaced),
            "{off}: its grace was ended early"
        );
        rig.run(id, minute * 2).await;
        assert!(
            !rig.directory.has(replaced),
            "{off}: its grace was not ended"
        );
        rig.settle(id, TimeDelta::hours(3)).await;
        rig.assert_clean(id, 3).await;
    }
}

/// Noted by a clock that was ahead, the end of a grace may lie behind the next attempt that another process set.
#[tokio::test(start_paused = true)]
async fn p33_a_removal_before_its_time_is_tried_once_until_then() {
    let rig = Rig::new(1015);
    let (id, replaced, end) = in_grace(&rig, &rig.rotator()).await;
    let mut stored = rig.store_version(id).await;
    let connection = Arc::make_mut(&mut stored.connection);
    let rotation = connection.rotation.as_mut().unwrap();
    rotation.debts[0].next_at = rig.clock.now();
    rig.save_as_it_was(stored).await.unwrap();
    let (looks, deadline) = (AtomicU32::new(0), end - TimeDelta::minutes(1));

    let again_and_again = |_: &Connection| looks.fetch_add(1, Ordering::Relaxed) > 20;
    let driven = Box::pin(rig.rotator().drive(id, deadline, again_and_again)).await;

    assert_eq!(driven.unwrap(), Some(Waiting::Grace));
    assert!(rig.directory.has(replaced));
}

#[tokio::test(start_paused = true)]
async fn p34_a_process_whose_clock_is_behind_gives_no_due_date_back() {
    let rig = Rig::new(1014);
    let id = rig.rotating(Rig::quick()).await;
    let due = rig.status(id).await.next_due.unwrap();
    let span = due - rig.clock.now() + TimeDelta::minutes(1);
    rig.effects.plan_named("mint", Fate::StopBefore);
    let stopped = rig.effects.run(rig.run(id, span)).await;
    assert!(stopped.is_err());
    rig.pass(TimeDelta::minutes(1)).await; // Its lease ends.

    // Further than the least distance of two rotations, which would hide it.
    promote(&rig, &rig.rotator_off_by(-TimeDelta::hours(16)), id).await;

    rig.run(id, TimeDelta::hours(1)).await;
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn p34_a_process_whose_clock_is_behind_takes_up_an_offer_and_gives_no_due_date_back() {
    let rig = Rig::new(1017);
    let id = rig.rotating(settings()).await;
    let due = rig.status(id).await.next_due.unwrap();
    rig.pass(due - rig.clock.now() + TimeDelta::minutes(1))
        .await;
    until(&rig, id, |status| status.generation == 2).await;
    rig.connections().roll_back(id, &me()).await.unwrap();

    // Further than the least distance of two rotations, which would hide it.
    let behind = rig.rotator_off_by(-TimeDelta::hours(16));
    let deadline = rig.clock.now() + TimeDelta::minutes(20);
    Box::pin(behind.drive(id, deadline, |_| false))
        .await
        .unwrap();

    rig.run(id, TimeDelta::days(1)).await;
    rig.assert_clean(id, 3).await;
}

/// As with a call: nothing is confirmed before our clock is there.
#[tokio::test(start_paused = true)]
async fn p34_a_removal_that_a_process_whose_clock_was_ahead_owed_is_read_for_now_and_then() {
    let rig = Rig::new(1018);
    let (id, replaced, end) = in_grace(&rig, &rig.rotator()).await;
    rig.pass(end - rig.clock.now()).await;
    let mut stored = rig.store_version(id).await;
    let connection = Arc::make_mut(&mut stored.connection);
    let debt = &mut connection.rotation.as_mut().unwrap().debts[0];
    debt.since = rig.clock.now() + TimeDelta::hours(12);
    (debt.unconfirmed, debt.next_at) = (true, rig.clock.now());
    rig.save_as_it_was(stored).await.unwrap();
    rig.directory.remove_secret(replaced);
    let before = rig.effects.count();

    drive(&rig, &rig.rotator(), id, TimeDelta::hours(15)).await;

    rig.assert_clean(id, 2).await;
    let names = rig.effects.names().split_off(before);
    let reads = names.iter().filter(|name| **name == "inspect").count();
    assert!(reads < 200, "{reads}");
}

#[tokio::test(start_paused = true)]
async fn p34_a_clock_that_is_set_back_causes_no_second_rotation() {
    for back in [TimeDelta::hours(1), TimeDelta::days(1), TimeDelta::days(29)] {
        let rig = Rig::new(1002);
        let id = rig.rotating(Rig::quick()).await;
        rig.run(id, TimeDelta::days(30)).await;
        assert_eq!(rig.status(id).await.generation, 2);

        rig.clock.step(-back);
        rig.run(id, back + TimeDelta::hours(1)).await;

        rig.assert_clean(id, 2).await;
    }
}

/// Nothing is settled before our clock is where the other one was, so there is no haste.
#[tokio::test(start_paused = true)]
async fn p34_what_a_process_whose_clock_was_ahead_asked_for_is_looked_for_now_and_then() {
    let (rig, id) = asked(1016).await;
    rig.effects.plan_named("mint", Fate::StopBefore);
    let ahead = rig.rotator_off_by(TimeDelta::hours(12));
    let mut work = ahead.lease(id).await.unwrap();
    let stopped = rig.effects.run(ahead.advance(&mut work)).await;
    assert!(stopped.is_err());
    rig.pass(TimeDelta::minutes(1)).await; // Its lease ends.
    rig.directory
        .fail_next("inspect", IssuerErrorKind::Forbidden);
    let mut work = ahead.lease(id).await.unwrap();
    while work.is_held() {
        ahead.advance(&mut work).await.unwrap();
    }
    rig.connections().resume(id, &me()).await.unwrap();
    let before = rig.effects.count();

    drive(&rig, &rig.rotator(), id, TimeDelta::hours(15)).await;

    rig.assert_clean(id, 2).await;
    let names = rig.effects.names().split_off(before);
    let reads = names.iter().filter(|name| **name == "inspect").count();
    assert!(reads < 200, "{reads}");
}

/// A process whose clock was half a day ahead noted a call, and ended.
async fn noted_ahead(seed: u64) -> (Rig, ConnectionId) {
    let (rig, id) = asked(seed).await;
    rig.effects.plan_named("mint", Fate::StopBefore);
    let ahead = rig.rotator_off_by(TimeDelta::hours(12));
    let mut work = ahead.lease(id).await.unwrap();
    let stopped = rig.effects.run(ahead.advance(&mut work)).await;
    assert!(stopped.is_err());
    rig.pass(TimeDelta::minutes(1)).await; // Its lease ends.
    let mut work = ahead.lease(id).await.unwrap();
    ahead.advance(&mut work).await.unwrap();
    rig.pass(TimeDelta::minutes(1)).await;
    (rig, id)
}

/// Whether that call minted is asked by the clock that it was noted by. What is in use stays in use.
#[tokio::test(start_paused = true)]
async fn p34_the_next_mint_waits_for_the_time_that_a_clock_which_was_ahead_noted() {
    let (rig, id) = noted_ahead(1019).await;
    let mints = rig.directory.mint_calls().len();

    drive(&rig, &rig.rotator(), id, TimeDelta::hours(11)).await;

    assert_eq!(rig.directory.mint_calls().len(), mints);
    assert_eq!(rig.status(id).await.generation, 1);
    rig.watch.check();
    drive(&rig, &rig.rotator(), id, TimeDelta::hours(2)).await;
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn p34_a_secret_that_is_supplied_does_not_wait_for_the_time_that_a_clock_noted() {
    let (rig, id) = noted_ahead(1020).await;
    let given = rig.directory.add_secret("by hand");
    let (text, key_id) = (secret(&given.text), Some(given.key_id));
    let connections = rig.connections();
    let supplied = connections.supply_secret(id, &text, key_id, &me()).await;
    supplied.unwrap();

    drive(&rig, &rig.rotator(), id, TimeDelta::minutes(10)).await;

    let status = rig.status(id).await;
    assert_eq!((status.generation, status.key_id), (2, key_id));
    drive(&rig, &rig.rotator(), id, TimeDelta::hours(15)).await;
    rig.assert_clean(id, 2).await;
}

/// It is proven again at the time that was noted, and given up by what was noted. Whoever gives the rotation
/// up need not wait.
#[tokio::test(start_paused = true)]
async fn p34_a_candidate_that_a_clock_which_was_ahead_saw_refused_waits_or_is_given_up() {
    for aborts in [false, true] {
        let (rig, id) = asked(1021).await;
        rig.directory.deny("prove", IssuerErrorKind::Refused);
        let ahead = rig.rotator_off_by(TimeDelta::hours(12));
        let mut work = ahead.lease(id).await.unwrap();
        while rig.status(id).await.candidate_key_id.is_none() {
            ahead.advance(&mut work).await.unwrap();
        }
        ahead.advance(&mut work).await.unwrap();
        rig.directory.allow_all();
        rig.pass(TimeDelta::minutes(1)).await; // Its lease ends.
        if aborts {
            rig.connections().abort(id, &me()).await.unwrap();
            drive(&rig, &rig.rotator(), id, TimeDelta::minutes(5)).await;
            rig.request(id, Cause::Manual).await;
        }

        drive(&rig, &rig.rotator(), id, TimeDelta::hours(11)).await;

        rig.watch.check();
        assert_eq!(rig.status(id).await.generation, 1 + u64::from(aborts));
        drive(&rig, &rig.rotator(), id, TimeDelta::hours(4)).await;
        rig.assert_clean(id, 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p35_a_clock_far_from_entras_is_told_with_both_times_until_it_does_no_harm() {
    let rig = Rig::new(1013);
    let ahead = rig.rotator_off_by(TimeDelta::hours(12));
    let (id, replaced, end) = in_grace(&rig, &rig.rotator()).await;
    let asked = rig.clock.now();

    drive(&rig, &ahead, id, TimeDelta::minutes(10)).await;

    let trouble = rig.status(id).await.trouble.expect("it is told");
    let date = |at: DateTime<Utc>| at.format("%F %T UTC").to_string();
    for told in [date(asked), date(asked + TimeDelta::hours(12)), date(end)] {
        assert!(
            trouble.message.contains(&told),
            "{told}: {}",
            trouble.message
        );
    }
    assert!(!trouble.kind.needs_a_person());
    assert_eq!(date(trouble.retry_at), date(end));
    // Told once, and not with every look.
    let failed = |event: &Event| matches!(event.kind, EventKind::Failed { .. });
    assert_eq!(rig.events(id).await.iter().filter(|e| failed(e)).count(), 1);

    assert_kept(&rig, &ahead, (id, replaced, end)).await;

    assert_eq!(rig.status(id).await.trouble, None);
}

#[tokio::test(start_paused = true)]
async fn p36_a_rotation_in_the_gap_runs_once_at_the_first_instant_after_it() {
    let rig = Rig::new(1003);
    let mut gap = Rig::quick();
    let schedule = Schedule::builder()
        .every_days(28)
        .at("02:30:00".parse().unwrap())
        .zone(SETTINGS_ZONE)
        .anchor("2026-03-01".parse().unwrap())
        .build();
    gap.plan = schedule.unwrap().into();
    let id = rig.rotating(gap).await;

    // 02:30 does not exist on 29 March 2026 in Berlin.
    rig.run(id, TimeDelta::days(30)).await;

    rig.assert_clean(id, 2).await;
    let begun = intents(&rig.events(id).await);
    assert_eq!(begun[1].to_rfc3339(), "2026-03-29T01:00:00+00:00");
}

#[tokio::test(start_paused = true)]
async fn p36_a_rotation_in_the_fold_runs_once_at_its_first_occurrence() {
    let rig = Rig::new(1004);
    let mut fold = Rig::quick();
    let schedule = Schedule::builder()
        .every_days(238)
        .at("02:30:00".parse().unwrap())
        .zone(SETTINGS_ZONE)
        .anchor("2026-03-01".parse().unwrap())
        .build();
    fold.plan = schedule.unwrap().into();
    let id = rig.rotating(fold).await;

    // 02:30 comes twice on 25 October 2026 in Berlin.
    rig.run(id, TimeDelta::days(240)).await;

    rig.assert_clean(id, 2).await;
    let begun = intents(&rig.events(id).await);
    assert_eq!(begun[1].to_rfc3339(), "2026-10-25T00:30:00+00:00");
}

#[tokio::test(start_paused = true)]
async fn p37_the_record_holds_civil_time_and_zone_and_no_instant_to_come() {
    let rig = Rig::new(1005);
    let id = rig.rotating(settings()).await;
    let next = rig.status(id).await.next_due.unwrap();

    let record = rig.load(id).await.encode();

    assert!(
        record.contains(SETTINGS_ZONE) && record.contains("02:30"),
        "{record}"
    );
    let instant = next.format("%FT%T").to_string();
    assert!(!record.contains(&instant), "{record}");
}

#[tokio::test(start_paused = true)]
async fn p38_after_weeks_of_downtime_what_was_left_is_settled_and_one_rotation_made_up() {
    let (rig, id) = asked(1006).await;
    super::stop(&rig, id, "mint", Fate::StopAfter).await;
    let stale = rig.directory.live().len();
    assert_eq!(stale, 3);
    rig.pass(TimeDelta::days(75)).await;

    rig.run(id, TimeDelta::hours(3)).await;

    rig.assert_clean(id, 2).await;
    assert_eq!(rig.status(id).await.last.unwrap().cause, Cause::Manual);
    let begun = rig.clock.now();
    rig.run(id, TimeDelta::days(1)).await;
    rig.assert_clean(id, 2).await;
    assert!(intents(&rig.events(id).await).iter().all(|at| *at < begun));
}

#[tokio::test(start_paused = true)]
async fn p38_a_downtime_of_two_due_dates_is_made_up_for_once() {
    let rig = Rig::new(1007);
    let id = rig.rotating(Rig::quick()).await;
    rig.pass(TimeDelta::days(80)).await;

    rig.run(id, TimeDelta::hours(12)).await;

    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_ends_beats_schedule_pause_of_retries_and_freeze() {
    let rig = Rig::new(1008);
    rig.directory.set_longest_life(Some(TimeDelta::days(20)));
    let id = rig.rotating(Rig::quick()).await;

    rig.run(id, TimeDelta::days(14)).await;

    let status = rig.status(id).await;
    assert_eq!(status.generation, 2);
    assert_eq!(status.last.unwrap().cause, Cause::Expiry);
    until(&rig, id, |status| status.generation >= 2).await;
}
