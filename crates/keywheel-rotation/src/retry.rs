use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::ConnectionId;

use crate::Policy;

/// How long to wait for a new secret to be known: 1, 2, 4, 8, then 15 seconds.
pub(crate) fn propagation(refusals: u32) -> TimeDelta {
    TimeDelta::seconds((1 << refusals.saturating_sub(1).min(4)).min(15))
}

/// How long to wait before another secret is minted after so many were never accepted: not at all after
/// the first, which somebody may have removed; then as long as the patience with one, doubling up to the
/// longest wait of the policy, and less when the secret in use ends soon.
pub(crate) fn mint_anew(
    quarantined: u32,
    id: ConnectionId,
    policy: &Policy,
    now: DateTime<Utc>,
    end: Option<DateTime<Utc>>,
) -> TimeDelta {
    let mut delay = policy.retry;
    delay.base = policy.patience.to_std().unwrap_or(Duration::ZERO);
    delay.cap = delay.cap.max(delay.base);
    let wait = delay.wait(quarantined.saturating_sub(1), &id.to_string(), now, end);
    TimeDelta::from_std(wait).unwrap_or(policy.halted)
}
