use std::time::Duration;

use chrono::TimeDelta;
use keywheel_connection::Cause;
use keywheel_core::Clock;

use crate::fleet::{Fleet, tenant};

/// Three processes that know nothing of each other.
#[tokio::test(start_paused = true)]
async fn several_workers_share_and_rotate_each_connection_once() {
    let mut fleet = Fleet::new();
    let members = fleet.add_to_each(10, 30).await;
    let workers = [1, 2, 3].map(|seed| fleet.start(fleet.worker(seed)));

    fleet.settled(&members, 1).await;
    fleet.assert_clean(&members, 1).await;
    fleet.request(&members, Cause::Manual).await;
    fleet.settled(&members, 2).await;
    fleet.assert_clean(&members, 2).await;

    for worker in workers {
        assert_eq!(worker.monitor.health().leases_lost, 0);
        worker.stop().await;
    }
}

/// Two in one process, with one holder each.
#[tokio::test(start_paused = true)]
async fn a_killed_workers_connections_are_taken_over() {
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 16).await;
    let dying = fleet.start(fleet.worker(1));
    // In the middle of every mint.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let survivor = fleet.start(fleet.worker(2));

    dying.kill().await;
    fleet.settled(&members, 1).await;

    for member in &members {
        // The secret of the mint that was cut off was found by its marker, and removed.
        assert_eq!(fleet.directory.mints(member.client), 2);
        assert_eq!(fleet.directory.live(member.client), 1);
    }
    survivor.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_next_run_comes_thirty_days_later_by_itself() {
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 3).await;
    let worker = fleet.start(fleet.worker(1));
    fleet.settled(&members, 1).await;

    let due = fleet.status(members[0]).await.next_due.unwrap();
    let wait = due - fleet.clock.now() + TimeDelta::minutes(1);
    tokio::time::sleep(wait.to_std().unwrap()).await;

    let status = fleet.status(members[0]).await;
    assert_eq!(status.generation, 2, "{status:#?}");
    fleet.assert_clean(&members, 2).await;
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_followed_at_once() {
    let mut fleet = Fleet::new();
    let worker = fleet.start(fleet.worker(1));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let members = fleet.add(&tenant("some.example"), 1).await;

    fleet.store.hint();
    tokio::time::sleep(Duration::from_millis(50)).await;

    assert_eq!(fleet.directory.mints(members[0].client), 1);
    worker.stop().await;
}
