use chrono::TimeDelta;

/// How long to wait for a new secret to be known: 1, 2, 4, 8, then 15 seconds.
pub(crate) fn propagation(refusals: u32) -> TimeDelta {
    TimeDelta::seconds((1 << refusals.saturating_sub(1).min(4)).min(15))
}
