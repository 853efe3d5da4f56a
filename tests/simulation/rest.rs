use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{Actor, ConnectionId, TroubleKind};
use keywheel_core::{ClientSecret, Secret};
use keywheel_rotation::{Connections, Farewell, Health, Status};

use super::administrators::add;
use super::directory::Lags;
use super::faults::Faults;
use super::ports::policy;
use super::scenario::{DAY, client};
use super::truth::Record;
use super::world::{PEOPLE, PROCESSES, State, World};

/// How long after the last fault everything must be at rest, in milliseconds: the longest grace, a day,
/// twice, because the next rotation may be due when the first one is over, and a day for retries.
const BOUND: i64 = 3 * DAY;

/// How long a trouble may look like one that needs a person.
const PATIENCE: i64 = 6 * HOUR;

const HOUR: i64 = 3_600_000;

/// Ends the faults, and waits until every connection is well and nothing of ours is left over. What needs
/// a person gets one: with one request, all must come to rest after all (G10).
pub(crate) async fn come_to_rest(world: &World, connections: &Connections, id: ConnectionId) {
    calm(world);
    let resumed = connections.resume(id, &Actor::named("test")).await;
    let resumed = resumed.map_err(|error| error.kind());
    world.note(PEOPLE, format_args!("resume: {resumed:?}"));
    let mut bound = world.now().plus(BOUND);
    let mut helped = false;
    let mut stuck_since = world.now();
    while let Some(unrest) = unrest(world) {
        let now = world.now();
        if now >= bound {
            world.state().broken(|| format!("no rest: {unrest}"));
            return;
        }
        let needs = needs_a_person(world, id);
        if needs.is_none() {
            stuck_since = now;
        }
        if let Some(kind) = needs.filter(|_| now.0 - stuck_since.0 >= PATIENCE) {
            truly_needs_a_person(world, id, kind);
            help(world, connections, id, kind).await;
            if !std::mem::replace(&mut helped, true) {
                bound = now.plus(BOUND);
            }
        }
        world.sleep(HOUR).await;
    }
}

fn calm(world: &World) {
    let now = world.now();
    for clock in 0..=PROCESSES {
        world.set_offset(clock, 0);
    }
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
    let restless = |record: &&Record| {
        let status = status(record, now.date(), state.sinks);
        let well = status.is_settled() && status.drift.is_empty() && !status.leaving;
        // A rotation that people switched off lets its secret end, and says so.
        let ending = status.health == Health::Expiring && !is_enabled(record);
        !(well && (status.health == Health::Active || ending))
    };
    let mut records = state.truth.records.iter().filter(|record| !record.deleted);
    if let Some(record) = records.find(restless) {
        return Some(format!("{:?}", status(record, now.date(), state.sinks)));
    }
    let mut secrets = state.directory.secrets();
    let orphan = secrets.find(|secret| {
        let live = secret.marker.is_some() && secret.is_live(now);
        live && !state.truth.holds(secret.key_id)
    });
    orphan.map(|secret| format!("{} ({}) is left over", secret.key_id, secret.name))
}

fn is_enabled(record: &Record) -> bool {
    let rotation = record.connection.rotation.as_ref();
    rotation.is_some_and(|rotation| rotation.enabled)
}

fn status(record: &Record, now: DateTime<Utc>, sinks: bool) -> Status {
    let skew = TimeDelta::milliseconds(record.misled);
    Status::of(&record.connection, now + skew, &policy(sinks))
}

/// What a person is needed for, as far as the connection says.
fn needs_a_person(world: &World, id: ConnectionId) -> Option<TroubleKind> {
    let state = world.state();
    let record = state.truth.record(id)?;
    let trouble = record.connection.rotation.as_ref()?.trouble.as_ref()?;
    Some(trouble.kind).filter(|kind| kind.needs_a_person())
}

/// G7: who asks for a person needs one.
fn truly_needs_a_person(world: &World, id: ConnectionId, kind: TroubleKind) {
    let now = world.now();
    let state = &mut *world.state();
    // It may not have been tried again since somebody put it right.
    if now.0 - state.directory.interfered.0 < 2 * HOUR {
        return;
    }
    let truly = {
        let application = state.directory.application(client());
        match kind {
            TroubleKind::ApplicationUnusable => application.unusable,
            TroubleKind::PermissionMissing => application.unpermitted,
            TroubleKind::MethodForbidden => application.forbidden,
            TroubleKind::LockedOut => !state.holds_a_valid_secret(now, id),
            _ => false,
        }
    };
    if !truly {
        state.broken(|| format!("G7: it says {kind:?}, and that is not so"));
    }
}

/// Does what the trouble asks for.
async fn help(world: &World, connections: &Connections, id: ConnectionId, kind: TroubleKind) {
    let actor = Actor::named("test");
    let leaving = world.state().truth.record(id).is_some_and(|record| {
        let rotation = record.connection.rotation.as_ref();
        rotation.is_some_and(|rotation| rotation.farewell.is_some())
    });
    if leaving && kind == TroubleKind::LockedOut {
        let left = connections.delete(id, Farewell::Leave, &actor).await;
        let left = left.map_err(|error| error.to_string());
        world.note(PEOPLE, format_args!("delete at once: {left:?}"));
        return;
    }
    if kind == TroubleKind::LockedOut {
        let (key_id, text) = {
            let now = world.now();
            let lags = Lags { accept: 0, list: 0 };
            add(&mut world.state(), now, lags)
        };
        let secret = ClientSecret::new(Secret::new(text)).expect("a secret");
        let supplied = connections.supply_secret(id, &secret, Some(key_id), &actor);
        let supplied = supplied.await.map(drop).map_err(|e| e.to_string());
        world.note(PEOPLE, format_args!("supply {key_id}: {supplied:?}"));
        if supplied.is_err() {
            let aborted = connections.abort(id, &actor).await;
            let aborted = aborted.map_err(|error| error.to_string());
            world.note(PEOPLE, format_args!("abort: {aborted:?}"));
        }
        return;
    }
    {
        let State { directory, .. } = &mut *world.state();
        let application = directory.application(client());
        application.unusable = false;
        application.unpermitted = false;
        application.forbidden = false;
    }
    let resumed = connections.resume(id, &actor).await.map_err(|e| e.kind());
    world.note(PEOPLE, format_args!("resume after {kind:?}: {resumed:?}"));
}
