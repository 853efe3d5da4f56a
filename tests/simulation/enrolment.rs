use keywheel_connection::{
    Actor, ConnectionId, ConnectionName, ConnectionStore, Mode, Namespace, RotationSettings,
    Seconds, Versioned,
};
use keywheel_core::{ClientSecret, KeyId, Secret, TenantId};
use keywheel_rotation::{
    ConnectionError, ConnectionErrorKind, Connections, NewConnection, NewManaged,
};
use keywheel_schedule::Schedule;

use super::chance::Chance;
use super::directory::Lags;
use super::scenario::{DAY, Scenario, client, managed, unless_it_crashes};
use super::store::ready;
use super::world::{PEOPLE, State, World};

/// What there is beside the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// Another connection of the same application, as another keywheel would have it: each takes the
    /// other's secrets for foreign ones.
    OfTheSame,
    /// The secrets of another application, managed through the connection.
    Managed,
}

/// The tenant of every application.
pub(crate) fn tenant() -> TenantId {
    "contoso.example".parse().expect("a tenant")
}

/// Draws when secrets are rotated.
pub(crate) fn schedule(chance: &mut Chance) -> Schedule {
    Schedule::builder()
        .every_days(chance.pick(&[1, 7, 14, 14, 30, 30, 30, 30, 60, 60, 90]))
        .at(chance
            .pick(&["00:00:00", "02:30:00", "03:00:00", "13:37:00"])
            .parse()
            .expect("a time"))
        .zone(chance.pick(&[
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
        ]))
        .anchor("2026-01-15".parse().expect("a date"))
        .build()
        .expect("a schedule")
}

/// Draws when and how the secrets are rotated.
pub(crate) fn settings(chance: &mut Chance) -> RotationSettings {
    let mut settings = RotationSettings::new(schedule(chance));
    settings.proofs = chance.pick(&[1, 2, 3, 3]);
    settings.proof_span = Seconds(chance.pick(&[0, 10, 10, 60]));
    settings.grace = Seconds(chance.pick(&[0, 600, 3600, 3600, 86_400]));
    if settings.plan.schedule().interval_days() == 1 {
        // Else there is no time at which nothing is owed.
        settings.grace = Seconds(settings.grace.0.min(3600));
    }
    settings.original_grace = Seconds(chance.pick(&[0, 0, 3600]));
    settings.mode = chance.pick(&[Mode::Overlap, Mode::Overlap, Mode::OnePlusOne]);
    settings
}

/// Creates the connections of a run. Calls go wrong here as everywhere: whoever gets no answer asks again.
pub(crate) async fn enrol(
    world: &World,
    connections: &Connections,
    scenario: &Scenario,
) -> Vec<ConnectionId> {
    // On an application for two secrets there is room for one more.
    if scenario.limit.is_none() {
        add(world, "somebody else's");
    }
    let id = create(world, connections, scenario, "main").await;
    let beside = match scenario.beside {
        Beside::OfTheSame if scenario.limit.is_none() => {
            Some(create(world, connections, scenario, "other").await)
        }
        Beside::Managed => Some(manage(world, connections, id, scenario).await),
        _ => None,
    };
    [id].into_iter().chain(beside).collect()
}

async fn create(
    world: &World,
    connections: &Connections,
    scenario: &Scenario,
    name: &str,
) -> ConnectionId {
    let (key_id, text) = add(world, "first");
    let secret = ClientSecret::new(Secret::new(text)).expect("a secret");
    let new =
        NewConnection::client_secret(name.parse().expect("a name"), tenant(), client(), secret)
            .with_key_id(Some(key_id))
            .rotating(scenario.settings.clone());
    let actor = Actor::named("test");
    at_last(world, &new.name, || connections.create(new.clone(), &actor)).await
}

async fn manage(
    world: &World,
    connections: &Connections,
    via: ConnectionId,
    scenario: &Scenario,
) -> ConnectionId {
    let name = "managed".parse().expect("a name");
    let new = NewManaged::new(name, via, managed(), scenario.settings.clone());
    let actor = Actor::named("test");
    let created = || connections.create_managed(new.clone(), &actor);
    at_last(world, &new.name, created).await
}

/// Asks until the connection is there. Where what was given is refused, its name says whether it is: one that
/// got no answer was stored, or is by now, and its first rotation begun.
async fn at_last<F>(world: &World, name: &ConnectionName, create: impl Fn() -> F) -> ConnectionId
where
    F: Future<Output = Result<Versioned, ConnectionError>>,
{
    loop {
        let created = unless_it_crashes(world, create()).await;
        let created = created.map(|created| match created {
            Ok(stored) => Ok(stored.connection.id),
            Err(error) => Err(error.kind()),
        });
        world.note(PEOPLE, format_args!("create {name}: {created:?}"));
        let there = match created {
            Some(Ok(id)) => Some(id),
            Some(Err(ConnectionErrorKind::Invalid)) => by_name(world, name),
            _ => None,
        };
        if let Some(id) = there {
            return id;
        }
        let pause = world.state().chance.span(60_000);
        world.rest(PEOPLE, pause).await;
    }
}

fn by_name(world: &World, name: &ConnectionName) -> Option<ConnectionId> {
    let found = ready(world.store().find(&Namespace::default(), name));
    Some(found.ok()??.connection.id)
}

fn add(world: &World, name: &str) -> (KeyId, String) {
    let now = world.now();
    let State {
        directory, chance, ..
    } = &mut *world.state();
    let lags = Lags { accept: 0, list: 0 };
    let life = (now, now.plus(400 * DAY));
    let added = directory.add(client(), (name.to_owned(), None), life, lags, chance);
    (added.key_id, added.text.clone())
}
