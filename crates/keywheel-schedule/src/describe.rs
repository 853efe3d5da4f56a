use std::fmt;

use crate::occurrence::Clock;
use crate::{Occurrence, Schedule, StaleZone};

/// A schedule in words, with its next run. Made by [`Schedule::describe`].
#[derive(Clone, Copy, Debug)]
pub struct Description<'a> {
    pub(crate) schedule: &'a Schedule,
    pub(crate) next: Option<Occurrence>,
}

impl Description<'_> {
    /// Returns the next run, or `None` when the schedule has come to its end.
    #[must_use]
    pub fn next(&self) -> Option<Occurrence> {
        self.next
    }

    /// Returns what is known to be wrong with the zone's data.
    #[must_use]
    pub fn warning(&self) -> Option<StaleZone> {
        self.schedule.zone().stale()
    }
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schedule = self.schedule;
        match schedule.interval_days() {
            1 => f.write_str("every day")?,
            days => write!(f, "every {days} days")?,
        }
        write!(
            f,
            " at {}, {}; ",
            Clock(schedule.at()),
            schedule.zone().name()
        )?;
        match self.next {
            Some(next) => write!(f, "next {next}")?,
            None => f.write_str("no further run before 2100")?,
        }
        match self.warning() {
            Some(stale) => write!(f, "; warning: {stale}"),
            None => Ok(()),
        }
    }
}
