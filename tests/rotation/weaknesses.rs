//! The reference product's weaknesses of the engine itself, where no point of the table tells the same story.

use chrono::TimeDelta;
use keywheel_connection::{Cause, EventKind, IssuerErrorKind};
use keywheel_core::Clock;
use keywheel_rotation::Health;
use workspace_tests::{Fate, Rig, settings};

use crate::verbs::me;

/// Each is told once, though the mint is tried again every hour.
#[tokio::test(start_paused = true)]
async fn w11_events_count_down_to_the_end_while_every_rotation_fails() {
    let rig = Rig::new(2011);
    let id = rig.rotating(settings()).await;
    let end = rig.status(id).await.end.unwrap();
    rig.watch.end();
    rig.directory.deny("mint", IssuerErrorKind::Forbidden);

    rig.run(id, end - rig.clock.now()).await;

    let events = rig.events(id).await;
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| match event.kind {
            EventKind::Expiring { days, .. } => Some(days),
            _ => None,
        })
        .collect();
    assert_eq!(told, [60, 30, 14, 7, 3, 1]);
    assert_eq!(rig.status(id).await.trouble.unwrap().step, "mint");
}

#[tokio::test(start_paused = true)]
async fn w13_an_outage_of_minutes_costs_minutes() {
    let rig = Rig::new(2013);
    let id = rig.rotating(Rig::quick()).await;
    rig.directory.deny("mint", IssuerErrorKind::Busy);
    rig.request(id, Cause::Manual).await;
    rig.run(id, TimeDelta::minutes(10)).await;
    rig.directory.allow_all();
    let over = rig.clock.now();

    assert_eq!(rig.settle(id, TimeDelta::hours(4)).await, None);

    let took = rig.clock.now() - over;
    assert!(took < TimeDelta::minutes(20), "{took}");
    rig.assert_clean(id, 2).await;
}

/// A call in a transaction of the store would hold up everybody else who writes.
#[tokio::test(start_paused = true)]
async fn w21_while_a_call_is_on_its_way_people_change_the_record_at_once() {
    let rig = Rig::new(2021);
    let id = rig.rotating(settings()).await;
    rig.request(id, Cause::Manual).await;
    rig.effects.plan_named("mint", Fate::Stall);
    let rotator = rig.rotator();
    let mut work = rotator.lease(id).await.unwrap();
    let mut minting = Box::pin(rotator.advance(&mut work));
    assert!(rig.effects.until_stalled(&mut minting).await);
    let before = rig.clock.now();

    rig.connections().pause(id, "why", &me()).await.unwrap();

    assert_eq!(rig.clock.now(), before);
    assert!(rig.status(id).await.paused);
    rig.effects.let_go();
    minting.await.unwrap();
    rig.connections().resume(id, &me()).await.unwrap();
    rig.settle(id, TimeDelta::hours(4)).await;
    rig.assert_clean(id, 2).await;
}

/// And the longest name that there is fits into no secret's name, because it is in none.
#[tokio::test(start_paused = true)]
async fn w34_limits_and_names_are_met_before_anything_is_minted() {
    let rig = Rig::new(2034);
    rig.directory.set_limit(Some(2));
    let full = rig.new_connection().rotating(settings());
    let error = rig.connections().create(full, &me()).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    assert_eq!(rig.directory.mint_calls(), []);

    rig.directory.set_limit(None);
    rig.directory.set_longest_life(Some(TimeDelta::days(40)));
    let mut new = rig.new_connection().rotating(settings());
    new.name = longest_name().parse().unwrap();
    let created = rig.connections().create(new, &me()).await.unwrap();
    let id = created.connection.id;
    rig.watch.begin(id, [rig.foreign.key_id]);
    assert_eq!(rig.settle(id, TimeDelta::hours(4)).await, None);

    rig.assert_clean(id, 1).await;
    let live = rig.directory.live();
    let longest = live.iter().map(|(_, name)| name.len()).max();
    assert!(longest < Some(120), "{live:?}");
    let end = rig.status(id).await.end.unwrap();
    assert!(end <= rig.clock.now() + TimeDelta::days(40), "{end}");
}

fn longest_name() -> String {
    let mut name = "n".to_owned();
    while format!("{name}n")
        .parse::<keywheel_connection::ConnectionName>()
        .is_ok()
    {
        name.push('n');
    }
    name
}

/// The reference product goes on after it was disabled, and adds a secret for each retry.
#[tokio::test(start_paused = true)]
async fn w35_what_is_disabled_does_not_rotate_and_a_store_that_fails_costs_no_second_secret() {
    let rig = Rig::new(2035);
    let id = rig.rotating(settings()).await;
    rig.effects.plan_named("mint", Fate::StoreDownAfter);
    rig.request(id, Cause::Manual).await;
    let rotator = rig.rotator();
    let soon = rig.clock.now() + TimeDelta::minutes(5);
    drop(Box::pin(rotator.drive(id, soon, |_| false)).await);
    assert_eq!(
        rig.directory.mint_calls().len(),
        2,
        "the first one's, and one"
    );
    rig.effects.store_is_up();
    rig.settle(id, TimeDelta::hours(4)).await;
    rig.assert_clean(id, 2).await;

    let minted = rig.directory.mint_calls().len();
    rig.connections().disable(id, &me()).await.unwrap();
    rig.run(id, TimeDelta::days(45)).await;

    assert_eq!(rig.directory.mint_calls().len(), minted);
    rig.assert_clean(id, 2).await;
}

/// Whoever has taken it up already heeds it too: the intent is decided on the record that it is stored with.
#[tokio::test(start_paused = true)]
async fn w35_what_is_disabled_a_moment_before_the_intent_does_not_rotate() {
    let rig = Rig::new(2036);
    let id = rig.rotating(settings()).await;
    let due = rig.status(id).await.next_due.unwrap();
    rig.pass(due + TimeDelta::minutes(1) - rig.clock.now())
        .await;
    let rotator = rig.rotator();
    let mut work = rotator.lease(id).await.unwrap();

    rig.connections().disable(id, &me()).await.unwrap();

    for _ in 0..2 {
        rotator.advance(&mut work).await.unwrap();
    }
    assert_eq!(rig.directory.mint_calls().len(), 1, "the first one's");
    rig.assert_clean(id, 1).await;
}

/// Nobody works: that is to be seen, and not taken for work.
#[tokio::test(start_paused = true)]
async fn w40_what_is_overdue_is_told_from_what_is_running() {
    let rig = Rig::new(2040);
    let id = rig.rotating(settings()).await;
    let due = rig.status(id).await.next_due.unwrap();

    rig.pass(due + TimeDelta::days(2) - rig.clock.now()).await;

    let overdue = rig.status(id).await;
    assert!(
        overdue.run.is_none() && overdue.requested.is_none(),
        "{overdue:?}"
    );
    assert!(overdue.wake_at <= Some(rig.clock.now()), "{overdue:?}");
    assert_eq!(overdue.next_due, Some(due), "since when");
    let end = overdue.end.unwrap();
    rig.pass(end - TimeDelta::days(1) - rig.clock.now()).await;
    assert_eq!(rig.status(id).await.health, Health::Expiring);
}
