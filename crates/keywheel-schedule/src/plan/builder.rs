use std::time::Duration;

use chrono::NaiveDate;

use super::Plan;
use crate::calendar::Calendar;
use crate::day::day_of;
use crate::{Freeze, InvalidSchedule, Jitter, Schedule, Window};

/// Makes a [`Plan`]. Nothing is checked before [`build`](Self::build).
#[derive(Clone, Debug)]
#[must_use]
pub struct PlanBuilder {
    first: Schedule,
    others: Vec<Schedule>,
    jitter: Option<Jitter>,
    calendar: Calendar,
    minimum_spacing: Duration,
    expiry_margin: Duration,
}

/// No spacing and no margin is longer than the longest interval.
const LONGEST: Duration = Duration::from_hours(730 * 24);

impl PlanBuilder {
    pub(super) fn new(first: Schedule) -> Self {
        Self {
            first,
            others: Vec::new(),
            jitter: None,
            calendar: Calendar::default(),
            minimum_spacing: Duration::from_hours(12),
            expiry_margin: Duration::from_hours(7 * 24),
        }
    }

    /// Puts another schedule in the place of the first.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.first = schedule;
        self
    }

    /// Adds a schedule: a run is due whenever one of them says so. Two daily ones rotate twice a day.
    pub fn and(mut self, schedule: Schedule) -> Self {
        self.others.push(schedule);
        self
    }

    /// Delays each run by the delay of an id, within what is left of its window. Default: no delay.
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = Some(jitter);
        self
    }

    /// Adds hours in which rotations may run. Default: none, and they may run at any time.
    pub fn window(mut self, window: Window) -> Self {
        self.calendar.windows.push(window);
        self
    }

    /// Adds dates on which no rotation runs. The same ones twice count once.
    pub fn freeze(mut self, freeze: Freeze) -> Self {
        if !self.calendar.freezes.contains(&freeze) {
            self.calendar.freezes.push(freeze);
        }
        self
    }

    /// Takes a freeze out again, given by the dates that it was added with.
    pub fn thaw(mut self, freeze: Freeze) -> Self {
        self.calendar.freezes.retain(|frozen| *frozen != freeze);
        self
    }

    /// Takes the freezes out whose last day is before `day`.
    pub fn without_freezes_before(mut self, day: NaiveDate) -> Self {
        let freezes = &mut self.calendar.freezes;
        freezes.retain(|freeze| freeze.days().1 >= day_of(day));
        self
    }

    /// Leaves out what would run less than this after the last rotation. Default: 12 hours, because the
    /// finest interval is a day, and two runs in half of one come from a clock that was set back, from a
    /// run that was moved or from one that was made by hand.
    pub fn minimum_spacing(mut self, spacing: Duration) -> Self {
        self.minimum_spacing = spacing;
        self
    }

    /// Rotates at the latest this long before the credential ends, whatever schedule, windows and freezes
    /// say. Default: seven days, in which someone is at work whatever the week.
    ///
    /// One thing beats it: a credential is kept for the minimum spacing, or two thirds of its life if that
    /// is less. Otherwise a tenant whose policy allows no longer life than the margin would see one
    /// rotation follow the other without end.
    pub fn expiry_margin(mut self, margin: Duration) -> Self {
        self.expiry_margin = margin;
        self
    }

    /// Returns the plan.
    ///
    /// # Errors
    /// [`InvalidSchedule::field`] is
    /// - `window`, when no day fits one,
    /// - `jitter` or `minimum spacing`, when it is as long as an interval, so that runs would be lost in it,
    /// - `minimum spacing` or `expiry margin`, when it is longer than 730 days.
    pub fn build(self) -> Result<Plan, InvalidSchedule> {
        if self.calendar.windows.iter().any(Window::never_opens) {
            return Err(InvalidSchedule::new(
                "window",
                "no date fits its weekdays, days of the month and months; allow more of them",
            ));
        }
        let interval = self.shortest_interval();
        if let Some(jitter) = self.jitter {
            at_most("jitter", jitter.span(), interval)?;
        }
        at_most("minimum spacing", self.minimum_spacing, interval)?;
        at_most("expiry margin", self.expiry_margin, LONGEST)?;
        Ok(Plan {
            first: self.first,
            others: self.others,
            jitter: self.jitter,
            calendar: self.calendar,
            minimum_spacing: self.minimum_spacing.as_secs() as i64,
            expiry_margin: self.expiry_margin.as_secs() as i64,
        })
    }

    fn shortest_interval(&self) -> Duration {
        let others = self.others.iter().map(Schedule::interval_days);
        let days = others.fold(self.first.interval_days(), u32::min);
        Duration::from_hours(u64::from(days) * 24)
    }
}

impl From<Plan> for PlanBuilder {
    fn from(plan: Plan) -> Self {
        Self {
            minimum_spacing: plan.minimum_spacing(),
            expiry_margin: plan.expiry_margin(),
            first: plan.first,
            others: plan.others,
            jitter: plan.jitter,
            calendar: plan.calendar,
        }
    }
}

fn at_most(field: &'static str, given: Duration, longest: Duration) -> Result<(), InvalidSchedule> {
    if given <= longest {
        return Ok(());
    }
    let hours = longest.as_secs() / 3600;
    Err(InvalidSchedule::new(
        field,
        format!("{} s; give at most {hours} hours", given.as_secs()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freezes_are_added_once_and_taken_out_again() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let freeze = |first, last| Freeze::new(day(first), day(last)).unwrap();
        let spring = freeze("2026-03-30", "2026-04-10");
        let winter = freeze("2026-12-19", "2027-01-03");
        let built = |builder: PlanBuilder| builder.build().unwrap();
        let schedule = Schedule::builder()
            .every_days(30)
            .at("02:30".parse().unwrap())
            .zone("Europe/Berlin")
            .anchor(day("2026-03-01"));
        let plan = Plan::from(schedule.build().unwrap());
        let once = built(plan.to_builder().freeze(spring));
        let both = built(once.to_builder().freeze(winter));

        assert_eq!(built(once.to_builder().freeze(spring)), once);
        assert_eq!(built(both.to_builder().thaw(winter)), once);
        let before = |first| built(both.to_builder().without_freezes_before(day(first)));
        assert_eq!(before("2026-04-10"), both);
        assert_eq!(
            before("2026-04-11"),
            built(plan.to_builder().freeze(winter))
        );
    }
}
