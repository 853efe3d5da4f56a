//! Who is wrong around changes of the clock.

use std::collections::BTreeMap;

use benches::Bounds;
use chrono::{DateTime, NaiveTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use keywheel_schedule::{Schedule, Zone};

use crate::peers::Patterns;
use crate::questions::{daily, rules};

/// 1990 to 2036.
const YEARS: std::ops::Range<i64> = 631_152_000..2_082_758_400;
const DAY: i64 = 86_400;
/// When it is asked, in seconds since the change.
const ASKED: [i64; 3] = [-DAY / 2, -600, 600];

#[derive(Default)]
struct Tally {
    asked: u32,
    wrong: BTreeMap<&'static str, (u32, String)>,
}

/// Asks for the next daily run around every change of every clock, by the data of chrono-tz, which all
/// contestants read. The right answer is croner's own rule and ours: a time that is jumped over
/// runs when the clock has jumped, a time that happens twice runs the first time.
pub(crate) fn count(bounds: &mut Bounds) {
    let mut tally = Tally::default();
    let mut patterns = BTreeMap::new();
    for tz in TZ_VARIANTS {
        let zone = Zone::new(tz.name(), &tz);
        for (at, before, after) in changes(tz) {
            let (low, high) = (before.min(after), before.max(after));
            for wall in [low - 60, low, (low + high) / 2, high - 60, high + 60] {
                let second = (at + wall).rem_euclid(DAY) as u32 / 60 * 60;
                let time = NaiveTime::from_num_seconds_from_midnight_opt(second, 0).unwrap();
                let schedule = daily(zone.clone(), time);
                let pattern = patterns.entry(time).or_insert_with(|| Patterns::at(time));
                for since in ASKED {
                    let run = tally.ask(&schedule, tz, pattern, instant(at + since));
                    tally.ask(&schedule, tz, pattern, run);
                }
            }
        }
    }
    tally.print(bounds);
}

impl Tally {
    fn ask(
        &mut self,
        schedule: &Schedule,
        tz: Tz,
        pattern: &Patterns,
        after: DateTime<Utc>,
    ) -> DateTime<Utc> {
        let right = schedule.next_after(after).unwrap();
        let local = after.with_timezone(&tz);
        let croner = pattern.croner.find_next_occurrence(&local, false);
        let cron = pattern.cron.after(&local).next();
        let rrule = rules(tz, after, schedule.at()).all(1).dates;
        self.asked += 1;
        for (name, answer) in [
            ("croner", croner.ok().map(|at| at.to_utc())),
            ("cron", cron.map(|at| at.to_utc())),
            ("rrule", rrule.first().map(DateTime::to_utc)),
        ] {
            if answer == Some(right.at()) {
                continue;
            }
            let (count, example) = self.wrong.entry(name).or_default();
            *count += 1;
            // The latest in the zone that most readers know.
            if example.is_empty() || tz == Tz::Europe__Berlin {
                let at = schedule.at();
                let answer = answer.map_or_else(|| "nothing".to_owned(), |at| at.to_string());
                *example = format!(
                    "daily at {:02}:{:02} in {tz}, after {after}: {answer}, not {right}",
                    at.hour(),
                    at.minute()
                );
            }
        }
        right.at()
    }

    fn print(&self, bounds: &mut Bounds) {
        println!("\naround changes of the clock, {} questions", self.asked);
        for name in ["croner", "cron", "rrule"] {
            let Some((count, example)) = self.wrong.get(name) else {
                println!("  {name} is right");
                continue;
            };
            let share = f64::from(*count) * 100.0 / f64::from(self.asked);
            println!("  {name} is wrong in {count}, {share:.1} %; for instance {example}");
        }
        let least = 10_000;
        bounds.check("enough was asked", self.asked > least, self.asked);
    }
}

/// Every change of a clock: when, and the offsets before and after it.
fn changes(tz: Tz) -> Vec<(i64, i64, i64)> {
    let offset = |at| {
        i64::from(
            tz.offset_from_utc_datetime(&instant(at).naive_utc())
                .fix()
                .local_minus_utc(),
        )
    };
    let mut changes = Vec::new();
    for day in YEARS.step_by(DAY as usize) {
        let (mut low, mut high) = (day, day + DAY);
        if offset(low) == offset(high) {
            continue;
        }
        while high - low > 1 {
            let middle = low + TimeDelta::seconds((high - low) / 2).num_seconds();
            if offset(middle) == offset(low) {
                low = middle;
            } else {
                high = middle;
            }
        }
        changes.push((high, offset(low), offset(high)));
    }
    changes
}

fn instant(at: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(at, 0).unwrap()
}
