//! Plans against a model that looks at every minute.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use chrono::{Datelike, NaiveTime, TimeDelta, TimeZone, Timelike, Weekday};
use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::prelude::*;

use super::*;
use crate::Zone;

/// A plan as plain numbers, which the model reads by itself.
#[derive(Clone, Debug)]
struct Numbers {
    zone: Tz,
    interval: u32,
    /// Minutes after midnight.
    at: u32,
    /// First minute, length in minutes, weekdays as bits from Monday.
    windows: Vec<(u32, u32, u8)>,
    /// First day after the last rotation, length in days.
    freezes: Vec<(u32, u32)>,
    jitter: u64,
    /// Minutes of 2026.
    since: i64,
    ends: Option<i64>,
    /// When the plan was changed, in minutes after the last rotation.
    changed: Option<i64>,
}

fn numbers() -> impl Strategy<Value = Numbers> {
    let windows = prop::collection::vec((0_u32..1440, 1_u32..1440, 1_u8..128), 0..3);
    let freezes = prop::collection::vec((0_u32..40, 0_u32..10), 0..3);
    (
        prop::sample::select(TZ_VARIANTS.to_vec()),
        prop_oneof![Just(1_u32), 1_u32..40],
        0_u32..1440,
        windows,
        freezes,
        prop_oneof![Just(0_u64), 1_u64..24],
        0_i64..365 * 1440,
        prop::option::of(0_i64..60 * 1440),
        prop::option::of(0_i64..60 * 1440),
    )
        .prop_map(
            |(zone, interval, at, windows, freezes, jitter, since, ends, changed)| Numbers {
                zone,
                interval,
                at,
                windows,
                freezes,
                jitter,
                since,
                ends,
                changed,
            },
        )
}

impl Numbers {
    fn plan(&self) -> Plan {
        let minute = |minute: u32| {
            NaiveTime::from_num_seconds_from_midnight_opt(minute % 1440 * 60, 0).unwrap()
        };
        let schedule = Schedule::builder()
            .every_days(self.interval)
            .at(minute(self.at))
            .custom_zone(zone(self.zone))
            .anchor(day(0))
            .build()
            .unwrap();
        let mut plan = Plan::builder(schedule).jitter(Jitter::new("id", hours(self.jitter)));
        for (from, length, weekdays) in &self.windows {
            let days = (0..7_u8)
                .filter(|day| weekdays & 1 << day != 0)
                .map(|day| Weekday::try_from(day).unwrap());
            let window = Window::new(minute(*from), minute(from + length)).unwrap();
            plan = plan.window(window.on(Days::ALL.on_weekdays(days)));
        }
        for (first, length) in &self.freezes {
            let (first, last) = self.frozen(*first, *length);
            plan = plan.freeze(Freeze::new(first, last).unwrap());
        }
        plan.build().unwrap()
    }

    fn life(&self) -> Lifetime {
        let life = self.endless_life();
        match self.ends {
            Some(minutes) => life.until(life.since + TimeDelta::minutes(minutes)),
            None => life,
        }
    }

    fn endless_life(&self) -> Lifetime {
        let since = utc("2026-01-01T00:00:00") + TimeDelta::minutes(self.since);
        let life = Lifetime::new(since);
        match self.changed {
            Some(minutes) => life.planned_since(since + TimeDelta::minutes(minutes)),
            None => life,
        }
    }

    fn frozen(&self, first: u32, length: u32) -> (NaiveDate, NaiveDate) {
        let first = (self.since / 1440) as u32 + first;
        (day(first), day(first + length))
    }

    fn is_open(&self, at: DateTime<Utc>) -> bool {
        let local = self.zone.from_utc_datetime(&at.naive_utc()).naive_local();
        let frozen = |(first, length): &(u32, u32)| {
            let (first, last) = self.frozen(*first, *length);
            (first..=last).contains(&local.date())
        };
        let inside = |(from, length, weekdays): &(u32, u32, u8)| {
            let minute = local.hour() * 60 + local.minute();
            let on = |weekday: Weekday| weekdays & 1 << weekday.num_days_from_monday() != 0;
            (on(local.weekday()) && (*from..from + length).contains(&minute))
                || (on(local.weekday().pred()) && (*from..from + length).contains(&(minute + 1440)))
        };
        !self.freezes.iter().any(frozen)
            && (self.windows.is_empty() || self.windows.iter().any(inside))
    }

    /// The run that is due and the minute from which it may run, minute by minute.
    fn expected(&self, plan: &Plan) -> (Occurrence, DateTime<Utc>, DateTime<Utc>) {
        let earliest = self.life().since + TimeDelta::hours(12);
        let mut occurrence = plan.first.next_after(self.life().since).unwrap();
        loop {
            let mut at = occurrence.at();
            while !self.is_open(at) {
                at += TimeDelta::minutes(1);
            }
            let mut end = at;
            while self.is_open(end) && end < at + TimeDelta::hours(self.jitter as i64) {
                end += TimeDelta::minutes(1);
            }
            let room = (end - at).num_seconds().max(1) as u64;
            let run = at
                + TimeDelta::seconds(
                    Jitter::new("id", Duration::from_secs(room))
                        .delay()
                        .as_secs() as i64,
                );
            if run >= earliest && self.endless_life().planned_since < Some(run) {
                return (occurrence, at, run);
            }
            occurrence = plan.first.next_after(occurrence.at()).unwrap();
        }
    }
}

