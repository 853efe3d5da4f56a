use keywheel_core::{ClientId, SystemEntropy};
use uuid::Uuid;

use super::*;
use crate::call::Path;

fn read() -> Call {
    Call::read("test", Path::of(&["applications"]))
}

fn write() -> Call {
    Call::delete("test", Path::of(&["applications", "x"]))
}

fn lane(number: u128) -> Lane {
    Lane::Application(ClientId::from(Uuid::from_u128(number)).into())
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap()))
        .collect()
}

/// The most that is spent in any window of this length.
fn busiest(spent: &[(Instant, u32)], window: Duration) -> u32 {
    let from = |start: Instant| {
        spent
            .iter()
            .filter(move |(at, _)| *at >= start && *at < start + window)
            .map(|(_, units)| units)
            .sum()
    };
    spent
        .iter()
        .map(|(start, _)| from(*start))
        .max()
        .unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn bulk_work_stays_below_the_documented_units_in_any_window() {
    let traffic = Traffic::default();
    let mut spent = Vec::new();

    for _ in 0..12_000 {
        traffic.admit(&read(), &SystemEntropy::new()).await;
        spent.push((Instant::now(), 2));
    }

    let most = busiest(&spent, Duration::from_secs(10));
    assert!(most <= 3_500, "{most}");
    assert!(most > 3_000, "the limit is used: {most}");
}

#[tokio::test(start_paused = true)]
async fn writes_stay_below_their_own_limit() {
    let traffic = Traffic::default();
    let mut spent = Vec::new();

    for _ in 0..7_000 {
        traffic.admit(&write(), &SystemEntropy::new()).await;
        spent.push((Instant::now(), 1));
    }

    let most = busiest(&spent, Duration::from_secs(150));
    assert!((2_500..=3_000).contains(&most), "{most}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_near_slows_down_and_the_pace_comes_back() {
    let traffic = Traffic::default();
    let near = headers(&[
        ("x-ms-throttle-limit-percentage", "0.9"),
        (
            "x-ms-throttle-scope",
            "Application_Tenant/ReadWrite/app/tenant",
        ),
    ]);
    traffic.observe(&read(), StatusCode::OK, &near);
    let seconds_for = async |count: u32| {
        let start = Instant::now();
        for _ in 0..count {
            traffic.admit(&read(), &SystemEntropy::new()).await;
        }
        start.elapsed().as_secs_f64()
    };

    let slowed = seconds_for(2_000).await;
    sleep(Duration::from_secs(120)).await;
    let again = seconds_for(2_000).await;

    assert!(slowed > again * 1.2, "{slowed} {again}");
    let usage = traffic.usage();
    assert_eq!(usage.limit_percentage, Some(0.9));
    assert_eq!(
        usage.scope.as_deref(),
        Some("Application_Tenant/ReadWrite/app/tenant")
    );
}

#[tokio::test(start_paused = true)]
async fn what_graph_counted_replaces_what_was_booked() {
    let traffic = Traffic::default();

    traffic.observe(
        &read(),
        StatusCode::OK,
        &headers(&[("x-ms-resource-unit", "7")]),
    );
    traffic.observe(&read(), StatusCode::OK, &HeaderMap::new());

    assert_eq!((traffic.usage().requests, traffic.usage().units), (2, 9));
}

#[tokio::test(start_paused = true)]
async fn one_retry_after_holds_all_calls_of_the_tenant_back() {
    let traffic = Traffic::default();
    traffic.hold(Duration::from_secs(20));
    let start = Instant::now();

    let all = (0..50).map(|_| {
        let traffic = traffic.clone();
        tokio::spawn(async move {
            traffic.admit(&read(), &SystemEntropy::new()).await;
            Instant::now()
        })
    });
    for task in all.collect::<Vec<_>>() {
        let waited = task.await.unwrap() - start;
        assert!(
            waited >= Duration::from_secs(20) && waited < Duration::from_secs(21),
            "{waited:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn writes_to_one_object_go_one_by_one_and_spaced_and_others_pass() {
    let traffic = Traffic::default();
    let start = Instant::now();

    let first = traffic.turn(&lane(1)).await;
    let other = traffic.turn(&lane(2)).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    let waiting = tokio::spawn({
        let traffic = traffic.clone();
        async move {
            let _turn = traffic.turn(&lane(1)).await;
            start.elapsed()
        }
    });
    sleep(Duration::from_secs(3)).await;
    drop((first, other));

    assert_eq!(waiting.await.unwrap(), Duration::from_millis(3_200));
}

#[tokio::test(start_paused = true)]
async fn objects_that_nobody_writes_to_are_forgotten() {
    let traffic = Traffic::default();
    for number in 0..5_000 {
        drop(traffic.turn(&lane(number)).await);
        sleep(Duration::from_millis(1)).await;
    }

    let kept = traffic.0.lanes.len();
    assert!(kept <= 1_024, "{kept}");
}
