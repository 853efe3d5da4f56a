//! The contestants. Each gets its question in the form that it likes best and answers in its own type.

use std::str::FromStr;

use chrono::{DateTime, NaiveTime, TimeDelta, TimeZone as _, Timelike, Utc};
use chrono_tz::Tz;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rrule::{RRuleResult, RRuleSet};

use crate::questions::{Question, due_time};

pub(crate) fn keywheel(question: &Question<'_>) -> DateTime<Utc> {
    let next = question.place.schedule.next_after(question.after);
    next.unwrap().at()
}

/// What cannot be saved: a search for the offset at the instant and one for the offset at the answer. It
/// knows no gap, no fold and no interval.
pub(crate) fn floor(question: &Question<'_>) -> i64 {
    const AT: i64 = 9_000;
    let floor = &question.place.floor;
    let after = question.after.timestamp();
    let shown = after + floor.offset(after);
    let wall = (shown - AT).div_euclid(86_400) * 86_400 + 86_400 + AT;
    wall - floor.offset(wall)
}

/// The changes of a clock, and nothing that says what they mean.
pub(crate) struct Floor {
    changes: Vec<u32>,
    offsets: Vec<i32>,
}

impl Floor {
    pub(crate) fn new(zone: &TimeZone) -> Self {
        let end = Timestamp::from_second(4_102_444_800).unwrap();
        let changes = || {
            zone.following(Timestamp::UNIX_EPOCH)
                .take_while(|change| change.timestamp() < end)
        };
        let mut offsets = vec![zone.to_offset(Timestamp::UNIX_EPOCH).seconds()];
        offsets.extend(changes().map(|change| change.offset().seconds()));
        Self {
            changes: changes()
                .map(|change| change.timestamp().as_second() as u32)
                .collect(),
            offsets,
        }
    }

    fn offset(&self, at: i64) -> i64 {
        let segment = self
            .changes
            .partition_point(|change| i64::from(*change) <= at);
        self.offsets[segment].into()
    }
}

/// As one writes it with chrono: look at the clock, set the time, go on a day while that is not later.
pub(crate) fn chrono_tz(question: &Question<'_>) -> DateTime<Tz> {
    let zone = question.place.chrono;
    let mut date = zone
        .from_utc_datetime(&question.after.naive_utc())
        .date_naive();
    loop {
        let wanted = date.and_time(due_time());
        let next = zone
            .from_local_datetime(&wanted)
            .earliest()
            // What the clock jumps over by at most an hour, which is wrong for some.
            .or_else(|| {
                zone.from_local_datetime(&(wanted + TimeDelta::hours(1)))
                    .earliest()
            });
        match next {
            Some(next) if next > question.after => return next,
            _ => date = date.succ_opt().unwrap(),
        }
    }
}

/// As jiff's documentation does it: with its `ZonedDateTime`.
pub(crate) fn jiff(question: &Question<'_>) -> Timestamp {
    let now = question
        .after_jiff
        .to_zoned_datetime(question.place.jiff.clone());
    let next = now.with().time(jiff_time()).build().unwrap();
    let next = if next > now {
        next
    } else {
        next.checked_add(1.day()).unwrap()
    };
    next.timestamp()
}

/// As one writes it with jiff when every nanosecond counts: without a `ZonedDateTime`.
pub(crate) fn jiff_timestamps(question: &Question<'_>) -> Timestamp {
    let zone = &question.place.jiff;
    let mut date = zone.to_datetime(question.after_jiff).date();
    loop {
        let next = zone.to_timestamp(date.to_datetime(jiff_time())).unwrap();
        if next > question.after_jiff {
            return next;
        }
        date = date.tomorrow().unwrap();
    }
}

fn jiff_time() -> Time {
    Time::constant(2, 30, 0, 0)
}

/// The time of day in the words of two crates, parsed once.
pub(crate) struct Patterns {
    pub(crate) croner: croner::Cron,
    pub(crate) cron: cron::Schedule,
}

impl Patterns {
    pub(crate) fn new() -> Self {
        Self::at(due_time())
    }

    pub(crate) fn at(time: NaiveTime) -> Self {
        let (hour, minute) = (time.hour(), time.minute());
        Self {
            croner: croner::Cron::from_str(&format!("{minute} {hour} * * *")).unwrap(),
            cron: cron::Schedule::from_str(&format!("0 {minute} {hour} * * *")).unwrap(),
        }
    }
}

pub(crate) fn croner(pattern: &croner::Cron, question: &Question<'_>) -> DateTime<Tz> {
    let next = pattern.find_next_occurrence(&question.after_chrono, false);
    next.unwrap()
}

pub(crate) fn cron(pattern: &cron::Schedule, question: &Question<'_>) -> DateTime<Tz> {
    pattern.after(&question.after_chrono).next().unwrap()
}

pub(crate) fn rrule(question: &Question<'_>) -> RRuleResult {
    RRuleSet::clone(&question.rrule).all(1)
}
