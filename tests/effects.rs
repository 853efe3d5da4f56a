use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Counts effects, and decides the fate of each.
///
/// An effect is a call that leaves the process: a mint, a removal, a proof, a read, a save. Claims, leases,
/// renewals and releases are effects too and have fates of their own, counted apart: how many there are depends
/// on who drives, and on how long calls take. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Effects(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    stopped: Notify,
    stalled: Notify,
    gate: Notify,
}

#[derive(Debug, Default)]
struct State {
    count: usize,
    plan: Option<(usize, Fate)>,
    named: Option<(&'static str, Fate)>,
    down: bool,
    names: Vec<&'static str>,
    failing_loads: u32,
    holds: Vec<&'static str>,
    planned_hold: Option<(usize, Fate)>,
}

/// What becomes of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The process stops before it.
    StopBefore,
    /// It takes place, and the process stops before it hears of it.
    StopAfter,
    /// It takes place, and its answer is lost.
    AnswerLost,
    /// It does not take place, and that is what the answer says.
    Refused,
    /// It takes place twice, as when something on the way repeats a request, and the second answer arrives.
    /// Not for mints and saves.
    Twice,
    /// The process is held up before it, until [`Effects::let_go`].
    Stall,
    /// Its answer is lost, and it takes place so many seconds later, when nobody waits for it any more. For
    /// mints and removals.
    Late(u32),
    /// It takes place, and from then on the store fails until [`Effects::store_is_up`].
    StoreDownAfter,
}

impl Fate {
    /// Every fate.
    pub const ALL: [Self; 5] = [
        Self::StopBefore,
        Self::StopAfter,
        Self::AnswerLost,
        Self::Refused,
        Self::Twice,
    ];
}

impl State {
    fn fate(&mut self, n: usize, name: &'static str) -> Option<Fate> {
        if self.down && name == "save" {
            return Some(Fate::Refused);
        }
        if let Some((_, fate)) = self.named.take_if(|(planned, _)| *planned == name) {
            return Some(fate);
        }
        self.plan.and_then(|(at, fate)| (at == n).then_some(fate))
    }
}

/// The process stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl Effects {
    /// Plans the fate of the n-th effect from now, counted from 0.
    pub fn plan(&self, n: usize, fate: Fate) {
        let mut state = self.state();
        state.plan = Some((state.count + n, fate));
    }

    /// Plans the fate of the next effect of that name.
    pub fn plan_named(&self, name: &'static str, fate: Fate) {
        self.state().named = Some((name, fate));
    }

    /// Plans the fate of the n-th claim, lease, renewal or release from now, counted from 0.
    pub fn plan_hold(&self, n: usize, fate: Fate) {
        let mut state = self.state();
        state.planned_hold = Some((state.holds.len() + n, fate));
    }

    /// Makes every save fail from now on.
    pub fn store_is_down(&self) {
        self.state().down = true;
    }

    /// Ends that.
    pub fn store_is_up(&self) {
        self.state().down = false;
    }

    /// Forgets the plan.
    pub fn forgive(&self) {
        let mut state = self.state();
        (state.plan, state.named, state.planned_hold) = (None, None, None);
    }

    /// Makes the next reads of a record fail: reads are not counted among the effects.
    pub fn fail_loads(&self, loads: u32) {
        self.state().failing_loads = loads;
    }

    /// Whether this read of a record is to fail.
    pub(crate) fn load_fails(&self) -> bool {
        let mut state = self.state();
        let fails = state.failing_loads > 0;
        state.failing_loads = state.failing_loads.saturating_sub(1);
        fails
    }

    /// Returns how many effects there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state().count
    }

    /// Returns the names of the effects.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.state().names.clone()
    }

    /// Returns the names of the claims, leases, renewals and releases.
    #[must_use]
    pub fn holds(&self) -> Vec<&'static str> {
        self.state().holds.clone()
    }

    /// Counts an effect and returns its fate. Stops here when that is its fate.
    pub async fn begin(&self, name: &'static str) -> Option<Fate> {
        let fate = {
            let mut state = self.state();
            let n = state.count;
            state.count += 1;
            state.names.push(name);
            state.fate(n, name)
        };
        self.meet(fate).await
    }

    /// The same for a claim, a lease, a renewal or a release.
    pub(crate) async fn begin_hold(&self, name: &'static str) -> Option<Fate> {
        let fate = {
            let mut state = self.state();
            let n = state.holds.len();
            state.holds.push(name);
            state
                .planned_hold
                .and_then(|(at, fate)| (at == n).then_some(fate))
        };
        self.meet(fate).await
    }

    /// The last claim found nothing that was due: a worker makes thousands of them.
    pub(crate) fn claimed_nothing(&self) {
        if let Some(last) = self.state().holds.last_mut() {
            *last = "idle claim";
        }
    }

    async fn meet(&self, fate: Option<Fate>) -> Option<Fate> {
        match fate {
            Some(Fate::StopBefore) => self.stop().await,
            Some(Fate::Stall) => {
                self.0.stalled.notify_one();
                self.0.gate.notified().await;
            }
            _ => {}
        }
        fate
    }

    /// Runs `work` until it is done or held up, and returns whether it is held up. It is as a process that
    /// does not run: poll it no more until [`let_go`](Self::let_go).
    pub async fn until_stalled<T>(&self, work: impl Future<Output = T> + Send) -> bool {
        tokio::select! {
            biased;
            () = self.0.stalled.notified() => true,
            _ = work => false,
        }
    }

    /// Lets the process that was held up go on.
    pub fn let_go(&self) {
        self.0.gate.notify_one();
    }

    /// Stops after an effect when that is its fate.
    pub async fn end(&self, fate: Option<Fate>) {
        match fate {
            Some(Fate::StopAfter) => self.stop().await,
            Some(Fate::StoreDownAfter) => self.store_is_down(),
            _ => {}
        }
    }

    /// Runs `work` until it is done or the process stops in it, in which case it is dropped.
    ///
    /// # Errors
    ///
    /// Returns [`Stopped`] when the process stopped.
    pub async fn run<T>(&self, work: impl Future<Output = T> + Send) -> Result<T, Stopped> {
        tokio::select! {
            biased;
            () = self.0.stopped.notified() => Err(Stopped),
            done = work => Ok(done),
        }
    }

    async fn stop(&self) {
        self.0.stopped.notify_one();
        std::future::pending::<()>().await;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
