use keywheel_connection::{Actor, Cause, ConnectionId, RotationSettings, Seconds};
use keywheel_rotation::{ConnectionError, Connections, Farewell};
use keywheel_schedule::Freeze;

use super::enrolment::schedule;
use super::help::{enrol_anew, supply};
use super::scenario::DAY;
use super::world::{PEOPLE, World};

/// What people ask of a connection.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Abort,
    ChangeCredential,
    ChangeSchedule,
    ChangeSettings,
    Delete,
    Disable,
    Emergency,
    Enable,
    Freeze,
    Pause,
    Resume,
    RollBack,
    Rotate,
    Supply,
}

/// What is asked for often stands here often.
const VERBS: [Verb; 20] = [
    Verb::Abort,
    Verb::Abort,
    Verb::ChangeCredential,
    Verb::ChangeSchedule,
    Verb::ChangeSettings,
    Verb::Delete,
    Verb::Disable,
    Verb::Emergency,
    Verb::Emergency,
    Verb::Enable,
    Verb::Freeze,
    Verb::Pause,
    Verb::Resume,
    Verb::RollBack,
    Verb::RollBack,
    Verb::Rotate,
    Verb::Rotate,
    Verb::Rotate,
    Verb::Rotate,
    Verb::Supply,
];

/// Asks for something, and now and then for something else right after it.
pub(crate) async fn ask(
    world: &World,
    connections: &Connections,
    ids: &[ConnectionId],
    settings: &RotationSettings,
) {
    loop {
        let id = world.state().chance.pick(ids);
        let verb = world.state().chance.pick(&VERBS);
        ask_for(world, connections, id, verb, settings).await;
        if world.state().chance.below(3) > 0 {
            return;
        }
        let pause = world.state().chance.span(7_200_000);
        world.rest(PEOPLE, pause).await;
    }
}

async fn ask_for(
    world: &World,
    connections: &Connections,
    id: ConnectionId,
    verb: Verb,
    settings: &RotationSettings,
) {
    let actor = Actor::named("test");
    let asked = match verb {
        Verb::Abort => connections.abort(id, &actor).await,
        Verb::ChangeCredential => {
            let elsewhere = world.state().chance.one_in(2);
            enrol_anew(world, connections, id, elsewhere).await
        }
        Verb::ChangeSchedule => {
            thaw(world, id);
            let mut settings = settings.clone();
            settings.plan = schedule(&mut world.state().chance).into();
            settings.grace = Seconds(settings.grace.0.min(3600));
            connections.change_settings(id, settings, &actor).await
        }
        Verb::ChangeSettings => {
            thaw(world, id);
            let mut settings = settings.clone();
            settings.proofs = world.state().chance.pick(&[1, 2, 5]);
            settings.grace = Seconds(world.state().chance.pick(&[60, 3600]));
            connections.change_settings(id, settings, &actor).await
        }
        Verb::Delete => {
            let farewell = Farewell::Revoke;
            connections.delete(id, farewell, &actor).await.map(drop)
        }
        Verb::Disable => connections.disable(id, &actor).await.map(drop),
        Verb::Emergency => end_a_leak(world, connections, id).await,
        Verb::Enable => {
            thaw(world, id);
            connections.enable(id, settings.clone(), None, &actor).await
        }
        Verb::Freeze => freeze(world, connections, id).await,
        Verb::Pause => connections.pause(id, "a release", &actor).await,
        Verb::Resume => connections.resume(id, &actor).await,
        Verb::RollBack => connections.roll_back(id, &actor).await.map(drop),
        Verb::Rotate => {
            let asked = connections.rotate_now(id, Cause::Manual, &actor).await;
            asked.map(drop)
        }
        Verb::Supply => supply(world, connections, id).await,
    };
    if let Err(error) = &asked
        && error.to_string().contains("8Q~")
    {
        let message = error.to_string();
        let state = &mut *world.state();
        state.broken(|| format!("G8: a secret is in an error: {message}"));
    }
    let asked = asked.map_err(|error| error.kind());
    world.note(PEOPLE, format_args!("{verb:?}: {asked:?}"));
}

/// Holds the engine to it that what leaked has no grace, when it says that a rotation ends the leak.
async fn end_a_leak(
    world: &World,
    connections: &Connections,
    id: ConnectionId,
) -> Result<(), ConnectionError> {
    let actor = Actor::named("test");
    let asked = connections.rotate_now(id, Cause::Emergency, &actor).await?;
    world.state().truth.urgent.push(asked.rotation);
    Ok(())
}

/// Freezes some days, and holds the engine to it when it says that it will.
async fn freeze(
    world: &World,
    connections: &Connections,
    id: ConnectionId,
) -> Result<(), ConnectionError> {
    let (first, last) = {
        let chance = &mut world.state().chance;
        let first = world.now().plus(chance.between(0, 5 * DAY));
        (first, first.plus(chance.between(2 * DAY, 40 * DAY)))
    };
    let dates = (first.date().date_naive(), last.date().date_naive());
    let freeze = Freeze::new(dates.0, dates.1).expect("the earlier date first");
    let frozen = connections.freeze(id, freeze, &Actor::named("test")).await;
    if frozen.is_ok() {
        let truth = &mut world.state().truth;
        truth.frozen.push((id, dates.0, dates.1));
    }
    frozen
}

/// Other settings lift every freeze, from the moment that they are asked for.
fn thaw(world: &World, id: ConnectionId) {
    let truth = &mut world.state().truth;
    truth.frozen.retain(|(frozen, _, _)| *frozen != id);
}
