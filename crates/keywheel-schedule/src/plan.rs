use std::iter;
use std::time::Duration;

use chrono::{DateTime, Utc};

mod builder;
mod due;
#[cfg(feature = "serde")]
mod stored;

pub use self::builder::PlanBuilder;
pub use self::due::{Due, Why};
use crate::calendar::Calendar;
use crate::day::DAY;
use crate::jitter::Jitter;
use crate::{Occurrence, Schedule};

/// When to rotate: a [`Schedule`], and everything that moves its runs.
///
/// A run is due when the schedule says so, later by the [`Jitter`] of the id; where no [`Window`] is open
/// or a [`Freeze`] holds, it moves to the next time at which it may run. The end of the credential beats
/// all of these: see [`expiry_margin`](PlanBuilder::expiry_margin).
///
/// The one question is [`next_due`](Self::next_due). It is pure: what the plan must know of the past is in
/// the [`Lifetime`] of the credential in use, so there is no state to lose, a rotation by hand counts, and
/// a downtime is made up for once.
///
/// [`Window`]: crate::Window
/// [`Freeze`]: crate::Freeze
///
/// ```
/// use chrono::Weekday::{Fri, Mon, Thu, Tue, Wed};
/// use keywheel_schedule::{Days, Freeze, Lifetime, Plan, Schedule, Why, Window};
///
/// let schedule = Schedule::builder()
///     .every_days(30)
///     .at("02:30".parse()?)
///     .zone("Europe/Berlin")
///     .anchor("2026-11-25".parse()?)
///     .build()?;
/// let plan = Plan::builder(schedule)
///     .window(Window::all_day().on(Days::ALL.on_weekdays([Mon, Tue, Wed, Thu, Fri])))
///     .freeze(Freeze::new("2026-12-19".parse()?, "2027-01-03".parse()?)?)
///     .build()?;
///
/// let now = "2026-11-26T00:00:00Z".parse()?;
/// let forever = Lifetime::new("2026-11-25T01:31:00Z".parse()?);
/// let due = plan.next_due(&forever, now).unwrap();
/// assert_eq!(due.why(), Why::Freeze);
/// assert_eq!(due.at().to_rfc3339(), "2027-01-03T23:00:00+00:00");
///
/// let ending = forever.until("2027-01-05T00:00:00Z".parse()?);
/// let due = plan.next_due(&ending, now).unwrap();
/// assert_eq!(due.why(), Why::Expiry);
/// assert_eq!(due.at().to_rfc3339(), "2026-12-29T00:00:00+00:00");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(try_from = "stored::Stored", into = "stored::Stored")
)]
pub struct Plan {
    /// Its zone is that of the calendar.
    first: Schedule,
    others: Vec<Schedule>,
    jitter: Option<Jitter>,
    calendar: Calendar,
    /// In seconds, at most 730 days.
    minimum_spacing: i64,
    /// In seconds, at most 730 days.
    expiry_margin: i64,
}

/// The life of the credential in use: since when, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lifetime {
    since: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    planned_since: Option<DateTime<Utc>>,
}

/// More seconds than any interval, and so than any delay, has.
const LONGEST: i64 = 731 * DAY;

impl Lifetime {
    /// Returns the life of a credential that is in use since `since` and of which no end is known.
    ///
    /// What was due until then is done: give the end of the last rotation, by whatever cause it ran.
    #[must_use]
    pub const fn new(since: DateTime<Utc>) -> Self {
        Self {
            since,
            until: None,
            planned_since: None,
        }
    }

    /// Sets when the credential stops working: the `endDateTime` that Graph answered with.
    #[must_use]
    pub const fn until(mut self, end: DateTime<Utc>) -> Self {
        self.until = Some(end);
        self
    }

    /// Sets when the plan took the place of another one: what it would have run until then was not its to
    /// run. The [spacing](PlanBuilder::minimum_spacing) counts from the last rotation all the same, so that a
    /// run that is moved to later on the same day runs on that day.
    #[must_use]
    pub const fn planned_since(mut self, changed: DateTime<Utc>) -> Self {
        self.planned_since = Some(changed);
        self
    }
}

impl From<Schedule> for Plan {
    /// Returns the plan that follows a schedule, with the default spacing and margin.
    fn from(schedule: Schedule) -> Self {
        let plan = Self::builder(schedule).build();
        plan.expect("the defaults fit every interval")
    }
}

impl Plan {
    /// Returns a builder of plans that follow this schedule, whose zone is that of windows and freezes.
    pub fn builder(schedule: Schedule) -> PlanBuilder {
        PlanBuilder::new(schedule)
    }

