//! Every change of every clock from 1970 to 2100, asked about one minute before, inside and after.

use std::fmt::Write;

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use keywheel_schedule::{Resolution, Zone};

use crate::{DAY, END, day, instant, is_full, schedule, some};

#[derive(Clone, Copy)]
struct Change {
    at: i64,
    before: i64,
    after: i64,
}

/// The changes of a zone's clock as chrono-tz shows it, day by day and then by halving.
fn changes(tz: Tz) -> Vec<Change> {
    let offset = |at: i64| {
        i64::from(
            tz.offset_from_utc_datetime(&instant(at).naive_utc())
                .fix()
                .local_minus_utc(),
        )
    };
    let mut changes = Vec::new();
    let mut from = 0;
    while from < END - 2 * DAY {
        let to = from + DAY;
        if offset(from) != offset(to) {
            let (mut low, mut high) = (from, to);
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                if offset(middle) == offset(from) {
                    low = middle
                } else {
                    high = middle
                }
            }
            changes.push(Change {
                at: high,
                before: offset(low),
                after: offset(high),
            });
            from = high;
        } else {
            from = to;
        }
    }
    changes
}

/// The local times to ask about: around both edges of what the change skips or repeats, and inside.
fn local_times(change: Change) -> Vec<NaiveDateTime> {
    let [low, high] = [
        change.before.min(change.after),
        change.before.max(change.after),
    ];
    let (low, high) = (change.at + low, change.at + high);
    [
        low - 60,
        low - 1,
        low,
        low + 60,
        (low + high) / 2,
        high - 1,
        high,
        high + 60,
    ]
    .into_iter()
    .filter(|local| *local >= 0)
    .map(|local| instant(local).naive_utc())
    .collect()
}

fn expected(tz: Tz, local: NaiveDateTime, change: Change) -> (DateTime<Utc>, Resolution) {
    match tz.from_local_datetime(&local) {
        LocalResult::Single(at) => (at.to_utc(), Resolution::Exact),
        LocalResult::Ambiguous(first, _) => (first.to_utc(), Resolution::FirstOfTwo),
        LocalResult::None => {
            let midnight = local
                .date()
                .and_time(chrono::NaiveTime::MIN)
                .and_utc()
                .timestamp();
            let (from, to) = (change.at + change.before, change.at + change.after);
            let whole_day = from <= midnight && midnight + DAY <= to;
            let resolution = if whole_day {
                Resolution::AfterSkippedDate
            } else {
                Resolution::AfterGap
            };
            (instant(change.at), resolution)
        }
    }
}

#[test]
fn every_change_of_every_clock_is_met_exactly() {
    let (mut asked, mut wrong) = (0, String::new());
    for tz in some(TZ_VARIANTS) {
        let zone = Zone::new(tz.name(), &tz);
        for change in changes(tz) {
            for local in local_times(change) {
                asked += 1;
                let (at, resolution) = expected(tz, local, change);
                let date = local.and_utc().timestamp().div_euclid(DAY);
                let second = local.and_utc().timestamp().rem_euclid(DAY) as u32;
                // A long interval keeps the next due date away from this one.
                let schedule = schedule(400, second, zone.clone(), day(date));
                let next = schedule.next_after(at - TimeDelta::seconds(1));
                if next.map(|run| (run.at(), run.asked(), run.resolution()))
                    != Some((at, local, resolution))
                {
                    let _ = writeln!(wrong, "{tz} {local}: {next:?}, not {at} {resolution:?}");
                }
                let daily = crate::schedule(1, second, zone.clone(), day(date));
                let again = daily.next_after(at - TimeDelta::seconds(1)).unwrap();
                if again.at() != at {
                    let _ = writeln!(wrong, "{tz} {local} daily: {again}, not {at}");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    // All 597 zones have 55,340 changes.
    let least = if is_full() { 440_000 } else { 40_000 };
    assert!(asked > least, "{asked}");
}