/// The zone by the data that the model reads, whatever that of [`Zone::named`] is.
fn zone(tz: Tz) -> Zone {
    static ZONES: LazyLock<Mutex<HashMap<Tz, Zone>>> = LazyLock::new(Mutex::default);
    let mut zones = ZONES.lock().unwrap();
    zones
        .entry(tz)
        .or_insert_with(|| Zone::new(tz.name(), &tz))
        .clone()
}

fn day(of_2026: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 1).unwrap() + TimeDelta::days(i64::from(of_2026))
}

fn cases(plain: u32, full: u32) -> ProptestConfig {
    let is_full = std::env::var_os("KEYWHEEL_TEST_FULL").is_some();
    ProptestConfig::with_cases(if is_full { full } else { plain })
}

proptest! {
    #![proptest_config(cases(200, 200_000))]

    #[test]
    fn a_plan_runs_when_the_model_says(numbers in numbers()) {
        let plan = numbers.plan();
        let (occurrence, opens, run) = numbers.expected(&plan);
        let life = numbers.endless_life();

        let due = plan.next_due(&life, life.since).unwrap();

        prop_assert_eq!(due.at(), run, "{}", due);
        prop_assert_eq!(due.occurrence(), Some(occurrence));
        prop_assert!(numbers.is_open(due.at()));
        prop_assert_eq!(due.why() == Why::Schedule, opens == occurrence.at(), "{}", due);
    }

    #[test]
    fn asking_again_moves_nothing_until_the_run_is_reached(
        numbers in numbers(), part in 0.0..=1.0_f64, late in 0_i64..40 * 1440,
    ) {
        let (plan, life) = (numbers.plan(), numbers.life());
        let due = plan.next_due(&life, life.since).unwrap();

        let wait = (due.at() - life.since).num_seconds() as f64;
        let now = life.since + TimeDelta::seconds((wait * part) as i64);
        prop_assert_eq!(plan.next_due(&life, now), Some(due));
        // Afterwards it is due at once, or where one may run: never before it was, never twice as late.
        let now = due.at() + TimeDelta::minutes(late);
        let again = plan.next_due(&life, now).unwrap();
        prop_assert!(again.at() >= due.at());
        prop_assert_eq!(again.occurrence(), due.occurrence());
        if again.at() <= now && again.why() != Why::Expiry {
            prop_assert!(numbers.is_open(now), "{}", again);
        }
    }

    #[test]
    fn nothing_runs_later_than_the_margin_before_the_end(numbers in numbers(), late in 0_i64..90 * 1440) {
        let (plan, life) = (numbers.plan(), numbers.life());
        let Some(until) = life.until else { return Ok(()) };
        let without_end = plan.next_due(&numbers.endless_life(), life.since).unwrap();

        let due = plan.next_due(&life, life.since + TimeDelta::minutes(late)).unwrap();

        let margin = until - TimeDelta::days(7);
        let kept = TimeDelta::hours(12).min((until - life.since) * 2 / 3);
        prop_assert!(due.at() <= margin.max(life.since + kept), "{}", due);
        prop_assert!(due.at() >= life.since);
        if due.why() == Why::Expiry {
            prop_assert!(due.at() < without_end.at() || late > 0, "{}", due);
        }
    }

    #[test]
    fn coming_runs_follow_one_another_at_the_least_spacing(numbers in numbers()) {
        let (plan, life) = (numbers.plan(), numbers.life());

        let runs: Vec<_> = plan.upcoming(&life, life.since).take(10).collect();

        prop_assert_eq!(runs.len(), 10);
        for pair in runs.windows(2) {
            prop_assert!(pair[1].at() - pair[0].at() >= TimeDelta::hours(12), "{} {}", pair[0], pair[1]);
            let asked = |due: Due| due.occurrence().map(|run| run.at());
            prop_assert!(asked(pair[1]) > asked(pair[0]) || pair[0].why() == Why::Expiry);
        }
    }
}

proptest! {
    #![proptest_config(cases(500, 1_000_000))]

    #[test]
    fn no_question_panics(
        numbers in numbers(), since in instant(), until in prop::option::of(instant()),
        changed in prop::option::of(instant()), now in instant(),
    ) {
        let mut life = Lifetime::new(since);
        if let Some(changed) = changed {
            life = life.planned_since(changed);
        }
        if let Some(until) = until {
            life = life.until(until);
        }
        if let Some(due) = numbers.plan().next_due(&life, now) {
            prop_assert!(!due.to_string().is_empty());
        }
    }
}

fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    let (first, last) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    let from = move |range: std::ops::RangeInclusive<i64>| {
        range.prop_map(|seconds| DateTime::from_timestamp(seconds, 999_999_999).unwrap())
    };
    prop_oneof![
        Just(first),
        Just(last),
        from(first.timestamp()..=last.timestamp()),
        from(-200_000..=4_200_000_000),
    ]
}
