use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use keywheel_connection::RotationSettings;
use keywheel_core::ClientId;
use keywheel_rotation::{Connections, Policy};
use uuid::Uuid;

use super::administrators::Deed;
use super::chance::Chance;
use super::directory::Directory;
use super::enrolment::{Beside, enrol, settings};
use super::faults::Faults;
use super::mutant::Mutant;
use super::nature::{Happening, Nature};
use super::people::ask;
use super::ports::parts;
use super::rest;
use super::trace::Trace;
use super::truth::Truth;
use super::world::{Moment, PEOPLE, PROCESSES, State, World};

/// What a run is like: drawn from its seed, all of it.
#[derive(Debug)]
pub(crate) struct Scenario {
    chance: Chance,
    began: Moment,
    faults: Faults,
    mutant: Option<Mutant>,
    told: bool,
    pub(crate) replicas: usize,
    /// How long people and faults are at it, in milliseconds.
    pub(crate) horizon: i64,
    pub(crate) verbs: u64,
    pub(crate) settings: RotationSettings,
    pub(crate) beside: Beside,
    /// How many secrets the application may hold.
    pub(crate) limit: Option<u8>,
    sinks: bool,
}

pub(crate) const DAY: i64 = 86_400_000;

/// The application of the connection.
pub(crate) fn client() -> ClientId {
    Uuid::from_u128(0xc11e).into()
}

/// The application whose secrets are managed through the connection.
pub(crate) fn managed() -> ClientId {
    Uuid::from_u128(0xc11f).into()
}

impl Scenario {
    pub(crate) fn draw(seed: u64, mutant: Option<Mutant>, told: bool) -> Self {
        let mut chance = Chance::new(seed);
        let settings = settings(&mut chance);
        let interval = i64::from(settings.plan.schedule().interval_days());
        let runs = chance.between(1, 3);
        Self {
            began: Moment(chance.between(0, 365 * DAY)),
            faults: Faults::draw(&mut chance),
            mutant,
            told,
            replicas: usize::try_from(chance.between(1, 3)).unwrap_or(1),
            horizon: (interval * runs).clamp(10, 150) * DAY,
            verbs: chance.below(4),
            settings,
            beside: chance.pick(&[
                Beside::Nothing,
                Beside::Nothing,
                Beside::Nothing,
                Beside::OfTheSame,
                Beside::Managed,
            ]),
            limit: chance.one_in(8).then_some(2),
            sinks: chance.one_in(3),
            chance,
        }
    }

    pub(crate) fn world(&self) -> World {
        let mut chance = self.chance.clone();
        let mut state = State {
            chance: chance.clone(),
            faults: Faults::default(),
            directory: Directory::default(),
            truth: Truth::new(self.faults.skew * 2 + self.faults.step * 2),
            rows: Default::default(),
            nature: Nature::default(),
            trace: Trace::new(self.told),
            processes: Default::default(),
            mutant: self.mutant,
            sinks: self.sinks,
            keyless: false,
            promises: Default::default(),
            backup: None,
            effects: 0,
            calls: Default::default(),
            violation: None,
        };
        state.directory.add_application(client(), self.limit);
        if self.beside == Beside::Managed {
            state.directory.add_application(managed(), None);
        }
        let world = World::new(state, self.began);
        for clock in 0..=PROCESSES {
            let skew = self.faults.skew;
            world.set_offset(clock, chance.between(-skew, skew));
        }
        world
    }
}

/// What people do: they create the connection, ask for things while everything goes wrong, and see to it
/// that all comes to rest when that is over.
pub(crate) async fn people(world: World, scenario: Scenario) {
    let connections = Connections::new(parts(&world, PEOPLE), Policy::default());
    begin_faults(&world, &scenario);
    let ids = enrol(&world, &connections, &scenario).await;
    expect_happenings(&world, &scenario);
    let end = world.now().plus(scenario.horizon);
    for left in (1..=scenario.verbs).rev() {
        let most = (end.0 - world.now().0) / i64::try_from(left).unwrap_or(1) * 2;
        let wait = world.state().chance.between(0, most.max(1));
        world.rest(PEOPLE, wait.min(end.0 - world.now().0)).await;
        let asked = unless_it_crashes(&world, ask(&world, &connections, &ids, &scenario.settings));
        // Whether it crashed or not, the next one is asked.
        let _ = Box::pin(asked).await;
    }
    world.rest(PEOPLE, end.0 - world.now().0).await;
    rest::come_to_rest(&world, &connections, &ids).await;
}

fn begin_faults(world: &World, scenario: &Scenario) {
    let now = world.now();
    let state = &mut *world.state();
    state
        .trace
        .note(now, None, format_args!("{:?}", scenario.faults));
    state.faults = scenario.faults.clone();
}

/// What happens but once or twice waits until the connections are there: before, nothing is to be met.
fn expect_happenings(world: &World, scenario: &Scenario) {
    let now = world.now();
    let State {
        chance,
        nature,
        faults,
        ..
    } = &mut *world.state();
    let some_time = |chance: &mut Chance| now.plus(chance.between(0, scenario.horizon));
    let late = |chance: &mut Chance| now.plus(scenario.horizon - chance.between(0, 3 * DAY));
    for _ in 0..faults.steps {
        let clock = usize::try_from(chance.below(PROCESSES as u64 + 1)).unwrap_or(0);
        let by = chance.between(-faults.step, faults.step) / 2;
        nature.add(some_time(chance), Happening::Steps(clock, by));
    }
    if faults.restores {
        let at = late(chance);
        let before = chance.between(0, (at.0 - now.0).min(100 * DAY));
        nature.add(at.plus(-before), Happening::BacksUp);
        nature.add(at, Happening::Restores);
    }
    for _ in 0..faults.deeds {
        let (deed, undo) = Deed::draw(chance, scenario.beside == Beside::Managed);
        let at = match deed {
            // A halt is probed every hour, which is seen in a few days as well as in months.
            Deed::Adds(_) if scenario.limit.is_some() => late(chance),
            Deed::Removes(_, true) | Deed::Buries(..) => late(chance),
            _ => some_time(chance),
        };
        nature.add(at, Happening::Administers(deed));
        if let Some(undo) = undo {
            let until = at.plus(chance.between(0, 7 * DAY));
            nature.add(until, Happening::Administers(undo));
        }
    }
}

/// Runs a request of people in a process that may end in it: `None` then.
pub(crate) async fn unless_it_crashes<T>(
    world: &World,
    asked: impl Future<Output = T>,
) -> Option<T> {
    let mut asked = pin!(asked);
    world.state().processes[PEOPLE].crashed = false;
    poll_fn(|cx| {
        if std::mem::take(&mut world.state().processes[PEOPLE].crashed) {
            return Poll::Ready(None);
        }
        let asked = asked.as_mut().poll(cx);
        let process = &mut world.state().processes[PEOPLE];
        if std::mem::take(&mut process.crashed) {
            Poll::Ready(None)
        } else {
            asked.map(Some)
        }
    })
    .await
}
