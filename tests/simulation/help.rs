use keywheel_connection::{Actor, ConnectionId, TroubleKind};
use keywheel_core::{ClientId, ClientSecret, Cloud, KeyId, Secret};
use keywheel_rotation::{ConnectionError, Connections, Farewell};

use super::administrators::add;
use super::directory::{By, Lags};
use super::enrolment::tenant;
use super::record::Record;
use super::rest::forgotten;
use super::world::{PEOPLE, State, World};

/// Does what the trouble asks for.
pub(crate) async fn help(
    world: &World,
    connections: &Connections,
    id: ConnectionId,
    kind: TroubleKind,
) {
    let actor = Actor::named("test");
    let patient = Patient::look_at(world, id);
    if let Some(reason) = patient.cannot_stay(kind) {
        let left = connections.delete(id, Farewell::Leave, &actor).await;
        let left = left.map_err(|error| error.to_string());
        world.note(PEOPLE, format_args!("delete at once, {reason}: {left:?}"));
        return;
    }
    put_right(world, id, kind);
    if patient.recovers(kind) {
        let resumed = connections.resume(id, &actor).await.map_err(|e| e.kind());
        world.note(PEOPLE, format_args!("resume after {kind:?}: {resumed:?}"));
        return;
    }
    let id = patient.authority;
    let given = match patient.is_another {
        true => enrol_anew(world, connections, id, true).await,
        false => supply(world, connections, id).await,
    };
    let given = given.map_err(|error| error.to_string());
    world.note(
        PEOPLE,
        format_args!("a new secret after {kind:?}: {given:?}"),
    );
    // Who manages a connection has helpers of its own.
    if given.is_err() && !patient.is_managed {
        let aborted = connections.abort(id, &actor).await;
        let aborted = aborted.map_err(|error| error.to_string());
        world.note(PEOPLE, format_args!("abort: {aborted:?}"));
    }
}

/// What a person sees who looks at a connection and its application.
struct Patient {
    /// Who authenticates for it.
    authority: ConnectionId,
    is_managed: bool,
    is_leaving: bool,
    /// Whether who manages it is deleted, or will be.
    is_left_alone: bool,
    /// Whether its application, or that of who manages it, is gone or another one than before.
    is_another: bool,
    /// Whether its own is.
    is_lost: bool,
    keyless: bool,
    has_a_secret: bool,
}

impl Patient {
    fn look_at(world: &World, id: ConnectionId) -> Self {
        let now = world.now();
        let State {
            directory,
            truth,
            keyless,
            ..
        } = &mut *world.state();
        let mut lost = |id| {
            truth.record(id).is_some_and(|record| {
                let application = directory.application(record.connection.client);
                let known = record.connection.application;
                application.gone || known.is_some_and(|known| known != application.object())
            })
        };
        let record = truth.record(id).expect("it was created");
        let via = record.connection.credential.via();
        let authority = via.unwrap_or(id);
        let (is_lost, is_another) = (lost(id), lost(authority));
        let by = truth.record(authority).filter(|record| !record.deleted);
        let is_left_alone = via.is_some() && by.is_none_or(Record::is_leaving);
        Self {
            authority,
            is_managed: via.is_some(),
            is_leaving: record.is_leaving(),
            is_left_alone,
            is_another,
            is_lost,
            keyless: *keyless,
            has_a_secret: truth.holds_a_valid_secret(directory, now, id),
        }
    }

    /// Why a connection is only to be deleted, if so: what must be revoked can't be, or nobody manages it
    /// any more.
    fn cannot_stay(&self, kind: TroubleKind) -> Option<&'static str> {
        match kind {
            TroubleKind::LockedOut if self.is_leaving && !self.keyless => Some("no secret"),
            TroubleKind::LockedOut | TroubleKind::ApplicationUnusable if self.is_left_alone => {
                Some("unmanaged")
            }
            TroubleKind::ApplicationUnusable
                if self.is_lost && (self.is_managed || self.is_leaving) =>
            {
                Some("no application")
            }
            _ => None,
        }
    }

    /// Whether all goes on by itself, now that administrators have put right what they can.
    fn recovers(&self, kind: TroubleKind) -> bool {
        match kind {
            TroubleKind::LockedOut => self.keyless || self.has_a_secret,
            TroubleKind::ApplicationUnusable => !self.is_another,
            _ => true,
        }
    }
}

/// Does what administrators can do.
fn put_right(world: &World, id: ConnectionId, kind: TroubleKind) {
    let now = world.now();
    let state = &mut *world.state();
    state.directory.interfered = now;
    state.keyless = false;
    let client = state.truth.record(id).map(|r| r.connection.client);
    let client = client.expect("it was created");
    let removable: Vec<KeyId> = match kind {
        TroubleKind::StoreBehind => forgotten(state, now, id).collect(),
        TroubleKind::LimitReached => foreign(state, client).collect(),
        _ => Vec::new(),
    };
    let State {
        directory, chance, ..
    } = state;
    let lags = Lags { accept: 0, list: 0 };
    for key_id in removable {
        directory.remove(key_id, (now, By::Administrator), lags, chance);
    }
    for application in &mut directory.applications {
        application.unpermitted = false;
        application.forbidden = false;
        application.unusable = application.gone;
    }
}

/// The secrets of an application that no connection knows.
fn foreign(state: &mut State, client: ClientId) -> impl Iterator<Item = KeyId> {
    let State {
        directory, truth, ..
    } = state;
    let secrets = directory.application(client).secrets.iter();
    let foreign = secrets.filter(|secret| {
        let known = truth
            .records
            .iter()
            .any(|record| record.is_aware_of(secret));
        secret.removed.is_none() && !known
    });
    foreign.map(|secret| secret.key_id)
}

/// Gives a connection a secret by hand.
pub(crate) async fn supply(
    world: &World,
    connections: &Connections,
    id: ConnectionId,
) -> Result<(), ConnectionError> {
    let client = client_of(world, id);
    let (key_id, secret) = by_hand(world, client);
    let actor = Actor::named("test");
    let supplied = connections.supply_secret(id, &secret, Some(key_id), &actor);
    supplied.await.map(drop)
}

/// Gives a connection another credential: of the same application, or of another one.
pub(crate) async fn enrol_anew(
    world: &World,
    connections: &Connections,
    id: ConnectionId,
    elsewhere: bool,
) -> Result<(), ConnectionError> {
    let client = match elsewhere {
        true => world.state().directory.another(),
        false => client_of(world, id),
    };
    let (key_id, secret) = by_hand(world, client);
    let place = (Cloud::default(), tenant(), client);
    let actor = Actor::named("test");
    let changed = connections.change_credential(id, place, &secret, Some(key_id), &actor);
    changed.await.map(drop)
}

fn client_of(world: &World, id: ConnectionId) -> ClientId {
    let state = world.state();
    let record = state.truth.record(id).expect("it was created");
    record.connection.client
}

/// Somebody adds a secret by hand, and waits until it is known everywhere.
fn by_hand(world: &World, client: ClientId) -> (KeyId, ClientSecret) {
    let now = world.now();
    let lags = Lags { accept: 0, list: 0 };
    let (key_id, text) = add(&mut world.state(), client, now, lags);
    (
        key_id,
        ClientSecret::new(Secret::new(text)).expect("a secret"),
    )
}
