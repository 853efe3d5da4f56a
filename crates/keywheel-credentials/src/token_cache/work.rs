use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;

/// Work that whoever began it sees to, until a task takes it over.
///
/// Not `futures_util::future::Shared`: that wakes its own task when it is done, which sends the task to another
/// thread, and that takes as long as a request to a server near by.
pub(super) struct Work<T>(Mutex<Stage<T>>);

enum Stage<T> {
    /// With who began it, who sleeps under this waker.
    Here(BoxFuture<'static, T>, Option<Waker>),
    /// With a task.
    Away(Option<Waker>),
    /// `None` when it came to no end, or its end was told.
    Done(Option<T>),
}

impl<T> Work<T> {
    pub(super) fn new(work: BoxFuture<'static, T>) -> Self {
        Self(Mutex::new(Stage::Here(work, None)))
    }

    /// Goes on with the work, or waits for the task that has taken it over. `None` when that gave it up.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut stage = self.stage();
        let sleeper = match &mut *stage {
            Stage::Here(work, sleeper) => {
                if let Poll::Ready(end) = work.as_mut().poll(cx) {
                    *stage = Stage::Done(None);
                    return Poll::Ready(Some(end));
                }
                sleeper
            }
            Stage::Away(sleeper) => sleeper,
            Stage::Done(end) => return Poll::Ready(end.take()),
        };
        match sleeper {
            Some(known) => known.clone_from(cx.waker()),
            None => *sleeper = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Hands the work over, once.
    pub(super) fn take(&self) -> Option<BoxFuture<'static, T>> {
        let mut stage = self.stage();
        match mem::replace(&mut *stage, Stage::Done(None)) {
            Stage::Here(work, sleeper) => {
                *stage = Stage::Away(sleeper);
                Some(work)
            }
            other => {
                *stage = other;
                None
            }
        }
    }

    /// Tells how work that was taken over came out.
    pub(super) fn end(&self, end: Option<T>) {
        let mut stage = self.stage();
        let Stage::Away(sleeper) = &mut *stage else {
            return;
        };
        let sleeper = sleeper.take();
        *stage = Stage::Done(end);
        drop(stage);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    fn stage(&self) -> MutexGuard<'_, Stage<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
