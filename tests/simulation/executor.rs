use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, Sleep, advance, sleep_until};

use super::mutant::Mutant;
use super::nature::Happening;
use super::process::{downtime, replica};
use super::scenario::{Scenario, people};
use super::world::{Moment, PEOPLE, Pace, World, milliseconds};

/// Runs seeds, one at a time, on a clock of its own.
#[derive(Debug)]
pub struct Simulator {
    runtime: Runtime,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// How many calls left a process.
    pub effects: u64,
    /// How many secrets became current.
    pub promotions: u64,
    /// The invariant that was broken, if one was.
    pub violation: Option<String>,
    /// The story, if it was asked for.
    pub trace: Vec<String>,
}

impl Default for Simulator {
    fn default() -> Self {
        Self::new()
    }
}

impl Simulator {
    /// Returns a simulator.
    ///
    /// # Panics
    ///
    /// Panics when the thread has no room for a runtime.
    #[must_use]
    pub fn new() -> Self {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build();
        Self {
            runtime: runtime.expect("a runtime without threads"),
        }
    }

    /// Runs a seed, and tells its story if `told`.
    #[must_use]
    pub fn run(&self, seed: u64, mutant: Option<Mutant>, told: bool) -> Outcome {
        let _guard = self.runtime.enter();
        let scenario = Scenario::draw(seed, mutant, told);
        let world = scenario.world();
        let run = catch_unwind(AssertUnwindSafe(|| {
            self.runtime
                .block_on(Executor::new(world.clone(), scenario).run());
        }));
        let now = world.now();
        let state = &mut *world.state();
        if let Err(panic) = run {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|w| (*w).to_owned()));
            state.broken(|| format!("panic: {}", words.unwrap_or_default()));
        }
        if let Some(violation) = &state.violation {
            state.trace.note(now, None, format_args!("{violation}"));
        }
        Outcome {
            effects: state.effects,
            promotions: state.truth.promotions(),
            violation: state.violation.take(),
            trace: state.trace.take(),
        }
    }
}

type Process = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Polls the processes, lets nature happen between, and ends with the people's story.
struct Executor {
    world: World,
    replicas: Vec<Option<Process>>,
    people: Process,
    alarm: Pin<Box<Sleep>>,
    origin: (Instant, Moment),
    turns: Pace,
}

impl Executor {
    fn new(world: World, scenario: Scenario) -> Self {
        let replicas = (0..scenario.replicas).map(|process| {
            let replica: Process = Box::pin(replica(world.clone(), process));
            Some(replica)
        });
        let now = Instant::now();
        Self {
            replicas: replicas.collect(),
            people: Box::pin(people(world.clone(), scenario)),
            alarm: Box::pin(sleep_until(now)),
            origin: (now, world.now()),
            turns: Pace::default(),
            world,
        }
    }

    async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.world.tick();
            let changes = self.world.changes();
            if self.turns.is_endless(self.world.now()) {
                let state = &mut *self.world.state();
                state.broken(|| "G10: it never ends".to_owned());
                return Poll::Ready(());
            }
            self.nature();
            if self.poll_people(cx).is_ready() {
                return Poll::Ready(());
            }
            let first = self.first();
            for index in 0..self.replicas.len() {
                self.poll_replica((first + index) % self.replicas.len(), cx);
            }
            if self.world.state().violation.is_some() {
                return Poll::Ready(());
            }
            if self.world.changes() != changes {
                // Who was polled before does not know yet.
                continue;
            }
            let next = self.next();
            if self.all_rest() {
                self.skip_to(next);
                continue;
            }
            if next == Moment::NEVER {
                return Poll::Pending;
            }
            let passed = next.0 - self.origin.1.0;
            let next = self.origin.0 + milliseconds(passed);
            if self.alarm.deadline() != next {
                self.alarm.as_mut().reset(next);
            }
            if self.alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Returns when something happens next, as far as no engine's timer comes first.
    fn next(&self) -> Moment {
        let state = self.world.state();
        let rests = self.live().map(|process| &state.processes[process]);
        let rests = rests.filter_map(|process| {
            let until = process.rests_until?;
            Some(until.max(process.stopped_until))
        });
        rests
            .chain(state.nature.next())
            .min()
            .unwrap_or(Moment::NEVER)
    }

    fn all_rest(&self) -> bool {
        let state = self.world.state();
        let mut live = self.live().map(|process| &state.processes[process]);
        live.all(|process| process.rests_until.is_some())
    }

    fn live(&self) -> impl Iterator<Item = usize> {
        let replicas = self.replicas.iter().enumerate();
        let live = replicas.filter(|(_, replica)| replica.is_some());
        live.map(|(process, _)| process).chain([PEOPLE])
    }

    /// Where no engine has a timer, nobody needs tokio's, which gets through days in many steps.
    fn skip_to(&self, next: Moment) {
        let span = milliseconds(next.0 - self.world.now().0);
        let skip = pin!(advance(span));
        let skipped = skip.poll(&mut Context::from_waker(Waker::noop()));
        assert!(skipped.is_pending(), "it advances, and then yields");
    }

    /// Whoever is polled first comes first to the store.
    fn first(&self) -> usize {
        let many = self.replicas.len() as u64;
        usize::try_from(self.world.state().chance.below(many)).unwrap_or(0)
    }

    fn nature(&mut self) {
        let now = self.world.now();
        loop {
            let happening = self.world.state().nature.take(now);
            let Some(happening) = happening else { return };
            match happening {
                Happening::Lands(landing) => self.world.land(landing),
                Happening::Starts(process) => {
                    self.world.note(process, format_args!("starts"));
                    self.world.state().processes[process].rests_until = None;
                    self.replicas[process] = Some(Box::pin(replica(self.world.clone(), process)));
                }
                Happening::Steps(clock, by) => {
                    self.world
                        .note(clock, format_args!("clock steps by {by} ms"));
                    let offset = self.world.offset(clock);
                    self.world.set_offset(clock, offset + by);
                }
                Happening::Administers(deed) => self.world.administer(deed),
                Happening::BacksUp => self.world.back_up(),
                Happening::Restores => self.restore(),
                Happening::Wakes => {}
            }
        }
    }

    /// Stops every process, restores the store and starts them again.
    fn restore(&mut self) {
        for (process, replica) in self.replicas.iter_mut().enumerate() {
            if replica.take().is_some() {
                let at = downtime(&self.world);
                let state = &mut *self.world.state();
                state.nature.add(at, Happening::Starts(process));
            }
        }
        self.world.state().processes[PEOPLE].crashed = true;
        self.world.restore();
    }

    fn poll_replica(&mut self, process: usize, cx: &mut Context<'_>) {
        if self.is_stopped(process) {
            return;
        }
        let Some(replica) = &mut self.replicas[process] else {
            return;
        };
        let ended = replica.as_mut().poll(cx).is_ready();
        if std::mem::take(&mut self.world.state().processes[process].crashed) || ended {
            self.replicas[process] = None;
            let at = downtime(&self.world);
            self.world
                .state()
                .nature
                .add(at, Happening::Starts(process));
        }
    }

    fn poll_people(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_stopped(PEOPLE) {
            return Poll::Pending;
        }
        self.people.as_mut().poll(cx)
    }

    fn is_stopped(&self, process: usize) -> bool {
        self.world.now() < self.world.state().processes[process].stopped_until
    }
}
