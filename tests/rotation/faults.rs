//! One test for each point of `crates/keywheel-rotation/FAULTS.md`, named after it.

mod certificate;
mod mint;
mod outside;
mod prove;
mod revoke;
mod service;
mod time;
mod who;

use chrono::TimeDelta;
use keywheel_connection::{Cause, ConnectionId, Event, EventKind};
use workspace_tests::{Fate, Rig, settings};

/// A connection that rotates, and whose next rotation was asked for.
async fn asked(seed: u64) -> (Rig, ConnectionId) {
    let rig = Rig::new(seed);
    let id = rig.rotating(settings()).await;
    rig.request(id, Cause::Manual).await;
    (rig, id)
}

/// Runs until the next effect of that name meets its fate.
async fn stop(rig: &Rig, id: ConnectionId, effect: &'static str, fate: Fate) {
    rig.effects.plan_named(effect, fate);
    let _ = rig.effects.run(rig.settle(id, TimeDelta::hours(3))).await;
}

fn count(events: &[Event], is: impl Fn(&EventKind) -> bool) -> usize {
    events.iter().filter(|event| is(&event.kind)).count()
}
