use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Counts effects, and decides the fate of each.
///
/// An effect is a call that leaves the process: a mint, a removal, a proof, a read, a save. Clones share
/// the count.
#[derive(Clone, Debug, Default)]
pub struct Effects(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    stopped: Notify,
}

#[derive(Debug, Default)]
struct State {
    count: usize,
    plan: Option<(usize, Fate)>,
    names: Vec<&'static str>,
    failing_loads: u32,
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
}

impl Fate {
    /// Every fate.
    pub const ALL: [Self; 4] = [
        Self::StopBefore,
        Self::StopAfter,
        Self::AnswerLost,
        Self::Refused,
    ];
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

    /// Forgets the plan.
    pub fn forgive(&self) {
        self.state().plan = None;
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

    /// Counts an effect and returns its fate. Stops here when that is its fate.
    pub async fn begin(&self, name: &'static str) -> Option<Fate> {
        let fate = {
            let mut state = self.state();
            let n = state.count;
            state.count += 1;
            state.names.push(name);
            state.plan.and_then(|(at, fate)| (at == n).then_some(fate))
        };
        if fate == Some(Fate::StopBefore) {
            self.stop().await;
        }
        fate
    }

    /// Stops after an effect when that is its fate.
    pub async fn end(&self, fate: Option<Fate>) {
        if fate == Some(Fate::StopAfter) {
            self.stop().await;
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
