use std::time::Duration;

use chrono::TimeDelta;
use keywheel_connection::Cause;
use keywheel_core::Clock;
use keywheel_rotation::WorkerOptions;

use crate::fleet::{Fleet, settings, tenant};

/// Ten thousand connections of one customer and ten of another become due at once.
#[tokio::test(start_paused = true)]
async fn ten_thousand_due_connections_do_not_stand_in_front_of_ten_others() {
    let mut fleet = Fleet::new();
    let (crowd, few) = (tenant("crowd.example"), tenant("few.example"));
    let many = fleet.add(&crowd, 10_000).await;
    let others = fleet.add(&few, 10).await;
    let worker = fleet.start(fleet.worker(1));

    let took = fleet.settled(&others, 1).await;

    assert!(took < TimeDelta::minutes(1), "the few waited {took}");
    let done = settled(&fleet, &many[..1000]).await;
    assert!(done < 500, "{done} of the crowd's first 1,000 were faster");
    let all = fleet.settled(&many, 1).await;
    fleet.assert_clean(&many, 1).await;
    assert_eq!(fleet.directory.peak(&crowd), 16);
    // 16 at a time, each for a bit more than ten seconds: the limit was used.
    let best = TimeDelta::seconds(10_000 / 16 * 11);
    assert!(all < best * 3 / 2, "{all}, where {best} would do");
    worker.stop().await;
}

async fn settled(fleet: &Fleet, members: &[crate::fleet::Member]) -> usize {
    let mut done = 0;
    for member in members {
        done += usize::from(fleet.status(*member).await.is_settled());
    }
    done
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_limit_are_in_flight() {
    let mut fleet = Fleet::new();
    let members = fleet.add_to_each(40, 5).await;
    let mut options = WorkerOptions::default();
    (options.in_flight, options.per_tenant) = (12, 2);
    let worker = fleet.start(fleet.worker(1).options(options));

    fleet.settled(&members, 1).await;

    assert!(fleet.directory.peak_of_all() <= 12);
    assert!(fleet.directory.peak(&tenant("tenant-7.example")) <= 2);
    fleet.assert_clean(&members, 1).await;
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn places_that_come_free_one_by_one_are_filled_together() {
    let mut fleet = Fleet::new();
    fleet.directory.set_call(Duration::from_millis(1));
    let mut options = WorkerOptions::default();
    options.in_flight = 64;
    let worker = fleet.start(fleet.worker(1).options(options));
    let mut members = Vec::new();
    for n in 0..64 {
        let tenant = tenant(&format!("early-{n}.example"));
        members.extend(fleet.add(&tenant, 1).await);
        fleet.store.hint();
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    for n in 0..64 {
        let tenant = tenant(&format!("late-{n}.example"));
        members.extend(fleet.add(&tenant, 1).await);
    }
    let before = fleet.store.claims();

    fleet.settled(&members, 1).await;

    let claims = fleet.store.claims() - before;
    assert!(claims < 40, "{claims} claims for 64 connections");
    fleet.assert_clean(&members, 1).await;
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_emergency_does_not_wait_in_the_queue() {
    let mut fleet = Fleet::new();
    let crowd = tenant("crowd.example");
    let many = fleet.add(&crowd, 1_000).await;
    let worker = fleet.start(fleet.worker(1));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let leaked = &many[999..];
    assert!(!fleet.status(leaked[0]).await.is_settled());

    fleet.request(leaked, Cause::Emergency).await;
    let took = fleet.settled(leaked, 1).await;

    assert!(took < TimeDelta::seconds(30), "the emergency waited {took}");
    worker.stop().await;
}

/// More tenants than there are places, all of them overdue for longer than the leak is known.
#[tokio::test(start_paused = true)]
async fn an_emergency_passes_by_what_is_overdue_at_other_tenants() {
    let mut fleet = Fleet::new();
    let members = fleet.add_to_each(100, 1).await;
    let mut options = WorkerOptions::default();
    options.in_flight = 2;
    let worker = fleet.start(fleet.worker(1).options(options));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let leaked = &members[99..];
    assert!(!fleet.status(leaked[0]).await.is_settled());

    fleet.request(leaked, Cause::Emergency).await;
    let took = fleet.settled(leaked, 1).await;

    assert!(took < TimeDelta::seconds(30), "the emergency waited {took}");
    worker.stop().await;
}

/// A hundred connections with one schedule, and two hours for them.
#[tokio::test(start_paused = true)]
async fn connections_that_are_due_together_begin_over_the_span_that_they_are_spread_over() {
    let mut fleet = Fleet::new();
    fleet.spread = Duration::from_hours(2);
    let members = fleet.add(&tenant("some.example"), 100).await;
    let worker = fleet.start(fleet.worker(1));
    fleet.settled(&members, 1).await;
    let plan = settings().plan;
    let first = plan.schedule().next_after(fleet.clock.now()).unwrap().at();

    let mut quarters = [0; 4];
    for member in &members {
        let after = fleet.status(*member).await.next_due.unwrap() - first;
        let quarter = usize::try_from(after.num_minutes() / 30).unwrap();
        quarters[quarter] += 1;
    }
    assert!(quarters.iter().all(|count| *count >= 10), "{quarters:?}");
    let middle = first + TimeDelta::hours(1) - fleet.clock.now();
    tokio::time::sleep(middle.to_std().unwrap()).await;
    let begun = generation(&fleet, &members, 2).await;
    let due = quarters[0] + quarters[1];
    assert!((due - 1..=due).contains(&begun), "{begun} of {due}");
    tokio::time::sleep(Duration::from_mins(61)).await;
    assert_eq!(generation(&fleet, &members, 2).await, 100);
    worker.stop().await;
}

/// How many have their secret of that generation.
async fn generation(fleet: &Fleet, members: &[crate::fleet::Member], generation: u64) -> usize {
    let mut have = 0;
    for member in members {
        have += usize::from(fleet.status(*member).await.generation == generation);
    }
    have
}
