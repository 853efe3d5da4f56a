use keywheel_connection::{Actor, Cause, ConnectionId, RotationSettings, Seconds};
use keywheel_rotation::{Connections, Farewell};

use super::world::{PEOPLE, World};

/// What people ask of a connection.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Abort,
    ChangeSettings,
    Delete,
    Disable,
    Emergency,
    Enable,
    Pause,
    Resume,
    RollBack,
    Rotate,
}

/// What is asked for often stands here often.
const VERBS: [Verb; 16] = [
    Verb::Abort,
    Verb::Abort,
    Verb::ChangeSettings,
    Verb::Delete,
    Verb::Disable,
    Verb::Emergency,
    Verb::Emergency,
    Verb::Enable,
    Verb::Pause,
    Verb::Resume,
    Verb::RollBack,
    Verb::RollBack,
    Verb::Rotate,
    Verb::Rotate,
    Verb::Rotate,
    Verb::Rotate,
];

/// Asks for something, and now and then for something else right after it.
pub(crate) async fn ask(
    world: &World,
    connections: &Connections,
    id: ConnectionId,
    settings: &RotationSettings,
) {
    loop {
        let verb = world.state().chance.pick(&VERBS);
        ask_for(world, connections, id, verb, settings).await;
        if world.state().chance.below(3) > 0 {
            return;
        }
        let pause = world.state().chance.span(7_200_000);
        world.sleep(pause).await;
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
        Verb::ChangeSettings => {
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
        Verb::Emergency => rotate(connections, id, Cause::Emergency, &actor).await,
        Verb::Enable => connections.enable(id, settings.clone(), None, &actor).await,
        Verb::Pause => connections.pause(id, "a release", &actor).await,
        Verb::Resume => connections.resume(id, &actor).await,
        Verb::RollBack => connections.roll_back(id, &actor).await.map(drop),
        Verb::Rotate => rotate(connections, id, Cause::Manual, &actor).await,
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

async fn rotate(
    connections: &Connections,
    id: ConnectionId,
    cause: Cause,
    actor: &Actor,
) -> Result<(), keywheel_rotation::ConnectionError> {
    connections.rotate_now(id, cause, actor).await.map(drop)
}
