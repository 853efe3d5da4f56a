use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use keywheel_connection::{Actor, ConnectionId, Mode, RotationSettings, Seconds};
use keywheel_core::{ClientId, ClientSecret, Secret};
use keywheel_rotation::{Connections, NewConnection, Policy};
use keywheel_schedule::Schedule;
use uuid::Uuid;

use super::administrators::Deed;
use super::chance::Chance;
use super::directory::{Directory, Lags};
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
    sinks: bool,
}

pub(crate) const DAY: i64 = 86_400_000;

/// The application of the connection.
pub(crate) fn client() -> ClientId {
    Uuid::from_u128(0xc11e).into()
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
            effects: 0,
            violation: None,
        };
        state.directory.add_application(client());
        let world = World::new(state, self.began);
        for clock in 0..=PROCESSES {
            let skew = self.faults.skew;
            world.set_offset(clock, chance.between(-skew, skew));
        }
        world
    }
}

fn settings(chance: &mut Chance) -> RotationSettings {
    let schedule = Schedule::builder()
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
        .build();
    let mut settings = RotationSettings::new(schedule.expect("a schedule"));
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

/// What people do: they create the connection, ask for things while everything goes wrong, and see to it
/// that all comes to rest when that is over.
pub(crate) async fn people(world: World, scenario: Scenario) {
    let connections = Connections::new(parts(&world, PEOPLE), Policy::default());
    let id = create(&world, &connections, &scenario).await;
    begin_faults(&world, &scenario);
    let end = world.now().plus(scenario.horizon);
    for left in (1..=scenario.verbs).rev() {
        let most = (end.0 - world.now().0) / i64::try_from(left).unwrap_or(1) * 2;
        let wait = world.state().chance.between(0, most.max(1));
        world.sleep(wait.min(end.0 - world.now().0)).await;
        let asked = unless_it_crashes(&world, ask(&world, &connections, id, &scenario.settings));
        asked.await;
    }
    world.sleep(end.0 - world.now().0).await;
    rest::come_to_rest(&world, &connections, id).await;
}

async fn create(world: &World, connections: &Connections, scenario: &Scenario) -> ConnectionId {
    let now = world.now();
    let (key_id, text) = {
        let State {
            directory, chance, ..
        } = &mut *world.state();
        let lags = Lags { accept: 0, list: 0 };
        let life = (now, now.plus(400 * DAY));
        directory.add(
            client(),
            ("somebody else's".into(), None),
            life,
            lags,
            chance,
        );
        let given = directory.add(client(), ("first".into(), None), life, lags, chance);
        (given.key_id, given.text.clone())
    };
    let secret = ClientSecret::new(Secret::new(text)).expect("a secret");
    let new = NewConnection::client_secret(
        "main".parse().expect("a name"),
        "contoso.example".parse().expect("a tenant"),
        client(),
        secret,
    )
    .with_key_id(Some(key_id))
    .rotating(scenario.settings.clone());
    let created = connections.create(new, &Actor::named("test")).await;
    created.expect("nothing fails yet").connection.id
}

fn begin_faults(world: &World, scenario: &Scenario) {
    let now = world.now();
    let state = &mut *world.state();
    state
        .trace
        .note(now, None, format_args!("{:?}", scenario.faults));
    state.faults = scenario.faults.clone();
    let State {
        chance,
        nature,
        faults,
        ..
    } = state;
    let some_time = |chance: &mut Chance| now.plus(chance.between(0, scenario.horizon));
    for _ in 0..faults.steps {
        let clock = usize::try_from(chance.below(PROCESSES as u64 + 1)).unwrap_or(0);
        let by = chance.between(-faults.step, faults.step) / 2;
        nature.add(some_time(chance), Happening::Steps(clock, by));
    }
    for _ in 0..faults.deeds {
        let (deed, undo) = Deed::draw(chance);
        let at = match deed {
            // A lock-out is probed every hour, which is seen in a few days as well as in months.
            Deed::RemovesOurs => now.plus(scenario.horizon - chance.between(0, 3 * DAY)),
            _ => some_time(chance),
        };
        nature.add(at, Happening::Administers(deed));
        if let Some(undo) = undo {
            let until = at.plus(chance.between(0, 7 * DAY));
            nature.add(until, Happening::Administers(undo));
        }
    }
}

/// Runs a request of people in a process that may end in it.
async fn unless_it_crashes(world: &World, asked: impl Future<Output = ()>) {
    let mut asked = pin!(asked);
    poll_fn(|cx| {
        let done = asked.as_mut().poll(cx).is_ready();
        let process = &mut world.state().processes[PEOPLE];
        if std::mem::take(&mut process.crashed) || done {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