    /// Returns the schedule, the first one if there are several.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.first
    }

    /// Returns the delay that spreads runs which are due together, if there is one.
    #[must_use]
    pub fn jitter(&self) -> Option<Jitter> {
        self.jitter
    }

    /// Returns how long after a rotation the next one is left out.
    #[must_use]
    pub fn minimum_spacing(&self) -> Duration {
        Duration::from_secs(self.minimum_spacing.unsigned_abs())
    }

    /// Returns how long before its end a credential is replaced at the latest.
    #[must_use]
    pub fn expiry_margin(&self) -> Duration {
        Duration::from_secs(self.expiry_margin.unsigned_abs())
    }

    /// Returns a builder that begins with this plan, to change a part of it.
    pub fn to_builder(&self) -> PlanBuilder {
        PlanBuilder::from(self.clone())
    }

    /// Returns when the next rotation is due, seen from `now`.
    ///
    /// An answer that is not after `now` means: at once. `None` means never: the schedule has come to its
    /// end in 2100, or no window opens before, and the credential has no known end.
    ///
    /// - Due dates since the last rotation that went by are one run, at the next time at which it may run.
    /// - A run less than the [`minimum_spacing`](PlanBuilder::minimum_spacing) after the last rotation is
    ///   left out. So a clock that was set back causes none.
    /// - The same plan and life give the same answer until it is reached: asking again moves nothing.
    #[must_use]
    pub fn next_due(&self, life: &Lifetime, now: DateTime<Utc>) -> Option<Due> {
        let planned = self.planned(life, now.timestamp());
        let deadline = life.until.map(|until| self.deadline(life.since, until));
        let (at, why) = match (&planned, deadline) {
            (Some(planned), Some(deadline)) if planned.at <= deadline => (planned.at, planned.why),
            (Some(planned), None) => (planned.at, planned.why),
            (_, Some(deadline)) => (deadline, Why::Expiry),
            (None, None) => return None,
        };
        let occurrence = planned.map(|planned| planned.occurrence);
        Due::new(self.first.zone().table(), at, why, occurrence)
    }

    /// Returns the coming rotations, on the understanding that each runs when it is due.
    ///
    /// The end of the credential counts for the first only: those after it replace credentials that do
    /// not exist yet.
    pub fn upcoming(&self, life: &Lifetime, now: DateTime<Utc>) -> impl Iterator<Item = Due> {
        let (mut life, mut now) = (*life, now);
        iter::from_fn(move || {
            let due = self.next_due(&life, now)?;
            now = due.at().max(now);
            life = Lifetime::new(now);
            Some(due)
        })
    }

    /// Returns the first run that the last rotation has not done already, and that is this plan's.
    fn planned(&self, life: &Lifetime, now: i64) -> Option<Planned> {
        let since = life.since.timestamp();
        let changed = life.planned_since.map(|changed| changed.timestamp());
        let earliest = since + self.minimum_spacing;
        // What was due before the change may have been moved to after it: hardly by more than this.
        let from = changed.map_or(since, |changed| since.max(changed - LONGEST));
        let mut occurrence = self.occurrence_after(from)?;
        loop {
            let due = occurrence.second();
            // Whether a run is left out must not depend on when the question is asked.
            let (moved, on_time) = self.place(due, i64::MIN)?;
            if on_time < earliest || changed.is_some_and(|changed| on_time <= changed) {
                occurrence = self.occurrence_after(due)?;
                continue;
            }
            let (_, at) = self.place(due, now)?;
            let why = match moved {
                _ if at != on_time => Why::CatchUp,
                None => Why::Schedule,
                Some(why) => why,
            };
            return Some(Planned {
                at,
                why,
                occurrence,
            });
        }
    }

    fn occurrence_after(&self, after: i64) -> Option<Occurrence> {
        iter::once(&self.first)
            .chain(&self.others)
            .filter_map(|schedule| schedule.next_after_second(after))
            .min_by_key(Occurrence::second)
    }

    /// Returns the second at which an occurrence that is due at `due` runs, in the first stretch that is
    /// not over by `now`, and what moved it there.
    ///
    /// Moved runs are spread too: otherwise all that a weekend held up would begin at its end.
    fn place(&self, due: i64, now: i64) -> Option<(Option<Why>, i64)> {
        let table = self.first.zone().table();
        let span = self
            .jitter
            .map_or(0, |jitter| jitter.span().as_secs() as i64);
        let mut from = due;
        loop {
            let stretch = self.calendar.stretch(table, from, span, now)?;
            if stretch.end <= now {
                // No need to walk through years of downtime: what began so long ago is due by now.
                from = stretch.end.max(now - LONGEST);
                continue;
            }
            let room = u64::try_from(stretch.end - stretch.start).unwrap_or(0);
            let delay = self.jitter.map_or(0, |jitter| jitter.within(room));
            let moved = (stretch.start != due).then(|| self.calendar.closed_by(table, due));
            return Some((moved, stretch.start + delay as i64));
        }
    }

    /// Returns the second by which the credential must be replaced, whatever the schedule says.
    fn deadline(&self, since: DateTime<Utc>, until: DateTime<Utc>) -> i64 {
        let (since, until) = (since.timestamp(), until.timestamp());
        let two_thirds = (until - since).max(0) / 3 * 2;
        let earliest = since + self.minimum_spacing.min(two_thirds);
        (until - self.expiry_margin).max(earliest)
    }
}

struct Planned {
    at: i64,
    why: Why,
    occurrence: Occurrence,
}

#[cfg(test)]
mod tests;
