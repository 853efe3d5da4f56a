//! What does it cost to decide what happens next to a connection?
//!
//! `cargo bench -p benches --bench decide` counts the allocations of a connection that waits, which is what
//! nearly all do, and times the decision for one that waits, one in grace and one that is due. It ends with
//! an error when a bound was missed.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on panics")]

use std::hint::black_box;

use allocation_counter::measure;
use benches::{Bounds, Race};
use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Cause, Connection, Credential, Debt, DebtReason, Held, Marker, Origin, Rotation,
    RotationSettings, Run, Sealed, Secrets,
};
use keywheel_rotation::{Policy, Step, decide};
use keywheel_schedule::Schedule;
use uuid::Uuid;

const TIMES: usize = 10_000;

fn main() {
    let mut bounds = Bounds::default();
    let policy = Policy::default();
    let (waits, grace, due) = (waiting(), in_grace(), due());
    for (what, connection) in [("waits", &waits), ("is in grace", &grace)] {
        let step = decide(connection, now(), &policy);
        assert!(matches!(step, Step::Wait { .. }), "{what}: {step:?}");
        let asked = measure(|| {
            for _ in 0..TIMES {
                black_box(decide(black_box(connection), now(), &policy));
            }
        });
        bounds.check(
            format!("a connection that {what} takes no memory"),
            asked.count_total == 0,
            format!("{} allocations in {TIMES}", asked.count_total),
        );
    }
    assert!(matches!(decide(&due, now(), &policy), Step::Mint { .. }));

    let ask = |connection: &Connection| {
        for _ in 0..TIMES {
            black_box(decide(black_box(connection), black_box(now()), &policy));
        }
    };
    let times = Race::new("decide", TIMES)
        .with("waits", || ask(&waits))
        .with("in grace", || ask(&grace))
        .with("due", || ask(&due))
        .run();
    for what in ["waits", "in grace", "due"] {
        times.at_most(&mut bounds, what, 200.0);
    }
    bounds.finish();
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_773_144_000, 0).unwrap()
}

/// A connection that rotated yesterday and does so every 30 days at 02:30 in Berlin.
fn waiting() -> Connection {
    let schedule = Schedule::builder()
        .every_days(30)
        .at("02:30:00".parse().unwrap())
        .zone("Europe/Berlin")
        .anchor("2026-03-09".parse().unwrap())
        .build();
    let since = now() - TimeDelta::days(1);
    let id = Uuid::from_u128(7).into();
    let mut held = Held::given(Sealed::new("key", vec![0; 60]), Some(key(1)), since);
    held.end = Some(now() + TimeDelta::days(90));
    held.origin = Origin::Minted(Marker::new(id, 0, Uuid::from_u128(1)));
    let mut connection = Connection::new(
        id,
        "bench".parse().unwrap(),
        (
            "contoso.example".parse().unwrap(),
            Uuid::from_u128(3).into(),
        ),
        Credential::ClientSecret(Secrets::new(held)),
        since,
    );
    let settings = RotationSettings::new(schedule.unwrap());
    connection.rotation = Some(Rotation::new(settings, since));
    connection
}

fn in_grace() -> Connection {
    let mut connection = waiting();
    let rotation = connection.rotation.as_mut().unwrap();
    let mut run = Run::new(Uuid::from_u128(9).into(), Cause::Schedule, now());
    run.promoted_at = Some(now());
    rotation.run = Some(run);
    let due = now() + TimeDelta::hours(1);
    rotation.debts = vec![Debt::new(key(2), DebtReason::Superseded, now(), due)];
    connection
}

fn due() -> Connection {
    let mut connection = waiting();
    connection.rotation.as_mut().unwrap().since -= TimeDelta::days(30);
    connection
}

fn key(n: u128) -> keywheel_core::KeyId {
    Uuid::from_u128(n).into()
}
