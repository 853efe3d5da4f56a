//! Nothing.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{Connection, Consumer, EventKind};

#[derive(Debug)]
pub(crate) struct Gauges;

impl Gauges {
    pub(crate) fn new(_: bool) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) fn committed(&self, _: &Connection, _: &[EventKind], _: DateTime<Utc>) {}
}

pub(crate) fn step(_: &'static str, _: &'static str, _: Duration) {}
pub(crate) fn clock_skew(_: TimeDelta) {}
pub(crate) fn lag(_: TimeDelta) {}
pub(crate) fn in_flight(_: usize) {}
pub(crate) fn put_back() {}
pub(crate) fn lease_lost() {}
pub(crate) fn panicked() {}
pub(crate) fn store_answered(_: DateTime<Utc>) {}
pub(crate) fn store_failed() {}
pub(crate) fn delivered(_: &Consumer) {}
pub(crate) fn given_up(_: &Consumer) {}
