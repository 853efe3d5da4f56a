//! What must hold of any schedule in any zone.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use keywheel_schedule::{Disambiguation, Missing, Occurrence, Repeated, Resolution, Schedule};
use proptest::prelude::*;

use crate::{DAY, END, cases, chrono_zone, day, instant, schedule, some};

fn zones() -> impl Strategy<Value = Tz> {
    prop::sample::select(some(TZ_VARIANTS))
}

fn intervals() -> impl Strategy<Value = u32> {
    prop_oneof![Just(1_u32), 1_u32..=730]
}

fn schedules() -> impl Strategy<Value = (Tz, Schedule)> {
    (zones(), intervals(), 0_u32..86_400, 0_i64..47_482).prop_map(
        |(tz, interval, second, anchor)| {
            (tz, schedule(interval, second, chrono_zone(tz), day(anchor)))
        },
    )
}

fn instants() -> impl Strategy<Value = DateTime<Utc>> {
    (-2 * DAY..END).prop_map(instant)
}

fn local(tz: Tz, at: DateTime<Utc>) -> NaiveDateTime {
    tz.from_utc_datetime(&at.naive_utc()).naive_local()
}

proptest! {
    #![proptest_config(cases(2_000, 200_000))]

    #[test]
    fn the_next_is_later_and_nothing_lies_between((_, schedule) in schedules(), after in instants()) {
        let Some(next) = schedule.next_after(after) else {
            prop_assert!(after > instant(END - 731 * DAY));
            return Ok(());
        };

        prop_assert!(next.at() > after);
        prop_assert_eq!(schedule.next_after(next.at() - TimeDelta::seconds(1)), Some(next));
        prop_assert_eq!(schedule.previous_or_at(next.at()), Some(next));
        let previous = schedule.previous_or_at(next.at() - TimeDelta::nanoseconds(1));
        prop_assert_eq!(schedule.previous_or_at(after), previous);
        prop_assert!(previous.is_none_or(|previous| previous.at() <= after));
    }

    #[test]
    fn the_next_never_falls_as_time_goes_on((_, schedule) in schedules(), a in instants(), b in instants()) {
        let at = |after| schedule.next_after(after).map_or(DateTime::<Utc>::MAX_UTC, |run| run.at());

        prop_assert!(at(a.min(b)) <= at(a.max(b)));
    }

    #[test]
    fn the_clock_shows_what_was_asked_for_unless_the_answer_says_otherwise(
        (tz, schedule) in schedules(), after in instants(),
    ) {
        let Some(next) = schedule.next_after(after) else { return Ok(()) };

        prop_assert_eq!(local(tz, next.at()), next.local());
        prop_assert_eq!(next.asked().time(), schedule.at());
        match next.resolution() {
            Resolution::AfterGap | Resolution::AfterSkippedDate => {
                prop_assert!(next.local() > next.asked());
                let before = local(tz, next.at() - TimeDelta::seconds(1));
                prop_assert!(before < next.asked(), "one second earlier it showed {}", before);
            }
            _ => prop_assert_eq!(next.local(), next.asked()),
        }
    }

    #[test]
    fn every_due_date_has_one_run((_, schedule) in schedules(), after in instants()) {
        let runs: Vec<Occurrence> = schedule.upcoming(after).take(20).collect();

        for pair in runs.windows(2) {
            prop_assert!(pair[0].at() < pair[1].at());
            let days = (pair[1].asked().date() - pair[0].asked().date()).num_days();
            // Civil days, not 24-hour steps. Two due dates on one instant are one run.
            let joined = days == 2 * i64::from(schedule.interval_days())
                && pair.iter().any(|run| run.local().num_seconds_from_midnight() == 0);
            prop_assert!(days == i64::from(schedule.interval_days()) || joined, "{} {}", pair[0], pair[1]);
        }
        for run in runs {
            let since_anchor = (run.asked().date() - schedule.anchor()).num_days();
            prop_assert_eq!(since_anchor % i64::from(schedule.interval_days()), 0, "{}", run);
        }
    }

    #[test]
    fn an_anchor_that_is_moved_by_intervals_changes_nothing(
        (tz, schedule) in schedules(), after in instants(), intervals in 1_i64..500,
    ) {
        let days = i64::from(schedule.interval_days()) * intervals;
        let anchor = i64::from(schedule.anchor().to_epoch_days());
        let moved = [anchor - days, anchor + days].into_iter().filter(|day| (0..47_482).contains(day));
        for anchor in moved {
            let second = schedule.at().num_seconds_from_midnight();
            let other = crate::schedule(schedule.interval_days(), second, chrono_zone(tz), day(anchor));
            prop_assert_eq!(other.next_after(after), schedule.next_after(after));
            prop_assert_eq!(other.previous_or_at(after), schedule.previous_or_at(after));
        }
    }

    #[test]
    fn due_between_agrees_with_counting_due_dates(
        (tz, schedule) in schedules(), after in instants(), length in 0_i64..4_000 * DAY,
    ) {
        let until = (after + TimeDelta::seconds(length)).min(instant(END));

        let due = schedule.due_between(after, until);

        let interval = i64::from(schedule.interval_days());
        let anchor = i64::from(schedule.anchor().to_epoch_days());
        let [first, last] = [after, until].map(|at| at.timestamp().div_euclid(DAY));
        let runs: BTreeSet<_> = ((first - 3).max(0)..=(last + 3).min(47_481))
            .filter(|date| (date - anchor) % interval == 0)
            .map(|date| by_definition(tz, day(date).and_time(schedule.at())))
            .filter(|at| after < *at && *at <= until)
            .collect();
        prop_assert_eq!(usize::try_from(due.count).unwrap(), runs.len());
        prop_assert_eq!(due.latest.map(|run| run.at()), runs.last().copied());
        prop_assert_eq!(schedule.due_between(until, after).count, 0);
    }

    #[test]
    fn other_rules_differ_only_where_the_clock_jumps((tz, plain) in schedules(), after in instants()) {
        let mut rules = Disambiguation::default();
        (rules.gap, rules.skipped_date, rules.fold) = (Missing::Skip, Missing::Skip, Repeated::Last);
        let other = Schedule::builder()
            .every_days(plain.interval_days())
            .at(plain.at())
            .custom_zone(chrono_zone(tz))
            .anchor(plain.anchor())
            .disambiguation(rules)
            .build()
            .unwrap();

        let by_rule = |run: Occurrence| match run.resolution() {
            Resolution::AfterGap | Resolution::AfterSkippedDate => None,
            Resolution::FirstOfTwo => tz.from_local_datetime(&run.asked()).latest().map(|last| last.to_utc()),
            _ => Some(run.at()),
        };
        let expected: Vec<_> = plain.upcoming(after - TimeDelta::days(3)).take(30).filter_map(by_rule).filter(|at| *at > after).take(10).collect();
        let runs: Vec<_> = other.upcoming(after).map(|run| run.at()).take(expected.len()).collect();
        prop_assert_eq!(runs, expected);
    }
}

