use std::iter::FusedIterator;

use chrono::{DateTime, NaiveDate, NaiveTime, Timelike, Utc};

use crate::day::{DAY, LAST_DAY};
use crate::occurrence::Shown;
use crate::zone::{Moment, Wall};
mod builder;
#[cfg(feature = "serde")]
mod stored;

pub use self::builder::ScheduleBuilder;
use crate::{Description, Disambiguation, Missing, Occurrence, Repeated, Resolution, Zone};

/// Every so many days at a time of day in a time zone, counted from an anchor date.
///
/// The due dates are the anchor and every `interval` days before and after it: civil days, whatever their
/// length. The anchor only says on which days the schedule falls: moving it by a whole number of intervals
/// changes nothing, and neither does a run that was late or made by hand. Each due date has one
/// [`Occurrence`]; what happens where the clock jumps is said by [`Disambiguation`].
///
/// What a schedule is made of is what to store: [`interval_days`](Self::interval_days), [`at`](Self::at),
/// the [`zone`](Self::zone)'s name and the [`anchor`](Self::anchor), never an instant, because the rules of
/// zones change. A clone is cheap.
///
/// Feature `serde` stores exactly these, and a [`Disambiguation`] that is not the default:
/// `{"interval_days":30,"at":"02:30","zone":"Europe/Berlin","anchor":"2026-11-01"}`.
///
/// Due dates from 1970 to 2099 are answered; before and after there are none.
///
/// ```
/// use keywheel_schedule::Schedule;
///
/// let schedule = Schedule::builder()
///     .every_days(30)
///     .at("02:30".parse()?)
///     .zone("Europe/Berlin")
///     .anchor("2026-11-01".parse()?)
///     .build()?;
/// let next = schedule.next_after("2026-11-23T12:00:00Z".parse()?).unwrap();
///
/// assert_eq!(next.at().to_rfc3339(), "2026-12-01T01:30:00+00:00");
/// assert_eq!(next.to_string(), "Tue 2026-12-01 02:30 CET = 01:30 UTC");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(into = "stored::Stored", try_from = "stored::Stored")
)]
pub struct Schedule {
    interval_days: u32,
    at: NaiveTime,
    zone: Zone,
    anchor: NaiveDate,
    /// The first due day since 1970, which the anchor and the interval say.
    first_day: u32,
    disambiguation: Disambiguation,
}

/// The answer of [`Schedule::due_between`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DueBetween {
    /// How many runs were due.
    pub count: u32,
    /// The last of them: the one to catch up with.
    pub latest: Option<Occurrence>,
}

impl Schedule {
    /// Returns a builder. Interval, time, zone and anchor must be given.
    pub fn builder() -> ScheduleBuilder {
        ScheduleBuilder::default()
    }

