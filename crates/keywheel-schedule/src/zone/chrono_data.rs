//! The data of `chrono-tz`.

use chrono_tz::{IANA_TZDB_VERSION, TZ_VARIANTS, Tz};

use super::Zone;

pub(super) fn version() -> &'static str {
    IANA_TZDB_VERSION
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TZ_VARIANTS.iter().map(|zone| zone.name())
}

pub(super) fn zone(name: &str) -> Zone {
    let rules: Tz = name.parse().expect("one of the names above");
    Zone::new(name, &rules)
}
