use std::time::Duration;

use tokio::time::timeout;

use crate::queue::Queue;
use crate::writer::BATCH;

/// Who is likely to save again at once, and is waited for.
///
/// Whoever saves step by step comes back as soon as the last step is answered, one after the other. A writer
/// that took what is there would take the first of them alone, and all others in the next statement, and so on:
/// twice as many commits. Those who have to talk to somebody else before do not come back so soon: each time
/// that it waited in vain, the writer lets twice as many statements go out before it waits once more.
#[derive(Debug, Default)]
pub(crate) struct Company {
    expected: usize,
    patience: Duration,
    in_vain: u32,
    skipped: u32,
}

impl Company {
    /// Notes how many are about: those who are answered now after so long, and those who wait already.
    pub(crate) fn expect(&mut self, callers: usize, took: Duration) {
        self.expected = callers.min(BATCH);
        // Less than the statement that it may spare. A timer knows no less than a millisecond.
        self.patience = (took / 2).max(Duration::from_millis(1));
    }

    /// Waits until all who are expected are there, if that is likely to be soon.
    pub(crate) async fn gather<T>(&mut self, queue: &Queue<T>) {
        if queue.len() >= self.expected {
            return;
        }
        if self.skipped > 0 {
            self.skipped -= 1;
            return;
        }
        let all = queue.wait_for(self.expected);
        if timeout(self.patience, all).await.is_ok() {
            self.in_vain = 0;
        } else {
            self.in_vain = (self.in_vain + 1).min(MOST_IN_VAIN);
            self.skipped = (1 << self.in_vain) - 1;
        }
    }
}

/// Some thirty statements are let go at most before the next wait.
const MOST_IN_VAIN: u32 = 5;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::{Instant, sleep};

    use super::*;

    const TOOK: Duration = Duration::from_millis(20);

    fn one() -> Arc<Queue<u32>> {
        let queue = Queue::new();
        queue.push(0).unwrap();
        Arc::new(queue)
    }

    /// One is there already, and three more come.
    #[tokio::test(start_paused = true)]
    async fn those_who_come_back_at_once_are_waited_for() {
        let queue = one();
        let mut company = Company::default();
        company.expect(4, TOOK);
        let others = queue.clone();
        tokio::spawn(async move {
            for n in 1..=3 {
                sleep(TOOK / 10).await;
                others.push(n).unwrap();
            }
        });

        company.gather(&queue).await;

        assert_eq!(queue.take(8), [0, 1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_do_not_are_waited_for_less_and_less_often() {
        let queue = one();
        let mut company = Company::default();
        let begun = Instant::now();
        let mut waits = Vec::new();

        for n in 0..200 {
            company.expect(4, TOOK);
            let before = begun.elapsed();
            company.gather(&queue).await;
            if begun.elapsed() > before {
                waits.push(n);
            }
        }

        assert_eq!(waits, [0, 2, 6, 14, 30, 62, 94, 126, 158, 190]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_kept_waiting_for_those_who_are_there() {
        let queue = one();
        let mut company = Company::default();
        let begun = Instant::now();

        company.gather(&queue).await;
        company.expect(1, TOOK);
        company.gather(&queue).await;

        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
