use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{Consumer, EventKind};
use metrics::{counter, gauge, histogram};
use serde::Serialize;

use super::table::name;

/// Counts what happened.
pub(super) fn count(kind: &EventKind) {
    let rotation = |outcome: &'static str| counter!(name::ROTATIONS, "outcome" => outcome);
    match kind {
        EventKind::Confirmed { .. } => rotation("confirmed").increment(1),
        EventKind::Promoted { .. } => rotation("promoted").increment(1),
        EventKind::Quarantined { .. } => rotation("quarantined").increment(1),
        EventKind::Aborted { .. } => rotation("aborted").increment(1),
        EventKind::Overtaken { .. } => rotation("overtaken").increment(1),
        EventKind::Minted { .. } => counter!(name::MINTED).increment(1),
        EventKind::Unresolved { .. } => counter!(name::UNRESOLVED).increment(1),
        EventKind::OrphanFound { .. } => counter!(name::ORPHANS).increment(1),
        EventKind::Revoked { reason, .. } => {
            counter!(name::REVOKED, "reason" => word(reason)).increment(1);
        }
        EventKind::Failed { trouble } => {
            let labels = [
                ("step", trouble.step.clone()),
                ("kind", word(&trouble.kind)),
            ];
            counter!(name::FAILURES, &labels).increment(1);
        }
        _ => {}
    }
}

pub(crate) fn step(step: &'static str, outcome: &'static str, took: Duration) {
    counter!(name::STEPS, "step" => step, "outcome" => outcome).increment(1);
    histogram!(name::STEP_SECONDS, "step" => step).record(took);
}

pub(crate) fn clock_skew(skew: TimeDelta) {
    gauge!(name::CLOCK_SKEW).set(skew.as_seconds_f64());
}

/// How long after it was due a rotation began.
pub(crate) fn lag(lag: TimeDelta) {
    histogram!(name::LAG).record(lag.to_std().unwrap_or_default());
}

pub(crate) fn in_flight(count: usize) {
    gauge!(name::IN_FLIGHT).set(count_of(count));
}

pub(crate) fn put_back() {
    counter!(name::PUT_BACK).increment(1);
}

pub(crate) fn lease_lost() {
    counter!(name::LEASES_LOST).increment(1);
}

pub(crate) fn panicked() {
    counter!(name::PANICS).increment(1);
}

pub(crate) fn store_answered(at: DateTime<Utc>) {
    gauge!(name::ANSWERED).set(seconds(at));
}

pub(crate) fn store_failed() {
    counter!(name::STORE_FAILURES).increment(1);
}

pub(crate) fn delivered(consumer: &Consumer) {
    counter!(name::DELIVERED, "consumer" => consumer.to_string()).increment(1);
}

pub(crate) fn given_up(consumer: &Consumer) {
    counter!(name::GIVEN_UP, "consumer" => consumer.to_string()).increment(1);
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit an f64")]
pub(super) fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp() as f64
}

#[expect(clippy::cast_precision_loss, reason = "small counts fit an f64")]
pub(super) fn count_of(count: usize) -> f64 {
    count as f64
}

/// The word by which a plain enum is stored, as in `limit-reached`.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
