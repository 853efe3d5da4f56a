//! The data of chrono-tz, and what is wrong with it.

use chrono_tz::{IANA_TZDB_VERSION, TZ_VARIANTS, Tz};

use super::{StaleZone, Table};

pub(super) fn version() -> &'static str {
    IANA_TZDB_VERSION
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TZ_VARIANTS.iter().map(|zone| zone.name())
}

pub(super) fn table(name: &str) -> Table {
    let rules: Tz = name.parse().expect("one of the names above");
    Table::read(&rules)
}

pub(super) fn stale(name: &str) -> Option<StaleZone> {
    STALE
        .iter()
        .find(|(zone, _)| *zone == name)
        .map(|(zone, since)| StaleZone { zone, since })
}

/// The zones that tzdb 2026f has other rules for than chrono-tz, each with the first local date in 2026 or
/// later on which its clock differs. A test compares the two and says what to write here.
pub(super) const STALE: &[(&str, &str)] = &[
    ("Africa/Casablanca", "2026-09-20"),
    ("Africa/El_Aaiun", "2026-09-20"),
    ("America/Edmonton", "2026-11-01"),
    ("America/Havana", "2026-11-01"),
    ("America/Inuvik", "2026-11-01"),
    ("America/Rainy_River", "2026-11-01"),
    ("America/Vancouver", "2026-11-01"),
    ("America/Winnipeg", "2026-11-01"),
    ("America/Yellowknife", "2026-11-01"),
    ("Canada/Central", "2026-11-01"),
    ("Canada/Mountain", "2026-11-01"),
    ("Canada/Pacific", "2026-11-01"),
    ("Cuba", "2026-11-01"),
    ("Europe/Chisinau", "2026-03-29"),
    ("Europe/Tiraspol", "2026-03-29"),
];
