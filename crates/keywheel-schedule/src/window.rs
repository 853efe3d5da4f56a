use chrono::{Datelike, Month, NaiveTime, Timelike, Weekday};

use crate::InvalidSchedule;
use crate::day::{DAY, LAST_DAY, date_of};

/// Hours in which a rotation may run, on the days that [`Days`] chooses.
///
/// A window is open whenever the clock of the schedule's zone shows a time inside it, so that one from
/// 22:00 to 04:00 lasts five hours in the night that summer time begins.
///
/// ```
/// use chrono::Weekday::{Fri, Sat};
/// use keywheel_schedule::{Days, Window};
///
/// // The nights to Saturday and to Sunday.
/// let nights = Window::new("22:00".parse()?, "04:00".parse()?)?
///     .on(Days::ALL.on_weekdays([Fri, Sat]));
/// # let _ = nights;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Stored", into = "Stored"))]
pub struct Window {
    days: Days,
    /// Seconds after midnight.
    from: i64,
    /// Seconds, at most a day.
    length: i64,
}

impl Window {
    /// Returns the window from `from` to just before `to`, on every day.
    ///
    /// When `to` is the earlier time, the window ends on the next day. To 00:00 means to midnight.
    ///
    /// # Errors
    /// Field `window`, when the two are equal or not whole seconds.
    pub fn new(from: NaiveTime, to: NaiveTime) -> Result<Self, InvalidSchedule> {
        let refuse = |problem: &str| Err(InvalidSchedule::new("window", problem));
        if from.nanosecond() != 0 || to.nanosecond() != 0 {
            return refuse("not a whole second; give times such as 22:00 and 04:00");
        }
        if from == to {
            return refuse("begins when it ends; give two times, or take `Window::all_day`");
        }
        let [from, to] = [from, to].map(|time| i64::from(time.num_seconds_from_midnight()));
        Ok(Self {
            days: Days::ALL,
            from,
            length: (to - from).rem_euclid(DAY),
        })
    }

    /// Returns the window that is open from midnight to midnight, on every day.
    #[must_use]
    pub const fn all_day() -> Self {
        Self {
            days: Days::ALL,
            from: 0,
            length: DAY,
        }
    }

    /// Opens the window only on these days. Across midnight, the day on which it opens counts.
    #[must_use]
    pub const fn on(mut self, days: Days) -> Self {
        self.days = days;
        self
    }

    pub(crate) fn never_opens(&self) -> bool {
        self.opens(0).is_none()
    }

    /// Returns when the window that is open at `wall` closes, or `None` when it is closed.
    pub(crate) fn closes(&self, wall: i64) -> Option<i64> {
        let today = wall.div_euclid(DAY);
        [today, today - 1]
            .into_iter()
            .filter(|day| self.days.contain(*day))
            .map(|day| day * DAY + self.from)
            .find(|opens| (*opens..opens + self.length).contains(&wall))
            .map(|opens| opens + self.length)
    }

    /// Returns when the window opens next after `wall`, or `None` when it does not before 2100.
    pub(crate) fn opens(&self, wall: i64) -> Option<i64> {
        let first = (wall - self.from).div_euclid(DAY) + 1;
        (first.max(-1)..=LAST_DAY)
            .find(|day| self.days.contain(*day))
            .map(|day| day * DAY + self.from)
    }
}

/// A window as it is written down.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    days: Days,
    from: i64,
    length: i64,
}

#[cfg(feature = "serde")]
impl From<Window> for Stored {
    fn from(Window { days, from, length }: Window) -> Self {
        Self { days, from, length }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Stored> for Window {
    type Error = InvalidSchedule;

    fn try_from(Stored { days, from, length }: Stored) -> Result<Self, InvalidSchedule> {
        if (0..DAY).contains(&from) && (1..=DAY).contains(&length) {
            Ok(Self { days, from, length })
        } else {
            Err(InvalidSchedule::new(
                "window",
                "not within a day; store it as it was written",
            ))
        }
    }
}

/// A choice of days: by weekday, by day of the month, by month, or by all of these at once.
///
/// ```
/// use chrono::{Month, Weekday};
/// use keywheel_schedule::Days;
///
/// let first_sunday = Days::ALL.on_weekdays([Weekday::Sun]).on_month_days(1..=7)?;
/// let last_friday = Days::ALL.on_weekdays([Weekday::Fri]).on_month_days(-7..=-1)?;
/// let end_of_half_year = Days::ALL.on_month_days([-1])?.in_months([Month::June, Month::December]);
/// # let _ = (first_sunday, last_friday, end_of_half_year);
/// # Ok::<(), keywheel_schedule::InvalidSchedule>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Days {
    /// Bit 0 is Monday.
    weekdays: u8,
    /// Bit 1 is the first day of the month.
    from_start: u32,
    /// Bit 1 is the last day of the month.
    from_end: u32,
    /// Bit 1 is January.
    months: u16,
}

impl Days {
    /// Every day.
    pub const ALL: Self = Self {
        weekdays: u8::MAX,
        from_start: u32::MAX,
        from_end: u32::MAX,
        months: u16::MAX,
    };

    /// Keeps only these weekdays.
    #[must_use]
    pub fn on_weekdays(self, weekdays: impl IntoIterator<Item = Weekday>) -> Self {
        let bit = |day: Weekday| 1 << day.num_days_from_monday();
        Self {
            weekdays: weekdays.into_iter().fold(0, |set, day| set | bit(day)),
            ..self
        }
    }

    /// Keeps only these days of the month: 1 is the first, −1 the last, −2 the one before it.
    ///
    /// # Errors
    /// Field `window`, when one is neither 1 to 31 nor −31 to −1.
    pub fn on_month_days(
        self,
        days: impl IntoIterator<Item = i8>,
    ) -> Result<Self, InvalidSchedule> {
        let (mut from_start, mut from_end) = (0, 0);
        for day in days {
            match day {
                1..=31 => from_start |= 1_u32 << day,
                -31..=-1 => from_end |= 1_u32 << day.unsigned_abs(),
                _ => {
                    return Err(InvalidSchedule::new(
                        "window",
                        format!("{day} is no day of a month; give 1 to 31, or -1 for the last"),
                    ));
                }
            }
        }
        Ok(Self {
            from_start,
            from_end,
            ..self
        })
    }

    /// Keeps only the days of these months.
    #[must_use]
    pub fn in_months(self, months: impl IntoIterator<Item = Month>) -> Self {
        let bit = |month: Month| 1 << month.number_from_month();
        Self {
            months: months.into_iter().fold(0, |set, month| set | bit(month)),
            ..self
        }
    }

    fn contain(&self, day: i64) -> bool {
        let Some(date) = date_of(day) else {
            return false;
        };
        let from_end = u32::from(date.num_days_in_month()) - date.day0();
        self.weekdays & 1 << date.weekday().num_days_from_monday() != 0
            && self.months & 1 << date.month() != 0
            && (self.from_start & 1 << date.day() != 0 || self.from_end & 1 << from_end != 0)
    }
}
