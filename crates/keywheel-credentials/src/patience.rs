use std::time::Duration;

use keywheel_core::{CredentialError, Entropy, RetryPolicy};
use tokio::time::{Instant, sleep};
use tracing::debug;

/// What is left of a retry policy's patience with one request.
#[derive(Debug)]
pub(crate) struct Patience<'a> {
    policy: &'a RetryPolicy,
    entropy: &'a dyn Entropy,
    start: Instant,
    attempts: u32,
    last: Duration,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(policy: &'a RetryPolicy, entropy: &'a dyn Entropy) -> Self {
        Self {
            policy,
            entropy,
            start: Instant::now(),
            attempts: 0,
            last: Duration::ZERO,
        }
    }

    /// Waits after an attempt that ended in `error`. Returns `false` at once if that was the last.
    pub(crate) async fn lasts_after(&mut self, error: &CredentialError) -> bool {
        self.attempts += 1;
        let (elapsed, asked) = (self.start.elapsed(), error.retry_after());
        let wait = self
            .policy
            .wait(self.attempts, elapsed, self.last, asked, self.entropy);
        let Some(wait) = wait else {
            return false;
        };
        debug!(attempts = self.attempts, ?wait, kind = ?error.kind(), "token.retry");
        sleep(wait).await;
        self.last = wait;
        true
    }
}
