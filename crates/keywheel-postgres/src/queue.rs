use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What many put in and one takes out, who is woken when as many are there as it waits for.
///
/// A channel would wake it for each of them: a thread that sleeps and wakes sixty-four times for a batch of
/// sixty-four takes longer to do so than to write it.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    enough: Notify,
}

#[derive(Debug)]
struct State<T> {
    items: Vec<T>,
    wanted: usize,
    is_closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                items: Vec::new(),
                wanted: 1,
                is_closed: false,
            }),
            enough: Notify::new(),
        }
    }

    /// Puts one in, or gives it back when the queue is closed.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(item);
        }
        state.items.push(item);
        // Once, as who waits looks before what was there already.
        let is_enough = state.items.len() == state.wanted;
        drop(state);
        if is_enough {
            self.enough.notify_one();
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Waits until so many are there, or no more come.
    pub(crate) async fn wait_for(&self, count: usize) {
        loop {
            {
                let mut state = self.lock();
                if state.items.len() >= count || state.is_closed {
                    return;
                }
                state.wanted = count;
            }
            self.enough.notified().await;
        }
    }

    /// Takes those that came first.
    pub(crate) fn take(&self, most: usize) -> Vec<T> {
        let items = &mut self.lock().items;
        let rest = items.split_off(most.min(items.len()));
        mem::replace(items, rest)
    }

    /// Lets no more in. What is there can still be taken.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.enough.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_ready(waiting: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        waiting.poll(&mut context).is_ready()
    }

    #[test]
    fn who_waits_is_woken_by_the_last_one_only() {
        let queue = Queue::new();
        let mut waiting = pin!(queue.wait_for(3));

        for n in 0..3 {
            assert!(!is_ready(waiting.as_mut()), "{n} were enough");
            queue.push(n).unwrap();
        }

        assert!(is_ready(waiting));
        assert_eq!(queue.take(2), [0, 1]);
        assert_eq!(queue.take(2), [2]);
    }

    #[test]
    fn what_is_there_already_counts() {
        let queue = Queue::new();
        queue.push(1).unwrap();
        queue.push(2).unwrap();

        assert!(is_ready(pin!(queue.wait_for(2))));
    }

    #[test]
    fn a_closed_queue_keeps_nobody_waiting_and_loses_nothing() {
        let queue = Queue::new();
        queue.push(1).unwrap();
        let mut waiting = pin!(queue.wait_for(2));
        assert!(!is_ready(waiting.as_mut()));

        queue.close();

        assert!(is_ready(waiting));
        assert_eq!(queue.push(2), Err(2));
        assert_eq!(queue.take(8), [1]);
    }
}
