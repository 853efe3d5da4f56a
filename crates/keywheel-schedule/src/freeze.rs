use chrono::NaiveDate;

use crate::InvalidSchedule;
use crate::day::day_of;

/// Dates on which nothing is rotated, both ends included: a year-end close, a holiday.
///
/// The dates are those of the zone of the schedule.
///
/// ```
/// use keywheel_schedule::Freeze;
///
/// let holidays = Freeze::new("2026-12-19".parse()?, "2027-01-03".parse()?)?;
/// assert!(Freeze::new("2027-01-03".parse()?, "2026-12-19".parse()?).is_err());
/// # let _ = holidays;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freeze {
    first: NaiveDate,
    last: NaiveDate,
}

impl Freeze {
    /// Returns the freeze from `first` to `last`.
    ///
    /// # Errors
    /// Field `freeze`, when `last` is before `first`.
    pub fn new(first: NaiveDate, last: NaiveDate) -> Result<Self, InvalidSchedule> {
        if last < first {
            return Err(InvalidSchedule::new(
                "freeze",
                format!("{last} is before {first}; give the earlier date first"),
            ));
        }
        Ok(Self { first, last })
    }

    /// The frozen days, since 1970.
    pub(crate) fn days(&self) -> (i64, i64) {
        (day_of(self.first), day_of(self.last))
    }
}
