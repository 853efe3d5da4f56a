use chrono::TimeDelta;
use keywheel_connection::{ConnectionId, ConnectionStore};
use keywheel_core::Clock;
use keywheel_rotation::{Advance, Rotator, Work};
use keywheel_testkit::cases;
use workspace_tests::{Fate, Lag, Rig};

use crate::ways::{WAYS, Way};

/// Stops before and after every effect, loses its answer, refuses it and makes it twice: for each way to
/// rotate and for a quick and a slow directory. Then other processes go on. The invariants are checked
/// after every effect on the way.
#[tokio::test(start_paused = true)]
async fn wherever_it_stops_another_process_finishes_it() {
    for way in WAYS {
        for lag in lags() {
            let calm = run(way, lag, None).await;
            assert!(calm >= 3, "{}: {calm}", way.name);
            for effect in 0..calm {
                for fate in Fate::ALL {
                    run(way, lag, Some((effect, fate))).await;
                }
            }
        }
    }
}

/// A mint or a removal gets no answer, and arrives when the engine has already asked what came of it: soon,
/// while it still looks, and long after it went on.
#[tokio::test(start_paused = true)]
async fn whatever_comes_late_is_accounted_for() {
    for way in WAYS {
        for lag in lags() {
            let (rig, id) = begin(way, lag).await;
            let before = rig.effects.count();
            stopped(&rig, id).await;
            let names = rig.effects.names().split_off(before);
            let changes = names.iter().enumerate();
            let changes = changes.filter(|(_, name)| ["mint", "remove"].contains(*name));
            for (effect, _) in changes {
                for seconds in [3, 20, 180] {
                    run(way, lag, Some((effect, Fate::Late(seconds)))).await;
                }
            }
        }
    }
}

/// A step's future is dropped, and the same process goes on with what it remembers.
#[tokio::test(start_paused = true)]
async fn wherever_it_is_dropped_the_same_process_finishes_it() {
    for way in WAYS {
        let calm = run(way, lags()[1], None).await;
        for effect in 0..calm {
            for fate in [Fate::StopBefore, Fate::StopAfter] {
                let (rig, id) = begin(way, lags()[1]).await;
                rig.effects.plan(effect, fate);
                let rotator = rig.rotator();
                let mut work = rotator.lease(id).await.unwrap();
                let _ = rig.effects.run(advance(&rig, &rotator, &mut work)).await;
                rig.effects.forgive();
                advance(&rig, &rotator, &mut work).await;
                finish(way, &rig, id, &format!("{effect} {fate:?}, same process")).await;
            }
        }
    }
}

/// Every step is made by two processes from the same record: the first one is overtaken after it has
/// decided, and goes on when the other one is through.
#[tokio::test(start_paused = true)]
async fn every_step_is_made_twice_and_counts_once() {
    for way in WAYS {
        for lag in lags() {
            let mut steps = 0;
            while overtaken(way, lag, steps).await {
                steps += 1;
                assert!(steps < 300, "{}: no end", way.name);
            }
            assert!(steps >= 1, "{}", way.name);
        }
    }
}

async fn overtaken(way: &Way, lag: Lag, steps: usize) -> bool {
    let (rig, id) = begin(way, lag).await;
    let rotator = rig.rotator();
    let mut work = rotator.lease(id).await.unwrap();
    for _ in 0..steps {
        let advance = rotator.advance(&mut work).await.unwrap();
        if let Advance::Waiting {
            until: Some(at), ..
        } = advance
        {
            rig.pass(at - rig.clock.now()).await;
        }
        if !work.is_held() {
            let gone = rig.store.load(id).await.unwrap().is_none();
            if gone || rig.status(id).await.is_settled() {
                return false;
            }
            work = rotator.lease(id).await.unwrap();
        }
    }
    rig.pass(TimeDelta::seconds(31)).await;
    let other = rig.rotator();
    let mut taken = other.lease(id).await.unwrap();
    other.advance(&mut taken).await.unwrap();
    // The same step again, by who was overtaken. It is refused, or comes to nothing.
    drop(rotator.advance(&mut work).await);
    rig.watch.check();
    advance(&rig, &other, &mut taken).await;
    finish(way, &rig, id, &format!("overtaken after {steps} steps")).await;
    true
}

/// Two stops in one rotation: the second one while recovering from the first.
#[tokio::test(start_paused = true)]
async fn wherever_it_stops_twice_nothing_is_lost() {
    let lag = lags()[1];
    for way in WAYS.iter().take(cases(2, 99) as usize) {
        let calm = run(way, lag, None).await;
        for first in 0..calm {
            for second in 0..calm {
                let (rig, id) = begin(way, lag).await;
                rig.effects.plan(first, Fate::StopAfter);
                stopped(&rig, id).await;
                rig.effects.plan(second, Fate::StopAfter);
                stopped(&rig, id).await;
                rig.effects.forgive();
                finish(way, &rig, id, &format!("stopped at {first}, then {second}")).await;
            }
        }
    }
}

pub(crate) fn lags() -> [Lag; 2] {
    [
        Lag::default(),
        Lag {
            accepted: TimeDelta::seconds(12),
            listed: TimeDelta::seconds(9),
        },
    ]
}

pub(crate) async fn begin(way: &Way, lag: Lag) -> (Rig, ConnectionId) {
    let (rig, _, _) = Rig::new(42).with_sinks();
    rig.directory.set_lag(lag);
    let id = (way.begin)(&rig).await;
    (rig, id)
}

/// Goes one way, with one effect meeting its fate, and returns how many effects it took.
async fn run(way: &Way, lag: Lag, planned: Option<(usize, Fate)>) -> usize {
    let (rig, id) = begin(way, lag).await;
    let before = rig.effects.count();
    if let Some((effect, fate)) = planned {
        rig.effects.plan(effect, fate);
        if matches!(fate, Fate::Late(_)) {
            rig.watch.expect_a_late_mint();
        }
    }
    stopped(&rig, id).await;
    let effects = rig.effects.count() - before;
    finish(way, &rig, id, &format!("{planned:?}")).await;
    effects
}

/// Drives as one process does, until it is done or stops.
pub(crate) async fn stopped(rig: &Rig, id: ConnectionId) {
    let _ = rig.effects.run(rig.settle(id, TimeDelta::hours(30))).await;
}

pub(crate) async fn finish(way: &Way, rig: &Rig, id: ConnectionId, what: &str) {
    // A deletion waits until no marker of its own can turn up any more.
    let left = rig.settle(id, TimeDelta::hours(30)).await;
    match way.generation {
        Some(generation) => {
            let name = way.name;
            assert_eq!(left, None, "{name}: {what}: {:?}", rig.status(id).await);
            rig.assert_clean(id, generation).await;
        }
        None => {
            rig.assert_deleted(id, &format!("{}: {what}", way.name))
                .await;
        }
    }
}

/// Advances until the lease is given back, or for good.
async fn advance(rig: &Rig, rotator: &Rotator, work: &mut Work) {
    while work.is_held() {
        match rotator.advance(work).await {
            Ok(Advance::Stepped) => {}
            Ok(Advance::Waiting {
                until: Some(at), ..
            }) => rig.pass(at - rig.clock.now()).await,
            Ok(Advance::Waiting { until: None, .. }) | Err(_) => return,
        }
    }
}
