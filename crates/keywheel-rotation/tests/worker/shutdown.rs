use std::time::Duration;

use chrono::TimeDelta;
use keywheel_core::Clock;
use keywheel_rotation::WorkerOptions;

use crate::fleet::{Fleet, tenant};

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_hands_over_between_two_steps() {
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 16).await;
    let first = fleet.start(fleet.worker(1));
    // In the middle of every mint.
    tokio::time::sleep(Duration::from_millis(50)).await;

    let asked = fleet.clock.now();
    let ended = first.stop().await;

    assert_eq!((ended.parked, ended.abandoned), (16, 0));
    assert!(fleet.clock.now() - asked < TimeDelta::seconds(1));
    let second = fleet.start(fleet.worker(2));
    let took = fleet.settled(&members, 1).await;
    // Neither a lease nor a marker had to be waited for.
    assert!(took < TimeDelta::seconds(15), "{took}");
    fleet.assert_clean(&members, 1).await;
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_waits_ends_at_once() {
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 4).await;
    let first = fleet.start(fleet.worker(1));
    // Between two proofs.
    tokio::time::sleep(Duration::from_secs(3)).await;

    let asked = fleet.clock.now();
    let ended = first.stop().await;

    assert_eq!((ended.parked, ended.abandoned), (4, 0));
    assert!(fleet.clock.now() - asked < TimeDelta::milliseconds(200));
    let second = fleet.start(fleet.worker(2));
    fleet.settled(&members, 1).await;
    fleet.assert_clean(&members, 1).await;
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_takes_longer_than_the_deadline_is_abandoned_and_made_good() {
    let mut fleet = Fleet::new();
    fleet.directory.set_call(Duration::from_secs(60));
    let members = fleet.add(&tenant("some.example"), 4).await;
    let mut options = WorkerOptions::default();
    options.shutdown = Duration::from_secs(5);
    let first = fleet.start(fleet.worker(1).options(options));
    tokio::time::sleep(Duration::from_secs(1)).await;

    let asked = fleet.clock.now();
    let ended = first.stop().await;

    assert_eq!((ended.parked, ended.abandoned), (0, 4));
    let took = fleet.clock.now() - asked;
    assert!(took < TimeDelta::seconds(6), "{took}");
    fleet.directory.set_call(Duration::from_millis(100));
    let second = fleet.start(fleet.worker(2));
    fleet.settled(&members, 1).await;
    for member in &members {
        assert_eq!(fleet.directory.mints(member.client), 2);
        assert_eq!(fleet.directory.live(member.client), 1);
    }
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_may_be_told_to_wait_for_as_long_as_it_takes() {
    let mut fleet = Fleet::new();
    fleet.directory.set_call(Duration::from_secs(60));
    let members = fleet.add(&tenant("some.example"), 4).await;
    let mut options = WorkerOptions::default();
    (options.shutdown, options.poll) = (Duration::MAX, Duration::MAX);
    let worker = fleet.start(fleet.worker(1).options(options));
    tokio::time::sleep(Duration::from_secs(1)).await;

    let ended = worker.stop().await;

    assert_eq!((ended.parked, ended.abandoned), (4, 0));
    for member in &members {
        assert_eq!(fleet.directory.mints(member.client), 1);
    }
}
