//! Schedules in every zone of the database: against what chrono says, against what jiff says, and
//! against what must hold of any schedule.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod jiff_zone;
mod oracle;
mod properties;
mod transitions;

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use keywheel_schedule::{Schedule, Zone};
use proptest::test_runner::Config as ProptestConfig;

/// Whether all zones and all questions are wanted, and not a few of each.
fn is_full() -> bool {
    std::env::var_os("KEYWHEEL_TEST_FULL").is_some()
}

/// How many random questions are asked.
fn cases(quick: u32, full: u32) -> ProptestConfig {
    ProptestConfig::with_cases(if is_full() { full } else { quick })
}

/// All zones, or some of them.
fn some<T>(zones: impl IntoIterator<Item = T>) -> Vec<T> {
    zones
        .into_iter()
        .step_by(if is_full() { 1 } else { 11 })
        .collect()
}

/// The zone by the data of chrono-tz, whatever that of [`Zone::named`] is.
fn chrono_zone(tz: Tz) -> Zone {
    static ZONES: LazyLock<Mutex<HashMap<Tz, Zone>>> = LazyLock::new(Mutex::default);
    let mut zones = ZONES.lock().unwrap();
    zones
        .entry(tz)
        .or_insert_with(|| Zone::new(tz.name(), &tz))
        .clone()
}

fn schedule(days: u32, second: u32, zone: Zone, anchor: NaiveDate) -> Schedule {
    Schedule::builder()
        .every_days(days)
        .at(time(second))
        .custom_zone(zone)
        .anchor(anchor)
        .build()
        .unwrap()
}

fn time(second: u32) -> NaiveTime {
    NaiveTime::from_num_seconds_from_midnight_opt(second, 0).unwrap()
}

fn day(since_1970: i64) -> NaiveDate {
    NaiveDate::default() + TimeDelta::days(since_1970)
}

fn instant(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).unwrap()
}

const DAY: i64 = 86_400;
/// 1 January 2100.
const END: i64 = 4_102_444_800;
