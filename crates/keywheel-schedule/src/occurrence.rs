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
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Occurrence {
    pub(crate) shown: Shown,
    /// What the clock should show, in seconds.
    pub(crate) asked: i64,
    pub(crate) resolution: Resolution,
}

impl Occurrence {
    /// Returns the instant of the run.
    #[must_use]
    #[inline]
    pub fn at(&self) -> DateTime<Utc> {
        self.shown.at()
    }

    /// The instant in seconds of Unix time, to be compared: a date costs more than the search for it.
    pub(crate) fn second(&self) -> i64 {
        self.shown.0.at
    }

    /// Returns what the clock of the zone shows at that instant.
    #[must_use]
    pub fn local(&self) -> NaiveDateTime {
        self.shown.local()
    }

    /// Returns the due date at the asked-for time of day.
    ///
    /// It equals [`local`](Self::local) unless the [`resolution`](Self::resolution) says that the zone has
    /// no such time.
    #[must_use]
    pub fn asked(&self) -> NaiveDateTime {
        date_time(self.asked).naive_utc()
    }

    /// Returns how the asked-for local time became an instant.
    #[must_use]
    pub fn resolution(&self) -> Resolution {
        self.resolution
    }
}

/// How an asked-for local time became an instant.
// A whole word, because processors are slow to read eight bytes of which one has just been written, which
// is how the end of a struct is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u64)]
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

impl fmt::Debug for Occurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Occurrence")
            .field("at", &self.at())
            .field("local", &self.local())
            .field("asked", &self.asked())
            .field("resolution", &self.resolution)
            .finish()
    }
}

impl fmt::Display for Occurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.fmt(f)?;
        let asked = Clock(self.asked().time());
        match self.resolution {
            Resolution::AfterGap => write!(f, " ({asked} does not exist on this date)"),
            Resolution::AfterSkippedDate => {
                write!(f, " ({} does not exist here)", self.asked().date())
            }
            Resolution::Exact => Ok(()),
            Resolution::FirstOfTwo => write!(f, " ({asked} happens twice; the first)"),
            Resolution::LastOfTwo => write!(f, " ({asked} happens twice; the last)"),
        }
    }
}

/// An instant with what the clock of a zone shows then: `Tue 2026-12-01 02:30 CET = 01:30 UTC`.
///
/// Dates are worked out when somebody looks, which most answers never see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shown(Moment);

impl Shown {
    /// Returns a moment of the years that are answered for.
    pub(crate) fn known(moment: Moment) -> Self {
        Self(moment)
    }

    /// Returns any moment that chrono can say, or `None`.
    pub(crate) fn new(moment: Moment) -> Option<Self> {
        let known = DateTime::<Utc>::MIN_UTC.timestamp()..=DateTime::<Utc>::MAX_UTC.timestamp();
        (known.contains(&moment.at) && known.contains(&moment.wall())).then_some(Self(moment))
    }

    #[inline]
    pub(crate) fn at(&self) -> DateTime<Utc> {
        date_time(self.0.at)
    }

    pub(crate) fn local(&self) -> NaiveDateTime {
        date_time(self.0.wall()).naive_utc()
    }
}

/// The constructors above have seen to it that it can be said.
#[inline]
fn date_time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (local, utc) = (self.local(), self.at().naive_utc());
        let zone = self.0.kind.abbreviation;
        write!(
            f,
            "{} {} {zone}",
            local.format("%a %F"),
            Clock(local.time())
        )?;
        if zone == Abbreviation::UTC {
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
