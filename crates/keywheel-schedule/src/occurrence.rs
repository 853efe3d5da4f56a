use std::fmt;

use chrono::{DateTime, NaiveDateTime, NaiveTime, Timelike, Utc};

use crate::zone::{Abbreviation, Moment};

/// One run of a schedule: when it was asked for, when it is, and why the two differ where they do.
///
/// `Display` tells a person all of it:
///
/// ```
/// use keywheel_schedule::{Resolution, Schedule};
///
/// let daily = Schedule::builder()
///     .every_days(1)
///     .at("02:30".parse()?)
///     .zone("Europe/Berlin")
///     .anchor("2026-01-01".parse()?)
///     .build()?;
/// let gap = daily.next_after("2026-03-29T00:00:00Z".parse()?).unwrap();
///
/// assert_eq!(gap.resolution(), Resolution::AfterGap);
/// assert_eq!(
///     gap.to_string(),
///     "Sun 2026-03-29 03:00 CEST = 01:00 UTC (02:30 does not exist on this date)",
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Occurrence {
    pub(crate) shown: Shown,
    pub(crate) asked: NaiveDateTime,
    pub(crate) resolution: Resolution,
}

impl Occurrence {
    /// Returns the instant of the run.
    #[must_use]
    pub fn at(&self) -> DateTime<Utc> {
        self.shown.at
    }

    /// Returns what the clock of the zone shows at that instant.
    #[must_use]
    pub fn local(&self) -> NaiveDateTime {
        self.shown.local
    }

    /// Returns the due date at the asked-for time of day.
    ///
    /// It equals [`local`](Self::local) unless the [`resolution`](Self::resolution) says that the zone has
    /// no such time.
    #[must_use]
    pub fn asked(&self) -> NaiveDateTime {
        self.asked
    }

    /// Returns how the asked-for local time became an instant.
    #[must_use]
    pub fn resolution(&self) -> Resolution {
        self.resolution
    }
}

/// How an asked-for local time became an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resolution {
    /// The clock jumps over the time; the run is where it lands.
    AfterGap,
    /// The calendar of the zone jumps over the date; the run is at the start of the next.
    AfterSkippedDate,
    /// The clock shows the time once.
    Exact,
    /// The time happens twice; the run is at the first.
    FirstOfTwo,
    /// The time happens twice; the run is at the last.
    LastOfTwo,
}

impl fmt::Display for Occurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.fmt(f)?;
        let asked = Clock(self.asked.time());
        match self.resolution {
            Resolution::AfterGap => write!(f, " ({asked} does not exist on this date)"),
            Resolution::AfterSkippedDate => {
                write!(f, " ({} does not exist here)", self.asked.date())
            }
            Resolution::Exact => Ok(()),
            Resolution::FirstOfTwo => write!(f, " ({asked} happens twice; the first)"),
            Resolution::LastOfTwo => write!(f, " ({asked} happens twice; the last)"),
        }
    }
}

/// An instant with what the clock of a zone shows then: `Tue 2026-12-01 02:30 CET = 01:30 UTC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shown {
    pub(crate) at: DateTime<Utc>,
    pub(crate) local: NaiveDateTime,
    pub(crate) abbreviation: Abbreviation,
}

impl Shown {
    pub(crate) fn new(moment: Moment) -> Option<Self> {
        Some(Self {
            at: DateTime::from_timestamp(moment.at, 0)?,
            local: DateTime::from_timestamp(moment.wall(), 0)?.naive_utc(),
            abbreviation: moment.kind.abbreviation,
        })
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (local, utc) = (self.local, self.at.naive_utc());
        let zone = self.abbreviation.as_str();
        write!(
            f,
            "{} {} {zone}",
            local.format("%a %F"),
            Clock(local.time())
        )?;
        if zone == "UTC" {
            return Ok(());
        }
        f.write_str(" = ")?;
        if utc.date() != local.date() {
            write!(f, "{} ", utc.format("%a %F"))?;
        }
        write!(f, "{} UTC", Clock(utc.time()))
    }
}

/// A time of day to the minute, and to the second only where there are any.
pub(crate) struct Clock(pub(crate) NaiveTime);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0;
        write!(f, "{:02}:{:02}", time.hour(), time.minute())?;
        if time.second() != 0 {
            write!(f, ":{:02}", time.second())?;
        }
        Ok(())
    }
}
