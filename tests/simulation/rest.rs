use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{Actor, ConnectionId, TroubleKind};
use keywheel_core::KeyId;
use keywheel_rotation::{Connections, Health, Status};

use super::faults::Faults;
use super::help::help;
use super::ports::policy;
use super::record::Record;
use super::scenario::DAY;
use super::world::{Moment, PEOPLE, PROCESSES, State, World};

/// How long after the last fault everything must be at rest, in milliseconds: the longest grace, a day,
/// twice, because the next rotation may be due when the first one is over, and a day for retries.
const BOUND: i64 = 3 * DAY;

/// How long a trouble may look like one that needs a person.
const PATIENCE: i64 = 6 * HOUR;

const HOUR: i64 = 3_600_000;

/// A connection that may need a person, and since when it says so.
struct Patient {
    id: ConnectionId,
    since: Moment,
    helped: bool,
}

/// Ends the faults, and waits until every connection is well and nothing of ours is left over. What needs
/// a person gets one: with one request, all must come to rest after all (G10).
pub(crate) async fn come_to_rest(world: &World, connections: &Connections, ids: &[ConnectionId]) {
    calm(world);
    // What people asked for in the last moment may be late.
    world.rest(PEOPLE, 60_000).await;
    let mut patients = Vec::new();
    for &id in ids {
        // Who paused it resumes it. For all else there is an automatic way out.
        if is_paused(world, id) {
            let resumed = connections.resume(id, &Actor::named("test")).await;
            let resumed = resumed.map_err(|error| error.kind());
            world.note(PEOPLE, format_args!("resume: {resumed:?}"));
        }
        patients.push(Patient {
            id,
            since: world.now(),
            helped: false,
        });
    }
    let mut bound = world.now().plus(BOUND);
    while let Some(unrest) = unrest(world) {
        let now = world.now();
        if now >= bound {
            world.state().broken(|| format!("no rest: {unrest:?}"));
            return;
        }
        for patient in &mut patients {
            if attend(world, connections, patient).await {
                bound = now.plus(BOUND);
            }
        }
        world.rest(PEOPLE, HOUR).await;
    }
}

/// Helps a connection that has said for long enough that it needs a person. Returns whether it is the
/// first time.
async fn attend(world: &World, connections: &Connections, patient: &mut Patient) -> bool {
    let now = world.now();
    let Some(kind) = needs_a_person(world, patient.id) else {
        patient.since = now;
        return false;
    };
    if now.0 - patient.since.0 < PATIENCE {
        return false;
    }
    truly_needs_a_person(world, patient.id, kind);
    help(world, connections, patient.id, kind).await;
    !std::mem::replace(&mut patient.helped, true)
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

/// What is not at rest. Nearly always nobody reads it, so it is no text yet.
#[derive(Debug)]
#[expect(dead_code, reason = "read through `Debug`")]
enum Unrest {
    Connection(Box<Status>),
    LeftOver(KeyId),
}

fn unrest(world: &World) -> Option<Unrest> {
    let now = world.now();
    let state = world.state();
    let restless = |record: &Record| {
        let status = status(record, now.date(), state.sinks);
        let well = status.is_settled() && status.drift.is_empty() && !status.leaving;
        // A rotation that people switched off lets its secret end, and says so.
        let ending = status.health == Health::Expiring && !is_enabled(record);
        let rests = well && (status.health == Health::Active || ending);
        (!rests).then(|| Unrest::Connection(Box::new(status)))
    };
    let mut records = state.truth.records.iter().filter(|record| !record.deleted);
    if let Some(unrest) = records.find_map(restless) {
        return Some(unrest);
    }
    let mut secrets = state.directory.secrets();
    let orphan = secrets.find(|secret| {
        let live = secret.marker.is_some() && secret.is_live(now);
        live && !state.truth.holds(secret)
    });
    orphan.map(|secret| Unrest::LeftOver(secret.key_id))
}

fn is_paused(world: &World, id: ConnectionId) -> bool {
    let state = world.state();
    let record = state.truth.record(id);
    let rotation = record.and_then(|record| record.connection.rotation.as_ref());
    rotation.is_some_and(|rotation| rotation.pause.is_some())
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
    let record = state.truth.record(id).filter(|record| !record.deleted)?;
    let trouble = record.connection.rotation.as_ref()?.trouble.as_ref()?;
    Some(trouble.kind).filter(|kind| kind.needs_a_person())
}

/// G7: who asks for a person needs one.
fn truly_needs_a_person(world: &World, id: ConnectionId, kind: TroubleKind) {
    let now = world.now();
    let state = &mut *world.state();
    // It may not have been tried again since somebody put it right, and who is to try again may have noted
    // when by a clock that ran ahead.
    if now.0 - state.directory.interfered.0 < 2 * HOUR + state.truth.misled {
        return;
    }
    if !is_so(state, now, id, kind) {
        state.broken(|| format!("G7: it says {kind:?}, and that is not so"));
    }
}

fn is_so(state: &mut State, now: Moment, id: ConnectionId, kind: TroubleKind) -> bool {
    if kind == TroubleKind::StoreBehind {
        return forgotten(state, now, id).next().is_some();
    }
    let State {
        directory,
        truth,
        keyless,
        ..
    } = state;
    let Some(record) = truth.record(id) else {
        return false;
    };
    let via = record.connection.credential.via();
    let via = via.and_then(|via| truth.record(via));
    let application = directory.application(record.connection.client);
    match kind {
        TroubleKind::ApplicationUnusable => {
            let known = record.connection.application;
            let another = known.is_some_and(|known| known != application.object());
            let unusable = application.unusable || another;
            unusable
                || via.is_some_and(|via| {
                    via.deleted || directory.application(via.connection.client).unusable
                })
        }
        TroubleKind::PermissionMissing => application.unpermitted,
        TroubleKind::MethodForbidden => application.forbidden,
        TroubleKind::LimitReached => application.is_full(),
        TroubleKind::LockedOut => *keyless || !truth.holds_a_valid_secret(directory, now, id),
        _ => false,
    }
}

/// The secrets of a connection that its restored store does not know.
pub(crate) fn forgotten(
    state: &State,
    now: Moment,
    id: ConnectionId,
) -> impl Iterator<Item = KeyId> {
    let beyond = state.truth.record(id).into_iter().flat_map(|r| &r.beyond);
    let live = beyond.filter(move |key_id| {
        let secret = state.directory.secret(**key_id);
        secret.is_some_and(|secret| secret.is_live(now))
    });
    live.copied()
}
