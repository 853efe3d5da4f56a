use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use chrono::{DateTime, Utc};
use keywheel_connection::MemoryStore;
use keywheel_core::Clock;
use tokio::time::{Instant, sleep};

use super::backup::Backup;
use super::chance::Chance;
use super::directory::Directory;
use super::faults::{Call, Fate, Faults};
use super::mutant::Mutant;
use super::nature::Nature;
use super::promises::Promises;
use super::scenario::DAY;
use super::store::Rows;
use super::trace::Trace;
use super::truth::Truth;

/// True time, which nobody in the simulation knows, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) i64);

/// 1 January 2026.
const EPOCH: i64 = 1_767_225_600_000;

impl Moment {
    pub(crate) const NEVER: Self = Self(i64::MAX);

    pub(crate) fn date(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(EPOCH + self.0).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    pub(crate) fn of(date: DateTime<Utc>) -> Self {
        Self(date.timestamp_millis() - EPOCH)
    }

    pub(crate) fn plus(self, milliseconds: i64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
}

/// How many processes there are at most, people's included.
pub(crate) const PROCESSES: usize = 4;

/// How much happens within a day. A run may halt for months and be probed every hour; what is done over
/// and over without a pause gets nowhere.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    since: Moment,
    count: u32,
}

/// How much no process gets done in a day that gets on.
const ENDLESS: u32 = 10_000;

impl Pace {
    /// Counts one more, and tells whether it never ends.
    pub(crate) fn is_endless(&mut self, now: Moment) -> bool {
        if now.0 - self.since.0 >= DAY {
            *self = Self {
                since: now,
                count: 0,
            };
        }
        self.count += 1;
        self.count > ENDLESS
    }
}

/// The process that people's requests run in.
pub(crate) const PEOPLE: usize = 3;

/// Everything in one run: clones share it.
#[derive(Clone)]
pub(crate) struct World(Arc<Inner>);

struct Inner {
    /// When the run began, by tokio's clock and by the true one.
    began: (Instant, Moment),
    /// The true time, which stands still while processes are polled.
    now: AtomicI64,
    /// How often the store has got something new.
    changes: AtomicU64,
    /// How far off the clocks of the processes are, and the store's.
    offsets: [AtomicI64; PROCESSES + 1],
    state: Mutex<State>,
    store: Mutex<MemoryStore>,
}

/// What changes in a run.
pub(crate) struct State {
    pub(crate) chance: Chance,
    pub(crate) faults: Faults,
    pub(crate) directory: Directory,
    pub(crate) truth: Truth,
    pub(crate) rows: Rows,
    pub(crate) nature: Nature,
    pub(crate) trace: Trace,
    pub(crate) processes: [Process; PROCESSES],
    pub(crate) mutant: Option<Mutant>,
    /// Whether secrets go to sinks too.
    pub(crate) sinks: bool,
    /// Whether the sealing key is lost, for now.
    pub(crate) keyless: bool,
    pub(crate) promises: Promises,
    pub(crate) backup: Option<Backup>,
    pub(crate) effects: u64,
    pub(crate) calls: Pace,
    pub(crate) violation: Option<String>,
}

/// A process as nature sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Process {
    pub(crate) crashed: bool,
    pub(crate) stopped_until: Moment,
    /// Set while it waits and does nothing else: the engine in it has no timer running.
    pub(crate) rests_until: Option<Moment>,
}

impl World {
    pub(crate) fn new(state: State, began: Moment) -> Self {
        let now = began.0;
        let began = (Instant::now(), began);
        Self(Arc::new_cyclic(|weak| Inner {
            began,
            now: AtomicI64::new(now),
            changes: AtomicU64::new(0),
            offsets: Default::default(),
            state: Mutex::new(state),
            store: Mutex::new(MemoryStore::new(Arc::new(StoreClock(weak.clone())))),
        }))
    }

    pub(crate) fn now(&self) -> Moment {
        Moment(self.0.now.load(Ordering::Relaxed))
    }

    /// Reads the time anew: whoever polls the processes has waited.
    pub(crate) fn tick(&self) {
        let (instant, at) = self.0.began;
        let passed = Instant::now().duration_since(instant).as_millis();
        let now = at.plus(i64::try_from(passed).unwrap_or(i64::MAX));
        self.0.now.store(now.0, Ordering::Relaxed);
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn store(&self) -> MemoryStore {
        self.stored().clone()
    }

    /// Puts an empty store in the place of the one before.
    pub(crate) fn new_store(&self) -> MemoryStore {
        let clock = StoreClock(Arc::downgrade(&self.0));
        let store = MemoryStore::new(Arc::new(clock));
        *self.stored() = store.clone();
        store
    }

    fn stored(&self) -> MutexGuard<'_, MemoryStore> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how far off a clock is: a process's, or the store's after them.
    pub(crate) fn offset(&self, clock: usize) -> i64 {
        self.0.offsets[clock].load(Ordering::Relaxed)
    }

    /// Sets how far off a clock is. Whoever waits until the store has something looks again: by its clock
    /// that is at another time now.
    pub(crate) fn set_offset(&self, clock: usize, offset: i64) {
        self.0.offsets[clock].store(offset, Ordering::Relaxed);
        self.changed();
    }

    pub(crate) fn changed(&self) {
        self.0.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often the store has got something new.
    pub(crate) fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Relaxed)
    }