/// The first instant at which the clock shows `wanted` or later, found by halving alone.
fn by_definition(tz: Tz, wanted: NaiveDateTime) -> DateTime<Utc> {
    if let Some(at) = tz.from_local_datetime(&wanted).earliest() {
        return at.to_utc();
    }
    let (mut before, mut after) = (
        wanted.and_utc() - TimeDelta::days(2),
        wanted.and_utc() + TimeDelta::days(2),
    );
    while after - before > TimeDelta::seconds(1) {
        let middle = before + TimeDelta::seconds((after - before).num_seconds() / 2);
        if local(tz, middle) < wanted {
            before = middle
        } else {
            after = middle
        }
    }
    after
}

proptest! {
    #![proptest_config(cases(20_000, 1_000_000))]

    #[test]
    fn no_question_panics(
        tz in zones(),
        interval in any::<u32>(),
        time in (any::<u32>(), any::<u32>()),
        anchor in prop_oneof![any::<i32>(), 0..47_482],
        zone in prop::option::of("[A-Za-z_/]{0,50}|\\PC{0,20}"),
        (after, until) in (any::<i64>(), any::<i64>()),
        nanos in 0_u32..2_000_000_000,
    ) {
        let at = chrono::NaiveTime::from_num_seconds_from_midnight_opt(time.0 % 86_400, time.1 % 2 * (time.1 % 2_000_000_000))
            .unwrap_or_default();
        let anchor = chrono::NaiveDate::from_epoch_days(anchor).unwrap_or(chrono::NaiveDate::MAX);
        let (after, until) = (any_instant(after, nanos), any_instant(until, nanos));
        let builder = Schedule::builder().every_days(if interval % 8 == 0 { interval } else { interval % 731 }).at(at).anchor(anchor);
        let builder = match zone {
            Some(name) => builder.zone(name),
            None => builder.custom_zone(chrono_zone(tz)),
        };
        match builder.build() {
            Ok(schedule) => {
                let text = format!("{}{:?}", schedule.describe(after), schedule.previous_or_at(until));
                prop_assert!(!text.is_empty());
                let close = until.min(after.checked_add_signed(TimeDelta::days(40)).unwrap_or(until));
                prop_assert!(schedule.due_between(after, close).count <= 42);
            }
            Err(error) => prop_assert!(["interval", "at", "zone", "anchor"].contains(&error.field())),
        }
    }
}

/// Spreads numbers over all that chrono can say: the near, the far, the ends.
fn any_instant(number: i64, nanos: u32) -> DateTime<Utc> {
    let seconds = match number % 4 {
        0 => number / 1_048_576,
        1 => number % END,
        2 => number % (500 * DAY) + END,
        _ => number % DAY,
    };
    DateTime::from_timestamp(seconds, nanos % 1_000_000_000).unwrap_or(if number < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    })
}
