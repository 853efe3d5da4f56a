use chrono::TimeDelta;
use keywheel_connection::{Cause, RotationSettings, Seconds};
use workspace_tests::{Fate, Lag, Rig, settings};

/// Stops before and after every effect, loses its answer, and refuses it: for each way to rotate and for
/// a quick and a slow directory. Then other processes go on. The invariants are checked after every
/// effect on the way.
#[tokio::test(start_paused = true)]
async fn wherever_it_stops_nothing_is_lost() {
    for way in ways() {
        for lag in lags() {
            let calm = run(&way, lag, None).await;
            for effect in 0..calm {
                for fate in Fate::ALL {
                    run(&way, lag, Some((effect, fate))).await;
                }
            }
        }
    }
}

/// Two stops in one rotation: the second one while recovering from the first.
#[tokio::test(start_paused = true)]
async fn wherever_it_stops_twice_nothing_is_lost() {
    let way = &ways()[0];
    let lag = lags()[1];
    let calm = run(way, lag, None).await;
    for first in 0..calm {
        for second in 0..calm {
            let rig = Rig::new(77);
            rig.directory.set_lag(lag);
            let id = rig.create(way.settings.clone()).await;
            rig.effects.plan(first, Fate::StopAfter);
            stopped(&rig, id).await;
            rig.effects.plan(second, Fate::StopAfter);
            stopped(&rig, id).await;
            rig.effects.forgive();
            rig.settle(id, TimeDelta::hours(4)).await;
            rig.assert_clean(id, 1).await;
        }
    }
}

struct Way {
    name: &'static str,
    settings: RotationSettings,
    cause: Cause,
}

fn ways() -> [Way; 4] {
    let mut single = settings();
    single.proofs = 1;
    single.grace = Seconds(0);
    [
        Way {
            name: "initial",
            settings: settings(),
            cause: Cause::Initial,
        },
        Way {
            name: "with grace",
            settings: settings(),
            cause: Cause::Manual,
        },
        Way {
            name: "emergency",
            settings: settings(),
            cause: Cause::Emergency,
        },
        Way {
            name: "one proof",
            settings: single,
            cause: Cause::Manual,
        },
    ]
}

fn lags() -> [Lag; 2] {
    [
        Lag::default(),
        Lag {
            accepted: TimeDelta::seconds(12),
            listed: TimeDelta::seconds(9),
        },
    ]
}

/// Rotates once, with one effect meeting its fate, and returns how many effects it took.
async fn run(way: &Way, lag: Lag, planned: Option<(usize, Fate)>) -> usize {
    let rig = Rig::new(42);
    rig.directory.set_lag(lag);
    let id = rig.create(way.settings.clone()).await;
    let mut generation = 1;
    if way.cause != Cause::Initial {
        rig.settle(id, TimeDelta::hours(1)).await;
        rig.request(id, way.cause).await;
        generation = 2;
    }
    let before = rig.effects.count();
    if let Some((effect, fate)) = planned {
        rig.effects.plan(effect, fate);
    }

    stopped(&rig, id).await;
    let effects = rig.effects.count() - before;
    let left = rig.settle(id, TimeDelta::hours(4)).await;

    assert_eq!(
        left,
        None,
        "{}: {planned:?}: {:?}",
        way.name,
        rig.status(id).await
    );
    rig.assert_clean(id, generation).await;
    effects
}

/// Drives as one process does, until it is done or stops.
async fn stopped(rig: &Rig, id: keywheel_connection::ConnectionId) {
    let _ = rig.effects.run(rig.settle(id, TimeDelta::hours(4))).await;
}
