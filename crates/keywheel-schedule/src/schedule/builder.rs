use chrono::{NaiveDate, NaiveTime, Timelike};

use super::Schedule;
use crate::day::{DAY, LAST_DAY, day_of};
use crate::occurrence::Clock;
use crate::{Disambiguation, InvalidSchedule, Missing, Repeated, Resolution, Zone};

/// Makes a [`Schedule`] of values that may come from a form or a table.
///
/// Nothing is checked before [`build`](Self::build).
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ScheduleBuilder {
    interval_days: Option<u32>,
    at: Option<NaiveTime>,
    zone: Option<Named>,
    anchor: Option<NaiveDate>,
    disambiguation: Disambiguation,
}

#[derive(Clone, Debug)]
enum Named {
    Name(String),
    Zone(Zone),
}

impl ScheduleBuilder {
    /// Sets how many days lie between two due dates, 1 to 730.
    pub fn every_days(mut self, days: u32) -> Self {
        self.interval_days = Some(days);
        self
    }

    /// Sets the local time of day, in whole seconds.
    pub fn at(mut self, time: NaiveTime) -> Self {
        self.at = Some(time);
        self
    }

    /// Sets the time zone by its IANA name, such as `"Europe/Berlin"` or `"UTC"`.
    pub fn zone(mut self, name: impl Into<String>) -> Self {
        self.zone = Some(Named::Name(name.into()));
        self
    }

    /// Sets the time zone to one that is not looked up by name. See [`Zone::new`].
    pub fn custom_zone(mut self, zone: Zone) -> Self {
        self.zone = Some(Named::Zone(zone));
        self
    }

    /// Sets a due date, from which the others are counted, 1970 to 2099.
    pub fn anchor(mut self, date: NaiveDate) -> Self {
        self.anchor = Some(date);
        self
    }

    /// Sets what happens where the clock jumps. Default: every due date runs once, never early.
    pub fn disambiguation(mut self, rules: Disambiguation) -> Self {
        self.disambiguation = rules;
        self
    }

    /// Returns the schedule.
    ///
    /// # Errors
    /// A field is missing or out of its range, the zone is unknown, or [`Missing::Reject`] or
    /// [`Repeated::Reject`] is set and the schedule meets such a time: [`InvalidSchedule::field`] says
    /// which of `interval`, `at`, `zone`, `anchor` it is.
    pub fn build(self) -> Result<Schedule, InvalidSchedule> {
        let interval_days = interval(self.interval_days)?;
        let at = time(self.at)?;
        let zone = zone(self.zone)?;
        let anchor = anchor(self.anchor)?;
        let schedule = Schedule {
            interval_days,
            at,
            zone,
            anchor,
            first_day: day_of(anchor) as u32 % interval_days,
            disambiguation: self.disambiguation,
        };
        schedule.refuse_rejected()?;
        Ok(schedule)
    }
}

fn interval(days: Option<u32>) -> Result<u32, InvalidSchedule> {
    match days {
        Some(days @ 1..=730) => Ok(days),
        Some(days) => Err(InvalidSchedule::new(
            "interval",
            format!("{days} days; give 1 to 730"),
        )),
        None => Err(InvalidSchedule::new(
            "interval",
            "missing; give 1 to 730 days",
        )),
    }
}

fn time(at: Option<NaiveTime>) -> Result<NaiveTime, InvalidSchedule> {
    match at {
        Some(time) if time.nanosecond() == 0 => Ok(time),
        Some(time) => Err(InvalidSchedule::new(
            "at",
            format!("{time} is not a whole second; give a time such as 02:30"),
        )),
        None => Err(InvalidSchedule::new(
            "at",
            "missing; give a time of day such as 02:30",
        )),
    }
}

fn zone(zone: Option<Named>) -> Result<Zone, InvalidSchedule> {
    match zone {
        Some(Named::Zone(zone)) => Ok(zone),
        Some(Named::Name(name)) => Zone::named(&name),
        None => Err(InvalidSchedule::new(
            "zone",
            "missing; give an IANA name such as Europe/Berlin",
        )),
    }
}

fn anchor(date: Option<NaiveDate>) -> Result<NaiveDate, InvalidSchedule> {
    match date {
        Some(date) if (0..=LAST_DAY).contains(&day_of(date)) => Ok(date),
        Some(date) => Err(InvalidSchedule::new(
            "anchor",
            format!("{date}; give a date from 1970-01-01 to 2099-12-31"),
        )),
        None => Err(InvalidSchedule::new(
            "anchor",
            "missing; give a date that the schedule falls on, such as 2026-11-01",
        )),
    }
}

impl Schedule {
    /// Looks at every change of the clock after the anchor for a due date that the rules reject.
    fn refuse_rejected(&self) -> Result<(), InvalidSchedule> {
        let rules = self.disambiguation;
        if ![rules.gap, rules.skipped_date].contains(&Missing::Reject)
            && rules.fold != Repeated::Reject
        {
            return Ok(());
        }
        let table = self.zone.table();
        let (west, east) = (table.lowest_offset(), table.highest_offset());
        for change in table.changes() {
            let from = (change + west).div_euclid(DAY).max(day_of(self.anchor));
            let until = (change + east).div_euclid(DAY).min(LAST_DAY);
            let mut day = self.due_from(from);
            while day <= until {
                self.refuse(day)?;
                day += i64::from(self.interval_days);
            }
        }
        Ok(())
    }

    fn refuse(&self, day: i64) -> Result<(), InvalidSchedule> {
        let rules = self.disambiguation;
        let Some(run) = self.run_on(day) else {
            return Ok(());
        };
        let problem = match run.resolution {
            Resolution::AfterGap if rules.gap == Missing::Reject => "does not exist",
            Resolution::AfterSkippedDate if rules.skipped_date == Missing::Reject => {
                "does not exist"
            }
            Resolution::FirstOfTwo if rules.fold == Repeated::Reject => "happens twice",
            _ => return Ok(()),
        };
        let date = self.occurrence(day, run).asked().date();
        Err(InvalidSchedule::new(
            "at",
            format!(
                "{} {problem} on {date} in {}; give another time or allow it",
                Clock(self.at),
                self.zone.name()
            ),
        ))
    }
}