    /// Waits until the store has something new, or until `until`.
    pub(crate) async fn rest_until_change(&self, process: usize, until: Moment) {
        let changes = self.changes();
        poll_fn(|_| self.poll_rest(process, until, self.changes() != changes)).await;
    }

    /// Lets a process wait, with nothing else going on in it.
    pub(crate) async fn rest(&self, process: usize, span: i64) {
        let until = self.now().plus(span);
        poll_fn(|_| self.poll_rest(process, until, false)).await;
    }

    fn poll_until(&self, until: Moment) -> Poll<()> {
        if until <= self.now() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The executor polls every process at every turn, so that nobody needs to be woken.
    fn poll_rest(&self, process: usize, until: Moment, over: bool) -> Poll<()> {
        let over = over || until <= self.now();
        self.state().processes[process].rests_until = (!over).then_some(until);
        if over { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(crate) fn note(&self, who: usize, what: fmt::Arguments<'_>) {
        let now = self.now();
        self.state().trace.note(now, Some(who), what);
    }

    /// Begins a call: it may be slow, its process may be stopped for a while, or end here.
    pub(crate) async fn begin(&self, process: usize, call: Call) -> Fate {
        let now = self.now();
        let (fate, slow, stall, endless) = {
            let state = &mut *self.state();
            state.effects += 1;
            let endless = state.calls.is_endless(now);
            if endless {
                state.broken(|| "G10: it never ends".to_owned());
            }
            let fate = state.faults.fate(call, &mut state.chance);
            if fate != Fate::Fine {
                state.trace.note(
                    now,
                    Some(process),
                    format_args!("{call:?} will be {fate:?}"),
                );
            }
            let mut drawn = |rate: u64, longest: i64| match state.chance.below(1000) < rate {
                true => state.chance.span(longest),
                false => 0,
            };
            let slow = drawn(state.faults.slow, 8_000);
            (fate, slow, drawn(state.faults.stall, 120_000), endless)
        };
        if slow > 0 {
            sleep(milliseconds(slow)).await;
        }
        if stall > 0 {
            self.stop(process, stall).await;
        }
        if fate == Fate::CrashBefore || endless {
            self.crash(process).await;
        }
        fate
    }

    /// Ends a call that was carried out.
    pub(crate) async fn end(&self, process: usize, fate: Fate) {
        let stall = {
            let state = &mut *self.state();
            let hit = state.chance.below(1000) < state.faults.stall;
            if hit { state.chance.span(120_000) } else { 0 }
        };
        if stall > 0 {
            self.stop(process, stall).await;
        }
        if matches!(fate, Fate::CrashAfter | Fate::CrashLate) {
            self.crash(process).await;
        }
    }

    /// The process is not scheduled for a while, as after SIGSTOP or in a suspended machine.
    async fn stop(&self, process: usize, span: i64) {
        let until = self.now().plus(span);
        {
            let state = &mut *self.state();
            state.trace.note(
                self.now(),
                Some(process),
                format_args!("stopped for {span} ms"),
            );
            state.processes[process].stopped_until = until;
            state.nature.wake(until);
        }
        // Whatever else polls it meanwhile, as the engine's timers do.
        poll_fn(|_| self.poll_until(until)).await;
    }

    async fn crash(&self, process: usize) {
        self.note(process, format_args!("dies"));
        self.state().processes[process].crashed = true;
        std::future::pending().await
    }
}

impl State {
    /// Keeps the first broken invariant; the run ends there.
    pub(crate) fn broken(&mut self, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(what());
        }
    }
}

pub(crate) fn milliseconds(span: i64) -> Duration {
    Duration::from_millis(u64::try_from(span).unwrap_or(0))
}

/// The clock of a process: the true time, and how far it is off.
pub(crate) struct ProcessClock {
    pub(crate) world: World,
    pub(crate) process: usize,
}

impl Clock for ProcessClock {
    fn now(&self) -> DateTime<Utc> {
        let offset = self.world.offset(self.process);
        self.world.now().plus(offset).date()
    }
}

impl fmt::Debug for ProcessClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessClock").finish_non_exhaustive()
    }
}

/// The clock of the store's machine.
struct StoreClock(Weak<Inner>);

impl Clock for StoreClock {
    fn now(&self) -> DateTime<Utc> {
        let Some(inner) = self.0.upgrade() else {
            return Moment::NEVER.date();
        };
        let world = World(inner);
        world.now().plus(world.offset(PROCESSES)).date()
    }
}

impl fmt::Debug for StoreClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreClock").finish_non_exhaustive()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}
