use std::time::Duration;

use chrono::TimeDelta;
use keywheel_core::Clock;

use crate::fleet::{Fleet, tenant};

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_is_waited_out() {
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 20).await;
    let worker = fleet.start(fleet.worker(1));
    tokio::time::sleep(Duration::from_secs(2)).await;

    fleet.store.set_away(true);
    let before = fleet.store.claims();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let health = worker.monitor.health();
    let asked = fleet.store.claims() - before;

    assert!(!health.is_well(), "{health:?}");
    let error = health.store_error.unwrap();
    assert!(error.contains("does not answer"), "{error}");
    assert!(worker.monitor.store_away() > TimeDelta::minutes(9));
    assert!(
        (20..60).contains(&asked),
        "asked {asked} times in ten minutes"
    );
    fleet.store.set_away(false);
    fleet.settled(&members, 1).await;
    assert!(worker.monitor.health().is_well());
    for member in &members {
        assert_eq!(fleet.directory.live(member.client), 1);
    }
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_starts_without_its_store() {
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 1).await;
    fleet.store.set_away(true);
    let worker = fleet.start(fleet.worker(1));
    tokio::time::sleep(Duration::from_secs(120)).await;

    fleet.store.set_away(false);
    let took = fleet.settled(&members, 1).await;

    assert!(took < TimeDelta::minutes(1), "{took}");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_panics_ends_one_turn_only() {
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 16).await;
    fleet.directory.panic_once(members[3].client);
    let worker = fleet.start(fleet.worker(1));

    let begun = fleet.clock.now();
    fleet.settled(&members[..3], 1).await;
    assert!(fleet.clock.now() - begun < TimeDelta::seconds(20));
    fleet.settled(&members, 1).await;

    let health = worker.monitor.health();
    assert_eq!(health.panics, 1, "{health:?}");
    fleet.assert_clean(&members, 1).await;
    worker.stop().await;
}

/// A number that no calendar holds, as a proxy may answer it.
#[tokio::test(start_paused = true)]
async fn who_asks_for_more_time_than_there_is_gets_a_day() {
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 1).await;
    fleet
        .directory
        .set_busy(Some(Duration::from_secs(10_000_000_000_000)));
    let worker = fleet.start(fleet.worker(1));
    tokio::time::sleep(Duration::from_mins(2)).await;

    let trouble = fleet.status(members[0]).await.trouble.unwrap();
    let wait = trouble.retry_at - trouble.since;
    assert_eq!((trouble.attempts, wait), (1, TimeDelta::days(1)));
    assert_eq!(worker.monitor.health().panics, 0);
    fleet.directory.set_busy(None);
    tokio::time::sleep(Duration::from_hours(24)).await;
    fleet.settled(&members, 1).await;
    worker.stop().await;
}

/// The machine slept: the lease ended, another worker took over, and then the first one woke up.
#[tokio::test(start_paused = true)]
async fn a_worker_that_slept_past_its_lease_stops_working_on_it() {
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 1).await;
    let first = fleet.start(fleet.worker(1));
    // Between two proofs.
    tokio::time::sleep(Duration::from_secs(3)).await;
    // The wall clock goes on, the process does not.
    fleet.clock.step(TimeDelta::minutes(2));
    let second = fleet.start(fleet.worker(2));

    fleet.settled(&members, 1).await;

    let lost = first.monitor.health().leases_lost + second.monitor.health().leases_lost;
    assert_eq!(lost, 1);
    fleet.assert_clean(&members, 1).await;
    first.stop().await;
    second.stop().await;
}