    /// Returns the first run later than `after`, or `None` when there is none before 2100.
    ///
    /// Two due dates whose runs fall on one instant, as may happen after a skipped date, are one run: that
    /// of the later date.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<Occurrence> {
        self.next_after_second(after.timestamp())
    }

    /// The same, after a second of Unix time.
    #[inline]
    pub(crate) fn next_after_second(&self, after: i64) -> Option<Occurrence> {
        let shown = self.zone.table().least_after(after);
        let mut day = self.due_from(1 + (shown - self.second_of_day()).div_euclid(DAY));
        while day <= LAST_DAY {
            match self.run_on(day) {
                Some(run) if run.moment.at > after && !self.joins_next(day, run) => {
                    return Some(self.occurrence(day, run));
                }
                _ => day += i64::from(self.interval_days),
            }
        }
        None
    }

    /// Returns the last run at or before `at`, or `None` when there is none since 1970.
    #[must_use]
    pub fn previous_or_at(&self, at: DateTime<Utc>) -> Option<Occurrence> {
        let at = at.timestamp();
        let shown = self.zone.table().most_until(at);
        let latest = (shown - self.second_of_day()).div_euclid(DAY).min(LAST_DAY);
        let mut day = self.due_from(latest + 1) - i64::from(self.interval_days);
        while day >= 0 {
            match self.run_on(day) {
                Some(run) if run.moment.at <= at => return Some(self.occurrence(day, run)),
                _ => day -= i64::from(self.interval_days),
            }
        }
        None
    }

    /// Returns the runs later than `after`, one after the other.
    ///
    /// ```
    /// # use keywheel_schedule::Schedule;
    /// # let schedule = Schedule::builder()
    /// #     .every_days(30)
    /// #     .at("02:30".parse()?)
    /// #     .zone("Europe/Berlin")
    /// #     .anchor("2026-11-01".parse()?)
    /// #     .build()?;
    /// let runs: Vec<String> = schedule
    ///     .upcoming("2027-02-01T00:00:00Z".parse()?)
    ///     .map(|run| run.to_string())
    ///     .take(2)
    ///     .collect();
    ///
    /// assert_eq!(runs, [
    ///     "Mon 2027-03-01 02:30 CET = 01:30 UTC",
    ///     "Wed 2027-03-31 02:30 CEST = 00:30 UTC",
    /// ]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn upcoming(&self, after: DateTime<Utc>) -> Upcoming<'_> {
        Upcoming {
            schedule: self,
            after,
        }
    }

    /// Counts the runs later than `after` and not later than `until`, and returns the last of them.
    ///
    /// After a downtime that is all there is to know: what was missed is made up for once.
    #[must_use]
    pub fn due_between(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> DueBetween {
        let due = DueBetween {
            count: 0,
            latest: None,
        };
        self.upcoming(after)
            .take_while(|run| run.at() <= until)
            .fold(due, |due, run| DueBetween {
                count: due.count + 1,
                latest: Some(run),
            })
    }

    /// Returns the schedule in words, with its first run later than `after`.
    ///
    /// ```
    /// # use keywheel_schedule::Schedule;
    /// # let schedule = Schedule::builder()
    /// #     .every_days(30)
    /// #     .at("02:30".parse()?)
    /// #     .zone("Europe/Berlin")
    /// #     .anchor("2026-11-01".parse()?)
    /// #     .build()?;
    /// assert_eq!(
    ///     schedule.describe("2026-11-23T12:00:00Z".parse()?).to_string(),
    ///     "every 30 days at 02:30, Europe/Berlin; next Tue 2026-12-01 02:30 CET = 01:30 UTC",
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn describe(&self, after: DateTime<Utc>) -> Description<'_> {
        Description {
            schedule: self,
            next: self.next_after(after),
        }
    }

    /// Returns how many days lie between two due dates, 1 to 730.
    #[must_use]
    pub fn interval_days(&self) -> u32 {
        self.interval_days
    }

    /// Returns the local time of day, in whole seconds.
    #[must_use]
    pub fn at(&self) -> NaiveTime {
        self.at
    }

    /// Returns the time zone.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Returns the date that the due dates are counted from.
    #[must_use]
    pub fn anchor(&self) -> NaiveDate {
        self.anchor
    }

    /// Returns the rules for local times that do not exist or happen twice.
    #[must_use]
    pub fn disambiguation(&self) -> Disambiguation {
        self.disambiguation
    }

    /// Returns the first due day at or after `day`, in days since 1970.
    fn due_from(&self, day: i64) -> i64 {
        let (day, interval) = (day.clamp(0, LAST_DAY + 1) as u32, self.interval_days);
        // A division is worth a branch: it takes as long as half of all the rest.
        if interval == 1 {
            return day.into();
        }
        let since_last = (day + interval - 1 - self.first_day) % interval;
        i64::from(day + interval - 1 - since_last)
    }

    fn second_of_day(&self) -> i64 {
        i64::from(self.at.num_seconds_from_midnight())
    }

    /// Returns the run of a due day, or `None` when the rules leave it out.
    #[inline(always)]
    fn run_on(&self, day: i64) -> Option<Run> {
        let rules = self.disambiguation;
        let (moment, resolution) = match self.zone.table().at_wall(day * DAY + self.second_of_day())
        {
            Wall::Once(moment) => (moment, Resolution::Exact),
            Wall::Twice { last, .. } if rules.fold == Repeated::Last => {
                (last, Resolution::LastOfTwo)
            }
            Wall::Twice { first, .. } => (first, Resolution::FirstOfTwo),
            Wall::Never { before, jump } => {
                let whole_day = before <= day * DAY && (day + 1) * DAY <= jump.wall();
                let (rule, resolution) = if whole_day {
                    (rules.skipped_date, Resolution::AfterSkippedDate)
                } else {
                    (rules.gap, Resolution::AfterGap)
                };
                if rule == Missing::Skip {
                    return None;
                }
                (jump, resolution)
            }
        };
        Some(Run { moment, resolution })
    }

    /// Whether the next due day runs at the same instant, which only a jump of the clock brings about.
    fn joins_next(&self, day: i64, run: Run) -> bool {
        let next = day + i64::from(self.interval_days);
        run.moment.wall() != day * DAY + self.second_of_day()
            && next <= LAST_DAY
            && self
                .run_on(next)
                .is_some_and(|next| next.moment.at == run.moment.at)
    }

    fn occurrence(&self, day: i64, run: Run) -> Occurrence {
        Occurrence {
            shown: Shown::known(run.moment),
            asked: day * DAY + self.second_of_day(),
            resolution: run.resolution,
        }
    }
}

/// The run of one due day, before it is dressed in dates.
#[derive(Clone, Copy)]
struct Run {
    moment: Moment,
    resolution: Resolution,
}

/// The coming runs of a schedule. Made by [`Schedule::upcoming`].
#[derive(Clone, Debug)]
pub struct Upcoming<'a> {
    schedule: &'a Schedule,
    after: DateTime<Utc>,
}

impl Iterator for Upcoming<'_> {
    type Item = Occurrence;

    fn next(&mut self) -> Option<Occurrence> {
        let next = self.schedule.next_after(self.after)?;
        self.after = next.at();
        Some(next)
    }
}

impl FusedIterator for Upcoming<'_> {}

#[cfg(test)]
mod tests;
