use chrono::TimeDelta;
use keywheel_rotation::{Health, Status};

use super::faults::Faults;
use super::ports::policy;
use super::scenario::DAY;
use super::world::World;

/// How long after the last fault everything must be at rest, in milliseconds: the longest grace, a day,
/// twice, because the next rotation may be due when the first one is over, and a day for retries.
const BOUND: i64 = 3 * DAY;

const HOUR: i64 = 3_600_000;

/// Ends the faults, and waits until every connection is well and nothing of ours is left over.
pub(crate) async fn come_to_rest(world: &World) {
    calm(world);
    let bound = world.now().plus(BOUND);
    while let Some(unrest) = unrest(world) {
        if world.now() >= bound {
            world.state().broken(|| format!("no rest: {unrest}"));
            return;
        }
        world.sleep(HOUR).await;
    }
}

fn calm(world: &World) {
    let now = world.now();
    let state = &mut *world.state();
    state
        .trace
        .note(now, None, format_args!("the faults are over"));
    state.faults = Faults {
        accept_lag: state.faults.accept_lag,
        list_lag: state.faults.list_lag,
        tokens: state.faults.tokens,
        ..Faults::default()
    };
}

/// Says what is not at rest.
fn unrest(world: &World) -> Option<String> {
    let now = world.now();
    let state = world.state();
    let restless = |record: &&super::truth::Record| {
        let status = status(record, now.date());
        !(status.is_settled() && status.health == Health::Active)
    };
    let mut records = state.truth.records.iter().filter(|record| !record.deleted);
    if let Some(record) = records.find(restless) {
        return Some(format!("{:?}", status(record, now.date())));
    }
    let mut secrets = state.directory.secrets();
    let orphan = secrets.find(|secret| {
        let live = secret.marker.is_some() && secret.is_live(now);
        live && !state.truth.holds(secret.key_id)
    });
    orphan.map(|secret| format!("{} ({}) is left over", secret.key_id, secret.name))
}

fn status(record: &super::truth::Record, now: chrono::DateTime<chrono::Utc>) -> Status {
    let skew = TimeDelta::milliseconds(record.misled);
    Status::of(&record.connection, now + skew, &policy())
}
